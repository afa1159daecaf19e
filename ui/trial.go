package ui

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/deetoo/deetoo/auth"
	"github.com/deetoo/deetoo/dispatch"
	"github.com/deetoo/deetoo/dispatch/webhook"
	"github.com/deetoo/deetoo/internal/strictjson"
	"github.com/deetoo/deetoo/invalid"
)

// trialTimeout is how long a test delivery may take, if its type's timeout is not shorter.
const trialTimeout = 20 * time.Second

// trialView is the page that sends a test, and what came of it.
type trialView struct {
	Type, Data, Error string
	Verdict, Outcome  string
	Said              *webhook.Exchange
	Request, Response []header
}

func (u *UI) trialPage(r *request) error {
	if _, err := u.in.TypeToTest(r.ctx, r.who, r.typ(), json.RawMessage("{}")); err != nil {
		return err
	}
	return u.render(r, fiber.StatusOK, "trial", "Send a test of "+r.typ(), trialView{Type: r.typ(), Data: "{\n  \"test\": true\n}"})
}

// trial delivers a sample job, signed and guarded like any other, and shows what was said. No job is stored.
func (u *UI) trial(r *request) error {
	v := trialView{Type: r.typ(), Data: strings.ReplaceAll(r.form.Get("data"), "\r\n", "\n")}
	if err := strictjson.Valid([]byte(v.Data)); err != nil {
		v.Error = sentence(err.Error())
		return u.render(r, fiber.StatusUnprocessableEntity, "trial", "Send a test of "+v.Type, v)
	}
	t, err := u.in.TypeToTest(r.ctx, r.who, v.Type, json.RawMessage(v.Data))
	var bad *invalid.Error
	if errors.As(err, &bad) {
		v.Error = sentence(bad.Error())
		return u.render(r, fiber.StatusUnprocessableEntity, "trial", "Send a test of "+v.Type, v)
	}
	if err != nil {
		return err
	}
	limit := min(t.Timeout, trialTimeout)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.ctx), limit) // longer than a page takes otherwise
	defer cancel()
	out, said := u.opts.Sender.Send(ctx, t, webhook.TrialLease(v.Type, json.RawMessage(v.Data), limit))
	v.Verdict, v.Outcome, v.Said = verdictText(out.Verdict), out.Err, said
	v.Request = headersOf(said.Request.Header)
	if said.Response != nil {
		v.Response = headersOf(said.Response.Header)
	}
	return u.render(r, fiber.StatusOK, "trial", "Send a test of "+v.Type, v)
}

// canTry reports whether the caller may send tests of a type.
func (u *UI) canTry(r *request, typ string) bool {
	return u.opts.Sender != nil && r.may(auth.TypesWrite, typ)
}

func headersOf(h http.Header) (out []header) {
	for _, name := range slices.Sorted(maps.Keys(h)) {
		out = append(out, header{name, strings.Join(h[name], ", ")})
	}
	return out
}

// verdictText says what the answer would have meant for a job.
func verdictText(v dispatch.Verdict) string {
	switch v {
	case dispatch.Done:
		return "The job would have succeeded."
	case dispatch.Dead:
		return "The job would be dead at once: it is not tried again."
	case dispatch.Pause:
		return "The job would be kept, and its type paused."
	case dispatch.Release:
		return "The job would be given back, at no cost of an attempt."
	case dispatch.Accept:
		return "The handler has accepted the job, and would call back."
	case dispatch.Snooze:
		return "The job would wait, at no cost of an attempt."
	default:
		return "The attempt would have failed, and be tried again after a backoff."
	}
}
