// Package deetoo is a webhook dispatcher with durable jobs, to be embedded:
// register job types, push jobs, and have each one POSTed to its target, or
// run by a Go function, never more at once than its type allows in the whole cluster.
//
//	d := deetoo.New(deetoo.WithRedis("redis://localhost:6379"))
//	d.Can("email", 12, sendEmail).Speaks(deetoo.HTTP(":8888"))
//	if err := d.Start(ctx); err != nil { … }
//	d.Jobs().Push(ctx, deetoo.Job{Type: "email", Data: json.RawMessage(`{"to":"leia@example.org"}`)})
//	d.Shutdown(ctx)
package deetoo

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/redis/go-redis/v9"

	"github.com/deetoo/deetoo/auth"
	"github.com/deetoo/deetoo/dispatch"
	"github.com/deetoo/deetoo/dispatch/webhook"
	"github.com/deetoo/deetoo/history"
	"github.com/deetoo/deetoo/intake"
	"github.com/deetoo/deetoo/invalid"
	"github.com/deetoo/deetoo/queue"
	"github.com/deetoo/deetoo/registry"
	"github.com/deetoo/deetoo/relay"
	"github.com/deetoo/deetoo/schedule"
)

// Dialect is a way in: a protocol that jobs are pushed through.
type Dialect interface {
	// Name is shown in logs.
	Name() string
	// Serve takes requests until ctx ends, and then returns nil when those
	// under way are answered.
	Serve(ctx context.Context, in *intake.Intake) error
}

// Deetoo is a dispatcher. Make it with New; say what it Can and Speaks; Start it; Shut it down.
type Deetoo struct {
	opts     Options
	local    map[string]localType
	dialects []Dialect
	errs     []error // of Can and Speaks, told by Start

	client     redis.UniversalClient
	closers    []func() error // in the order of opening
	queue      *queue.Queue
	directory  *registry.Directory
	store      *registry.Store
	schedules  *schedule.Store
	clock      *schedule.Clock
	deliverer  *webhook.Deliverer
	intake     *intake.Intake
	dispatcher *dispatch.Dispatcher
	relay      *relay.Relay
	history    *history.Store
	recorder   *history.Recorder
	verifier   *auth.Verifier
	key        *GeneratedKey

	mu       sync.Mutex
	started  bool // Start was called
	running  bool // Start has succeeded, and Shutdown has not drained yet
	stopping bool // Shutdown was called
	draining chan struct{}
	stop     context.CancelFunc // ends what runs in the background
	hush     context.CancelFunc // ends the dialects
	speaking sync.WaitGroup
	working  sync.WaitGroup
	failed   chan error
}

type localType struct {
	concurrency int
	handler     Handler
}

// New makes a dispatcher; what is wrong with its options is told by Start.
func New(opts ...Option) *Deetoo {
	var o Options
	for _, opt := range opts {
		opt(&o)
	}
	d := &Deetoo{local: map[string]localType{}, failed: make(chan error, 1), draining: make(chan struct{})}
	if err := o.Validate(); err != nil {
		d.errs = append(d.errs, err)
	}
	d.opts = o.withDefaults()
	if d.opts.Listen != "" {
		d.Speaks(HTTP(d.opts.Listen))
	}
	return d
}

// Can registers a job type that a function of this process runs, at most
// concurrency at once in the whole cluster. It runs in the same lanes as webhooks,
// with the same retries; its other settings are changed like any type's. Call it before Start.
func (d *Deetoo) Can(name string, concurrency int, h Handler) *Deetoo {
	switch {
	case h == nil:
		d.errs = append(d.errs, fmt.Errorf("type %s: %w", name, invalid.Errorf("handler", "is required")))
	case concurrency < 1:
		d.errs = append(d.errs, fmt.Errorf("type %s: %w", name, invalid.Errorf("concurrency", "must be positive")))
	default:
		d.local[name] = localType{concurrency, h}
	}
	return d
}

// Speaks adds ways in. Call it before Start.
func (d *Deetoo) Speaks(dialects ...Dialect) *Deetoo {
	for _, dialect := range dialects {
		if h, ok := dialect.(*httpDialect); ok {
			h.deetoo = d
		}
		d.dialects = append(d.dialects, dialect)
	}
	return d
}

// Start opens the store, registers the types of Can and of the types file, and
// begins to take jobs. ctx bounds only that; what goes on in the background
// ends with Shutdown. If Redis is away, Start succeeds all the same, and work begins when it comes.
func (d *Deetoo) Start(ctx context.Context) error {
	d.mu.Lock()
	if d.started {
		d.mu.Unlock()
		return errors.New("deetoo: already started")
	}
	d.started = true
	d.mu.Unlock()
	if err := errors.Join(d.errs...); err != nil {
		return fmt.Errorf("deetoo: %w", err)
	}
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	d.stop = stop
	if err := d.open(ctx, background); err != nil {
		stop()
		return errors.Join(fmt.Errorf("deetoo: %w", err), d.close())
	}
	if err := d.register(ctx, background); err != nil {
		stop()
		return errors.Join(fmt.Errorf("deetoo: %w", err), d.close())
	}
	d.follow(background)
	d.speak(background)
	d.mu.Lock()
	d.running = true
	d.mu.Unlock()
	return nil
}

// ErrNotRunning: the dispatcher has not been started, or was shut down.
var ErrNotRunning = errors.New("deetoo: the dispatcher is not running")

// Running reports whether jobs can be pushed: from when Start has succeeded until
// Shutdown has drained, so that jobs still running then can push others.
func (d *Deetoo) Running() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.running
}

// Failed tells of a dialect that gave up by itself, such as a listener that failed.
func (d *Deetoo) Failed() <-chan error { return d.failed }

// Reload registers the types and schedules of the types file again, and returns the names of
// those that changed. With a file that is wrong nothing is changed.
func (d *Deetoo) Reload(ctx context.Context) ([]string, error) {
	if d.opts.TypesFile == "" {
		return nil, nil
	}
	if !d.Running() {
		return nil, ErrNotRunning
	}
	specs, err := loadFile(d.opts.TypesFile)
	if err != nil {
		return nil, err
	}
	return d.applyFile(ctx, specs)
}

// Drain stops taking jobs and waits until those running are settled, or ctx
// ends; ways in stay open. Shutdown must still be called. It does nothing
// unless the dispatcher is running.
func (d *Deetoo) Drain(ctx context.Context) error {
	if !d.Running() {
		return nil
	}
	d.beginDraining()
	return d.dispatcher.Drain(ctx)
}

func (d *Deetoo) beginDraining() {
	d.mu.Lock()
	defer d.mu.Unlock()
	select {
	case <-d.draining:
	default:
		close(d.draining)
	}
}

// Draining is closed when Drain or Shutdown has begun.
func (d *Deetoo) Draining() <-chan struct{} { return d.draining }

// Shutdown drains for at most Options.DrainTimeout (or until ctx ends), then
// aborts what still runs: those jobs are released at no cost, or failed, as
// Options.OnTimeout says. Then it closes the ways in and the store. It returns
// an error if attempts were aborted. It does nothing unless the dispatcher is running.
func (d *Deetoo) Shutdown(ctx context.Context) error {
	d.mu.Lock()
	if !d.running || d.stopping {
		d.mu.Unlock()
		return nil
	}
	d.stopping = true
	d.mu.Unlock()
	d.beginDraining()
	drain, cancel := context.WithTimeoutCause(ctx, d.opts.DrainTimeout, fmt.Errorf("the drain timeout of %s is over", d.opts.DrainTimeout))
	defer cancel()
	err := d.dispatcher.Stop(drain)
	d.hush()
	d.speaking.Wait()
	d.mu.Lock()
	d.running = false
	d.mu.Unlock()
	d.stop()
	d.working.Wait()
	return errors.Join(err, d.close())
}

// close closes what open opened, last first.
func (d *Deetoo) close() error {
	var errs []error
	for i := len(d.closers) - 1; i >= 0; i-- {
		errs = append(errs, d.closers[i]())
	}
	d.closers = nil
	return errors.Join(errs...)
}
