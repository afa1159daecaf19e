package dispatch

import (
	"sync"
	"time"
)

// crew runs functions on goroutines that wait a while for the next one: a new
// goroutine's stack would have to grow again for each attempt.
type crew struct {
	end <-chan struct{}

	mu       sync.Mutex
	idle     []*hand // the one that worked last at the end: its stack is still in the caches
	sweeping bool
	over     bool
}

// hand is a goroutine of a crew.
type hand struct {
	next  chan func() // closed: leave
	since time.Time   // when it became idle
}

// idleFor is how long a goroutine waits for something to do; up to twice as long.
const idleFor = time.Second

// newCrew makes a crew whose idle goroutines leave when end is closed.
func newCrew(end <-chan struct{}) *crew { return &crew{end: end} }

// do runs f at once, on a goroutine that is idle or else on a new one.
func (c *crew) do(f func()) {
	c.mu.Lock()
	n := len(c.idle)
	if n == 0 {
		c.mu.Unlock()
		go c.work(f)
		return
	}
	h := c.idle[n-1]
	c.idle[n-1] = nil
	c.idle = c.idle[:n-1]
	c.mu.Unlock()
	h.next <- f
}

// work ends early if f ends its goroutine: nobody counts on it.
func (c *crew) work(f func()) {
	h := &hand{next: make(chan func(), 1)}
	for ok := true; ok; f, ok = <-h.next {
		f()
		if !c.rest(h) {
			return
		}
	}
}

// rest has the goroutine wait with the others; false if the crew is no more.
func (c *crew) rest(h *hand) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over {
		return false
	}
	h.since = time.Now()
	c.idle = append(c.idle, h)
	if !c.sweeping {
		c.sweeping = true
		go c.sweep()
	}
	return true
}

// sweep sends goroutines away that have been idle too long, until none is idle.
func (c *crew) sweep() {
	tick := time.NewTicker(idleFor)
	defer tick.Stop()
	for {
		over := false
		select {
		case <-tick.C:
		case <-c.end:
			over = true
		}
		if c.dismiss(over) {
			return
		}
	}
}

// dismiss reports whether there is nothing left to sweep.
func (c *crew) dismiss(over bool) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.over = over
	limit := time.Now().Add(-idleFor)
	old := 0
	for old < len(c.idle) && (over || !c.idle[old].since.After(limit)) {
		close(c.idle[old].next)
		old++
	}
	if c.idle = append([]*hand(nil), c.idle[old:]...); len(c.idle) > 0 {
		return false
	}
	c.sweeping = false
	return true
}
