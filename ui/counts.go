package ui

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/deetoo/deetoo/auth"
	"github.com/deetoo/deetoo/intake"
	"github.com/deetoo/deetoo/queue"
)

// counts remembers how many jobs the types have for a moment, so that Redis is
// asked once for all the open tabs, and of all types in one round trip.
type counts struct {
	in      *intake.Intake
	flights singleflight.Group
	mu      sync.Mutex
	known   map[string]counted
}

type counted struct {
	stats queue.Stats
	there bool
	at    time.Time
}

const (
	// countsFresh is how long counts are good, and countsEach for how long more with each type asked for:
	// a thousand types are counted every ten seconds, not every one.
	countsFresh = 1500 * time.Millisecond
	countsEach  = 10 * time.Millisecond
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

// of returns the counts of types, a moment old at most. A type that has just
// been deleted is left out. The caller's rights are checked for each.
func (c *counts) of(ctx context.Context, who *auth.Identity, types []string) (map[string]queue.Stats, error) {
	for _, typ := range types {
		if err := who.Require(auth.JobsRead, typ); err != nil {
			return nil, err
		}
	}
	if stale := c.stale(types); len(stale) > 0 {
		slices.Sort(stale)
		_, err, _ := c.flights.Do(strings.Join(stale, " "), func() (any, error) { return nil, c.ask(ctx, stale) })
		if err != nil {
			return nil, err
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	out := make(map[string]queue.Stats, len(types))
	for _, typ := range types {
		if k := c.known[typ]; k.there {
			out[typ] = k.stats
		}
	}
	return out, nil
}

func (c *counts) stale(types []string) (out []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	fresh := countsFresh + time.Duration(len(types))*countsEach
	for _, typ := range types {
		if k, ok := c.known[typ]; !ok || time.Since(k.at) >= fresh {
			out = append(out, typ)
		}
	}
	return out
}

func (c *counts) ask(ctx context.Context, types []string) error {
	// Others may wait for this answer, so it does not end with one tab's request; what each may see is checked elsewhere.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	began := time.Now()
	stats, err := c.in.StatsOf(ctx, auth.System(), types)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.known) >= maxCounts {
		clear(c.known)
	}
	for _, typ := range types {
		s, there := stats[typ]
		c.known[typ] = counted{s, there, began}
	}
	return nil
}
