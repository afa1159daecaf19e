package ui

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"runtime/debug"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/deetoo/deetoo/auth"
)

// request is one HTTP request of somebody. Fiber's own strings alias buffers
// that are reused, so everything here is a copy.
type request struct {
	c    *fiber.Ctx
	ctx  context.Context
	now  time.Time
	who  *auth.Identity // nil if not logged in
	sess session
	form url.Values // of a POST
	// args are the parameters of the address, and typeName the job type in its path.
	args     url.Values
	typeName string
}

// handler answers a request; its error becomes a page.
type handler func(*request) error

// public serves whoever asks. POSTs must come from our own pages all the same.
func (u *UI) public(h handler) fiber.Handler {
	return u.serve(func(r *request) error {
		if r.c.Method() == fiber.MethodPost {
			if err := r.readForm(); err != nil {
				return err
			}
		}
		return h(r)
	})
}

// private serves who is logged in; others go to the log-in page and come back.
func (u *UI) private(h handler) fiber.Handler {
	return u.serve(func(r *request) error {
		if err := u.identify(r); err != nil {
			return err
		}
		return h(r)
	})
}

// action serves the POSTs of who is logged in, if one of our own pages sent them.
func (u *UI) action(h handler) fiber.Handler {
	return u.private(func(r *request) error {
		if err := r.readForm(); err != nil {
			return err
		}
		if !r.sess.checkCSRF(r.form.Get("csrf")) {
			return errStaleForm
		}
		return h(r)
	})
}

// serve turns errors and panics into pages, and never lets one reach the
// application's error handler, which might send it to the client.
func (u *UI) serve(h handler) fiber.Handler {
	return func(c *fiber.Ctx) (err error) {
		secureHeaders(c)
		ctx, cancel := context.WithTimeout(c.UserContext(), u.opts.Timeout)
		defer cancel()
		args, _ := url.ParseQuery(string(c.Context().URI().QueryString())) // what can be read of it
		r := &request{c: c, ctx: ctx, now: time.Now(), sess: sessionOf(c), args: args, typeName: strings.Clone(c.Params("type"))}
		defer func() {
			if p := recover(); p != nil {
				u.log.Error("a page panicked", "path", strings.Clone(c.Path()), "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
				err = u.fail(r, errors.New("panic"))
			}
		}()
		if err := h(r); err != nil {
			return u.fail(r, err)
		}
		return nil
	}
}

// identify finds out who asks.
func (u *UI) identify(r *request) error {
	if r.sess.token == "" {
		return auth.ErrMissingToken
	}
	who, err := u.opts.Verifier.Verify(r.ctx, r.sess.token)
	if err != nil {
		return err
	}
	r.who = who
	return nil
}

// readForm reads the fields of a POST that one of our own pages sent.
func (r *request) readForm() error {
	if !sameOrigin(r.c) {
		return errForeignForm
	}
	// Anything else, compression too, only an attacker would send.
	kind, _, _ := strings.Cut(r.c.Get(fiber.HeaderContentType), ";")
	if kind != fiber.MIMEApplicationForm || r.c.Get(fiber.HeaderContentEncoding) != "" {
		return errForeignForm
	}
	form, err := url.ParseQuery(string(r.c.Request().Body()))
	if err != nil {
		return errForeignForm
	}
	r.form = form
	return nil
}

// typ is the job type in the path.
func (r *request) typ() string { return r.typeName }

// query is a parameter of the address.
func (r *request) query(name string) string { return r.args.Get(name) }

// part reports whether a script asks for what is new on its page, and not the browser for a page.
func (r *request) part() bool { return strings.HasSuffix(r.c.Path(), "/live") }

// redirect sends the browser to a page of ours after an action.
func (r *request) redirect(to string) error { return r.c.Redirect(to, fiber.StatusSeeOther) }

// origin is this server as the browser knows it.
func (r *request) origin() string { return r.c.Protocol() + "://" + string(r.c.Context().Host()) }

// may reports whether the caller could do that with a type ("": in general),
// so that no page shows a button that would fail.
func (r *request) may(scope auth.Scope, typ string) bool { return r.who.Require(scope, typ) == nil }

func typeURL(typ string) string { return "/ui/types/" + url.PathEscape(typ) }

func scheduleURL(name string) string { return "/ui/schedule?name=" + url.QueryEscape(name) }

func jobURL(typ, id string) string { return typeURL(typ) + "/job?id=" + url.QueryEscape(id) }

func jobDataURL(typ, id, of string) string {
	return typeURL(typ) + "/job/data?of=" + url.QueryEscape(of) + "&id=" + url.QueryEscape(id)
}

func jobLiveURL(typ, id, stamp string) string {
	return typeURL(typ) + "/job/live?stamp=" + url.QueryEscape(stamp) + "&id=" + url.QueryEscape(id)
}
