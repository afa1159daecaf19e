// Package relay brings about what follows a job's end: its follow-ups, the next of its
// chain, its callback, and the end of its workflow. A job's type lives under one hash tag of the Redis, its followers under
// others, so the step that ends a job only notes in the type's outbox that it
// did; a relay in each dispatcher takes these notes, pushes what follows, and takes them away. A relay
// that dies in between is made up for by another, and every push has a key
// that makes it happen once.
package relay

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/deetoo/deetoo/invalid"
	"github.com/deetoo/deetoo/queue"
)

// Outbox is what a relay needs of a queue.
type Outbox interface {
	TakeEndings(ctx context.Context, typ string, lease time.Duration) ([]queue.Ending, time.Duration, error)
	Relayed(ctx context.Context, typ string, keys ...string) error
	DeferEnding(ctx context.Context, typ string, e *queue.Ending, delay time.Duration, why string) error
}

// Pusher is the way in for what follows.
type Pusher interface {
	// PushFollowUp pushes a job once under its key, however often it is called.
	PushFollowUp(ctx context.Context, o queue.Once, j queue.Job) error
	// FollowUpDone says that this push will not be repeated, so that its key need not be remembered for long.
	FollowUpDone(ctx context.Context, o queue.Once, j queue.Job)
}

// Options of a Relay. Outbox, Pusher and Workflows are required.
type Options struct {
	Outbox Outbox
	Pusher Pusher
	// Workflows hear of the ends of their jobs.
	Workflows Workflows
	// Types are those whose outboxes nobody else in this process looks at, and
	// which are looked at unasked: asked for anew each time. Default: none.
	Types func() []string
	// Logger hears of what cannot be pushed. Default: none.
	Logger *slog.Logger
}

// Validate names the option that is wrong, as an *invalid.Error.
func (o Options) Validate() error {
	switch {
	case o.Outbox == nil:
		return invalid.Errorf("outbox", "is required")
	case o.Pusher == nil:
		return invalid.Errorf("pusher", "is required")
	case o.Workflows == nil:
		return invalid.Errorf("workflows", "is required")
	}
	return nil
}

const (
	// lease is how long an ending is one relay's. Its pushes end well before.
	lease = 10 * time.Second
	// patience is how long all pushes of one ending may take.
	patience = lease / 2
	// poll is how often Options.Types are looked at, on average.
	poll = 15 * time.Second
	// together is how many endings are relayed at once: a round trip or two each.
	together = 16
	// keyLife is how long the key of a push is remembered while its ending lies in an outbox: as long as all
	// relays may be away between the push and the ending's removal.
	keyLife = 7 * 24 * time.Hour
	// maxBackoff is how long an ending waits at most that could not be relayed.
	maxBackoff = 5 * time.Minute
)

// Relay relays. Make it with New and Run it.
type Relay struct {
	opts Options
	mu   sync.Mutex
	due  map[string]time.Time // when the outbox of a type is to be looked at
	more chan struct{}
}

// New makes a Relay.
func New(opts Options) (*Relay, error) {
	if err := opts.Validate(); err != nil {
		return nil, err
	}
	if opts.Types == nil {
		opts.Types = func() []string { return nil }
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	return &Relay{opts: opts, due: map[string]time.Time{}, more: make(chan struct{}, 1)}, nil
}

// Notify tells that there is something in the outbox of a type. It does not block.
func (r *Relay) Notify(typ string) {
	r.look(typ, time.Now())
	select {
	case r.more <- struct{}{}:
	default:
	}
}

// look has the outbox of a type looked at then, if not earlier.
func (r *Relay) look(typ string, at time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if old, ok := r.due[typ]; !ok || at.Before(old) {
		r.due[typ] = at
	}
}

// take returns a type whose outbox is due, or how long until one is.
func (r *Relay) take() (typ string, wait time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	wait = poll
	for t, at := range r.due {
		if left := time.Until(at); left <= 0 {
			delete(r.due, t)
			return t, 0
		} else if left < wait {
			wait = left
		}
	}
	return "", wait
}

// Run relays until ctx ends.
func (r *Relay) Run(ctx context.Context) {
	unasked := time.Now().Add(rand.N(poll))
	timer := time.NewTimer(0)
	defer timer.Stop()
	failing := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.more:
		case <-timer.C:
		}
		if !time.Now().Before(unasked) {
			for _, typ := range r.opts.Types() {
				r.look(typ, time.Now())
			}
			r.resume(ctx)
			unasked = time.Now().Add(poll/2 + rand.N(poll))
		}
		wait := time.Duration(0)
		for ctx.Err() == nil {
			var typ string
			if typ, wait = r.take(); typ == "" {
				break
			}
			err := r.drain(ctx, typ)
			if err != nil && ctx.Err() == nil {
				if !failing {
					r.opts.Logger.Warn("what follows ended jobs cannot be pushed; trying on", "type", typ, "error", err)
				}
				r.look(typ, time.Now().Add(time.Second))
			}
			failing = err != nil
		}
		timer.Reset(min(wait, max(time.Until(unasked), 0)))
	}
}

// drain relays what is due in a type's outbox.
func (r *Relay) drain(ctx context.Context, typ string) error {
	for {
		ctx, cancel := context.WithTimeout(ctx, patience)
		endings, next, err := r.opts.Outbox.TakeEndings(ctx, typ, lease)
		if err == nil && len(endings) > 0 {
			err = r.relay(ctx, typ, endings)
		}
		cancel()
		if err != nil {
			return err
		}
		if next != 0 || len(endings) == 0 {
			if next >= 0 {
				r.look(typ, time.Now().Add(max(next, 10*time.Millisecond)))
			}
			return nil
		}
	}
}

// relay pushes what follows these endings. One that cannot be relayed is put
// back, and does not stop the others.
func (r *Relay) relay(ctx context.Context, typ string, endings []queue.Ending) error {
	done := make([]bool, len(endings))
	pushed := make([][]step, len(endings))
	var group errgroup.Group
	group.SetLimit(together)
	for i := range endings {
		group.Go(func() (err error) {
			if pushed[i], err = r.follow(ctx, &endings[i]); err == nil {
				done[i] = true
				return nil
			}
			return r.putBack(ctx, typ, &endings[i], err)
		})
	}
	err := group.Wait()
	var keys []string
	var steps []step
	for i, e := range endings {
		if done[i] {
			keys, steps = append(keys, e.Key), append(steps, pushed[i]...)
		}
	}
	if gone := r.opts.Outbox.Relayed(ctx, typ, keys...); gone != nil {
		return gone
	}
	for _, s := range steps {
		group.Go(func() error { r.opts.Pusher.FollowUpDone(ctx, s.once, s.job); return nil })
	}
	_ = group.Wait()
	return err
}

func (r *Relay) follow(ctx context.Context, e *queue.Ending) ([]step, error) {
	if e.Err != nil {
		return nil, e.Err
	}
	steps, err := stepsAfter(e)
	if err != nil {
		return nil, err
	}
	for _, s := range steps {
		if err := r.opts.Pusher.PushFollowUp(ctx, s.once, s.job); err != nil {
			return nil, err
		}
	}
	return steps, r.workflowJobEnded(ctx, e)
}

// putBack defers an ending. The error is that of the store alone.
func (r *Relay) putBack(ctx context.Context, typ string, e *queue.Ending, why error) error {
	if ctx.Err() != nil {
		return ctx.Err() // another takes it when our time with it is over
	}
	delay := min(time.Second<<min(e.Tries, 20), maxBackoff)
	delay = delay/2 + rand.N(delay/2+1)
	log := r.opts.Logger.Warn
	if e.Tries > 0 {
		log = r.opts.Logger.Debug
	}
	log("a job has ended, and what follows it cannot be pushed; trying on", "type", typ, "job", e.Job.ID, "tries", e.Tries+1, "error", why)
	return r.opts.Outbox.DeferEnding(ctx, typ, e, delay, why.Error())
}
