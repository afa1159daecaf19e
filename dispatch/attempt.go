package dispatch

import (
	"context"
	"fmt"
	"runtime/debug"
	"slices"
	"time"

	"github.com/deetoo/deetoo/queue"
	"github.com/deetoo/deetoo/registry"
)

// attempt is one job being delivered.
type attempt struct {
	lease *queue.Lease
	ctx   *attemptContext
	// lost says that the lease is: there is nothing left to renew.
	lost bool
	// batch is what its job goes with; nil if it goes alone.
	batch *batch
}

type result struct {
	attempt *attempt
	lease   *queue.Lease
	outcome Outcome
	took    time.Duration
	// calledOff is why the attempt was aborted, if it was: not for its timeout.
	calledOff error
	// others are the results of the jobs that went with this one.
	others []result
}

// start begins an attempt at each lease. What comes too late, because the lane
// stops or a repeated request brought it near its lease's end, is given back.
func (l *lane) start(leases []queue.Lease) {
	lease, typ, stopping := l.d.opts.Queue.Lease(), l.typ.Load(), l.stopping()
	begin := make([]*attempt, 0, len(leases))
	for i := range leases {
		j := &leases[i]
		left := time.Until(j.Deadline) - l.margin()
		if stopping || left <= 0 {
			// What nobody knew of it before, nobody knows now.
			l.pending = append(l.pending, queue.Settlement{ID: j.ID, Token: j.Token, Verdict: queue.Release, Unsure: j.Unsure})
			continue
		}
		// Renewed when a third of the lease has gone, which with a repeated
		// request may be now.
		if at := j.Deadline.Add(-lease + lease/3); len(l.inflight)+len(begin) == 0 || at.Before(l.renewAt) {
			l.renewAt = at
		}
		begin = append(begin, &attempt{lease: j, ctx: newAttemptContext(j.Deadline.Add(-l.margin()))})
	}
	if len(begin) == 0 {
		return
	}
	l.enlist(begin)
	var together *batch
	for _, a := range begin {
		if a.lease.Batch == "" {
			l.d.crew.do(func() { l.attempt(typ, a) })
			continue
		}
		if together == nil || together.name != a.lease.Batch {
			l.beginBatch(together)
			together = &batch{name: a.lease.Batch}
		}
		a.batch = together
		together.add(a)
	}
	l.beginBatch(together)
}

// enlist takes attempts among those in flight. If the dispatcher is aborting its attempts, it aborts these.
func (l *lane) enlist(begin []*attempt) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.inflight == nil {
		l.inflight = make(map[string]*attempt, len(begin))
	}
	for _, a := range begin {
		l.inflight[a.lease.Token] = a
		if l.d.work.Err() != nil {
			a.ctx.callOff(errStopping)
		}
	}
	l.running.Add(int64(len(begin)))
}

// abort calls all attempts off.
func (l *lane) abort(cause error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, a := range l.inflight {
		a.ctx.callOff(cause)
	}
}

// margin is how long before its lease ends an attempt is called off.
func (l *lane) margin() time.Duration { return l.d.opts.Queue.Lease() / 15 }

// attempt delivers one job. A deliverer that panics, or ends its goroutine, has failed.
func (l *lane) attempt(t *registry.Type, a *attempt) {
	begun := time.Now()
	out := Outcome{Err: "the handler ended its goroutine"}
	defer func() {
		if p := recover(); p != nil {
			// The value may quote data; the log has it only by its type.
			l.log().Error("a deliverer panicked", "job", a.lease.ID, "panic", panicType(p), "stack", string(debug.Stack()))
			out = Outcome{Err: "the handler panicked"}
		}
		l.ended(result{attempt: a, lease: a.lease, outcome: out, took: time.Since(begun), calledOff: a.ctx.calledOff()})
	}()
	out = l.deliver(a.ctx, t, a.lease)
}

// renewFor has the leases renewed now if one of the jobs is among them.
func (l *lane) renewFor(ids []string) {
	for _, a := range l.inflight {
		if slices.Contains(ids, a.lease.ID) {
			l.renewAt = time.Time{}
		}
	}
}

// renew extends all leases if it is time, and aborts attempts whose lease is
// lost or whose job is cancelled.
func (l *lane) renew() {
	sent := time.Now()
	if len(l.inflight) == 0 || sent.Before(l.renewAt) {
		return
	}
	lease := l.d.opts.Queue.Lease()
	l.renewAt = sent.Add(lease / 3)
	leases := make([]*queue.Lease, 0, len(l.inflight))
	for _, a := range l.inflight {
		if !a.lost {
			leases = append(leases, a.lease)
		}
	}
	if len(leases) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(l.d.life, l.patience())
	renewals, err := l.d.opts.Queue.Renew(ctx, l.name, leases)
	cancel()
	if err == nil {
		l.unheard = 0
	} else {
		if l.unheard++; l.unheard == 1 {
			l.log().Warn("cannot renew leases; trying on until they end", "error", err)
		}
		l.renewAt = time.Now().Add(lease / 15)
	}
	for i, r := range renewals {
		a := l.inflight[leases[i].Token]
		switch r {
		case queue.Lost:
			l.log().Warn("a lease was lost; its attempt is called off", "job", a.lease.ID)
			a.lost = true
			a.ctx.callOff(errLeaseLost)
			continue
		case queue.CancelRequested:
			a.ctx.callOff(errCancelled)
		}
		a.ctx.extend(sent.Add(lease - l.margin()))
	}
}

func panicType(p any) string {
	if err, ok := p.(error); ok {
		return fmt.Sprintf("%T", err)
	}
	return fmt.Sprintf("a %T", p)
}
