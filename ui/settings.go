package ui

import (
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/deetoo/deetoo/auth"
	"github.com/deetoo/deetoo/invalid"
)

// Setting is one of the running process, as it may be shown.
type Setting struct{ Name, Value string }

// MaxTokenTTL is how long a token minted in the browser may be good.
const MaxTokenTTL = 90 * 24 * time.Hour

// settingsOfProcess shows how this process runs, to admins.
func (u *UI) settingsOfProcess(r *request) error {
	if err := r.who.Require(auth.Admin, ""); err != nil {
		return err
	}
	return u.render(r, fiber.StatusOK, "process", "This dispatcher", u.opts.Settings)
}

// tokenView is the form that mints a token, and the one minted.
type tokenView struct {
	Subject, Types, TTL string
	Scopes              []scopeChoice
	Errors              map[string]string
	Token               string
	Expires             time.Time
}

type scopeChoice struct {
	Scope   auth.Scope
	Ticked  bool
	Meaning string
}

func scopeChoices(ticked []string) (out []scopeChoice) {
	for _, c := range []scopeChoice{
		{auth.JobsRead, false, "see jobs, counts and history"}, {auth.JobsWrite, false, "push, cancel, retry and delete jobs"},
		{auth.TypesRead, false, "see types and their settings"}, {auth.TypesWrite, false, "register and change types, pause them, rotate secrets"},
		{auth.SchedulesRead, false, "see schedules"}, {auth.SchedulesWrite, false, "make, change and run schedules"}, {auth.Admin, false, "everything"},
	} {
		c.Ticked = slices.Contains(ticked, string(c.Scope))
		out = append(out, c)
	}
	return out
}

// mayMint: only who may do everything, to all types, may hand that on.
func (u *UI) mayMint(r *request) error {
	if u.opts.Mint == nil {
		return errNoPage
	}
	if err := r.who.Require(auth.Admin, ""); err != nil {
		return err
	}
	if !r.who.CanAllTypes() {
		return &auth.ScopeError{Scope: auth.Admin}
	}
	return nil
}

func (u *UI) tokensPage(r *request) error {
	if err := u.mayMint(r); err != nil {
		return err
	}
	return u.render(r, fiber.StatusOK, "tokens", "Tokens", tokenView{TTL: "8h", Scopes: scopeChoices([]string{string(auth.JobsRead), string(auth.TypesRead)})})
}

// mintToken makes a token that this and every other dispatcher with the same key accepts. It is shown once, and kept nowhere.
func (u *UI) mintToken(r *request) error {
	if err := u.mayMint(r); err != nil {
		return err
	}
	v := tokenView{
		Subject: strings.TrimSpace(r.form.Get("subject")), Types: strings.TrimSpace(r.form.Get("types")), TTL: strings.TrimSpace(r.form.Get("ttl")),
		Scopes: scopeChoices(r.form["scope"]), Errors: map[string]string{},
	}
	ttl, err := time.ParseDuration(v.TTL)
	if err != nil || ttl < time.Second || ttl > MaxTokenTTL {
		v.Errors["ttl"] = "Must be a duration, 1s to " + MaxTokenTTL.String() + "."
	}
	if v.Subject == "" {
		v.Errors["subject"] = "Is required: who is it for?"
	}
	o := auth.MintOptions{Subject: v.Subject, TTL: ttl, JobTypes: strings.FieldsFunc(v.Types, func(c rune) bool { return c == ',' || c == ' ' })}
	for _, s := range r.form["scope"] {
		o.Scopes = append(o.Scopes, auth.Scope(s))
	}
	var bad *invalid.Error
	if err := o.Validate(); len(v.Errors) == 0 && errors.As(err, &bad) {
		v.Errors[map[bool]string{true: "types", false: "scope"}[strings.HasPrefix(bad.Field, "JobTypes")]] = sentence(bad.Rule)
	}
	if len(v.Errors) > 0 {
		return u.render(r, fiber.StatusUnprocessableEntity, "tokens", "Tokens", v)
	}
	if v.Token, err = u.opts.Mint(o); err != nil {
		return err
	}
	v.Expires = r.now.Add(ttl)
	u.log.Info("a token was minted in the browser", "by", r.who.Subject(), "for", o.Subject, "scopes", r.form["scope"], "types", o.JobTypes, "ttl", ttl)
	return u.render(r, fiber.StatusOK, "tokens", "Tokens", v)
}
