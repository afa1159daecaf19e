package dispatch

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/deetoo/deetoo/queue"
	"github.com/deetoo/deetoo/registry"
)

func within(d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(bg, d)
	context.AfterFunc(ctx, cancel)
	return ctx
}

func TestStopWaits(t *testing.T) {
	simulate(t, func(w *world) {
		typ := w.newType("a", 2)
		y := newTally(work(5 * time.Second))
		n := w.node(y)
		ids := w.push(jobs("a", 6)...)
		time.Sleep(time.Second)
		begun := time.Now()
		if err := n.Stop(within(30 * time.Second)); err != nil {
			t.Error(err)
		}
		if took := time.Since(begun); took != 4*time.Second {
			t.Errorf("it took %s, want 4s: until the running jobs were done", took)
		}
		if s := w.stats("a"); s.Finished != 2 || s.Waiting != 4 || s.Active != 0 {
			t.Errorf("%+v", s)
		}
		if err := n.Stop(bg); err != nil {
			t.Errorf("a second stop: %v", err)
		}
		n.Set(typ) // too late
		n.Remove("a")
		n.Heard(queue.Event{Type: "a"})
		n.Heard(queue.Event{})
		n.WakesArrive(false)
		time.Sleep(time.Hour)
		for _, id := range ids[2:] {
			w.expect("a", id, queue.Waiting, "")
		}
		w.clean("a")
	})
}

func TestStopWithNothingRunningAbortsNothing(t *testing.T) {
	simulate(t, func(w *world) {
		w.newType("a", 2)
		n := w.node(newTally(work(time.Second)))
		time.Sleep(time.Second)
		ended, cancel := context.WithCancel(bg)
		cancel()
		if err := n.Stop(ended); err != nil {
			t.Errorf("a stop that does not wait, of idle lanes: %v", err)
		}
	})
}

func TestStopAtTheDeadline(t *testing.T) {
	for _, tc := range []struct {
		on           OnTimeout
		max          int
		state        queue.State
		history, err string
	}{
		{ReleaseOnTimeout, 4, queue.Waiting, "1 released", "context canceled"},
		{FailOnTimeout, 4, queue.Scheduled, "1 failed", "still running when the dispatcher shut down"},
		{FailOnTimeout, 1, queue.Dead, "1 dead", "still running when the dispatcher shut down"},
	} {
		t.Run(string(tc.on), func(t *testing.T) {
			simulate(t, func(w *world) {
				w.newType("a", 2, func(t *registry.Type) { t.Retry.MaxAttempts = tc.max })
				y := newTally(func(ctx context.Context, l *queue.Lease) Outcome {
					out := work(time.Hour)(ctx, l)
					if tc.on == FailOnTimeout {
						out = Outcome{Verdict: Release, Err: "called off"}
					}
					return out
				})
				n := w.node(y, func(o *Options) { o.OnTimeout = tc.on })
				id := w.push(queue.Job{Type: "a"})[0]
				time.Sleep(time.Minute)
				begun := time.Now()
				err := n.Stop(within(30 * time.Second))
				if err == nil || !strings.Contains(err.Error(), "1 attempts still running") || strings.Contains(err.Error(), "settled") {
					t.Error(err)
				}
				if took := time.Since(begun); took < 30*time.Second || took > 30*time.Second+10*time.Millisecond {
					t.Errorf("it took %s", took)
				}
				w.expect("a", id, tc.state, tc.history)
				j := w.get("a", id)
				if want := map[OnTimeout]int{ReleaseOnTimeout: 0, FailOnTimeout: 1}[tc.on]; j.Attempt != want || j.LastError != tc.err {
					t.Errorf("attempt %d, want %d; error %q", j.Attempt, want, j.LastError)
				}
				w.clean("a")
			})
		})
	}
}

func TestSecondStopIsShorter(t *testing.T) {
	simulate(t, func(w *world) {
		w.newType("a", 2)
		n := w.node(newTally(work(time.Hour)))
		id := w.push(queue.Job{Type: "a"})[0]
		time.Sleep(time.Second)
		first := make(chan error)
		begun := time.Now()
		go func() { first <- n.Stop(within(time.Minute)) }()
		time.Sleep(time.Second)
		if err := n.Stop(within(time.Second)); err == nil {
			t.Error("the second stop aborted an attempt and did not say so")
		}
		if err := <-first; err != nil || time.Since(begun) > 2100*time.Millisecond {
			t.Errorf("%v after %s", err, time.Since(begun))
		}
		w.expect("a", id, queue.Waiting, "1 released")
	})
}

// A deliverer that does not return keeps its job until Stop gives up; then
// nobody renews its lease.
func TestStopWithHungDeliverer(t *testing.T) {
	simulate(t, func(w *world) {
		w.newType("a", 2)
		hung := make(chan struct{})
		n := w.node(DelivererFunc(func(context.Context, *queue.Lease) Outcome { <-hung; return Outcome{} }))
		id := w.push(queue.Job{Type: "a"})[0]
		time.Sleep(time.Second)
		begun := time.Now()
		if err := n.Stop(within(10 * time.Second)); err == nil || !strings.Contains(err.Error(), "could not be settled") {
			t.Error(err)
		}
		if took := time.Since(begun); took != 15*time.Second {
			t.Errorf("it took %s", took)
		}
		calls := n.link.calls()
		y := newTally(work(time.Second))
		w.node(y)
		time.Sleep(20 * time.Second)
		w.expect("a", id, queue.Succeeded, "1 lost, 1 succeeded")
		if n.link.calls() != calls {
			t.Error("a stopped dispatcher still talks to Redis")
		}
		close(hung)
		synctest.Wait() // the attempt's goroutine ends though nobody hears it
		w.clean("a")
	})
}

func TestStopWhileRedisIsAway(t *testing.T) {
	simulate(t, func(w *world) {
		w.newType("idle", 2)
		w.newType("busy", 2)
		n := w.node(newTally(work(2 * time.Second)))
		n.link.set(always(refused))
		time.Sleep(20 * time.Second)
		begun := time.Now()
		if err := n.Stop(within(30 * time.Second)); err != nil || time.Since(begun) > time.Second {
			t.Errorf("with nothing to settle it took %s, %v", time.Since(begun), err)
		}
		n = w.node(newTally(work(2 * time.Second)))
		id := w.push(queue.Job{Type: "busy"})[0]
		time.Sleep(time.Second)
		n.link.set(always(silent))
		stopped := make(chan error)
		go func() { stopped <- n.Stop(within(30 * time.Second)) }()
		time.Sleep(20 * time.Second)
		n.link.set(nil) // the settlement is still waiting to be heard
		if err := <-stopped; err != nil {
			t.Error(err)
		}
		w.expect("busy", id, queue.Succeeded, "1 succeeded")
		n = w.node(newTally(work(2 * time.Second)))
		id = w.push(queue.Job{Type: "busy"})[0]
		time.Sleep(time.Second)
		n.link.set(always(silent))
		begun = time.Now()
		if err := n.Stop(within(30 * time.Second)); err == nil || time.Since(begun) > 35*time.Second {
			t.Errorf("a result was lost, and Stop said %v after %s", err, time.Since(begun))
		}
		if w.get("busy", id).State != queue.Active {
			t.Error("the job is not left to its lease")
		}
		w.clean("busy")
	})
}

// A claim under way when Stop is called brings jobs that must not start.
func TestStopDuringAClaim(t *testing.T) {
	simulate(t, func(w *world) {
		w.newType("a", 2)
		y := newTally(work(time.Hour))
		n := w.node(y)
		time.Sleep(time.Second)
		n.link.set(once("exchange", mute))
		id := w.push(queue.Job{Type: "a"})[0]
		time.Sleep(time.Second)
		if w.get("a", id).State != queue.Active {
			t.Fatal("the claim did not happen")
		}
		if err := n.Stop(within(30 * time.Second)); err != nil {
			t.Error(err)
		}
		if y.count(id) != 0 {
			t.Error("a job was started after Stop")
		}
		w.expect("a", id, queue.Waiting, "")
		w.clean("a")
	})
}

func TestDrainCanBeCalledAgain(t *testing.T) {
	simulate(t, func(w *world) {
		w.newType("a", 2)
		n := w.node(newTally(work(10 * time.Second)))
		w.push(jobs("a", 2)...)
		time.Sleep(time.Second)
		for range 3 {
			if err := n.Drain(within(time.Second)); err == nil || !strings.Contains(err.Error(), "2 attempts still running") {
				t.Error(err)
			}
		}
		if err := n.Drain(bg); err != nil || n.Running() != 0 {
			t.Error(err)
		}
		if s := w.stats("a"); s.Finished != 2 {
			t.Errorf("%+v", s)
		}
	})
}
