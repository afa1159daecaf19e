package dispatch

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/deetoo/deetoo/queue"
	"github.com/deetoo/deetoo/registry"
)

// accepting is a handler that answers 202, and remembers what it was given.
type accepting struct {
	mu     sync.Mutex
	leases map[string]*queue.Lease
}

func (a *accepting) Deliver(_ context.Context, l *queue.Lease) Outcome {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.leases == nil {
		a.leases = map[string]*queue.Lease{}
	}
	a.leases[l.ID] = l
	return Outcome{Verdict: Accept, Status: 202}
}

func (a *accepting) lease(id string) *queue.Lease {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.leases[id]
}

// beat is a heartbeat of the handler that has the job.
func (a *accepting) beat(w *world, id string) (queue.Answer, error) {
	return w.q.Report(bg, "a", id, a.lease(id).CallbackToken(), queue.Report{})
}

func (a *accepting) conclude(w *world, id string, c queue.Conclusion) error {
	return w.q.Conclude(bg, "a", id, a.lease(id).CallbackToken(), c)
}

func slowly(t *registry.Type) { t.CallbackLease = time.Minute }

func TestAcceptedJobKeepsItsSlotAndNoLane(t *testing.T) {
	simulate(t, func(w *world) {
		w.newType("a", 1, slowly)
		h := &accepting{}
		y := newTally(h.Deliver)
		n := w.node(y)
		ids := w.push(jobs("a", 2)...)
		for range 20 { // ten minutes, far beyond the dispatcher's lease and the callback lease
			time.Sleep(30 * time.Second)
			if a, err := h.beat(w, ids[0]); err != nil || a.Cancelled || a.Left != time.Minute {
				t.Fatalf("%+v, %v", a, err)
			}
		}
		n.link.mu.Lock()
		renewals := n.link.renewals
		n.link.mu.Unlock()
		if n.Running() != 0 || renewals != 0 || y.count(ids[0]) != 1 || y.count(ids[1]) != 0 {
			t.Errorf("%d running, %d renewals, %d and %d attempts", n.Running(), renewals, y.count(ids[0]), y.count(ids[1]))
		}
		if s := w.stats("a"); s.Active != 1 || s.Waiting != 1 {
			t.Errorf("%+v", s)
		}
		if err := h.conclude(w, ids[0], queue.Conclusion{Verdict: queue.Done, Result: []byte("1")}); err != nil {
			t.Fatal(err)
		}
		w.expect("a", ids[0], queue.Succeeded, "1 succeeded")
		time.Sleep(10 * time.Millisecond) // the lane is woken
		if y.count(ids[1]) != 1 {
			t.Error("the free slot was not filled at once")
		}
		if n.Stale() != 0 || w.logged("level=WARN") != 0 {
			t.Errorf("%d stale settlements: %s", n.Stale(), w.log.String())
		}
		w.clean("a")
	})
}

func TestSilentHandlerHasFailed(t *testing.T) {
	simulate(t, func(w *world) {
		w.newType("a", 1, slowly) // retries after 1 s, 2 s, 4 s; four attempts
		h := &accepting{}
		y := newTally(h.Deliver)
		w.node(y)
		id := w.push(queue.Job{Type: "a"})[0]
		time.Sleep(time.Second)
		first := h.lease(id)
		time.Sleep(10 * time.Minute)
		w.expect("a", id, queue.Dead, "1 failed, 2 failed, 3 failed, 4 dead")
		want := []time.Duration{61 * time.Second, 62 * time.Second, 64 * time.Second}
		for i, gap := range gaps(y.times(id)) {
			if (gap - want[i]).Abs() > 200*time.Millisecond {
				t.Errorf("attempt %d came after %v, want %v", i+2, gap, want[i])
			}
		}
		if _, err := w.q.Report(bg, "a", id, first.CallbackToken(), queue.Report{}); !errors.Is(err, queue.ErrEnded) {
			t.Errorf("a late heartbeat: %v", err)
		}
		w.clean("a")
	})
}

// An accepted job is nobody's but its handler's: not the draining dispatcher's,
// and not that of the one that is gone.
func TestAcceptedJobOutlivesItsDispatcher(t *testing.T) {
	simulate(t, func(w *world) {
		w.newType("a", 2, slowly)
		h := &accepting{}
		y := newTally(h.Deliver)
		n := w.node(y)
		ids := w.push(jobs("a", 2)...)
		time.Sleep(time.Second)
		begun := time.Now()
		if err := n.Stop(bg); err != nil || time.Since(begun) > 100*time.Millisecond {
			t.Errorf("stopping took %v: %v", time.Since(begun), err)
		}
		time.Sleep(40 * time.Second)
		if _, err := h.beat(w, ids[0]); err != nil {
			t.Fatal(err)
		}
		w.node(y)
		time.Sleep(30 * time.Second) // the other was silent for a minute
		if err := h.conclude(w, ids[0], queue.Conclusion{Verdict: queue.Done}); err != nil {
			t.Fatal(err)
		}
		w.expect("a", ids[0], queue.Succeeded, "1 succeeded")
		if y.count(ids[0]) != 1 || y.count(ids[1]) != 2 {
			t.Errorf("%d and %d attempts, want 1 and 2", y.count(ids[0]), y.count(ids[1]))
		}
		if j := w.get("a", ids[1]); !j.Accepted || j.Attempt != 2 || j.Lost != 0 {
			t.Errorf("%+v", j)
		}
		w.clean("a")
	})
}

func TestAcceptedJobCancelled(t *testing.T) {
	simulate(t, func(w *world) {
		w.newType("a", 1, slowly)
		h := &accepting{}
		w.node(h)
		id := w.push(queue.Job{Type: "a"})[0]
		time.Sleep(time.Second)
		if state, err := w.q.Cancel(bg, "a", id); err != nil || state != queue.Active {
			t.Fatal(state, err)
		}
		if a, err := h.beat(w, id); err != nil || !a.Cancelled {
			t.Fatalf("%+v, %v", a, err)
		}
		time.Sleep(61 * time.Second) // it does not even say goodbye
		w.expect("a", id, queue.Cancelled, "1 cancelled")
		w.clean("a")
	})
}

// A handler may conclude before its own 202 has been taken note of, and answers get lost.
func TestHandOverThatComesLateOrTwice(t *testing.T) {
	for name, f := range map[string]func(string) fault{"at once": nil, "its answer is lost": once("exchange", deaf)} {
		t.Run(name, func(t *testing.T) {
			simulate(t, func(w *world) {
				w.newType("a", 1, slowly)
				var n *node
				y := newTally(func(_ context.Context, l *queue.Lease) Outcome {
					n.link.set(f)
					if l.Attempt == 1 && f == nil {
						if err := w.q.Conclude(bg, "a", l.ID, l.CallbackToken(), queue.Conclusion{Verdict: queue.Done}); err != nil {
							t.Error(err)
						}
					}
					return Outcome{Verdict: Accept, Status: 202}
				})
				n = w.node(y)
				id := w.push(queue.Job{Type: "a"})[0]
				time.Sleep(30 * time.Second)
				if f == nil {
					w.expect("a", id, queue.Succeeded, "1 succeeded")
				} else if j := w.get("a", id); !j.Accepted {
					t.Errorf("%+v", j)
				}
				if y.count(id) != 1 || n.Stale() != 0 {
					t.Errorf("%d attempts, %d stale", y.count(id), n.Stale())
				}
				w.clean("a")
			})
		})
	}
}
