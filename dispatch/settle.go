package dispatch

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/deetoo/deetoo/queue"
	"github.com/deetoo/deetoo/registry"
)

// finish turns the result of an attempt into a settlement.
func (l *lane) finish(r result) {
	a := l.inflight[r.lease.Token]
	delete(l.inflight, r.lease.Token)
	l.running.Add(-1)
	a.cutoff.Stop()
	a.cancel(nil)
	l.log.Debug("attempt", "job", r.lease.ID, "attempt", r.lease.Attempt, "status", r.outcome.Status, "error", r.outcome.Err, "duration", r.took)

	s := l.settlement(r)
	if r.outcome.Verdict == Pause {
		l.pause(r)
	}
	l.pending = append(l.pending, s)
}

func (l *lane) settlement(r result) queue.Settlement {
	t, o := l.typ.Load(), r.outcome
	s := queue.Settlement{
		ID: r.lease.ID, Token: r.lease.Token, Result: o.Result,
		Attempt: queue.Attempt{
			N: r.lease.Attempt, StartedAt: r.lease.StartedAt.UnixMilli(), Duration: r.took.Milliseconds(),
			Status: o.Status, Error: o.Err, Excerpt: o.Excerpt,
		},
	}
	verdict := o.Verdict
	if verdict == Release && l.d.work.Err() != nil && l.d.opts.OnTimeout == FailOnTimeout {
		verdict, s.Attempt.Error = Retry, "still running when the dispatcher shut down"
	}
	maxAttempts := t.Retry.MaxAttempts
	if r.lease.MaxAttempts > 0 {
		maxAttempts = r.lease.MaxAttempts
	}
	switch {
	case verdict == Done:
		s.Verdict, s.Attempt.Outcome = queue.Done, "succeeded"
	case verdict == Dead || (verdict == Retry && r.lease.Attempt >= maxAttempts):
		s.Verdict, s.Attempt.Outcome = queue.Bury, "dead"
	case verdict == Retry:
		s.Verdict, s.Attempt.Outcome = queue.Retry, "failed"
		s.Delay = Backoff(t.Retry, r.lease.Attempt)
		if o.RetryAfter > 0 {
			s.Delay, s.Hold = o.RetryAfter, o.RetryAfter
		}
	default:
		s.Verdict, s.Attempt.Outcome = queue.Release, "released"
	}
	return s
}

// pause stops the type for everybody before the job that found its endpoint
// gone is given back, which would otherwise be taken again at once.
func (l *lane) pause(r result) {
	ctx, cancel := context.WithTimeout(context.Background(), l.d.opts.Queue.Lease()/3)
	defer cancel()
	reason := fmt.Sprintf("the endpoint answered %d for job %s: it is gone", r.outcome.Status, r.lease.ID)
	if err := l.d.opts.Pause(ctx, l.name, reason); err != nil {
		l.log.Error("cannot pause a type whose endpoint is gone", "error", err)
	}
}

// Backoff is how long a job waits after its nth failed attempt: a random time
// between 0 and min(MaxBackoff, MinBackoff·2^(n−1)) ("full jitter", Marc
// Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015), or all of it with NoJitter.
func Backoff(r registry.Retry, n int) time.Duration {
	most := r.MaxBackoff
	if shift := max(n-1, 0); shift < 62 && r.MinBackoff <= r.MaxBackoff>>shift {
		most = r.MinBackoff << shift
	}
	if r.NoJitter || most <= 0 {
		return most
	}
	return rand.N(most + 1)
}

func panicType(p any) string {
	if err, ok := p.(error); ok {
		return fmt.Sprintf("%T", err)
	}
	return fmt.Sprintf("a %T", p)
}
