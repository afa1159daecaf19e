package api

import (
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/deetoo/deetoo/auth"
	"github.com/deetoo/deetoo/internal/strictjson"
	"github.com/deetoo/deetoo/invalid"
	"github.com/deetoo/deetoo/queue"
	"github.com/deetoo/deetoo/registry"
)

// headerCallbackToken is the other way to show a callback token, beside Authorization: Bearer.
const headerCallbackToken = "Deetoo-Callback-Token"

// maxRetryAfter is as long as a handler may have its job wait; the same as in answers.
const maxRetryAfter = time.Hour

// progressInput is how far a handler is.
type progressInput struct {
	Number  *float64 `json:"number"`
	Total   float64  `json:"total"`
	Message string   `json:"message"`
}

func (p *progressInput) progress() (*queue.Progress, error) {
	if p.Number == nil {
		return nil, invalid.Errorf("number", "is required")
	}
	out := &queue.Progress{Number: *p.Number, Total: p.Total, Message: p.Message}
	return out, out.Validate()
}

// answerView is what a handler is told.
type answerView struct {
	Cancelled      bool      `json:"cancelled"`
	LeaseExpiresAt timestamp `json:"lease_expires_at"`
}

// callback reads what every callback has: the attempt's address and token, and
// the body into in. The token alone counts, so whose it is not is told no more.
func (r *request) callback(limit int, in any) (typ, id, token string, err error) {
	if err := checkQuery(r.Ctx, nil); err != nil {
		return "", "", "", err
	}
	// Copied: the buffers are Fiber's.
	token = strings.Clone(r.Get(headerCallbackToken))
	if header := r.Get(fiber.HeaderAuthorization); header != "" || token == "" {
		bearer, err := auth.BearerToken(header)
		if err != nil {
			return "", "", "", err
		}
		token = strings.Clone(bearer)
	}
	if typ, id, err = r.typAndID(); err != nil {
		return "", "", "", err
	}
	body, _, err := r.body(limit, mediaJSON)
	if err != nil || len(body) == 0 {
		return typ, id, token, err
	}
	return typ, id, token, strictjson.Decode(body, in)
}

func (r *request) answer(a queue.Answer) error {
	return r.json(fiber.StatusOK, answerView{Cancelled: a.Cancelled, LeaseExpiresAt: timestamp(a.Until)})
}

func (a *API) heartbeat(r *request) error {
	var in struct {
		Progress *progressInput `json:"progress"`
	}
	typ, id, token, err := r.callback(maxSettingsBody, &in)
	if err != nil {
		return err
	}
	var report queue.Report
	if in.Progress != nil {
		if report.Progress, err = in.Progress.progress(); err != nil {
			if bad, ok := errors.AsType[*invalid.Error](err); ok {
				return bad.In("progress")
			}
			return err
		}
	}
	return a.report(r, typ, id, token, report)
}

func (a *API) progress(r *request) error {
	var in progressInput
	typ, id, token, err := r.callback(maxSettingsBody, &in)
	if err != nil {
		return err
	}
	p, err := in.progress()
	if err != nil {
		return err
	}
	return a.report(r, typ, id, token, queue.Report{Progress: p})
}

func (a *API) log(r *request) error {
	var in struct {
		Message string   `json:"message"`
		Lines   []string `json:"lines"`
	}
	typ, id, token, err := r.callback(maxSettingsBody, &in)
	if err != nil {
		return err
	}
	text := strings.Join(append([]string{in.Message}, in.Lines...), "\n")
	if strings.TrimSpace(text) == "" {
		return invalid.Errorf("message", "or lines is required")
	}
	return a.report(r, typ, id, token, queue.Report{Log: text})
}

func (a *API) report(r *request, typ, id, token string, report queue.Report) error {
	answer, err := a.intake.Report(r.ctx, typ, id, token, report)
	if err != nil {
		return err
	}
	return r.answer(answer)
}

func (a *API) complete(r *request) error {
	var in struct {
		Result json.RawMessage `json:"result"`
	}
	typ, id, token, err := r.callback(queue.MaxResultSize+1<<10, &in)
	if err != nil {
		return err
	}
	if string(in.Result) == "null" {
		in.Result = nil
	}
	return a.conclude(r, typ, id, token, queue.Conclusion{Verdict: queue.Done, Result: in.Result})
}

func (a *API) fail(r *request) error {
	var in struct {
		Error      string            `json:"error"`
		Retryable  *bool             `json:"retryable"`
		RetryAfter registry.Duration `json:"retry_after"`
	}
	typ, id, token, err := r.callback(maxSettingsBody, &in)
	if err != nil {
		return err
	}
	if in.RetryAfter < 0 {
		return invalid.Errorf("retry_after", "must not be negative")
	}
	c := queue.Conclusion{Verdict: queue.Retry, Error: in.Error, Delay: min(time.Duration(in.RetryAfter), maxRetryAfter)}
	if in.Retryable != nil && !*in.Retryable {
		c.Verdict = queue.Bury
	}
	if c.Error == "" {
		c.Error = "the handler reported a failure, and no reason"
	}
	return a.conclude(r, typ, id, token, c)
}

func (a *API) conclude(r *request, typ, id, token string, c queue.Conclusion) error {
	if err := a.intake.Conclude(r.ctx, typ, id, token, c); err != nil {
		return err
	}
	return r.SendStatus(fiber.StatusNoContent)
}
