package ui

import (
	"context"
	"errors"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/singleflight"

	"github.com/deetoo/deetoo/auth"
	"github.com/deetoo/deetoo/intake"
	"github.com/deetoo/deetoo/queue"
	"github.com/deetoo/deetoo/registry"
)

// counts remembers how many jobs the types have for a moment, so that Redis is
// asked once for all the open tabs.
type counts struct {
	in      *intake.Intake
	flights singleflight.Group
	mu      sync.Mutex
	known   map[string]counted
}

type counted struct {
	stats queue.Stats
	at    time.Time
}

const (
	countsFresh = time.Second
	// countsAtOnce is how many types are asked for at the same time.
	countsAtOnce = 16
	// maxCounts is when the memory of types that are gone is cleared.
	maxCounts = 20_000
)

func newCounts(in *intake.Intake) *counts {
	return &counts{in: in, known: map[string]counted{}}
}

// forget makes the next look at a type a fresh one.
func (c *counts) forget(typ string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.known, typ)
}

// of returns the counts of types, at most a second old. A type that has just
// been deleted is left out. The caller's rights are checked for each.
func (c *counts) of(ctx context.Context, who *auth.Identity, types []string) (map[string]queue.Stats, error) {
	out := make(map[string]queue.Stats, len(types))
	var mu sync.Mutex
	var g errgroup.Group
	g.SetLimit(countsAtOnce)
	for _, typ := range types {
		if err := who.Require(auth.JobsRead, typ); err != nil {
			return nil, err
		}
	}
	for _, typ := range types {
		if s, ok := c.remembered(typ); ok {
			mu.Lock()
			out[typ] = s
			mu.Unlock()
			continue
		}
		g.Go(func() error {
			s, err := c.ask(ctx, who, typ)
			if errors.Is(err, registry.ErrNotFound) {
				return nil
			}
			if err == nil {
				mu.Lock()
				out[typ] = s
				mu.Unlock()
			}
			return err
		})
	}
	return out, g.Wait()
}

func (c *counts) remembered(typ string) (queue.Stats, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k, ok := c.known[typ]
	return k.stats, ok && time.Since(k.at) < countsFresh
}

func (c *counts) ask(ctx context.Context, who *auth.Identity, typ string) (queue.Stats, error) {
	v, err, _ := c.flights.Do(typ, func() (any, error) {
		// Others may wait for this answer, so it does not end with one tab's request.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		began := time.Now()
		s, err := c.in.Stats(ctx, who, typ)
		if err != nil {
			return nil, err
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		if len(c.known) >= maxCounts {
			clear(c.known)
		}
		c.known[typ] = counted{s, began}
		return s, nil
	})
	if err != nil {
		return queue.Stats{}, err
	}
	return v.(queue.Stats), nil
}
