package dispatch

import (
	"log/slog"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/deetoo/deetoo/queue"
	"github.com/deetoo/deetoo/registry"
)

// That no goroutine outlasts its crew is what synctest.Test checks at its end.
func TestCrewUsesGoroutinesAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		end := make(chan struct{})
		defer close(end)
		c := newCrew(end)
		ids := make(chan string, 10)
		first := ""
		for range 10 {
			c.do(func() { ids <- goroutine() })
			if id := <-ids; first == "" {
				first = id
			} else if id != first {
				t.Errorf("goroutine %s was made though %s was idle", id, first)
			}
			synctest.Wait()
		}
		hold, seen := make(chan struct{}), map[string]bool{}
		for range 5 { // none waits for another
			c.do(func() { ids <- goroutine(); <-hold })
		}
		for range 5 {
			seen[<-ids] = true
		}
		if len(seen) != 5 || !seen[first] {
			t.Errorf("5 at once ran on %v; %s was idle", seen, first)
		}
		c.do(runtime.Goexit)
		close(hold)
		time.Sleep(2 * idleFor)
		c.do(func() { ids <- goroutine() })
		if id := <-ids; seen[id] {
			t.Errorf("goroutine %s stayed idle for more than %s", id, idleFor)
		}
	})
}

// goroutine is the number of the one that asks.
func goroutine() string {
	b := make([]byte, 64)
	return strings.Fields(string(b[:runtime.Stack(b, false)]))[1]
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
