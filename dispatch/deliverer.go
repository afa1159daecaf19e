// Package dispatch runs jobs: one lane per job type claims them, has a
// Deliverer attempt each, and settles the outcome. It knows nothing of how an
// attempt is made.
package dispatch

import (
	"context"
	"time"

	"github.com/deetoo/deetoo/queue"
)

// Verdict is what an attempt means for its job.
type Verdict int

const (
	// Retry: the attempt failed; try again after a backoff, up to the type's
	// max_attempts. The zero value, so that a forgotten verdict loses nothing.
	Retry Verdict = iota
	// Done: the job succeeded.
	Done
	// Dead: the job failed for good; no more attempts.
	Dead
	// Pause: the endpoint is gone; keep the job without costing an attempt, and
	// pause its type until a person has looked.
	Pause
	// Release: the attempt was called off by us (shutdown, refusal); the job
	// goes back to the head of its queue and it costs no attempt. A deliverer that
	// refuses a job on its own account makes its lane pause for a tenth of Options.Poll.
	Release
	// Accept: the handler has taken the job over and will call back. The job
	// stays active, leased to it for the type's CallbackLease; the lane has
	// nothing more to do with it.
	Accept
	// Snooze: the job waits for Delay, and it costs no attempt. A job that has
	// been due for longer than MaxSnooze is retried instead.
	Snooze
)

// String is the verdict's word: "retry", "done", "dead", "pause", "release", "accept" or "snooze".
func (v Verdict) String() string {
	switch v {
	case Done:
		return "done"
	case Dead:
		return "dead"
	case Pause:
		return "pause"
	case Release:
		return "release"
	case Accept:
		return "accept"
	case Snooze:
		return "snooze"
	default:
		return "retry"
	}
}

// MaxSnooze bounds how long a job may be put off at no cost, counted from when it
// was first due: after that a Snooze is a failed attempt as any other.
const MaxSnooze = 7 * 24 * time.Hour

// Outcome is the result of one attempt.
type Outcome struct {
	Verdict Verdict
	// Status is the HTTP status, 0 if there was none.
	Status int
	// Health is what the attempt told of the target. The zero value stands for queue.Failing
	// if the verdict is Retry, and else for queue.Answered.
	Health queue.Health
	// Err says what went wrong, for people. Never contains secrets.
	Err string
	// Excerpt is the beginning of the response, at most 1 KiB of valid UTF-8.
	Excerpt string
	// Result is kept with a succeeded job: at most 64 KiB.
	Result []byte
	// RetryAfter, if positive, replaces the backoff before the next attempt
	// (the endpoint asked for it, with 429 or 503 and Retry-After; capped), and slows
	// the type down to one job at a time until then.
	RetryAfter time.Duration
	// Delay, if positive, is how long this job alone waits for its next attempt.
	// It goes before RetryAfter and the backoff.
	Delay time.Duration
	// Unsure says that the request may have been received, and no answer came:
	// nobody knows whether the work was, or will be, done.
	Unsure bool
}

// Deliverer makes one attempt at a job and says what came of it. It returns
// soon after ctx ends; ctx carries the attempt's timeout and ends early when
// the job is cancelled or its lease is lost.
type Deliverer interface {
	Deliver(ctx context.Context, lease *queue.Lease) Outcome
}

// BatchDeliverer is a Deliverer that can also make one attempt at several jobs
// of a type, in one delivery. Each attempt's own timeout is its business.
type BatchDeliverer interface {
	Deliverer
	// DeliverBatch says what came of each job, in the order of the leases. ctx
	// ends early when all of the jobs are cancelled, or their leases lost.
	DeliverBatch(ctx context.Context, leases []*queue.Lease) []Outcome
}

// DelivererFunc is a function as a Deliverer.
type DelivererFunc func(ctx context.Context, lease *queue.Lease) Outcome

// Deliver calls f.
func (f DelivererFunc) Deliver(ctx context.Context, lease *queue.Lease) Outcome { return f(ctx, lease) }
