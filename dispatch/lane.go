package dispatch

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/deetoo/deetoo/queue"
	"github.com/deetoo/deetoo/registry"
)

// lane is the dispatcher of one job type. While it has nothing to do it is in
// the roster and has no goroutine; else its goroutine owns everything in it below the line.
type lane struct {
	d        *Dispatcher
	name     string
	typ      atomic.Pointer[registry.Type]
	running  atomic.Int64
	wake     chan struct{}
	stop     chan struct{}
	stopOnce sync.Once
	finished chan struct{} // closed when the lane is done

	// The roster's, under its lock.
	place   place
	bed     int       // its index among those asleep
	risesAt time.Time // when it does by itself
	wave    int       // in which it rose
	claimed int       // jobs that it began with

	mu       sync.Mutex
	called   bool                // to look at Redis
	cancels  []string            // jobs that were cancelled
	results  []result            // of attempts that have ended
	enough   int                 // results that the lane is to be woken for; 0: it is not waiting
	inflight map[string]*attempt // by token: a job may come back while its lost attempt still ends. The goroutine reads it without the lock, as only it writes

	// ----
	taken    []result // the results last taken: the next are written over them
	spare    int      // jobs in flight that take no slot, because one that they go with does
	pending  []queue.Settlement
	request  *queue.Request // sent, but not answered yet: to be repeated
	sentAt   time.Time      // when the request was first sent
	gone     []result       // found their endpoint gone: kept until the type is paused
	goneAt   time.Time      // when the first of them ended
	failures int            // exchanges failed in a row
	unheard  int            // renewals failed in a row
	roseAt   time.Time      // when it got its goroutine
	lookedAt time.Time      // when the lane last looked at Redis
	lookAt   time.Time      // when it next does, unasked
	renewAt  time.Time      // when the leases are next renewed, if there are any
	restTill time.Time      // when it next claims, after a deliverer refused a job
	pauseAt  time.Time      // when the type is next tried to be paused, if any are gone
}

// pace is how long a busy lane collects results before it settles them
// together: fewer round trips, and no slower where it is not busy.
const pace = 2 * time.Millisecond

// restingPace is the same for a lane that has nothing to do and may claim nothing, however
// many jobs are pushed meanwhile.
const restingPace = 100 * time.Millisecond

func newLane(d *Dispatcher, t *registry.Type) *lane {
	l := &lane{
		d: d, name: t.Name,
		wake: make(chan struct{}, 1), stop: make(chan struct{}), finished: make(chan struct{}),
		called: true, // there may be jobs already
	}
	l.typ.Store(t)
	return l
}

// log has the name of the type.
func (l *lane) log() *slog.Logger { return l.d.opts.Logger.With("type", l.name) }

// poke has the lane's goroutine look around.
func (l *lane) poke() {
	select {
	case l.wake <- struct{}{}:
	default: // it will anyway
	}
}

func (l *lane) signal() {
	l.mu.Lock()
	l.called = true
	l.mu.Unlock()
	l.poke()
	l.d.roster.rise(l)
}

// mostCancels is how many hints of cancellations are kept.
const mostCancels = 16

// cancelled hints that a job was cancelled; the renewal that follows is what counts.
func (l *lane) cancelled(id string) {
	l.mu.Lock()
	if len(l.inflight) == 0 || len(l.cancels) >= mostCancels { // the regular renewal will tell
		l.mu.Unlock()
		return
	}
	l.cancels = append(l.cancels, id)
	l.mu.Unlock()
	l.poke()
}

// ended takes the result of an attempt.
func (l *lane) ended(r result) {
	l.mu.Lock()
	l.results = append(l.results, r)
	wake := l.enough > 0 && len(l.results) >= l.enough
	if wake {
		l.enough = 0
	}
	l.mu.Unlock()
	if wake {
		l.poke()
	}
}

// stopTaking ends the lane when what it has is settled: now, if it has no goroutine and so has nothing.
func (l *lane) stopTaking() (over bool) {
	l.stopOnce.Do(func() { close(l.stop) })
	if over = l.d.roster.dismiss(l); over {
		l.retire()
	}
	return over
}

// retire tells whoever waits for the lane that it is done.
func (l *lane) retire() {
	close(l.finished)
	l.d.wg.Done()
}

func (l *lane) stopping() bool {
	select {
	case <-l.stop:
		return true
	default:
		return false
	}
}

// run claims, attempts and settles until there is nothing to do, and then lays
// itself to sleep; or until it is told to stop and nothing is left: then it is over.
func (l *lane) run() (over bool) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	stop := l.stop
	l.roseAt = time.Now()
	for first := true; ; first = false {
		l.receive()
		l.renew()
		l.pause()
		if !time.Now().Before(l.lookAt) && (!l.stopping() || l.unsettled()) {
			l.exchange()
		}
		if first {
			l.d.roster.risen(l, len(l.inflight))
		} else if l.claimed > 0 && time.Since(l.roseAt) >= youth {
			l.d.roster.matured(l)
		}
		if l.stopping() && len(l.inflight) == 0 && (!l.unsettled() || l.forlorn()) {
			l.d.roster.matured(l)
			return true
		}
		next := l.next()
		if l.rest(next) {
			return false
		}
		if !l.await() {
			continue
		}
		timer.Reset(max(time.Until(next), 0))
		select {
		case <-l.wake:
		case <-timer.C:
		case <-stop:
			stop = nil
		case <-l.d.life.Done():
			l.d.roster.matured(l)
			return true
		}
	}
}

// rest lays the lane to sleep if it has nothing to do before a time.
func (l *lane) rest(until time.Time) bool {
	if len(l.inflight) > 0 || l.unsettled() || !time.Now().Before(until) {
		return false
	}
	l.mu.Lock()
	busy := l.called
	if !busy {
		l.results, l.taken, l.inflight, l.cancels = nil, nil, nil, nil // an idle type should cost little
	}
	l.mu.Unlock()
	return !busy && l.d.roster.rest(l, until)
}

// await says for how many results the lane is to be woken; false if they are there already.
func (l *lane) await() bool {
	enough := 1
	if len(l.pending) > 0 && l.failures == 0 && !l.stopping() {
		// It looks in a moment anyway: before, only what would have it look at once is worth waking for.
		enough = max(min(l.typ.Load().Concurrency/4+1-len(l.pending), len(l.inflight)), 1)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.results) >= enough {
		return false
	}
	l.enough = enough
	return true
}

// unsettled reports whether there is something Redis must hear.
func (l *lane) unsettled() bool { return len(l.pending) > 0 || l.request != nil || len(l.gone) > 0 }

// forlorn reports that Redis does not answer and that it has nothing to hear
// but a claim that may have brought jobs: they need not be waited for, since
// their leases end by themselves.
func (l *lane) forlorn() bool {
	return l.failures >= 3 && len(l.pending) == 0 && len(l.gone) == 0 && len(l.request.Done) == 0
}

// soon has the lane look at Redis: at once if it is not busy, or if enough slots
// wait to be filled again, else when it has collected for a moment. While Redis
// does not answer, it is asked in its own time.
func (l *lane) soon() {
	if l.failures > 0 {
		return
	}
	at := l.lookedAt.Add(pace)
	switch t := l.typ.Load(); {
	case t.Paused && len(l.inflight) == 0 && !l.unsettled():
		at = l.lookedAt.Add(restingPace)
	case len(l.inflight) == 0, len(l.pending) > t.Concurrency/4:
		at = time.Time{}
	}
	if at.Before(l.lookAt) {
		l.lookAt = at
	}
}

// next is until when nothing is to be done unless something happens.
func (l *lane) next() time.Time {
	at := l.lookAt
	if l.stopping() && !l.unsettled() {
		at = l.renewAt // for the attempts that are left
	}
	if len(l.inflight) > 0 && l.renewAt.Before(at) {
		at = l.renewAt
	}
	if len(l.gone) > 0 && l.pauseAt.Before(at) {
		at = l.pauseAt
	}
	if grown := l.roseAt.Add(youth); l.claimed > 0 && grown.Before(at) {
		at = grown
	}
	return at
}

// receive takes note of all that has happened: results that are there already are settled together.
func (l *lane) receive() {
	l.mu.Lock()
	l.enough = 0
	called, cancels := l.called, l.cancels
	l.called, l.cancels = false, nil
	l.mu.Unlock()
	if l.collect() > 0 || called {
		l.soon()
	}
	if len(cancels) > 0 {
		l.renewFor(cancels)
	}
}

// collect takes the results that are there, and returns how many.
func (l *lane) collect() int {
	l.mu.Lock()
	l.taken, l.results = l.results, l.taken[:0]
	for _, r := range l.taken {
		l.leave(r)
	}
	l.mu.Unlock()
	n := len(l.taken)
	for i := range l.taken {
		l.finish(l.taken[i])
		l.taken[i] = result{} // what it holds is not to be kept alive
	}
	return n
}

// leave takes an attempt that has ended, and those that went with it, out of those in flight.
func (l *lane) leave(r result) {
	delete(l.inflight, r.lease.Token)
	for _, other := range r.others {
		delete(l.inflight, other.lease.Token)
	}
}

// exchange settles what is pending and claims what there is room for. It sets
// when the lane next looks.
func (l *lane) exchange() {
	l.lookedAt = time.Now()
	if l.request != nil && len(l.pending) > 0 && time.Since(l.sentAt) > l.d.opts.Queue.Lease()*2/3 {
		// Repeating it takes back leases that end about now, before their jobs are
		// settled. What it may have claimed is as good as lost; settling twice is harmless.
		l.pending = append(l.request.Done, l.pending...)
		l.request = nil
	}
	if l.request == nil {
		l.request, l.sentAt = l.newRequest(), l.lookedAt
	}
	ctx, cancel := context.WithTimeout(l.d.life, l.patience())
	batch, err := l.d.opts.Queue.ExchangeRequest(ctx, l.name, l.request)
	cancel()
	if err != nil {
		if l.failures++; l.failures == 1 {
			l.log().Warn("cannot reach the queue; trying on", "error", err)
		}
		wait := min(50*time.Millisecond<<min(l.failures, 5), l.d.opts.Poll)
		l.lookAt = time.Now().Add(wait/2 + rand.N(wait/2+1))
		return
	}
	if l.failures > 0 {
		l.log().Info("the queue is back", "failures", l.failures)
		l.failures = 0
	}
	want, done := l.request.Want, l.request.Done
	l.request = nil
	for _, id := range batch.Stale {
		if handed(done, id) {
			// Its handler was quicker than its own 202, and has concluded already.
			continue
		}
		l.d.stale.Add(1)
		l.log().Warn("an attempt's lease was lost before it was settled: the job runs again or has ended", "job", id)
	}
	for _, id := range batch.Damaged {
		l.log().Error("a job's record is damaged; it cannot run", "job", id)
	}
	l.notice(batch)
	if batch.Outbox {
		l.d.opts.Ended(l.name)
	}
	l.start(batch.Leases)
	l.collect()
	l.lookAt = time.Now().Add(l.sleep(batch, want))
	if l.restTill.After(l.lookedAt) && l.restTill.Before(l.lookAt) {
		l.lookAt = l.restTill
	}
	switch {
	case len(batch.Leases) > 0 && len(batch.Leases) < want && batch.Waiting > 0 && batch.Active < batch.InForce && batch.Limited == 0:
		l.lookAt = time.Time{} // there are more than one request brings
	case len(l.pending) > 0:
		l.soon()
	}
	if batch.Redrive {
		l.redrive()
	}
}

// handed reports whether the job of that ID was to be handed to its handler.
func handed(done []queue.Settlement, id string) bool {
	return slices.ContainsFunc(done, func(s queue.Settlement) bool { return s.ID == id && s.Verdict == queue.Accept })
}

// notice logs what an exchange changed of the type's outage hold.
func (l *lane) notice(b queue.Batch) {
	switch {
	case b.Event == "":
	case b.Outage == nil:
		l.log().Info("the target is well again")
	case b.Outage.Open:
		l.log().Warn("the target is down: its jobs are held", "reason", b.Outage.Reason, "next_try", b.Outage.Interval)
	default:
		l.log().Info("the target answers again: its jobs are let through, step by step")
	}
}

func (l *lane) newRequest() *queue.Request {
	n := min(len(l.pending), queue.MaxSettlements)
	r := &queue.Request{Done: l.pending[:n:n]}
	if l.pending = l.pending[n:]; len(l.pending) == 0 {
		l.pending = nil
	}
	if t := l.typ.Load(); !l.stopping() && !t.Paused && len(l.gone) == 0 && !time.Now().Before(l.restTill) {
		r.Want = max(t.Concurrency-len(l.inflight)+l.spare, 0)
	}
	return r
}

// patience is how long one call of Redis may take: short enough that leases
// are renewed between two that hang.
func (l *lane) patience() time.Duration { return l.d.opts.Queue.Lease() / 5 }

// sleep is how long there is nothing to do, as far as Redis knows; a poll
// makes up for lost wakes.
func (l *lane) sleep(b queue.Batch, want int) time.Duration {
	poll := l.d.opts.Poll
	if b.Waiting == 0 || b.Paused || want <= 0 || b.Outage != nil && b.Outage.Open {
		poll = l.d.pollInterval()
	}
	poll += rand.N(poll/4 + 1)
	if b.Next >= 0 {
		poll = min(poll, max(b.Next, time.Millisecond))
	}
	return poll
}
