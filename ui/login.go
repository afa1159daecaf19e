package ui

import (
	"errors"
	"net/url"
	"strings"

	"github.com/gofiber/fiber/v2"

	"github.com/deetoo/deetoo/auth"
)

// loginView is the log-in page.
type loginView struct {
	Next   string
	Notice string // why one is here
	Error  string // what is wrong with the token
}

func (u *UI) loginPage(r *request) error {
	v := loginView{Next: localPath(r.query("next"))}
	switch r.query("why") {
	case "expired":
		v.Notice = "Your session has expired, because its token has. Log in with a fresh one to go on where you were."
	case "out":
		v.Notice = "You are logged out. The token itself stays valid until it expires."
	case "refused":
		v.Notice = "Your session's token is no longer accepted. Log in with another."
	}
	if v.Notice == "" && u.identify(r) == nil {
		return r.redirect(v.Next)
	}
	return u.render(r, fiber.StatusOK, "login", "Log in", v)
}

func (u *UI) login(r *request) error {
	v := loginView{Next: localPath(r.form.Get("next"))}
	token := strings.TrimSpace(r.form.Get("token"))
	if scheme, rest, ok := strings.Cut(token, " "); ok && strings.EqualFold(scheme, "bearer") {
		token = strings.TrimSpace(rest)
	}
	status := fiber.StatusUnprocessableEntity
	who, err := u.opts.Verifier.Verify(r.ctx, token)
	switch {
	case errors.Is(err, auth.ErrKeysUnavailable):
		status, v.Error = fiber.StatusServiceUnavailable, "The keys that tokens are checked with cannot be fetched at the moment. Try again shortly."
	case errors.Is(err, auth.ErrMissingToken):
		v.Error = "Paste a token."
	case err != nil:
		v.Error = sentence(strings.TrimPrefix(err.Error(), auth.ErrUnauthenticated.Error()+": ")) + " Paste another one."
	case len(token) > maxCookieToken:
		v.Error = "The token is too long for a browser's cookie (over 3,800 bytes). Mint one with fewer claims."
	case len(who.Scopes()) == 0:
		v.Error = "The token is good, but has none of the scopes that are known here. Mint one with a scope."
	default:
		r.sess.open(r.c, token, who.ExpiresAt())
		return r.redirect(v.Next)
	}
	return u.render(r, status, "login", "Log in", v)
}

func (u *UI) logout(r *request) error {
	r.sess.close(r.c)
	return r.redirect("/ui/login?why=out")
}

// toLogin sends who is not (or no longer) logged in to the log-in page, and
// from there back to where they wanted to go.
func (u *UI) toLogin(r *request, cause error) error {
	// A strict cookie is withheld when a link elsewhere leads here. Coming again,
	// from ourselves, the browser sends it.
	if r.sess.token == "" && r.c.Method() == fiber.MethodGet && r.c.Get("Sec-Fetch-Site") == "cross-site" {
		to := "/ui/again?to=" + url.QueryEscape(localPath(r.here()))
		return u.renderFrame(r, fiber.StatusOK, "bounce", frame{Title: "One moment", RefreshTo: to, Body: to})
	}
	q := url.Values{}
	if next := localPath(r.here()); next != "/ui" {
		q.Set("next", next)
	}
	switch {
	case errors.Is(cause, auth.ErrExpired), r.sess.token == "" && r.sess.seen:
		q.Set("why", "expired")
	case r.sess.token != "":
		q.Set("why", "refused")
	}
	to := "/ui/login"
	if len(q) > 0 {
		to += "?" + q.Encode()
	}
	if r.part() {
		return r.c.SendStatus(fiber.StatusUnauthorized)
	}
	return r.redirect(to)
}

// here is the page that the browser shows: what was asked for, unless that is
// a part of a page, or an action.
func (r *request) here() string {
	if r.c.Method() != fiber.MethodGet {
		if u, err := url.Parse(strings.Clone(r.c.Get(fiber.HeaderReferer))); err == nil && u.Path != "" {
			return u.RequestURI()
		}
		return "/ui"
	}
	u, err := url.Parse(strings.Clone(r.c.OriginalURL()))
	if err != nil {
		return "/ui"
	}
	return u.RequestURI()
}

// again is where the log-in check sends a browser that came from elsewhere, so
// that its next step begins here.
func (u *UI) again(r *request) error { return r.redirect(localPath(r.query("to"))) }
