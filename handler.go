package deetoo

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/deetoo/deetoo/dispatch"
	"github.com/deetoo/deetoo/queue"
)

// Job is a unit of work; see queue.Job.
type Job = queue.Job

// Receipt answers for one pushed job; see queue.Receipt.
type Receipt = queue.Receipt

// Handler runs a job in this process. What it returns is kept as the job's
// result, as JSON (nil: none). An error makes the attempt fail, and it is
// retried, unless the error says otherwise: see Permanent and RetryAfter. A panic is a failed
// attempt. ctx ends with the attempt's timeout, and when the job is cancelled.
type Handler func(ctx context.Context, job *Job) (result any, err error)

type permanentError struct{ error }

func (e permanentError) Unwrap() error { return e.error }

// Permanent marks an error that no retry will mend: the job is dead at once.
func Permanent(err error) error { return permanentError{err} }

type retryAfterError struct {
	error
	after time.Duration
}

func (e retryAfterError) Unwrap() error { return e.error }

// RetryAfter marks an error after which the job is to be tried again in d, and
// its type to run one job at a time until then.
func RetryAfter(err error, d time.Duration) error { return retryAfterError{err, d} }

// deliver runs a handler as a Deliverer does.
func (h Handler) deliver(ctx context.Context, lease *queue.Lease) dispatch.Outcome {
	job := lease.Job
	result, err := h(ctx, &job)
	if err != nil {
		return failed(ctx, err)
	}
	if result == nil {
		return dispatch.Outcome{Verdict: dispatch.Done}
	}
	body, err := json.Marshal(result)
	if err != nil {
		return dispatch.Outcome{Verdict: dispatch.Dead, Err: "the handler's result cannot be written as JSON: " + err.Error()}
	}
	return dispatch.Outcome{Verdict: dispatch.Done, Result: body}
}

func failed(ctx context.Context, err error) dispatch.Outcome {
	o := dispatch.Outcome{Err: err.Error()}
	var permanent permanentError
	var after retryAfterError
	switch {
	case errors.As(err, &permanent):
		o.Verdict = dispatch.Dead
	case errors.As(err, &after):
		o.RetryAfter, o.Health = max(after.after, 0), queue.Busy
	case ctx.Err() != nil && errors.Is(context.Cause(ctx), context.DeadlineExceeded):
		o.Err, o.Health = "timeout: "+o.Err, queue.Overloaded
	case ctx.Err() != nil:
		o.Verdict = dispatch.Release // called off: shutdown, cancelled, or its lease lost
	}
	return o
}
