package ui

import (
	"context"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
)

// cache remembers answers for a moment, so that Redis is asked once for all the
// open tabs. Keys say for whom an answer is good.
type cache[T any] struct {
	fresh   time.Duration
	flights singleflight.Group
	mu      sync.Mutex
	known   map[string]remembered[T]
}

type remembered[T any] struct {
	value T
	at    time.Time
}

// maxRemembered is when a cache is cleared, whatever it holds.
const maxRemembered = 10_000

func newCache[T any](fresh time.Duration) *cache[T] {
	return &cache[T]{fresh: fresh, known: map[string]remembered[T]{}}
}

// get returns the answer for a key, asking if that is not known any more.
func (c *cache[T]) get(ctx context.Context, key string, ask func(context.Context) (T, error)) (T, error) {
	c.mu.Lock()
	k, ok := c.known[key]
	c.mu.Unlock()
	if ok && time.Since(k.at) < c.fresh {
		return k.value, nil
	}
	v, err, _ := c.flights.Do(key, func() (any, error) {
		// Others may wait for this answer, so it does not end with one tab's request.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		began := time.Now()
		v, err := ask(ctx)
		if err != nil {
			return v, err
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		if len(c.known) >= maxRemembered {
			clear(c.known)
		}
		c.known[key] = remembered[T]{v, began}
		return v, nil
	})
	if err != nil {
		var none T
		return none, err
	}
	return v.(T), nil
}
