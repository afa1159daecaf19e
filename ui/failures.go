package ui

import (
	"errors"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/deetoo/deetoo/auth"
	"github.com/deetoo/deetoo/invalid"
	"github.com/deetoo/deetoo/queue"
)

// failuresView is how a type's dead jobs failed, and what is being done about them.
type failuresView struct {
	Type     string
	Groups   []queue.DeadGroup
	More     bool // there are others
	Redrives []queue.Redrive
	CanWrite bool
}

const (
	// groupsShown is how many groups of failures a page shows: the largest.
	groupsShown = 50
	// redrivesShown is how many redrives: the latest.
	redrivesShown = 5
)

// failures looks at how the dead jobs of a type failed.
func (u *UI) failures(r *request, typ string) (*failuresView, error) {
	groups, err := u.in.DeadGroups(r.ctx, r.who, typ, "", groupsShown)
	if err != nil {
		return nil, err
	}
	redrives, err := u.in.Redrives(r.ctx, r.who, typ)
	if err != nil {
		return nil, err
	}
	return &failuresView{
		Type: typ, Groups: groups.Groups, More: groups.Next != "", CanWrite: r.may(auth.JobsWrite, typ),
		Redrives: redrives[:min(len(redrives), redrivesShown)],
	}, nil
}

// confirmView asks before something is done to many jobs.
type confirmView struct {
	Type, Verb string
	N          int
	// Group is the one whose jobs it is about; nil: all dead jobs.
	Group *queue.DeadGroup
	// Canary and Rate are how a redrive goes, as typed.
	Canary, Rate string
	Errors       map[string]string
}

func (u *UI) confirmPage(verb string) handler {
	return func(r *request) error {
		return u.showConfirm(r, fiber.StatusOK, confirmView{Type: r.typ(), Verb: verb}, r.query("fingerprint"))
	}
}

func (u *UI) showConfirm(r *request, status int, v confirmView, fingerprint string) error {
	if err := r.who.Require(auth.JobsWrite, v.Type); err != nil {
		return err
	}
	s, err := u.in.Stats(r.ctx, r.who, v.Type)
	if err != nil {
		return err
	}
	v.N = s.Dead
	title := map[string]string{"redrive": "Retry dead jobs", "purge": "Delete dead jobs"}[v.Verb]
	if fingerprint != "" {
		if v.Group, err = u.group(r, v.Type, fingerprint); err != nil {
			return err
		}
		v.N = v.Group.Count
	}
	return u.render(r, status, "confirm", title, v)
}

// group finds a group of dead jobs. One that is gone has none.
func (u *UI) group(r *request, typ, fingerprint string) (*queue.DeadGroup, error) {
	if err := (queue.DeadFilter{Fingerprint: fingerprint}).Validate(); err != nil {
		return nil, err
	}
	for cursor := ""; ; {
		page, err := u.in.DeadGroups(r.ctx, r.who, typ, cursor, queue.MaxPage)
		if err != nil {
			return nil, err
		}
		for _, g := range page.Groups {
			if g.Fingerprint == fingerprint {
				return &g, nil
			}
		}
		if cursor = page.Next; cursor == "" {
			return &queue.DeadGroup{Fingerprint: fingerprint}, nil
		}
	}
}

func (u *UI) confirmed(verb string) handler {
	return func(r *request) error {
		name, fingerprint := r.typ(), r.form.Get("fingerprint")
		filter := queue.DeadFilter{Fingerprint: fingerprint}
		if verb == "purge" {
			n, err := u.in.PurgeDead(r.ctx, r.who, name, filter)
			u.counts.forget(name)
			if err != nil {
				return err
			}
			r.flash("purged", n)
			return r.redirect(typeURL(name))
		}
		v := confirmView{Type: name, Verb: verb, Canary: strings.TrimSpace(r.form.Get("canary")), Rate: strings.TrimSpace(r.form.Get("rate")), Errors: map[string]string{}}
		spec := queue.RedriveSpec{DeadFilter: filter}
		if v.Canary != "" {
			n, err := strconv.Atoi(v.Canary)
			if err != nil || n < 1 || n > queue.MaxCanaries {
				v.Errors["canary"] = "Must be a whole number, 1 to " + strconv.Itoa(queue.MaxCanaries) + ", or empty."
			}
			spec.Canary = n
		}
		if v.Rate != "" {
			limit, per, err := parseRate(v.Rate)
			if err != nil {
				v.Errors["rate"] = sentence(err.Error())
			}
			spec.Rate = queue.RedriveRate{Jobs: limit, Period: per}
		}
		var bad *invalid.Error
		if err := spec.Validate(); len(v.Errors) == 0 && errors.As(err, &bad) {
			v.Errors[strings.SplitN(bad.Field, ".", 2)[0]] = sentence(bad.Rule)
		}
		if len(v.Errors) > 0 {
			return u.showConfirm(r, fiber.StatusUnprocessableEntity, v, fingerprint)
		}
		redrive, err := u.in.Redrive(r.ctx, r.who, name, spec)
		u.counts.forget(name)
		if err != nil {
			return err
		}
		r.flash("redriven", redrive.Count)
		return r.redirect(typeURL(name) + "#failures")
	}
}

func (u *UI) stopRedrive(r *request) error {
	if _, err := u.in.StopRedrive(r.ctx, r.who, r.typ(), r.form.Get("id")); err != nil {
		return err
	}
	r.flash("stopped", 0)
	return r.redirect(typeURL(r.typ()) + "#failures")
}

// parseRate reads "60/1m", "60 / m" or "60": so many in so long, or in a second.
func parseRate(text string) (limit int, per time.Duration, err error) {
	count, period, has := strings.Cut(text, "/")
	limit, err = strconv.Atoi(strings.TrimSpace(strings.ReplaceAll(count, ",", "")))
	if err != nil || limit < 1 {
		return 0, 0, errors.New("must be a number and how long, such as 60/1m")
	}
	period = strings.TrimSpace(period)
	if !has {
		return limit, time.Second, nil
	}
	if period != "" && strings.Trim(period, "smh") == "" {
		period = "1" + period
	}
	per, err = time.ParseDuration(period)
	if err != nil || per <= 0 {
		return 0, 0, errors.New("must be a number and how long, such as 60/1m")
	}
	return limit, per, nil
}

// deadURL lists the dead jobs of one failure.
func deadURL(typ, fingerprint string) string {
	return typeURL(typ) + "?state=dead&fingerprint=" + url.QueryEscape(fingerprint) + "#jobs"
}
