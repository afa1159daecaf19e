package dispatch

import (
	"context"
	"time"

	"github.com/deetoo/deetoo/queue"
	"github.com/deetoo/deetoo/registry"
)

// Reconciler asks a job's endpoint what became of its last attempt, whose answer
// was lost. It returns soon after ctx ends.
type Reconciler func(ctx context.Context, lease *queue.Lease) Reconciled

// Reconciled is what an endpoint says of an attempt whose answer was lost.
type Reconciled struct {
	State Fate
	// Result of a job that is done: at most 64 KiB.
	Result []byte
	// Err says why there is no answer, for people. Never contains secrets.
	Err string
}

// Fate is what became of an attempt.
type Fate int

const (
	// FateUnasked: the endpoint could not be asked, or did not say. The zero
	// value, so that nothing is done twice for want of an answer.
	FateUnasked Fate = iota
	// FateUnknown: the endpoint knows nothing of the job: it may be tried again.
	FateUnknown
	// FateRunning: the endpoint is still at work.
	FateRunning
	// FateDone: the work is done.
	FateDone
)

const (
	reconcileTimeout = 10 * time.Second // of one question
	reconcileFirst   = time.Second      // wait before it is asked again while the work goes on; then
	reconcileMost    = 10 * time.Second // twice as long each time, up to this
)

// deliver makes one attempt. If nobody knows what became of the one before, the
// endpoint is asked first, where the type says how; and after an attempt that
// ends so, it is asked at once.
func (l *lane) deliver(ctx *attemptContext, t *registry.Type, lease *queue.Lease) Outcome {
	asked := t.ReconcileURL != "" && l.d.opts.Reconcile != nil
	if asked && lease.Unsure {
		if out, settled := l.reconcile(ctx, lease, "an answer was lost"); settled {
			return out
		}
	}
	out := l.try(ctx, t, lease, asked)
	if !asked || !out.Unsure || ctx.Err() != nil {
		return out
	}
	if known, settled := l.reconcile(ctx, lease, out.Err); settled {
		known.Health = out.health() // what the attempt told of its target stays
		return known
	}
	// It is asked again before the next attempt: what was sent may still arrive.
	out.Err += "; its reconcile_url knows nothing of the job"
	return out
}

// try has the deliverer make the attempt, within the timeout of one. What is
// asked after the attempt has its own time.
func (l *lane) try(attempt *attemptContext, t *registry.Type, lease *queue.Lease, asked bool) Outcome {
	timeout := t.Timeout
	if lease.Timeout > 0 {
		timeout = lease.Timeout
	}
	var ctx context.Context = attempt
	switch {
	case timeout <= 0:
	case asked:
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	default:
		attempt.limit(timeout)
	}
	return l.d.opts.Deliverer.Deliver(ctx, lease)
}

// reconcile asks until the endpoint is no longer at work, and returns what the
// attempt came to; false if the endpoint knows nothing of it. Meanwhile the job
// keeps its slot, because it is running, though its request has ended. why is what led to the question.
func (l *lane) reconcile(ctx context.Context, lease *queue.Lease, why string) (Outcome, bool) {
	for wait := reconcileFirst; ; wait = min(2*wait, reconcileMost) {
		limited, cancel := context.WithTimeout(ctx, reconcileTimeout)
		r := l.d.opts.Reconcile(limited, lease)
		cancel()
		switch {
		case r.State == FateDone:
			return Outcome{Verdict: Done, Result: r.Result, Err: why + "; done, says its reconcile_url"}, true
		case r.State == FateUnknown:
			return Outcome{}, false
		case r.State != FateRunning && ctx.Err() == nil:
			return Outcome{Err: why + "; whether it is done cannot be known: reconcile_url: " + r.Err, Unsure: true}, true
		}
		select {
		case <-time.After(wait):
			continue
		case <-ctx.Done():
		case <-l.stop: // another dispatcher goes on asking
		}
		return Outcome{Verdict: Release, Err: why + "; called off while its reconcile_url was asked", Unsure: true}, true
	}
}
