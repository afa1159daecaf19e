package dispatch

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/deetoo/deetoo/queue"
	"github.com/deetoo/deetoo/registry"
)

func TestConcurrencyHoldsAcrossDispatchers(t *testing.T) {
	for _, nodes := range []int{1, 3} {
		t.Run(fmt.Sprint(nodes), func(t *testing.T) {
			simulate(t, func(w *world) {
				w.newType("a", 4)
				w.newType("b", 1)
				w.newType("c", 30)
				y := newTally(func(ctx context.Context, l *queue.Lease) Outcome {
					if l.Attempt == 1 && l.ID[25]%3 == 0 {
						return Outcome{Err: "once"}
					}
					return work(time.Duration(l.ID[24])*time.Millisecond)(ctx, l)
				})
				for range nodes {
					w.node(y)
				}
				for _, typ := range []string{"a", "b", "c"} {
					w.push(jobs(typ, 100)...)
				}
				w.until("all succeed", 5*time.Minute, func() bool {
					return w.stats("a").Finished+w.stats("b").Finished+w.stats("c").Finished == 300
				})
				for typ, limit := range map[string]int{"a": 4, "b": 1, "c": 30} {
					if y.peak(typ) != limit {
						t.Errorf("at most %d of %s ran at once, want %d", y.peak(typ), typ, limit)
					}
				}
				w.clean("a", "b", "c")
			})
		})
	}
}

func TestConcurrencyChangesLive(t *testing.T) {
	simulate(t, func(w *world) {
		w.newType("a", 2)
		y := newTally(work(time.Second))
		w.node(y)
		w.node(y)
		w.push(jobs("a", 500)...)
		limits := func(n int) {
			typ := w.typ("a")
			typ.Concurrency = n
			w.set(&typ)
		}
		time.Sleep(5500 * time.Millisecond)
		if y.peak("a") != 2 {
			t.Errorf("%d ran, want 2", y.peak("a"))
		}
		limits(20)
		time.Sleep(5 * time.Millisecond)
		if y.now("a") != 20 {
			t.Errorf("5ms after the limit was raised %d run, want 20", y.now("a"))
		}
		time.Sleep(3 * time.Second)
		limits(3)
		time.Sleep(1100 * time.Millisecond)
		for range 20 {
			if time.Sleep(100 * time.Millisecond); y.now("a") > 3 {
				t.Fatalf("%d run after the limit was lowered to 3", y.now("a"))
			}
		}
		paused := w.typ("a")
		paused.Paused = true
		w.set(&paused)
		time.Sleep(1100 * time.Millisecond)
		left := w.stats("a").Waiting
		time.Sleep(5 * time.Minute)
		if y.now("a") != 0 || w.stats("a").Waiting != left {
			t.Error("a paused type runs")
		}
		limits(1000) // still paused
		time.Sleep(time.Minute)
		if y.now("a") != 0 {
			t.Error("a paused type runs")
		}
		resumed := w.typ("a")
		resumed.Paused = false
		w.set(&resumed)
		time.Sleep(5 * time.Millisecond)
		if y.now("a") != left {
			t.Errorf("5ms after resuming %d run, want all %d", y.now("a"), left)
		}
		time.Sleep(time.Minute)
		if s := w.stats("a"); s.Finished != 500 {
			t.Errorf("%+v", s)
		}
		w.clean("a")
	})
}

func TestMoreThanOneRequestBrings(t *testing.T) {
	simulate(t, func(w *world) {
		w.newType("a", 1200)
		y := newTally(work(time.Minute))
		w.node(y)
		time.Sleep(time.Second)
		w.push(jobs("a", 1300)...)
		time.Sleep(10 * time.Millisecond)
		if y.now("a") != 1200 {
			t.Errorf("%d run, want 1200", y.now("a"))
		}
		time.Sleep(3 * time.Minute)
		if s := w.stats("a"); s.Finished != 1300 {
			t.Errorf("%+v", s)
		}
	})
}

func TestRemoveAndSetAgain(t *testing.T) {
	simulate(t, func(w *world) {
		typ := w.newType("a", 2)
		y := newTally(work(10 * time.Second))
		n := w.node(y)
		w.push(jobs("a", 4)...)
		time.Sleep(time.Second)
		n.Remove("a")
		time.Sleep(time.Second)
		if n.Running() != 2 {
			t.Errorf("%d running", n.Running())
		}
		n.Set(typ)
		n.Remove("a")
		n.Remove("a")
		n.Set(typ)
		time.Sleep(8001 * time.Millisecond)
		if y.now("a") != 2 || n.Running() != 2 {
			t.Errorf("%d run on after the type came back, want the other 2", y.now("a"))
		}
		time.Sleep(10 * time.Second)
		if s := w.stats("a"); s.Finished != 4 || y.peak("a") != 2 {
			t.Errorf("%+v, at most %d at once", s, y.peak("a"))
		}
		if len(n.leaving) != 0 {
			t.Error("finished lanes are kept")
		}
		n.Remove("a")
		id := w.push(queue.Job{Type: "a"})[0]
		time.Sleep(time.Hour)
		if y.count(id) != 0 || w.get("a", id).State != queue.Waiting {
			t.Error("a job of a removed type was taken")
		}
		w.clean("a")
	})
}

// A lane that always has results must still hear of everything else.
func TestBusyLaneRenewsAndStops(t *testing.T) {
	simulate(t, func(w *world) {
		w.newType("a", 8)
		y := newTally(func(ctx context.Context, l *queue.Lease) Outcome {
			if l.Title == "long" {
				return work(17*time.Second)(ctx, l)
			}
			return work(200*time.Millisecond+time.Duration(l.ID[25])*time.Microsecond)(ctx, l)
		})
		n := w.node(y)
		long := w.push(queue.Job{Type: "a", Title: "long"})[0]
		feed := time.Now().Add(18 * time.Second)
		for time.Now().Before(feed) {
			w.push(jobs("a", 24)...)
			time.Sleep(500 * time.Millisecond)
		}
		w.expect("a", long, queue.Succeeded, "1 succeeded")
		before := w.stats("a").Finished
		begun := time.Now()
		if err := n.Stop(bg); err != nil {
			t.Error(err)
		}
		if took := time.Since(begun); took > 205*time.Millisecond || w.stats("a").Finished-before > 8 {
			t.Errorf("stopping took %s and %d more jobs", took, w.stats("a").Finished-before)
		}
		w.clean("a")
	})
}

// Results that never cease must not keep the lane from hearing that it is to stop.
func TestStopIsHeardUnderLoad(t *testing.T) {
	simulate(t, func(w *world) {
		w.newType("a", 8)
		var n *node
		var done atomic.Int64
		stopped, ready := make(chan error, 1), make(chan struct{})
		d := DelivererFunc(func(context.Context, *queue.Lease) Outcome {
			<-ready
			if done.Add(1) == 50 {
				go func() { stopped <- n.Stop(bg) }()
			}
			return Outcome{Verdict: Done}
		})
		w.push(jobs("a", 3000)...)
		n = w.node(d)
		close(ready)
		if err := <-stopped; err != nil {
			t.Error(err)
		}
		if done.Load() > 500 {
			t.Errorf("%d jobs ran, though it was stopped at the 50th", done.Load())
		}
		w.clean("a")
	})
}

func TestTypesDoNotHinderEachOther(t *testing.T) {
	simulate(t, func(w *world) {
		w.newType("stuck", 1)
		w.newType("quick", 1, func(t *registry.Type) { t.Timeout = time.Second })
		y := newTally(func(ctx context.Context, l *queue.Lease) Outcome {
			if l.Type == "stuck" {
				return work(time.Hour)(ctx, l)
			}
			return Outcome{Verdict: Done}
		})
		w.node(y)
		w.push(jobs("stuck", 2)...)
		time.Sleep(time.Second)
		ids := w.push(jobs("quick", 10)...)
		time.Sleep(100 * time.Millisecond)
		for _, id := range ids {
			w.expect("quick", id, queue.Succeeded, "1 succeeded")
		}
		if y.peak("stuck") != 1 {
			t.Error("more than one of a type of concurrency 1")
		}
	})
}
