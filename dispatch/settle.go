package dispatch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/deetoo/deetoo/queue"
	"github.com/deetoo/deetoo/registry"
)

// finish takes note of the result of an attempt.
func (l *lane) finish(r result) {
	for _, other := range r.others {
		l.finish(other)
	}
	r.others = nil
	a := r.attempt
	if a.batch != nil {
		l.leftBatch(a.batch)
	}
	l.running.Add(-1)
	a.ctx.release()
	if l.d.opts.Logger.Enabled(l.d.life, slog.LevelDebug) { // else not even the arguments are made
		l.log().Debug("attempt", "job", r.lease.ID, "attempt", r.lease.Attempt, "status", r.outcome.Status, "error", r.outcome.Err, "duration", r.took)
	}
	if r.outcome.Verdict == Pause {
		if len(l.gone) == 0 {
			l.goneAt, l.pauseAt = time.Now(), time.Time{}
		}
		l.gone = append(l.gone, r)
		return
	}
	if r.outcome.Verdict == Release && r.calledOff == nil {
		// It comes back at once, and would be refused again as fast as Redis can.
		l.restTill = time.Now().Add(l.d.opts.Poll / 10)
	}
	l.settle(r)
}

// settle has what became of an attempt settled by the next exchange.
func (l *lane) settle(r result) {
	s := l.settlement(r)
	l.pending = append(l.pending, s)
	if s.Verdict != queue.Accept {
		l.d.opts.Attempted(l.name, s.Attempt.Outcome, r.took, r.lease.StartedAt.Sub(r.lease.RunAt))
	}
}

// settlement says what becomes of a job after an attempt.
func (l *lane) settlement(r result) queue.Settlement {
	t, o := l.typ.Load(), r.outcome
	s := queue.Settlement{
		ID: r.lease.ID, Token: r.lease.Token, Result: o.Result,
		Attempt: queue.Attempt{
			N: r.lease.Attempt, StartedAt: r.lease.StartedAt.UnixMilli(), Duration: r.took.Milliseconds(),
			Status: o.Status, Error: o.Err, Excerpt: o.Excerpt,
		},
		Hold: o.RetryAfter, Unsure: o.Unsure, Took: r.took,
	}
	if r.calledOff == nil || o.Verdict == Done {
		s.Health = o.health()
	}
	maxAttempts := t.Retry.MaxAttempts
	if r.lease.MaxAttempts > 0 {
		maxAttempts = r.lease.MaxAttempts
	}
	switch verdict := l.verdict(r); {
	case verdict == Accept:
		// It leaves no trace yet: the attempt goes on.
		return queue.Settlement{ID: s.ID, Token: s.Token, Verdict: queue.Accept, Delay: t.CallbackLease, Health: s.Health, Took: s.Took}
	case verdict == Done:
		s.Verdict, s.Attempt.Outcome = queue.Done, "succeeded"
		s.Plain = r.lease.Attempt == 1 && r.lease.Lost == 0
	case verdict == Snooze:
		s.Verdict, s.Attempt.Outcome, s.Delay = queue.Snooze, "snoozed", cmp.Or(max(o.Delay, 0), max(o.RetryAfter, 0), registry.DefaultSnooze)
	case verdict == Dead || (verdict == Retry && r.lease.Attempt >= maxAttempts):
		s.Verdict, s.Attempt.Outcome = queue.Bury, "dead"
	case verdict == Retry:
		s.Verdict, s.Attempt.Outcome = queue.Retry, "failed"
		if s.Delay = cmp.Or(max(o.Delay, 0), max(o.RetryAfter, 0)); s.Delay <= 0 {
			s.Delay = Backoff(t.Retry, r.lease.Attempt)
		}
	default:
		s.Verdict, s.Attempt.Outcome, s.Hold = queue.Release, "released", 0
	}
	if r.calledOff != nil && s.Verdict != queue.Done {
		s.Hold = 0
		switch {
		case errors.Is(r.calledOff, errCancelled):
			s.Attempt.Outcome = "cancelled"
		case s.Verdict != queue.Release && o.Verdict == Release:
			s.Attempt.Error = "still running when the dispatcher shut down"
		}
	}
	return s
}

// health is what the attempt told of the target; nothing, if it was not made.
func (o *Outcome) health() queue.Health {
	switch {
	case o.Verdict == Release:
		return 0
	case o.Health != 0:
		return o.Health
	case o.Verdict == Retry:
		return queue.Failing
	}
	return queue.Answered
}

// verdict is the deliverer's, unless the attempt failed because it was called
// off: that is nobody's failure, and costs no attempt. Only with FailOnTimeout
// does the end of this dispatcher count as one.
func (l *lane) verdict(r result) Verdict {
	v := r.outcome.Verdict
	if v < Retry || v > Snooze || v == Snooze && r.lease.StartedAt.Sub(r.lease.RunAt) > MaxSnooze {
		v = Retry
	}
	if r.calledOff == nil || (v != Retry && v != Release) {
		return v
	}
	if errors.Is(r.calledOff, errStopping) && l.d.opts.OnTimeout == FailOnTimeout {
		return Retry
	}
	return Release
}

// pause stops the type for everybody before the jobs that found its endpoint
// gone are given back, which would otherwise be taken again at once. If that
// fails until their leases are in danger, their attempts count as failed: they
// come back after a backoff.
func (l *lane) pause() {
	if len(l.gone) == 0 || time.Now().Before(l.pauseAt) {
		return
	}
	first := l.gone[0]
	ctx, cancel := context.WithTimeout(l.d.life, l.patience())
	reason := fmt.Sprintf("the endpoint answered %d for job %s: it is gone", first.outcome.Status, first.lease.ID)
	if first.outcome.Status != http.StatusGone {
		reason = fmt.Sprintf("the endpoint's answer for job %s says so: %s", first.lease.ID, first.outcome.Err)
	}
	err := l.d.opts.Pause(ctx, l.name, reason)
	cancel()
	verdict := Release
	if err != nil {
		lease := l.d.opts.Queue.Lease()
		if time.Since(l.goneAt) < lease/3 {
			l.pauseAt = time.Now().Add(lease / 15)
			return
		}
		l.log().Error("cannot pause a type whose endpoint is gone", "error", err)
		verdict = Retry
	}
	for _, r := range l.gone {
		r.outcome.Verdict = verdict
		l.settle(r)
	}
	l.gone = nil
	l.soon()
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
