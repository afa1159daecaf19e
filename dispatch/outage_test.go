package dispatch

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/deetoo/deetoo/queue"
	"github.com/deetoo/deetoo/registry"
)

// defaultOutage is what "outage": {} means.
func defaultOutage(t *registry.Type) {
	t.Outage = &registry.Outage{Share: 0.5, Of: 20, Refused: 3, CanaryMin: time.Second, CanaryMax: time.Minute}
}

// target is an endpoint that can be switched.
type target struct {
	*tally
	mu   sync.Mutex
	down Outcome
	is   bool
	when []time.Time // attempts that found it down
}

func newTarget(took time.Duration) *target {
	x := &target{}
	x.tally = newTally(func(ctx context.Context, l *queue.Lease) Outcome {
		x.mu.Lock()
		down, out := x.is, x.down
		if down {
			x.when = append(x.when, time.Now())
		}
		x.mu.Unlock()
		if down {
			return out
		}
		return work(took)(ctx, l)
	})
	return x
}

func (x *target) goes(down bool, o Outcome) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.is, x.down = down, o
}

func (x *target) failures() []time.Time {
	x.mu.Lock()
	defer x.mu.Unlock()
	return append([]time.Time(nil), x.when...)
}

var noAnswer = Outcome{Err: "connection refused", Health: queue.Refused}

// A minute without a target costs a thousand jobs nothing, one of them at a time tries
// it for all three dispatchers, and when it is back they do not all fall upon it at once.
func TestOutage(t *testing.T) {
	simulate(t, func(w *world) {
		w.newType("a", 30, defaultOutage)
		x := newTarget(100 * time.Millisecond)
		for range 3 {
			w.node(x)
		}
		x.goes(true, noAnswer)
		begun := time.Now()
		ids := w.push(jobs("a", 1000)...)
		time.Sleep(500 * time.Millisecond)
		s := w.stats("a")
		if s.Outage == nil || !s.Outage.Open || s.Outage.Reason != "connection refused" {
			t.Fatalf("%+v", s.Outage)
		}
		before := len(x.failures())
		if before > 60 {
			t.Errorf("%d attempts before it was held", before)
		}
		time.Sleep(59500 * time.Millisecond)
		failed := x.failures()[before:]
		if len(failed) != 5 {
			t.Errorf("%d canaries in a minute", len(failed))
		}
		for i, gap := range gaps(failed) {
			if want := 2 * time.Second << i; gap < want || gap > want+50*time.Millisecond {
				t.Errorf("canary %d went %s after the one before, want %s", i+2, gap, want)
			}
		}
		// Only what opened it was an attempt.
		spent := 0
		for _, id := range ids {
			spent += w.get("a", id).Attempt
		}
		if spent > 2 {
			t.Errorf("it cost %d attempts", spent)
		}
		if n := w.logged("the target is down"); n != 1 {
			t.Errorf("it was logged %d times", n)
		}
		x.goes(false, Outcome{})
		w.until("closed", 5*time.Second, func() bool { o := w.stats("a").Outage; return o == nil || !o.Open })
		back := time.Now()
		if d := back.Sub(begun); d < 63*time.Second || d > 64*time.Second {
			t.Errorf("it closed after %s", d)
		}
		w.until("all done", time.Minute, func() bool { return w.stats("a").Finished == 1000 })
		if w.logged("answers again") != 1 || w.logged("is well again") != 1 || x.peak("a") > 30 {
			t.Errorf("at most %d at once; log: %s", x.peak("a"), w.log.String())
		}
		// The first second: 1, 2, 4, 8 and 16 at once, 100 ms each.
		first := 0
		for _, id := range ids {
			for _, at := range x.times(id) {
				if at.After(back.Add(-200*time.Millisecond)) && at.Before(back.Add(100*time.Millisecond)) {
					first++
				}
			}
		}
		if first > 8 {
			t.Errorf("%d jobs in the first moment", first)
		}
		for _, id := range ids {
			if j := w.get("a", id); j.State != queue.Succeeded || j.Attempt > 2 {
				t.Fatalf("%+v", j)
			}
		}
		w.clean("a")
	})
}

// Attempts that were under way when it opened, and end long after, cost nothing either, and
// do not open it again.
func TestOutageOfSlowAttempts(t *testing.T) {
	simulate(t, func(w *world) {
		w.newType("a", 10, defaultOutage)
		x := newTarget(time.Second)
		var once sync.Map
		y := newTally(func(ctx context.Context, l *queue.Lease) Outcome {
			if _, again := once.LoadOrStore(l.ID, true); l.Title == "slow" && !again {
				if err := wait(ctx, 30*time.Second); err != nil {
					return Outcome{Err: err.Error()}
				}
				return Outcome{Err: "timeout", Health: queue.Overloaded}
			}
			return x.Deliver(ctx, l)
		})
		w.node(y)
		slow := w.push(queue.Job{Type: "a", Title: "slow"}, queue.Job{Type: "a", Title: "slow"})
		time.Sleep(time.Second)
		x.goes(true, Outcome{Err: "HTTP 503", Status: 503, Health: queue.Overloaded})
		w.push(jobs("a", 200)...)
		w.until("held", 10*time.Second, func() bool { o := w.stats("a").Outage; return o != nil && o.Open })
		if o := w.stats("a").Outage; o.Interval > 2*time.Second {
			t.Errorf("%+v", o)
		}
		x.goes(false, Outcome{})
		w.until("ramping", 10*time.Minute, func() bool { o := w.stats("a").Outage; return o != nil && !o.Open })
		w.until("all done", 10*time.Minute, func() bool { return w.stats("a").Finished == 202 })
		for _, id := range slow {
			w.expect("a", id, queue.Succeeded, "1 held, 1 succeeded")
		}
		if n := w.logged("the target is down"); n != 1 {
			t.Errorf("held %d times", n)
		}
		w.clean("a")
	})
}

func TestForcedHold(t *testing.T) {
	simulate(t, func(w *world) {
		w.newType("a", 10) // no outage in its settings
		x := newTarget(time.Second)
		n := w.node(x)
		w.node(x)
		running := w.push(jobs("a", 3)...)
		time.Sleep(500 * time.Millisecond)
		if _, err := w.q.Hold(bg, "a", "the database moves", 0); err != nil {
			t.Fatal(err)
		}
		ids := w.push(jobs("a", 50)...)
		time.Sleep(time.Hour)
		for _, id := range running {
			w.expect("a", id, queue.Succeeded, "1 succeeded")
		}
		if s := w.stats("a"); s.Waiting != 50 || s.Active != 0 || s.Outage.Reason != "the database moves" {
			t.Errorf("%+v", s)
		}
		calls := n.link.calls()
		time.Sleep(time.Hour)
		if more := n.link.calls() - calls; more > 300 {
			t.Errorf("%d calls of Redis in an hour of nothing to do", more)
		}
		if _, err := w.q.Unhold(bg, "a"); err != nil {
			t.Fatal(err)
		}
		w.until("all done", time.Minute, func() bool { return w.stats("a").Finished == 53 })
		if x.count(ids[0]) != 1 || w.stats("a").Outage != nil {
			t.Errorf("%+v", w.stats("a").Outage)
		}
		// For a time: then the canary goes by itself.
		if _, err := w.q.Hold(bg, "a", "", 10*time.Minute); err != nil {
			t.Fatal(err)
		}
		begun := time.Now()
		id := w.push(queue.Job{Type: "a"})[0]
		w.until("it ran", 11*time.Minute, func() bool { return x.count(id) == 1 })
		if d := x.times(id)[0].Sub(begun); d < 10*time.Minute || d > 10*time.Minute+50*time.Millisecond {
			t.Errorf("the canary went after %s", d)
		}
		w.clean("a")
	})
}

// A canary that dies with its dispatcher is one that failed: another goes.
func TestCanaryLostWithItsDispatcher(t *testing.T) {
	simulate(t, func(w *world) {
		w.newType("a", 10, defaultOutage)
		x := newTarget(time.Millisecond)
		x.goes(true, noAnswer)
		var mu sync.Mutex
		var holder string
		y := newTally(func(ctx context.Context, l *queue.Lease) Outcome {
			mu.Lock()
			o := w.stats("a").Outage
			down := holder == "" && o != nil && o.Canary == l.ID
			if down {
				holder = l.ID
			}
			mu.Unlock()
			if down {
				<-ctx.Done()
				return Outcome{Err: ctx.Err().Error()}
			}
			return x.Deliver(ctx, l)
		})
		n := w.node(y)
		w.push(jobs("a", 20)...)
		w.until("a canary hangs", time.Minute, func() bool { mu.Lock(); defer mu.Unlock(); return holder != "" })
		n.link.set(always(silent)) // it is gone, with its canary
		w.node(x)
		x.goes(false, Outcome{})
		time.Sleep(10 * time.Second)
		if o := w.stats("a").Outage; !o.Open || o.Canary == "" {
			t.Errorf("%+v", o)
		}
		w.until("another canary goes", 10*time.Second, func() bool { o := w.stats("a").Outage; return o == nil || !o.Open })
		w.until("all done", time.Minute, func() bool { return w.stats("a").Finished == 20 })
		mu.Lock()
		defer mu.Unlock()
		if j := w.get("a", holder); j.Lost != 1 || j.Attempt != 1 {
			t.Errorf("%+v", j)
		}
		w.clean("a")
	})
}
