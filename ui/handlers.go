package ui

import (
	"net/url"
	"strings"

	"github.com/gofiber/fiber/v2"

	"github.com/deetoo/deetoo/examples"
)

// handlersView shows how a handler of a type looks in some languages.
type handlersView struct {
	Type, Target string
	Languages    []choice
	Shown        examples.Handler
	// Fingerprints of the secrets that a handler may be given.
	Fingerprints []string
}

// handlersPage shows a handler that checks the type's signature. It never holds the secret: a handler reads that from its environment.
func (u *UI) handlersPage(r *request) error {
	t, err := u.in.Type(r.ctx, r.who, r.typ())
	if err != nil {
		return err
	}
	v := handlersView{Type: t.Name, Target: t.RedactedTarget(), Fingerprints: t.View().SecretFingerprints}
	language := r.query("in")
	for i, h := range examples.Handlers() {
		if i == 0 || h.Language == language {
			v.Shown = h
		}
	}
	for _, h := range examples.Handlers() {
		v.Languages = append(v.Languages, choice{h.Name, typeURL(t.Name) + "/handler?in=" + h.Language, h.Language == v.Shown.Language})
	}
	v.Shown.Text = fitted(v.Shown.Text, t.Target)
	return u.render(r, fiber.StatusOK, "handlers", "A handler of "+t.Name, v)
}

// fitted has the example listen at the target's path, if that needs no escaping in any of the languages.
func fitted(text, target string) string {
	u, err := url.Parse(target)
	if err != nil || u.Path == "" || u.Path == "/" || strings.Trim(u.Path, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-/") != "" {
		return text
	}
	for _, quote := range []string{`"`, `'`} {
		text = strings.ReplaceAll(text, quote+"/email"+quote, quote+u.Path+quote)
	}
	return strings.ReplaceAll(text, `"POST /email"`, `"POST `+u.Path+`"`)
}
