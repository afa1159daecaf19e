package dispatch

import (
	"fmt"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/deetoo/deetoo/queue"
	"github.com/deetoo/deetoo/registry"
)

func TestDelaysAreExact(t *testing.T) {
	simulate(t, func(w *world) {
		w.newType("a", 10)
		y := newTally(work(0))
		w.node(y)
		w.node(y)
		time.Sleep(1234567 * time.Nanosecond)
		want := map[string]time.Time{}
		for _, d := range []time.Duration{1, 2, 17, 999, 1000, 1001, 14999, 15000, 60001, 720123} {
			due := time.Now().Truncate(time.Millisecond).Add(d * time.Millisecond)
			want[w.push(queue.Job{Type: "a", Delay: d * time.Millisecond})[0]] = due
			when := due.Add(20 * time.Minute)
			want[w.push(queue.Job{Type: "a", RunAt: when})[0]] = when
		}
		time.Sleep(40 * time.Minute)
		for id, due := range want {
			got := y.times(id)
			if len(got) != 1 || got[0].Before(due) || got[0].Sub(due) > time.Millisecond {
				t.Errorf("due %s, ran %v", due, got)
			}
		}
	})
}

func TestIdleLaneSleepsYetRunsAtOnce(t *testing.T) {
	simulate(t, func(w *world) {
		w.newType("a", 10)
		y := newTally(work(time.Millisecond))
		n := w.node(y)
		time.Sleep(time.Second)
		before := n.link.calls()
		time.Sleep(10 * time.Minute)
		if calls := n.link.calls() - before; calls > 40 {
			t.Errorf("%d calls of Redis in ten idle minutes", calls)
		}
		for range 20 {
			time.Sleep(777 * time.Millisecond)
			begun, calls := time.Now(), n.link.calls()
			id := w.push(queue.Job{Type: "a"})[0]
			time.Sleep(5 * time.Millisecond)
			if got := y.times(id); len(got) != 1 || got[0].Sub(begun) > time.Millisecond {
				t.Errorf("pushed at %s, ran %v", begun, got)
			}
			if n.link.calls()-calls > 3 {
				t.Errorf("one job cost %d calls", n.link.calls()-calls)
			}
		}
	})
}

func TestPausedLaneIsNotKeptBusyByPushes(t *testing.T) {
	simulate(t, func(w *world) {
		w.newType("a", 10, func(t *registry.Type) { t.Paused = true })
		y := newTally(work(time.Millisecond))
		n := w.node(y)
		time.Sleep(time.Second)
		before := n.link.calls()
		for range 1000 {
			w.push(queue.Job{Type: "a"})
			n.Heard(queue.Event{Type: "a"}) // as who pushes in the same process tells it, each time
			time.Sleep(time.Millisecond)
		}
		if calls := n.link.calls() - before; calls > 30 {
			t.Errorf("%d calls of Redis in a second in which nothing could be claimed", calls)
		}
		resumed := w.typ("a")
		resumed.Paused = false
		w.set(&resumed)
		time.Sleep(2 * time.Second)
		if ran := len(y.all()); ran != 1000 {
			t.Errorf("%d of 1000 jobs ran", ran)
		}
	})
}

func TestLostWakeIsCaughtByThePoll(t *testing.T) {
	simulate(t, func(w *world) {
		w.newType("a", 10)
		y := newTally(work(time.Millisecond))
		n := w.node(y)
		time.Sleep(time.Minute)
		n.silence()
		n.WakesArrive(true) // it thinks it hears
		time.Sleep(time.Minute)
		id := w.push(queue.Job{Type: "a"})[0]
		time.Sleep(19 * time.Second)
		if y.count(id) != 1 {
			t.Error("a lost wake was not made up for")
		}
		n.WakesArrive(false) // it knows that it does not
		time.Sleep(time.Second)
		for range 10 {
			id := w.push(queue.Job{Type: "a"})[0]
			time.Sleep(1250 * time.Millisecond)
			if y.count(id) != 1 {
				t.Error("a lane that cannot be woken did not poll each second")
			}
		}
	})
}

// A lane that sleeps long on the promise of wakes must not do so when the
// promise is broken.
func TestPollQuickensWhenWakesEnd(t *testing.T) {
	simulate(t, func(w *world) {
		w.newType("a", 10)
		y := newTally(work(time.Millisecond))
		n := w.node(y)
		time.Sleep(time.Minute)
		n.silence() // tells that wakes arrive no more
		id := w.push(queue.Job{Type: "a"})[0]
		time.Sleep(1250 * time.Millisecond)
		if y.count(id) != 1 {
			t.Error("the job waited longer than a poll")
		}
	})
}

// Another dispatcher's slots become free without any news for this one.
func TestFreedSlotsAreFound(t *testing.T) {
	simulate(t, func(w *world) {
		w.newType("a", 1)
		y := newTally(work(5 * time.Second))
		first := w.node(y)
		w.push(queue.Job{Type: "a"})
		time.Sleep(time.Second)
		w.node(y)
		id := w.push(queue.Job{Type: "a"})[0]
		time.Sleep(time.Second)
		if err := first.Stop(bg); err != nil { // it finishes its job and takes no other
			t.Error(err)
		}
		time.Sleep(1250 * time.Millisecond)
		if y.count(id) != 1 {
			t.Error("a slot that another dispatcher left stayed empty")
		}
	})
}

func TestThousandIdleTypes(t *testing.T) {
	simulate(t, func(w *world) {
		const types = 1000
		y := newTally(work(time.Millisecond))
		n := w.node(y)
		synctest.Wait()
		before := runtime.NumGoroutine()
		for i := range types {
			w.newType(fmt.Sprintf("t%d", i), 10)
		}
		time.Sleep(20 * time.Second)
		goroutines := runtime.NumGoroutine() - before
		calls := n.link.calls()
		time.Sleep(30 * time.Second)
		perSecond := float64(n.link.calls()-calls) / 30
		t.Logf("%d idle types: %d goroutines, %.0f calls of Redis a second", types, goroutines, perSecond)
		if goroutines > types+50 {
			t.Errorf("%d goroutines for %d idle types", goroutines, types)
		}
		if perSecond > 70 {
			t.Errorf("%.0f calls of Redis a second for %d idle types", perSecond, types)
		}
		if err := n.Stop(bg); err != nil {
			t.Error(err)
		}
		// What is left are Redis connections; the bubble sees to real leaks.
		if n := runtime.NumGoroutine() - before; n > 50 {
			t.Errorf("%d goroutines more after stopping than before", n)
		}
	})
}
