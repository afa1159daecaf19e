package ui

import (
	"errors"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/deetoo/deetoo/auth"
	"github.com/deetoo/deetoo/invalid"
	"github.com/deetoo/deetoo/registry"
)

// secretsView is the secrets that sign a type's deliveries, by what may be shown of them.
type secretsView struct {
	Type    string
	Secrets []signing
	// What is typed for another one.
	Secret, Kind, Overlap string
	Errors                map[string]string
}

type signing struct {
	registry.SecretView
	Created, Expires time.Time
}

func (u *UI) secretsPage(r *request) error {
	return u.showSecrets(r, fiber.StatusOK, secretsView{Type: r.typ(), Kind: registry.HMAC, Overlap: "24h"})
}

func (u *UI) showSecrets(r *request, status int, v secretsView) error {
	if err := r.who.Require(auth.TypesWrite, v.Type); err != nil {
		return err
	}
	t, err := u.in.Type(r.ctx, r.who, v.Type)
	if err != nil {
		return err
	}
	for _, s := range t.View().SigningSecrets {
		one := signing{SecretView: s}
		one.Created, _ = time.Parse(time.RFC3339, s.CreatedAt) // what is unknown stays zero
		one.Expires, _ = time.Parse(time.RFC3339, s.ExpiresAt)
		v.Secrets = append(v.Secrets, one)
	}
	v.Secret = "" // typed anew after a mistake, rather than sent back
	return u.render(r, status, "secrets", "Secrets of "+v.Type, v)
}

func (u *UI) addSecret(r *request) error {
	v := secretsView{Type: r.typ(), Secret: strings.TrimSpace(r.form.Get("secret")), Kind: r.form.Get("kind"), Overlap: strings.TrimSpace(r.form.Get("expires_in")), Errors: map[string]string{}}
	spec := registry.SecretSpec{Secret: v.Secret}
	if v.Secret == "" {
		spec.Kind = v.Kind
	}
	if v.Overlap != "" {
		d, err := time.ParseDuration(v.Overlap)
		if err != nil {
			v.Errors["expires_in"] = "Must be a duration such as 30m or 24h."
			return u.showSecrets(r, fiber.StatusUnprocessableEntity, v)
		}
		spec.ExpiresIn = (*registry.Duration)(&d)
	}
	t, secret, err := u.in.AddSecret(r.ctx, r.who, v.Type, spec)
	var bad *invalid.Error
	switch {
	case errors.As(err, &bad):
		v.Errors[bad.Field] = sentence(bad.Rule)
		return u.showSecrets(r, fiber.StatusUnprocessableEntity, v)
	case t == nil && err != nil:
		return err
	}
	if spec.Secret == "" {
		return u.render(r, fiber.StatusOK, "secret", v.Type+" has a new secret", map[string]any{"Type": v.Type, "Secret": secret.Value, "Public": secret.PublicKey(), "Target": t.RedactedTarget(), "Rotated": true})
	}
	r.flash("rotated", 0)
	return r.redirect(typeURL(v.Type) + "/secrets")
}

func (u *UI) deleteSecret(r *request) error {
	if _, err := u.in.DeleteSecret(r.ctx, r.who, r.typ(), r.form.Get("id")); err != nil {
		return err
	}
	r.flash("unsigned", 0)
	return r.redirect(typeURL(r.typ()) + "/secrets")
}
