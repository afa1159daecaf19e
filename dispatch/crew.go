package dispatch

import "time"

// crew runs functions on goroutines that wait a while for the next one: a new
// goroutine's stack would have to grow again for each attempt.
type crew struct {
	next chan func()
	end  <-chan struct{}
}

// idleFor is how long a goroutine waits for something to do.
const idleFor = time.Second

// newCrew makes a crew whose idle goroutines leave when end is closed.
func newCrew(end <-chan struct{}) *crew { return &crew{next: make(chan func()), end: end} }

// do runs f at once, on a goroutine that is idle or else on a new one.
func (c *crew) do(f func()) {
	select {
	case c.next <- f:
	default:
		go c.work(f)
	}
}

// work ends early if f ends its goroutine: nobody counts on it.
func (c *crew) work(f func()) {
	idle := time.NewTimer(idleFor)
	defer idle.Stop()
	for {
		f()
		f = nil
		idle.Reset(idleFor)
		select {
		case f = <-c.next:
		case <-idle.C:
			return
		case <-c.end:
			return
		}
	}
}
