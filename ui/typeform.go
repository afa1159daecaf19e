package ui

import (
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/deetoo/deetoo/auth"
	"github.com/deetoo/deetoo/internal/strictjson"
	"github.com/deetoo/deetoo/invalid"
	"github.com/deetoo/deetoo/registry"
)

// formView is the form that registers a type or changes its settings.
type formView struct {
	New     bool
	Name    string
	Version int64 // that the form shows; 0 if new
	Values  map[string]string
	Errors  map[string]string
	General string
}

// typeFields are the names of the form's fields, those of registry.Spec.
func typeFields() []string {
	return []string{
		"name", "target", "concurrency", "timeout", "retry.max_attempts", "retry.min_backoff", "retry.max_backoff",
		"retry.jitter", "retention.count", "retention.age", "headers", "secret", "description", "more",
	}
}

// moreFields are what the form takes as JSON, in the field "more".
func moreFields() []string {
	return []string{
		"adaptive", "allow_targets", "answers", "batch", "callback_lease", "completion", "event_source", "event_type", "format",
		"groups", "max_retry_after", "outage", "rate", "reconcile_url",
	}
}

// moreOf writes those of a type's settings as JSON; "" if there are none.
func moreOf(t *registry.Type) string {
	body, err := json.Marshal(t.View())
	if err != nil {
		return ""
	}
	all, more := map[string]json.RawMessage{}, map[string]json.RawMessage{}
	if json.Unmarshal(body, &all) != nil {
		return ""
	}
	for _, name := range moreFields() {
		if v := string(all[name]); v != "" && v != "null" && v != `""` && v != "[]" {
			more[name] = all[name]
		}
	}
	if len(more) == 0 {
		return ""
	}
	text, err := json.MarshalIndent(more, "", "  ")
	if err != nil {
		return ""
	}
	return string(text)
}

// readMore puts what the field "more" says into the spec.
func (v *formView) readMore(spec map[string]any) {
	if v.Values["more"] == "" {
		return
	}
	more := map[string]json.RawMessage{}
	if err := strictjson.DecodeObject([]byte(v.Values["more"]), &more); err != nil {
		v.Errors["more"] = sentence(err.Error())
		return
	}
	for name, value := range more {
		if !slices.Contains(moreFields(), name) {
			v.Errors["more"] = "Has “" + clip(name, 40) + "”, which is not one of " + strings.Join(moreFields(), ", ") + "."
			return
		}
		spec[name] = value
	}
}

// Field is one field for the template: its text, its hint and its error.
func (v formView) Field(name, label, hint string) map[string]any {
	return map[string]any{"Name": name, "Label": label, "Hint": hint, "Value": v.Values[name], "Error": v.Errors[name], "Required": false}
}

// valuesOf are a type's settings as the form shows them: no secret, no
// credential, no query of the target.
func valuesOf(t *registry.Type) map[string]string {
	v := settingsOf(t)
	text := func(d *registry.Duration) string {
		b, err := d.MarshalText()
		if err != nil {
			return ""
		}
		return string(b)
	}
	var headers strings.Builder
	for _, h := range v.Headers {
		headers.WriteString(h.Name + ": " + h.Value + "\n")
	}
	values := map[string]string{
		"name": t.Name, "target": v.Target, "concurrency": strconv.Itoa(t.Concurrency), "timeout": text(v.Timeout),
		"retry.max_attempts": strconv.Itoa(t.Retry.MaxAttempts), "retry.min_backoff": text(v.Retry.MinBackoff),
		"retry.max_backoff": text(v.Retry.MaxBackoff), "retention.count": strconv.Itoa(t.Retention.Count),
		"retention.age": text(v.Retention.Age), "headers": headers.String(), "description": t.Description,
	}
	values["more"] = moreOf(t)
	if v.Jitter {
		values["retry.jitter"] = "on"
	}
	return values
}

func (u *UI) newTypePage(r *request) error {
	if err := r.who.Require(auth.TypesWrite, ""); err != nil {
		return err
	}
	defaults := registry.New("", "")
	v := formView{New: true, Values: valuesOf(&defaults)}
	return u.showTypeForm(r, fiber.StatusOK, v)
}

func (u *UI) settingsPage(r *request) error {
	if err := r.who.Require(auth.TypesWrite, r.typ()); err != nil {
		return err
	}
	t, err := u.in.Type(r.ctx, r.who, r.typ())
	if err != nil {
		return err
	}
	return u.showTypeForm(r, fiber.StatusOK, formView{Name: t.Name, Version: t.Version, Values: valuesOf(t)})
}

func (u *UI) showTypeForm(r *request, status int, v formView) error {
	title := "Settings of " + v.Name
	if v.New {
		title = "Register a type"
	}
	delete(v.Values, "secret") // typed anew after a mistake, rather than sent back
	return u.render(r, status, "typeform", title, v)
}

func (u *UI) newType(r *request) error {
	if err := r.who.Require(auth.TypesWrite, ""); err != nil {
		return err
	}
	v := formView{New: true, Values: r.values(), Errors: map[string]string{}}
	v.Name = v.Values["name"]
	spec := v.spec()
	if v.check(spec, nil); len(v.Errors) > 0 {
		return u.showTypeForm(r, fiber.StatusUnprocessableEntity, v)
	}
	body, err := json.Marshal(spec)
	if err != nil {
		return err
	}
	t, _, generated, err := u.in.PutType(r.ctx, r.who, v.Name, body, registry.PutOptions{IfNoneMatch: true})
	// Once stored it is registered: every dispatcher puts it in force by itself.
	if t == nil && err != nil {
		var foreign *auth.TypeError
		switch {
		case errors.Is(err, registry.ErrVersionMismatch):
			v.Errors["name"] = "Is taken: a type of this name exists."
			return u.showTypeForm(r, fiber.StatusConflict, v)
		case errors.As(err, &foreign):
			v.Errors["name"] = "Is not among the types your token reaches."
			return u.showTypeForm(r, fiber.StatusForbidden, v)
		case v.noteErr(err):
			return u.showTypeForm(r, fiber.StatusUnprocessableEntity, v)
		}
		return err
	}
	if generated {
		secret := t.Reveal().Secret
		return u.render(r, fiber.StatusOK, "secret", v.Name+" is registered", map[string]any{"Type": v.Name, "Secret": *secret, "Target": t.RedactedTarget()})
	}
	r.flash("registered", 0)
	return r.redirect(typeURL(v.Name))
}

func (u *UI) saveSettings(r *request) error {
	name := r.typ()
	if err := r.who.Require(auth.TypesWrite, name); err != nil {
		return err
	}
	old, err := u.in.Type(r.ctx, r.who, name)
	if err != nil {
		return err
	}
	v := formView{Name: name, Values: r.values(), Errors: map[string]string{}}
	if v.Version, err = strconv.ParseInt(r.form.Get("version"), 10, 64); err != nil || v.Version < 1 {
		return errStaleForm
	}
	spec := v.spec()
	spec["name"] = name
	kept := v.Values["target"] == old.RedactedTarget()
	if kept {
		spec["target"] = old.Target
	}
	if v.check(spec, old); len(v.Errors) > 0 {
		return u.showTypeForm(r, fiber.StatusUnprocessableEntity, v)
	}
	body, err := json.Marshal(asPatch(spec, old, kept, r.form.Has("more")))
	if err != nil {
		return err
	}
	if t, err := u.in.PatchType(r.ctx, r.who, name, body, v.Version); t == nil && err != nil {
		var mismatch *registry.VersionMismatchError
		switch {
		case errors.As(err, &mismatch) && mismatch.Current > 0:
			v.Version, v.General = mismatch.Current, "Somebody changed this type while you edited. Compare with its page; saving again now puts what is below in place of their change."
			return u.showTypeForm(r, fiber.StatusConflict, v)
		case v.noteErr(err):
			return u.showTypeForm(r, fiber.StatusUnprocessableEntity, v)
		}
		return err
	}
	u.counts.forget(name)
	r.flash("saved", 0)
	return r.redirect(typeURL(name))
}

// values are the form's fields, trimmed.
func (r *request) values() map[string]string {
	out := map[string]string{}
	for _, name := range typeFields() {
		out[name] = strings.TrimSpace(strings.ReplaceAll(r.form.Get(name), "\r\n", "\n"))
	}
	return out
}

// spec is what the form says, in the form of registry.Spec; nil stands for a
// default. Every mistake in it is noted.
func (v *formView) spec() map[string]any {
	s := map[string]any{
		"name": v.Name, "target": v.Values["target"], "description": v.Values["description"],
		"concurrency": v.number("concurrency"), "timeout": v.duration("timeout"),
		"retry": map[string]any{
			"max_attempts": v.number("retry.max_attempts"), "min_backoff": v.duration("retry.min_backoff"),
			"max_backoff": v.duration("retry.max_backoff"), "jitter": v.Values["retry.jitter"] != "",
		},
		"retention": map[string]any{"count": v.number("retention.count"), "age": v.duration("retention.age")},
		"headers":   v.headers(),
	}
	if secret := v.Values["secret"]; secret != "" {
		s["secret"] = secret
	}
	v.readMore(s)
	return s
}

func (v *formView) number(name string) any {
	text := strings.ReplaceAll(v.Values[name], ",", "")
	if text == "" {
		return nil
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		v.Errors[name] = "Must be a whole number."
		return nil
	}
	return n
}

func (v *formView) duration(name string) any {
	text := v.Values[name]
	if text == "" {
		return nil
	}
	if _, err := time.ParseDuration(text); err != nil {
		v.Errors[name] = "Must be a duration such as 500ms, 30s or 1h30m."
		return nil
	}
	return text
}

// headers reads one "Name: value" a line.
func (v *formView) headers() map[string]any {
	out := map[string]any{}
	for line := range strings.SplitSeq(v.Values["headers"], "\n") {
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		name, value, ok := strings.Cut(line, ":")
		name = strings.TrimSpace(name)
		if _, twice := out[name]; !ok || name == "" || twice {
			v.Errors["headers"] = "Must be one “Name: value” a line, each name once."
			continue
		}
		out[name] = strings.TrimSpace(value)
	}
	return out
}

// check notes every rule that the spec breaks, beside the field.
func (v *formView) check(spec map[string]any, old *registry.Type) {
	body, err := json.Marshal(spec)
	if err != nil {
		v.General = "This cannot be sent."
		return
	}
	decoded, err := registry.DecodeSpec(v.Name, body)
	if err != nil {
		v.noteErr(err)
		return
	}
	t, err := decoded.Type(old)
	if err == nil {
		return
	}
	v.noteErr(err)
	if t.Name == "" {
		// A secret or a header kept it from being built: what of the rest?
		decoded.Secret, decoded.Headers = nil, nil
		t, _ = decoded.Type(old)
	}
	for _, broken := range t.Violations() {
		v.noteErr(broken)
	}
}

// noteErr puts an error beside its field and reports whether it was one of a field.
func (v *formView) noteErr(err error) bool {
	var bad *invalid.Error
	if !errors.As(err, &bad) {
		return false
	}
	field, text := bad.Field, sentence(bad.Rule)
	switch {
	case strings.HasPrefix(field, "headers") && field != "headers":
		field, text = "headers", sentence(strings.TrimPrefix(strings.TrimPrefix(field, "headers"), ".")+" "+bad.Rule)
	case slices.Contains(moreFields(), first(field)):
		field, text = "more", sentence(bad.Error())
	case strings.HasPrefix(field, "secrets"):
		field = "secret"
	}
	if !slices.Contains(typeFields(), field) {
		v.General = sentence(bad.Error())
		v.Errors[""] = v.General
		return true
	}
	if v.Errors[field] == "" {
		v.Errors[field] = text
	}
	return true
}

// first is the setting that a field is part of: "answers" of "answers[0].then".
func first(field string) string {
	return field[:len(field)-len(strings.TrimLeft(field, "abcdefghijklmnopqrstuvwxyz_"))]
}

// asPatch turns the form's spec into a merge patch (RFC 7396): headers that
// are gone become null, and a target that was shown redacted and left so stays. With more, what the field of
// that name does not mention has its default again; without, that is left alone.
func asPatch(spec map[string]any, old *registry.Type, kept, more bool) map[string]any {
	patch := maps.Clone(spec)
	delete(patch, "name")
	if kept {
		delete(patch, "target")
	}
	headers, _ := spec["headers"].(map[string]any)
	headers = maps.Clone(headers)
	for name := range old.Headers {
		if _, ok := headers[name]; !ok {
			headers[name] = nil
		}
	}
	patch["headers"] = headers
	for _, name := range moreFields() {
		if _, ok := patch[name]; !ok && more {
			patch[name] = nil
		}
	}
	return patch
}
