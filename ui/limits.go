package ui

import (
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"github.com/deetoo/deetoo/invalid"
	"github.com/deetoo/deetoo/registry"
)

// setLimits changes how much a type does at once, and how fast, from the next job on.
func (u *UI) setLimits(r *request) error {
	name := r.typ()
	n, err := strconv.Atoi(strings.ReplaceAll(strings.TrimSpace(r.form.Get("concurrency")), ",", ""))
	if err != nil {
		return invalid.Errorf("concurrency", "must be a whole number")
	}
	patch := map[string]any{"concurrency": n, "rate": nil}
	if text := strings.TrimSpace(r.form.Get("rate")); text != "" {
		limit, per, err := parseRate(text)
		if err != nil {
			return invalid.Errorf("rate", "%s", err)
		}
		rate := map[string]any{"limit": limit, "per": per.String()}
		old, err := u.in.Type(r.ctx, r.who, name)
		if err != nil {
			return err
		}
		if old.Rate.Burst > 0 { // which this form does not show
			rate["burst"] = min(old.Rate.Burst, limit)
		}
		patch["rate"] = rate
	}
	body, err := json.Marshal(patch)
	if err != nil {
		return err
	}
	if t, err := u.in.PatchType(r.ctx, r.who, name, body, 0); t == nil && err != nil {
		return err
	}
	u.counts.forget(name)
	r.flash("limits", 0)
	return r.redirect(typeURL(name))
}

// rateText writes a rate as people type it; "" if there is none.
func rateText(r registry.Rate) string {
	if r.Limit == 0 {
		return ""
	}
	text, err := registry.Duration(r.Per).MarshalText()
	if err != nil {
		return ""
	}
	return strconv.Itoa(r.Limit) + "/" + string(text)
}

// hold holds a type's jobs back as if its target were down, for a while or until it is lifted.
func (u *UI) hold(r *request) error {
	d := time.Duration(0)
	if text := strings.TrimSpace(r.form.Get("for")); text != "" {
		var err error
		if d, err = time.ParseDuration(text); err != nil || d <= 0 {
			return invalid.Errorf("for", "must be a duration such as 30s or 1h30m, or empty")
		}
	}
	if _, err := u.in.Hold(r.ctx, r.who, r.typ(), strings.TrimSpace(r.form.Get("reason")), d); err != nil {
		return err
	}
	u.counts.forget(r.typ())
	r.flash("holding", 0)
	return r.redirect(typeURL(r.typ()))
}

func (u *UI) unhold(r *request) error {
	if _, err := u.in.Unhold(r.ctx, r.who, r.typ()); err != nil {
		return err
	}
	u.counts.forget(r.typ())
	r.flash("unheld", 0)
	return r.redirect(typeURL(r.typ()))
}
