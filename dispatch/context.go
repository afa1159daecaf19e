package dispatch

import (
	"context"
	"slices"
	"sync"
	"time"
)

// attemptContext is the context of one attempt. It does what a
// context.WithDeadline of a context.WithCancelCause does, and ends with its lease
// as well, for one timer in place of two, and without what each of those keeps
// about its children: they were a tenth of what an attempt cost.
type attemptContext struct {
	context.Context // ends with this one: context.Cause finds the cause there
	end             context.CancelCauseFunc

	mu       sync.Mutex
	timer    *time.Timer
	deadline time.Time // of the attempt; zero: none
	cutoff   time.Time // before the last confirmed lease ends
	err      error
	off      error // why the attempt was called off, if it was
	done     chan struct{}
	after    []*func()
}

// newAttemptContext is called off at the cutoff, for the loss of the lease.
func newAttemptContext(cutoff time.Time) *attemptContext {
	c := &attemptContext{cutoff: cutoff}
	c.Context, c.end = context.WithCancelCause(context.Background())
	c.mu.Lock() // the timer may fire at once
	defer c.mu.Unlock()
	c.timer = time.AfterFunc(time.Until(cutoff), c.ring)
	return c
}

// limit ends the context after a timeout. It is called before anybody else has the context.
func (c *attemptContext) limit(timeout time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.deadline = time.Now().Add(timeout)
	if c.err == nil && c.deadline.Before(c.cutoff) {
		c.timer.Reset(timeout)
	}
}

// extend moves the cutoff, to a later time. The timer takes note of it when it fires.
func (c *attemptContext) extend(cutoff time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cutoff = cutoff
}

// ring ends the context if it is time.
func (c *attemptContext) ring() {
	now := time.Now()
	c.mu.Lock()
	next := c.cutoff
	if !c.deadline.IsZero() && c.deadline.Before(next) {
		next = c.deadline
	}
	switch {
	case c.err != nil:
		c.mu.Unlock()
	case now.Before(next):
		c.timer.Reset(next.Sub(now))
		c.mu.Unlock()
	case next.Equal(c.deadline):
		c.ended(context.DeadlineExceeded, context.DeadlineExceeded)
	default:
		c.off = errLeaseLost
		c.ended(context.Canceled, errLeaseLost)
	}
}

// callOff ends the context for a cause that is not its attempt's; the first one counts.
func (c *attemptContext) callOff(cause error) {
	c.mu.Lock()
	if c.off == nil {
		c.off = cause
	}
	if c.err != nil {
		c.mu.Unlock()
		return
	}
	c.ended(context.Canceled, cause)
}

// release ends the context of an attempt that has ended.
func (c *attemptContext) release() {
	c.mu.Lock()
	if c.err != nil {
		c.mu.Unlock()
		return
	}
	c.ended(context.Canceled, context.Canceled)
}

// ended ends the context and unlocks it.
func (c *attemptContext) ended(err, cause error) {
	c.timer.Stop()
	c.end(cause)
	c.err = err
	if c.done != nil {
		close(c.done)
	}
	for _, f := range c.after {
		go (*f)()
	}
	c.after = nil
	c.mu.Unlock()
}

// calledOff is why the attempt was called off; nil if it was not, also if its timeout ended it.
func (c *attemptContext) calledOff() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.off
}

// Deadline, Done and Err are those of a context.Context.
func (c *attemptContext) Deadline() (time.Time, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.deadline, !c.deadline.IsZero()
}

// Done makes the channel when somebody asks for it first.
func (c *attemptContext) Done() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.done == nil {
		c.done = make(chan struct{})
		if c.err != nil {
			close(c.done)
		}
	}
	return c.done
}

// Err is nil, context.Canceled or context.DeadlineExceeded.
func (c *attemptContext) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// AfterFunc does what context.AfterFunc says, which calls it.
func (c *attemptContext) AfterFunc(f func()) (stop func() bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		go f()
		return func() bool { return false }
	}
	p := &f
	c.after = append(c.after, p)
	return func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		i := slices.Index(c.after, p)
		if i < 0 {
			return false
		}
		c.after = slices.Delete(c.after, i, i+1)
		return true
	}
}
