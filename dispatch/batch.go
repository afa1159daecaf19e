package dispatch

import (
	"context"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/deetoo/deetoo/queue"
)

// batch is several jobs in one delivery.
type batch struct {
	name   string
	leases []*queue.Lease
	// attempts are the jobs' own: their contexts say whether each was called off, and why.
	attempts []*attempt
	left     int // jobs in flight
}

func (b *batch) add(a *attempt) {
	b.leases, b.attempts, b.left = append(b.leases, a.lease), append(b.attempts, a), b.left+1
}

// beginBatch begins the attempt at a batch, if there is one.
func (l *lane) beginBatch(b *batch) {
	if b == nil {
		return
	}
	l.spare += b.left - 1
	l.d.crew.do(func() { l.attemptBatch(b) })
}

// leftBatch takes note that one of its jobs has ended. The slot goes with the last.
func (l *lane) leftBatch(b *batch) {
	if b.left--; b.left > 0 {
		l.spare--
	}
}

// attemptBatch delivers a batch. What goes wrong for all of it goes wrong for each job.
func (l *lane) attemptBatch(b *batch) {
	begun := time.Now()
	var outs []Outcome
	missing := Outcome{Err: "the handler ended its goroutine"}
	defer func() {
		if p := recover(); p != nil {
			l.log().Error("a deliverer panicked", "jobs", len(b.leases), "panic", panicType(p), "stack", string(debug.Stack()))
			missing = Outcome{Err: "the handler panicked"}
		}
		took := time.Since(begun)
		results := make([]result, len(b.leases))
		for i, lease := range b.leases {
			out := missing
			if i < len(outs) {
				out = outs[i]
			}
			results[i] = result{attempt: b.attempts[i], lease: lease, outcome: out, took: took, calledOff: b.attempts[i].ctx.calledOff()}
		}
		results[0].others = results[1:]
		l.ended(results[0])
	}()
	deliverer, ok := l.d.opts.Deliverer.(BatchDeliverer)
	if !ok {
		missing.Err = "this dispatcher cannot deliver several jobs at once"
		return
	}
	ctx, release := l.batchContext(b)
	defer release()
	outs = deliverer.DeliverBatch(ctx, b.leases)
	missing.Err = "the deliverer said nothing of this job"
}

// batchContext ends when those of all jobs have: one that is called off must
// not cost the others their attempt.
func (l *lane) batchContext(b *batch) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(l.d.work)
	var left atomic.Int64
	left.Store(int64(len(b.attempts)))
	stops := make([]func() bool, 0, len(b.attempts))
	for _, a := range b.attempts {
		stops = append(stops, context.AfterFunc(a.ctx, func() {
			if left.Add(-1) == 0 {
				cancel(context.Cause(a.ctx))
			}
		}))
	}
	return ctx, func() {
		for _, stop := range stops {
			stop()
		}
		cancel(nil)
	}
}
