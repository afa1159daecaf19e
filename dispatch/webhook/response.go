package webhook

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/deetoo/deetoo/dispatch"
	"github.com/deetoo/deetoo/queue"
	"github.com/deetoo/deetoo/registry"
)

// The handler contract's own statuses and headers of answers.
const (
	// statusNoRetry says that the job cannot succeed.
	statusNoRetry = 489
	// headerNoRetry, if "true", says so beside any status of a failure.
	headerNoRetry = "Deetoo-No-Retry"
)

// judge reads the response and says what it means: by the type's answer policy,
// or else by the handler contract.
//
// A success counts once its body has arrived, up to MaxResult bytes. If the
// body breaks off before, the attempt is a Retry: for a handler that answers
// before it works, breaking off is the only way to fail, and for the others a
// repetition is what at-least-once delivery allows anyway. What exceeds
// MaxResult is cut off, and Err says so. A failure is one whatever becomes of
// its body.
func (d *Deliverer) judge(ctx context.Context, limit time.Duration, typ *registry.Type, resp *http.Response, ex *Exchange) dispatch.Outcome {
	body, readErr := read(resp, d.opts.MaxResult)
	out, row := d.policy(typ, resp, body, readErr == nil)
	if row < 0 {
		out = d.verdict(typ, resp)
	}
	out.Status = resp.StatusCode
	out.Health = health(out.Verdict, resp.StatusCode)
	out.Excerpt = clean(body, d.opts.MaxExcerpt)
	if ex != nil {
		ex.Response = showResponse(resp, out.Excerpt)
		if row >= 0 {
			ex.Row = &row
		}
	}
	if out.Verdict != dispatch.Done {
		return out
	}
	switch {
	case errors.Is(readErr, errTooLong):
		out.Err = fmt.Sprintf("the answer was cut off after %d bytes", len(body))
	case readErr != nil:
		failed := failure(ctx, limit, readErr)
		out.Verdict, out.Health, out.Unsure = failed.Verdict, failed.Health, true
		out.Err = fmt.Sprintf("%s, after %d bytes of the answer (%s)", failed.Err, len(body), statusLine(resp.StatusCode))
		return out
	}
	if len(body) > 0 {
		out.Result = body
	}
	return out
}

// errTooLong: the body went on after as many bytes as are read.
var errTooLong = errors.New("body too long")

// read returns the body up to so many bytes. Only a body that was read to its
// end lets the connection be used again; a longer one is not worth the wait.
func read(resp *http.Response, most int) ([]byte, error) {
	if resp.StatusCode == http.StatusSwitchingProtocols {
		return nil, nil // there is no body, but a stream without an end
	}
	if resp.Body == http.NoBody {
		return nil, nil
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, int64(most)+1))
	if len(body) > most {
		return body[:most], errTooLong
	}
	return body, err
}

// verdict is the answer table of the handler contract. deetoo-no-retry goes
// before the status: a handler that sends it speaks of this job.
func (d *Deliverer) verdict(typ *registry.Type, resp *http.Response) dispatch.Outcome {
	status := resp.StatusCode
	if status == http.StatusAccepted && typ.Completion == registry.Callback && d.opts.CallbackURL != "" {
		return dispatch.Outcome{Verdict: dispatch.Accept}
	}
	if status >= 200 && status <= 299 {
		return dispatch.Outcome{Verdict: dispatch.Done}
	}
	out := dispatch.Outcome{Err: statusLine(status)}
	switch {
	case strings.EqualFold(resp.Header.Get(headerNoRetry), "true"):
		out.Verdict = dispatch.Dead
		out.Err += ", and the handler said deetoo-no-retry"
	case status == statusNoRetry:
		out.Verdict = dispatch.Dead
		out.Err += ": the handler said not to try again"
	case status == http.StatusGone:
		out.Verdict = dispatch.Pause
		out.Err += ": the endpoint no longer exists"
	case slowDown(status):
		out.RetryAfter = d.askedFor(typ, resp)
	case status >= 300 && status <= 399:
		out.Err += ": redirects are not followed"
		if l := resp.Header.Get("Location"); l != "" {
			out.Err += " (to " + l + ")" // redacted by roundTripper
		}
	case status == http.StatusBadGateway || status == http.StatusGatewayTimeout:
		out.Unsure = true // it is a gateway that speaks, and the handler may have been reached
	}
	return out
}

// health is what an answer tells of the target. A verdict other than Retry speaks of the
// job: the target, or the type's own policy for its answers, knows what it is about.
func health(v dispatch.Verdict, status int) queue.Health {
	switch {
	case status == http.StatusTooManyRequests:
		return queue.Busy
	case v != dispatch.Retry:
		return queue.Answered
	case status == http.StatusServiceUnavailable, status == http.StatusGatewayTimeout, status == http.StatusRequestTimeout:
		return queue.Overloaded
	case status >= 500:
		return queue.Failing
	}
	return queue.Answered
}

// statusLine names a status: "HTTP 503 Service Unavailable". The words are
// ours, not the handler's.
func statusLine(status int) string {
	return strings.TrimSpace(fmt.Sprintf("HTTP %d %s", status, http.StatusText(status)))
}
