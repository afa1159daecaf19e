package api

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"

	"github.com/gofiber/fiber/v2"

	"github.com/deetoo/deetoo/dispatch"
	"github.com/deetoo/deetoo/dispatch/webhook"
)

// trialView is what came of a test delivery.
type trialView struct {
	// Verdict is what the answer would have meant for a job.
	Verdict string `json:"verdict"`
	Error   string `json:"error,omitempty"`
	// Row is the row of the type's answers that decided, from 0; absent if none did.
	Row        *int             `json:"row,omitempty"`
	DurationMs int64            `json:"duration_ms"`
	Request    trialRequestView `json:"request"`
	Response   *trialAnswerView `json:"response,omitempty"`
}

type trialRequestView struct {
	Method  string            `json:"method"`
	URL     string            `json:"url"`
	Headers map[string]string `json:"headers"`
	Body    string            `json:"body"`
}

type trialAnswerView struct {
	Status  int               `json:"status"`
	Headers map[string]string `json:"headers"`
	Excerpt string            `json:"excerpt"`
}

// testType delivers a sample job, signed and guarded like any other, and shows
// what was said. No job is stored, nothing is retried, the type's state and slots do not matter.
func (a *API) testType(r *request) error {
	name, err := r.typ()
	if err != nil {
		return err
	}
	in := struct {
		Data json.RawMessage `json:"data"`
	}{}
	if err := r.optional(a.intake.MaxJobSize()+maxEnvelope, &in); err != nil {
		return err
	}
	if in.Data == nil {
		in.Data = json.RawMessage(`{"test":true}`)
	}
	t, err := a.intake.TypeToTest(r.ctx, r.who, name, in.Data)
	if err != nil {
		return err
	}
	limit := min(t.Timeout, a.opts.TestTimeout)
	ctx, cancel := context.WithTimeout(r.ctx, limit)
	defer cancel()
	out, said := a.opts.Sender.Send(ctx, t, webhook.TrialLease(name, in.Data, limit))
	return r.json(fiber.StatusOK, viewTrial(out, said))
}

func viewTrial(out dispatch.Outcome, said *webhook.Exchange) trialView {
	v := trialView{
		Verdict: out.Verdict.String(), Error: out.Err, Row: said.Row, DurationMs: said.Duration.Milliseconds(),
		Request: trialRequestView{
			Method: said.Request.Method, URL: said.Request.URL, Headers: joined(said.Request.Header), Body: string(said.Request.Body),
		},
	}
	if said.Response != nil {
		v.Response = &trialAnswerView{Status: said.Response.Status, Headers: joined(said.Response.Header), Excerpt: said.Response.Excerpt}
	}
	return v
}

// joined writes a header's values as one, as RFC 9110 section 5.3 allows.
func joined(h http.Header) map[string]string {
	out := make(map[string]string, len(h))
	for name, values := range h {
		out[name] = strings.Join(values, ", ")
	}
	return out
}
