package ui

import (
	"errors"
	"strings"

	"github.com/gofiber/fiber/v2"

	"github.com/deetoo/deetoo/auth"
	"github.com/deetoo/deetoo/invalid"
	"github.com/deetoo/deetoo/queue"
	"github.com/deetoo/deetoo/registry"
	"github.com/deetoo/deetoo/schedule"
)

var (
	// errForeignForm: a POST that did not come from one of our pages.
	errForeignForm = errors.New("the form did not come from this site")
	// errStaleForm: a form without the proof that it belongs to this session.
	errStaleForm = errors.New("the form belongs to another session")
	errNoPage    = errors.New("no such page")
)

// problem is an error as a page shows it: what happened, and what to do.
type problem struct {
	Status  int
	Title   string
	Text    string
	Advice  string
	Command string // to type into a shell, if that helps
	Back    string // where to go on
	Nearest []string
	Retry   bool // try again by itself
}

func (u *UI) noSuchPage(r *request) error {
	_ = u.identify(r) // only for the page's head
	return errNoPage
}

// fail answers with the page that fits an error.
func (u *UI) fail(r *request, err error) error {
	if errors.Is(err, auth.ErrUnauthenticated) {
		return u.toLogin(r, err)
	}
	p := explain(err)
	if p.Status >= fiber.StatusInternalServerError {
		u.log.Warn("a page failed", "path", strings.Clone(r.c.Path()), "status", p.Status, "error", err)
	}
	if p.Retry {
		r.c.Set(fiber.HeaderRetryAfter, "3")
	}
	if r.part() {
		return r.c.Status(p.Status).SendString(p.Title)
	}
	if p.Back == "" {
		p.Back = localPath(r.here())
		if r.c.Method() == fiber.MethodGet && !p.Retry {
			p.Back = "/ui"
		}
	}
	if p.Retry && r.c.Method() == fiber.MethodPost {
		p.Advice = "It is not known whether it was done. Go back and look; doing it again is safe."
	}
	f := frame{Title: p.Title, Body: p}
	if p.Retry && r.c.Method() == fiber.MethodGet {
		f.Refresh = 3
	}
	return u.renderFrame(r, p.Status, "error", f)
}

// explain says of an error what happened and what to do about it. What is not
// known here is not shown, since it may hold anything.
func explain(err error) problem {
	var (
		scope    *auth.ScopeError
		typ      *auth.TypeError
		missing  *registry.NotFoundError
		mismatch *registry.VersionMismatchError
		state    *queue.StateError
		bad      *invalid.Error
	)
	switch {
	case errors.Is(err, errForeignForm):
		return problem{Status: fiber.StatusForbidden, Title: "Not from here", Text: "This request did not come from a page of this server, so nothing was done.",
			Advice: "If you pressed a button here, go back, reload the page and press it again."}
	case errors.Is(err, errStaleForm):
		return problem{Status: fiber.StatusForbidden, Title: "An old form", Text: "The page you sent belongs to another session, so nothing was done.",
			Advice: "Go back, reload the page and try again."}
	case errors.Is(err, errNoPage):
		return problem{Status: fiber.StatusNotFound, Title: "No such page", Text: "There is nothing at this address.", Advice: "Start from the list of types."}
	case errors.As(err, &scope):
		return problem{Status: fiber.StatusForbidden, Title: "Your token may not do this", Text: sentence(scope.Error()),
			Advice: "Log in with a token that has it. Who holds the key can mint one:", Command: "dispatcher token --scope " + string(scope.Scope) + " --ttl 1h"}
	case errors.As(err, &typ):
		return problem{Status: fiber.StatusForbidden, Title: "Not among your types", Text: sentence(typ.Error()), Advice: "Log in with a token that reaches this type."}
	case errors.As(err, &missing):
		return problem{Status: fiber.StatusNotFound, Title: "No such type", Text: sentence((&registry.NotFoundError{Name: missing.Name}).Error()),
			Advice: "It may have been deleted.", Nearest: missing.Nearest}
	case errors.As(err, &mismatch):
		return problem{Status: fiber.StatusConflict, Title: "Changed meanwhile", Text: sentence(mismatch.Error()), Advice: "Look at it again before you change it."}
	case errors.Is(err, queue.ErrNotFound):
		return problem{Status: fiber.StatusNotFound, Title: "No such job", Text: "There is no job of this ID.",
			Advice: "It may have been removed, or have finished longer ago than its type's retention keeps jobs."}
	case errors.As(err, &state):
		return problem{Status: fiber.StatusConflict, Title: "The job has moved on", Text: sentence(state.Error()), Advice: "Look at it again: its page shows what can be done now."}
	case errors.Is(err, schedule.ErrNotFound):
		return problem{Status: fiber.StatusNotFound, Title: "No such schedule", Text: "There is no schedule of this name.", Advice: "It may have been deleted.", Back: "/ui/schedules"}
	case errors.Is(err, schedule.ErrVersionMismatch):
		return problem{Status: fiber.StatusConflict, Title: "Changed meanwhile", Text: "Somebody changed this schedule while you edited.", Advice: "Look at it again before you change it."}
	case errors.Is(err, queue.ErrNoRedrive):
		return problem{Status: fiber.StatusNotFound, Title: "No such redrive", Text: "It has ended long ago, or never was.", Advice: "The type's page has the latest."}
	case errors.Is(err, queue.ErrRedriving):
		return problem{Status: fiber.StatusConflict, Title: "Too many redrives", Text: sentence(err.Error()), Advice: "The type's page has them, each with a button that stops it."}
	case errors.Is(err, registry.ErrSecretNotFound):
		return problem{Status: fiber.StatusNotFound, Title: "No such secret", Text: "The type has no secret of that ID.", Advice: "It may have been deleted, or have expired."}
	case errors.Is(err, queue.ErrActive):
		return problem{Status: fiber.StatusConflict, Title: "The job is running", Text: "A running job can only be cancelled.", Advice: "Wait until the attempt has ended, or cancel it."}
	case errors.As(err, &bad):
		return problem{Status: fiber.StatusUnprocessableEntity, Title: "That cannot be right", Text: sentence(bad.Error()), Advice: "Go back and correct it."}
	case errors.Is(err, queue.ErrFull):
		return problem{Status: fiber.StatusServiceUnavailable, Title: "Redis is full", Text: "It has reached its memory limit, so no new jobs are taken. Those it has are still being worked off.",
			Advice: "Raise maxmemory, purge dead jobs, or shorten the retention of finished ones."}
	case errors.Is(err, auth.ErrKeysUnavailable):
		return problem{Status: fiber.StatusServiceUnavailable, Retry: true, Title: "Cannot check your token", Text: "The server that publishes the keys for tokens does not answer.",
			Advice: "This page tries again every few seconds. Jobs go on meanwhile."}
	case errors.Is(err, queue.ErrUnavailable):
		return problem{Status: fiber.StatusServiceUnavailable, Retry: true, Title: "Redis does not answer", Text: "Jobs that were accepted are safe. Nothing is started until it is back; the dispatcher then goes on by itself.",
			Advice: "This page tries again every few seconds."}
	default:
		return problem{Status: fiber.StatusInternalServerError, Title: "That went wrong", Text: "Something unexpected happened on our side; the dispatcher's log says what.", Advice: "Trying again may help."}
	}
}
