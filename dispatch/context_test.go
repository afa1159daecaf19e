package dispatch

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// An attempt's context is to those who have it what the standard library's would be.
func TestAttemptContextEndsAsTheLibrarysDo(t *testing.T) {
	own := errors.New("own")
	for name, tc := range map[string]struct {
		act        func(*attemptContext)
		after      time.Duration // when it ends
		err, cause error
		off        error
	}{
		"its timeout":        {func(c *attemptContext) { c.limit(time.Second) }, time.Second, context.DeadlineExceeded, context.DeadlineExceeded, nil},
		"its lease":          {func(c *attemptContext) { c.limit(time.Minute) }, 10 * time.Second, context.Canceled, errLeaseLost, errLeaseLost},
		"a renewed lease":    {func(c *attemptContext) { c.extend(time.Now().Add(time.Minute)) }, time.Minute, context.Canceled, errLeaseLost, errLeaseLost},
		"renewed, a timeout": {func(c *attemptContext) { c.limit(30 * time.Second); c.extend(time.Now().Add(time.Minute)) }, 30 * time.Second, context.DeadlineExceeded, context.DeadlineExceeded, nil},
		"called off":         {func(c *attemptContext) { c.callOff(own); c.callOff(errStopping) }, 0, context.Canceled, own, own},
		"its attempt's end":  {func(c *attemptContext) { c.release() }, 0, context.Canceled, context.Canceled, nil},
		"called off too late": {func(c *attemptContext) {
			c.limit(time.Second)
			time.AfterFunc(2*time.Second, func() { c.callOff(own) })
		}, time.Second, context.DeadlineExceeded, context.DeadlineExceeded, own},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begun := time.Now()
				c := newAttemptContext(begun.Add(10 * time.Second))
				child, cancel := context.WithTimeout(context.WithValue(c, t, 1), time.Hour)
				defer cancel()
				ran := make(chan time.Duration, 1)
				context.AfterFunc(c, func() { ran <- time.Since(begun) })
				stop := context.AfterFunc(c, func() { t.Error("what was stopped runs") })
				if !stop() || stop() {
					t.Error("stopping says the contrary")
				}
				tc.act(c)
				<-c.Done()
				if took := time.Since(begun); took != tc.after || <-ran != tc.after {
					t.Errorf("it ended after %s, not %s", took, tc.after)
				}
				<-child.Done()
				if c.Err() != tc.err || child.Err() != tc.err || context.Cause(c) != tc.cause || context.Cause(child) != tc.cause {
					t.Errorf("%v because of %v; a child %v because of %v", c.Err(), context.Cause(c), child.Err(), context.Cause(child))
				}
				if context.AfterFunc(c, func() { ran <- 0 })() {
					t.Error("what comes afterwards was stopped")
				}
				<-ran
				time.Sleep(time.Hour)
				if c.calledOff() != tc.off {
					t.Errorf("called off for %v", c.calledOff())
				}
			})
		})
	}
}
