package dispatch

import (
	"log/slog"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/deetoo/deetoo/queue"
	"github.com/deetoo/deetoo/registry"
)

func TestCrewUsesGoroutinesAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		end := make(chan struct{})
		c := newCrew(end)
		before := runtime.NumGoroutine()
		ran := 0
		for range 10 {
			c.do(func() { ran++ })
			synctest.Wait()
		}
		if n := runtime.NumGoroutine() - before; ran != 10 || n != 1 {
			t.Errorf("%d of 10 ran, on %d goroutines that wait", ran, n)
		}
		hold := make(chan struct{})
		for range 5 { // none waits for another
			c.do(func() { <-hold; ran++ })
		}
		synctest.Wait()
		if n := runtime.NumGoroutine() - before; n != 5 {
			t.Errorf("5 at once ran on %d goroutines", n)
		}
		c.do(runtime.Goexit)
		synctest.Wait()
		close(hold)
		time.Sleep(idleFor + time.Millisecond)
		synctest.Wait()
		if n := runtime.NumGoroutine() - before; ran != 15 || n != 0 {
			t.Errorf("%d of 15 ran; %d goroutines idle on", ran, n)
		}
		c.do(func() { ran++ })
		synctest.Wait()
		close(end)
		synctest.Wait()
		if n := runtime.NumGoroutine() - before; ran != 16 || n != 0 {
			t.Errorf("%d of 16 ran; %d goroutines outlast the end", ran, n)
		}
	})
}

// Only a success at the very first attempt may go without its line of history.
func TestPlainSettlement(t *testing.T) {
	typ := registry.New("email", "http://x.test/")
	l := newLane(&Dispatcher{opts: Options{Logger: slog.New(slog.DiscardHandler)}}, &typ)
	for _, c := range []struct {
		verdict       Verdict
		attempt, lost int
		plain         bool
	}{
		{Done, 1, 0, true}, {Done, 1, 1, false}, {Done, 2, 0, false},
		{Retry, 1, 0, false}, {Dead, 1, 0, false}, {Release, 1, 0, false},
	} {
		lease := &queue.Lease{Job: queue.Job{ID: "1", Attempt: c.attempt, Lost: c.lost}}
		if s := l.settlement(result{lease: lease, outcome: Outcome{Verdict: c.verdict}}); s.Plain != c.plain {
			t.Errorf("%+v: %+v", c, s)
		}
	}
}
