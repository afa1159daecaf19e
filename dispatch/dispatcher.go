package dispatch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/deetoo/deetoo/invalid"
	"github.com/deetoo/deetoo/queue"
	"github.com/deetoo/deetoo/registry"
)

// Queue is what lanes need of a queue. Its calls must end soon after their
// context does: a lane waits for them (go-redis needs ContextTimeoutEnabled).
type Queue interface {
	ExchangeRequest(ctx context.Context, typ string, r *queue.Request) (queue.Batch, error)
	Renew(ctx context.Context, typ string, leases []*queue.Lease) ([]queue.Renewal, error)
	Lease() time.Duration
}

// Pauser pauses a type for everybody, with a reason for people. When it returns
// nil the queue gives out no more jobs of the type: its settings are in force,
// not only stored.
type Pauser func(ctx context.Context, typ, reason string) error

// OnTimeout says what becomes of attempts still running when Stop's deadline comes.
type OnTimeout string

const (
	// ReleaseOnTimeout gives the jobs back for others to run, at no cost to them. The default.
	ReleaseOnTimeout OnTimeout = "release"
	// FailOnTimeout marks the attempts failed, as deetoo on Kue did: they count,
	// and their jobs are retried or dead.
	FailOnTimeout OnTimeout = "fail"
)

// Options of a Dispatcher. Queue, Deliverer and Pause are required.
type Options struct {
	Queue Queue
	// Deliverer makes the attempts of all types.
	Deliverer Deliverer
	// Pause is called when a Deliverer's verdict is Pause.
	Pause Pauser
	// Reconcile is asked about attempts whose Outcome is Unsure, and jobs that are,
	// of types with a ReconcileURL. Default: nobody is asked.
	Reconcile Reconciler
	// Ended is told that jobs of a type have ended that something follows. It must
	// not block. Default: nobody is told.
	Ended func(typ string)
	// Attempted is told what became of an attempt, when it is about to be settled: how it ended, how long it ran, and
	// how long its job had been due when it began. It must not block: lanes call it. Default: nobody is told.
	Attempted func(typ, outcome string, took, waited time.Duration)
	// Redrive is called when a step of a type's redrives is due. Default: none is made here.
	Redrive Redriver
	// Logger hears of attempts at Debug, and of trouble. Default: none.
	Logger *slog.Logger
	// Poll is how often a lane looks at Redis unasked: a net under the wakes,
	// which may be lost with a connection. With jitter; while wakes arrive, an
	// idle lane looks fifteen times less often. Default: 1 s.
	Poll time.Duration
	// OnTimeout is what becomes of attempts that outlast Stop. Default: ReleaseOnTimeout.
	OnTimeout OnTimeout
}

// Validate names the option that is wrong, as an *invalid.Error.
func (o Options) Validate() error {
	switch {
	case o.Queue == nil:
		return invalid.Errorf("queue", "is required")
	case o.Deliverer == nil:
		return invalid.Errorf("deliverer", "is required")
	case o.Pause == nil:
		return invalid.Errorf("pause", "is required")
	case o.Poll < 0:
		return invalid.Errorf("poll", "must be positive")
	case o.OnTimeout != "" && o.OnTimeout != ReleaseOnTimeout && o.OnTimeout != FailOnTimeout:
		return invalid.Errorf("on_shutdown_timeout", "must be release or fail")
	}
	return nil
}

// Dispatcher runs a lane for each job type it is told of.
type Dispatcher struct {
	opts   Options
	roster *roster
	crew   *crew

	mu       sync.Mutex
	lanes    map[string]*lane
	leaving  map[string]*lane // removed, still finishing what they have
	stopping bool
	wakesUp  bool
	wg       sync.WaitGroup
	wait     sync.Once
	drained  chan struct{} // closed when all lanes are done, after Drain was called
	stale    atomic.Int64

	// stopWork ends attempts; lanes stop taking by a channel of their own.
	work     context.Context
	stopWork context.CancelCauseFunc
	// giveUp ends the lanes and their calls of Redis, whatever they still have.
	life   context.Context
	giveUp context.CancelFunc
}

var (
	errStopping  = errors.New("the dispatcher is shutting down")
	errLeaseLost = errors.New("the lease was lost")
	errCancelled = errors.New("the job was cancelled")
)

// New makes a Dispatcher without lanes.
func New(opts Options) (*Dispatcher, error) {
	if err := opts.Validate(); err != nil {
		return nil, fmt.Errorf("dispatch options: %w", err)
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.Ended == nil {
		opts.Ended = func(string) {}
	}
	if opts.Attempted == nil {
		opts.Attempted = func(string, string, time.Duration, time.Duration) {}
	}
	if opts.Poll == 0 {
		opts.Poll = time.Second
	}
	if opts.OnTimeout == "" {
		opts.OnTimeout = ReleaseOnTimeout
	}
	d := &Dispatcher{
		opts: opts, lanes: map[string]*lane{}, leaving: map[string]*lane{},
		drained: make(chan struct{}),
	}
	d.life, d.giveUp = context.WithCancel(context.Background())
	d.work, d.stopWork = context.WithCancelCause(context.Background())
	d.crew = newCrew(d.life.Done())
	d.roster = &roster{start: func(l *lane) { d.crew.do(func() { d.run(l) }) }}
	return d, nil
}

// Set starts the lane of a type, or tells it of a change. The type is only read.
func (d *Dispatcher) Set(t *registry.Type) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.stopping {
		return
	}
	if l := d.lanes[t.Name]; l != nil {
		l.typ.Store(t)
		l.signal()
		return
	}
	// A type that comes back while its old lane still finishes must wait: the
	// two would be one consumer with two requests under way.
	before := d.leaving[t.Name]
	l := newLane(d, t)
	d.lanes[t.Name] = l
	d.wg.Add(1)
	if before == nil {
		d.roster.begin(l)
		return
	}
	go func() {
		<-before.finished
		if !d.roster.begin(l) {
			l.retire()
		}
	}()
}

// run runs a lane until it sleeps or is over.
func (d *Dispatcher) run(l *lane) {
	if l.run() {
		d.left(l)
		l.retire()
	}
}

// left forgets a lane that was removed and has finished.
func (d *Dispatcher) left(l *lane) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.leaving[l.name] == l {
		delete(d.leaving, l.name)
	}
}

// Remove stops taking jobs of a type; attempts under way finish and are settled.
func (d *Dispatcher) Remove(name string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	l := d.lanes[name]
	if l == nil {
		return
	}
	delete(d.lanes, name)
	// If an older lane still finishes, this one waits for it and has nothing yet.
	if over := l.stopTaking(); !over && d.leaving[name] == nil {
		d.leaving[name] = l
	}
}

// Heard passes on what queue.Listen hears.
func (d *Dispatcher) Heard(e queue.Event) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case e.Type == "":
		for _, l := range d.lanes {
			l.signal()
		}
	case e.Cancel != "":
		for _, l := range []*lane{d.lanes[e.Type], d.leaving[e.Type]} {
			if l != nil {
				l.cancelled(e.Cancel)
			}
		}
	default:
		if l := d.lanes[e.Type]; l != nil {
			l.signal()
		}
	}
}

// WakesArrive says whether wakes arrive at present: if not, lanes poll.
func (d *Dispatcher) WakesArrive(up bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.wakesUp && !up {
		for _, l := range d.lanes { // they sleep on the promise of a wake
			l.signal()
		}
	}
	d.wakesUp = up
}

func (d *Dispatcher) pollInterval() time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.wakesUp {
		return 15 * d.opts.Poll
	}
	return d.opts.Poll
}

// Running counts the attempts under way in this process.
func (d *Dispatcher) Running() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := 0
	for _, lanes := range []map[string]*lane{d.lanes, d.leaving} {
		for _, l := range lanes {
			n += int(l.running.Load())
		}
	}
	return n
}

// Stale counts the settlements that changed nothing, because the lease had been
// lost: the job ran, or runs, again.
func (d *Dispatcher) Stale() int64 { return d.stale.Load() }

// Drain stops taking jobs and returns when all attempts under way are settled,
// or ctx ends.
func (d *Dispatcher) Drain(ctx context.Context) error {
	d.mu.Lock()
	d.stopping = true
	for _, l := range d.lanes {
		l.stopTaking()
	}
	d.mu.Unlock()
	d.wait.Do(func() {
		go func() {
			d.wg.Wait()
			close(d.drained)
		}()
	})
	select {
	case <-d.drained:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%d attempts still running: %w", d.Running(), context.Cause(ctx))
	}
}

// abort calls all attempts off.
func (d *Dispatcher) abort() {
	d.stopWork(errStopping)
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, lanes := range []map[string]*lane{d.lanes, d.leaving} {
		for _, l := range lanes {
			l.abort(errStopping)
		}
	}
}

// settleGrace is how long Stop waits for aborted attempts to be settled.
const settleGrace = 5 * time.Second

// Stop drains until ctx ends; what still runs then is aborted, and released or
// failed as OnTimeout says. It returns an error if that happened. What cannot
// even be settled is taken over by others when its lease ends. Calling it again
// is harmless; an earlier deadline than the first one's counts.
func (d *Dispatcher) Stop(ctx context.Context) error {
	err := d.Drain(ctx)
	aborted := d.Running()
	d.abort()
	if err == nil {
		d.giveUp() // nothing is left to give up
		return nil
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleGrace)
	defer cancel()
	again := d.Drain(grace)
	d.giveUp()
	switch {
	case again != nil:
		return fmt.Errorf("%w, and could not be settled in %s", err, settleGrace)
	case aborted == 0:
		return nil // ctx ended before the lanes did, but nothing was running
	}
	return err
}
