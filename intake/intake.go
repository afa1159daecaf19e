// Package intake is the one door in: REST, UI, dialects and the library push
// jobs, look after them and register job types through it. What a caller may,
// what is valid, and what has to happen together is decided here, once.
package intake

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/deetoo/deetoo/auth"
	"github.com/deetoo/deetoo/history"
	"github.com/deetoo/deetoo/invalid"
	"github.com/deetoo/deetoo/queue"
	"github.com/deetoo/deetoo/registry"
	"github.com/deetoo/deetoo/schedule"
)

// ErrTooLarge: a job's data is larger than Options.MaxJobSize. It comes with an
// *invalid.Error that names field and limit.
var ErrTooLarge = errors.New("the job is too large")

// Options of an Intake. Queue, Store, Directory and Schedules are required.
type Options struct {
	Queue     *queue.Queue
	Store     *registry.Store
	Directory *registry.Directory
	Schedules *schedule.Store
	// Wake tells the lanes of this process of a push at once; others hear of it
	// from Redis. Default: nobody is told.
	Wake func(queue.Event)
	// CheckTarget refuses targets that deliveries would refuse as well, so that a mistake shows early.
	// Default: every valid target.
	CheckTarget func(target string) error
	// History of what became of attempts. Default: none is kept.
	History *history.Store
	// Ended is told of an attempt that its handler has ended by callback, with its outcome. It must not block.
	// Default: nobody is told.
	Ended func(typ, outcome string)
	// Draining is closed when this process stops taking jobs: it is not Ready
	// then. Default: never.
	Draining <-chan struct{}
	// MaxJobSize is the largest data of one job, in bytes. Default: 1 MiB; at most queue.MaxDataSize.
	MaxJobSize int
	// MaxBatch is how many jobs one request may push. Default: 10,000.
	MaxBatch int
}

// Validate names the option that is wrong, as an *invalid.Error.
func (o Options) Validate() error {
	switch {
	case o.Queue == nil:
		return invalid.Errorf("queue", "is required")
	case o.Store == nil:
		return invalid.Errorf("store", "is required")
	case o.Directory == nil:
		return invalid.Errorf("directory", "is required")
	case o.Schedules == nil:
		return invalid.Errorf("schedules", "is required")
	case o.MaxJobSize < 0 || o.MaxJobSize > queue.MaxDataSize:
		return invalid.Errorf("max_job_size", "must be 1 to %d bytes", queue.MaxDataSize)
	case o.MaxBatch < 0:
		return invalid.Errorf("max_batch", "must be positive")
	}
	return nil
}

// Intake does what callers ask, if they may. Its methods may be called concurrently.
//
// Every method checks the caller's token: an error then is an
// *auth.ScopeError or *auth.TypeError. Beside these come *invalid.Error,
// *registry.NotFoundError, *registry.VersionMismatchError, their likes of package schedule, ErrTooLarge, and the sentinels of package queue; a Redis that is
// away is always queue.ErrUnavailable.
type Intake struct {
	opts Options
}

// New makes an Intake.
func New(opts Options) (*Intake, error) {
	if err := opts.Validate(); err != nil {
		return nil, err
	}
	if opts.Wake == nil {
		opts.Wake = func(queue.Event) {}
	}
	if opts.Ended == nil {
		opts.Ended = func(string, string) {}
	}
	if opts.CheckTarget == nil {
		opts.CheckTarget = func(string) error { return nil }
	}
	if opts.MaxJobSize == 0 {
		opts.MaxJobSize = 1 << 20
	}
	if opts.MaxBatch == 0 {
		opts.MaxBatch = 10_000
	}
	return &Intake{opts: opts}, nil
}

// MaxJobSize is the largest data of one job, in bytes.
func (in *Intake) MaxJobSize() int { return in.opts.MaxJobSize }

// MaxBatch is how many jobs one request may push.
func (in *Intake) MaxBatch() int { return in.opts.MaxBatch }

// ErrNotReady: this process takes no work yet, or no more.
var ErrNotReady = errors.New("not ready")

// Ready returns nil if Redis answers, the types have been loaded, and the
// process is not shutting down; else ErrNotReady or queue.ErrUnavailable.
func (in *Intake) Ready(ctx context.Context) error {
	select {
	case <-in.opts.Draining:
		return fmt.Errorf("%w: this dispatcher is shutting down", ErrNotReady)
	default:
	}
	if err := in.opts.Queue.Ping(ctx); err != nil {
		return err
	}
	select {
	case <-in.opts.Directory.Ready():
		return nil
	default:
		return fmt.Errorf("%w: the job types have not been loaded yet", ErrNotReady)
	}
}

// known returns a type if the caller may do that with it; the right is checked
// first, so that a stranger does not learn which types there are.
func (in *Intake) known(ctx context.Context, who *auth.Identity, scope auth.Scope, typ string) (*registry.Type, error) {
	if err := who.Require(scope, typ); err != nil {
		return nil, err
	}
	if t, ok := in.opts.Directory.Get(typ); ok {
		return t, nil
	}
	// Registered a moment ago elsewhere, or not loaded yet.
	t, err := in.opts.Store.Get(ctx, typ)
	if err != nil {
		return nil, in.hideNames(who, queue.Classify(err))
	}
	in.opts.Directory.Note(t)
	return &t, nil
}

// knownJob is known for what is done with one job, whose ID has to be one.
func (in *Intake) knownJob(ctx context.Context, who *auth.Identity, scope auth.Scope, typ, id string) (*registry.Type, error) {
	t, err := in.known(ctx, who, scope, typ)
	if err != nil {
		return nil, err
	}
	return t, queue.ValidateID(id)
}

// hideNames takes from a not-found error the nearest names that the caller may not see.
func (in *Intake) hideNames(who *auth.Identity, err error) error {
	var missing *registry.NotFoundError
	if !errors.As(err, &missing) {
		return err
	}
	out := &registry.NotFoundError{Name: missing.Name}
	for _, n := range missing.Nearest {
		if who.CanType(n) {
			out.Nearest = append(out.Nearest, n)
		}
	}
	return out
}

// settings are what the queue needs to know of a type.
func settings(t *registry.Type) queue.Settings {
	s := queue.Settings{
		Version: t.Version, Concurrency: t.Concurrency, Paused: t.Paused,
		RetainCount: t.Retention.Count, RetainAge: t.Retention.Age,
		Batch: queue.BatchPolicy{Size: t.Batch.Size, Wait: t.Batch.Wait},
		Retry: queue.RetryPolicy{
			MaxAttempts: t.Retry.MaxAttempts, MinBackoff: t.Retry.MinBackoff, MaxBackoff: t.Retry.MaxBackoff, NoJitter: t.Retry.NoJitter,
		},
		Rate:   queue.Rate(t.Rate),
		Groups: queue.GroupLimits{Concurrency: t.Groups.Concurrency, Rate: queue.Rate(t.Groups.Rate)},
	}
	if o := t.Outage; o != nil {
		s.Outage = &queue.OutagePolicy{Share: o.Share, Of: o.Of, Refused: o.Refused, CanaryMin: o.CanaryMin, CanaryMax: o.CanaryMax}
	}
	if a := t.Adaptive; a != nil {
		s.Adaptive = &queue.AdaptivePolicy{Min: a.Min, TargetLatency: a.TargetLatency, Tolerance: a.Tolerance}
	}
	return s
}

// Apply puts a type's settings in force beside its queue. Whoever follows the
// directory calls it for each change too, so that it happens even if the process that made the change died.
func (in *Intake) Apply(ctx context.Context, t *registry.Type) error {
	return in.opts.Queue.Configure(ctx, t.Name, settings(t))
}

// applyTimeout bounds what follows a stored change, which must not be cut off with the caller's request.
const applyTimeout = 10 * time.Second
