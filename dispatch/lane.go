package dispatch

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/deetoo/deetoo/queue"
	"github.com/deetoo/deetoo/registry"
)

// lane is the dispatcher of one job type. Its goroutine owns everything in it
// but the fields above the line.
type lane struct {
	d        *Dispatcher
	name     string
	typ      atomic.Pointer[registry.Type]
	running  atomic.Int64
	wake     chan struct{}
	cancels  chan string
	stop     chan struct{}
	stopOnce sync.Once
	finished chan struct{} // closed when run has returned

	// ----
	done     chan result
	inflight map[string]*attempt // by token: a job may come back while its lost attempt still ends
	pending  []queue.Settlement
	request  *queue.Request // sent, but not answered yet: to be repeated
	log      *slog.Logger
	failures int       // exchanges failed in a row
	lookAt   time.Time // when the lane next looks at Redis unasked
	renewAt  time.Time // when the leases are next renewed, if there are any
}

// attempt is one job being delivered.
type attempt struct {
	lease  *queue.Lease
	cancel context.CancelCauseFunc
	// cutoff cancels the attempt before its last confirmed lease ends.
	cutoff *time.Timer
}

type result struct {
	lease   *queue.Lease
	outcome Outcome
	took    time.Duration
}

func newLane(d *Dispatcher, t *registry.Type) *lane {
	l := &lane{
		d: d, name: t.Name, log: d.opts.Logger.With("type", t.Name),
		wake: make(chan struct{}, 1), cancels: make(chan string, 16), stop: make(chan struct{}),
		finished: make(chan struct{}), done: make(chan result, 256), inflight: map[string]*attempt{},
	}
	l.typ.Store(t)
	l.signal() // there may be jobs already
	return l
}

func (l *lane) signal() {
	select {
	case l.wake <- struct{}{}:
	default: // it will look anyway
	}
}

// cancelled hints that a job was cancelled; the renewal that follows is what counts.
func (l *lane) cancelled(id string) {
	select {
	case l.cancels <- id:
	default: // the regular renewal will tell
	}
}

func (l *lane) stopTaking() { l.stopOnce.Do(func() { close(l.stop) }) }

// run claims, attempts and settles until it is told to stop and nothing is left.
func (l *lane) run() {
	defer close(l.finished)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	stop := l.stop
	for {
		select {
		case r := <-l.done:
			l.finish(r)
			l.collect()
			l.lookAt = time.Time{}
		case <-l.wake:
			l.lookAt = time.Time{}
		case <-timer.C:
		case id := <-l.cancels:
			for _, a := range l.inflight {
				if a.lease.ID == id {
					l.renewAt = time.Time{}
				}
			}
		case <-stop:
			stop = nil
		}
		l.renew()
		if !time.Now().Before(l.lookAt) && (stop != nil || l.unsettled()) {
			l.lookAt = time.Now().Add(l.exchange(stop == nil))
		}
		if stop == nil && len(l.inflight) == 0 && !l.unsettled() {
			return
		}
		if l.d.work.Err() != nil && len(l.inflight) == 0 && l.failures >= 3 {
			return // Redis is gone and so are we: the leases end by themselves
		}
		timer.Reset(l.idle(stop == nil))
	}
}

// unsettled reports whether there is something Redis must hear.
func (l *lane) unsettled() bool { return len(l.pending) > 0 || l.request != nil }

// idle is how long nothing is to be done unless something happens.
func (l *lane) idle(stopping bool) time.Duration {
	at := l.lookAt
	if len(l.inflight) > 0 && (l.renewAt.Before(at) || (stopping && !l.unsettled())) {
		at = l.renewAt
	}
	return max(time.Until(at), 0)
}

// collect takes all results that are there, so that one exchange settles them together.
func (l *lane) collect() {
	for {
		select {
		case r := <-l.done:
			l.finish(r)
		default:
			return
		}
	}
}

// exchange settles what is pending, claims what there is room for, and returns
// how long the lane may sleep.
func (l *lane) exchange(stopping bool) time.Duration {
	t := l.typ.Load()
	for {
		if l.request == nil {
			n := min(len(l.pending), queue.MaxSettlements)
			l.request = &queue.Request{Done: l.pending[:n:n]}
			l.pending = l.pending[n:]
			if !stopping && !t.Paused {
				l.request.Want = max(t.Concurrency-len(l.inflight), 0)
			}
		}
		ctx, cancel := context.WithTimeout(context.Background(), l.d.opts.Queue.Lease())
		batch, err := l.d.opts.Queue.ExchangeRequest(ctx, l.name, l.request)
		cancel()
		if err != nil {
			if l.failures++; l.failures == 1 {
				l.log.Warn("cannot reach the queue; trying on", "error", err)
			}
			return min(50*time.Millisecond<<min(l.failures, 5), l.d.opts.Poll)
		}
		if l.failures > 0 {
			l.log.Info("the queue is back", "failures", l.failures)
			l.failures = 0
		}
		want := l.request.Want
		l.request = nil
		for _, id := range batch.Stale {
			l.log.Warn("an attempt's lease was lost before it was settled: the job runs again or has ended", "job", id)
		}
		if stopping {
			l.giveBack(batch.Leases)
		} else {
			l.start(batch.Leases)
		}
		l.collect()
		if len(l.pending) == 0 && (len(batch.Leases) == 0 || len(batch.Leases) >= want || batch.Waiting == 0 || batch.Active >= batch.Limit) {
			return l.sleep(batch, want)
		}
	}
}

// giveBack returns jobs that a repeated request brought after the lane was told to stop.
func (l *lane) giveBack(leases []queue.Lease) {
	for _, lease := range leases {
		l.pending = append(l.pending, queue.Settlement{ID: lease.ID, Token: lease.Token, Verdict: queue.Release})
	}
}

// sleep is how long there is nothing to do, as far as Redis knows; a poll
// makes up for lost wakes.
func (l *lane) sleep(b queue.Batch, want int) time.Duration {
	poll := l.d.opts.Poll
	if b.Waiting == 0 || b.Paused || want <= 0 {
		poll = l.d.pollInterval()
	}
	poll += rand.N(poll/4 + 1)
	if b.Next >= 0 {
		poll = min(poll, max(b.Next, time.Millisecond))
	}
	return poll
}

// start begins an attempt at each lease.
func (l *lane) start(leases []queue.Lease) {
	for i := range leases {
		lease := &leases[i]
		ctx, cancel := context.WithCancelCause(l.d.work)
		a := &attempt{lease: lease, cancel: cancel}
		a.cutoff = time.AfterFunc(time.Until(lease.Deadline)-l.margin(), func() { cancel(errLeaseLost) })
		if len(l.inflight) == 0 {
			l.renewAt = time.Now().Add(l.d.opts.Queue.Lease() / 3)
		}
		l.inflight[lease.Token] = a
		l.running.Add(1)
		typ := l.typ.Load()
		go func() {
			begun := time.Now()
			out := l.deliver(ctx, typ, lease)
			l.done <- result{lease, out, time.Since(begun)}
		}()
	}
}

// margin is how long before its lease ends an attempt is called off.
func (l *lane) margin() time.Duration { return l.d.opts.Queue.Lease() / 15 }

func (l *lane) deliver(ctx context.Context, t *registry.Type, lease *queue.Lease) (out Outcome) {
	defer func() {
		if p := recover(); p != nil {
			// The value may quote data; the log has it only by its type.
			l.log.Error("a deliverer panicked", "job", lease.ID, "panic", panicType(p))
			out = Outcome{Err: "the handler panicked"}
		}
	}()
	timeout := t.Timeout
	if lease.Timeout > 0 {
		timeout = lease.Timeout
	}
	if timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, timeout, context.DeadlineExceeded)
		defer cancel()
	}
	return l.d.opts.Deliverer.Deliver(ctx, lease)
}

// renew extends all leases if it is time, and aborts attempts whose lease is
// lost or whose job is cancelled.
func (l *lane) renew() {
	if len(l.inflight) == 0 || time.Now().Before(l.renewAt) {
		return
	}
	lease := l.d.opts.Queue.Lease()
	leases := make([]*queue.Lease, 0, len(l.inflight))
	for _, a := range l.inflight {
		leases = append(leases, a.lease)
	}
	sent := time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), lease/3)
	renewals, err := l.d.opts.Queue.Renew(ctx, l.name, leases)
	cancel()
	if err != nil {
		l.log.Warn("cannot renew leases; trying on until they end", "error", err)
		l.renewAt = time.Now().Add(lease / 15)
	} else {
		l.renewAt = sent.Add(lease / 3)
	}
	for i, r := range renewals {
		a := l.inflight[leases[i].Token]
		switch r {
		case queue.Lost:
			l.log.Warn("a lease was lost; its attempt is called off", "job", a.lease.ID)
			a.cancel(errLeaseLost)
			continue
		case queue.CancelRequested:
			a.cancel(errCancelled)
		}
		a.cutoff.Reset(time.Until(sent.Add(lease)) - l.margin())
	}
}
