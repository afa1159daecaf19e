package dispatch

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/deetoo/deetoo/queue"
)

func TestLongJobKeepsItsLease(t *testing.T) {
	simulate(t, func(w *world) {
		w.newType("a", 2)
		y := newTally(work(5 * time.Minute))
		w.node(y)
		w.node(y)
		ids := w.push(jobs("a", 2)...)
		time.Sleep(6 * time.Minute)
		for _, id := range ids {
			w.expect("a", id, queue.Succeeded, "1 succeeded")
			if y.count(id) != 1 {
				t.Errorf("%d attempts", y.count(id))
			}
		}
		w.clean("a")
	})
}

// When renewing fails the attempt ends before its lease does, and the job runs
// elsewhere.
func TestLeaseThatCannotBeRenewed(t *testing.T) {
	for name, f := range map[string]fault{"refused": refused, "silent": silent} {
		t.Run(name, func(t *testing.T) {
			simulate(t, func(w *world) {
				w.newType("a", 1)
				var ended atomic.Int64 // ms after begun
				begun := time.Now()
				y := newTally(func(ctx context.Context, l *queue.Lease) Outcome {
					out := work(20*time.Second)(ctx, l)
					if ctx.Err() != nil {
						ended.Store(time.Since(begun).Milliseconds())
					}
					return out
				})
				n := w.node(y)
				id := w.push(queue.Job{Type: "a"})[0]
				time.Sleep(time.Second)
				n.link.set(always(f)) // for renewals and settlements alike
				w.node(y)
				time.Sleep(30 * time.Second)
				n.link.set(nil)
				time.Sleep(30 * time.Second)
				if !errors.Is(y.cause(id), errLeaseLost) {
					t.Errorf("the attempt ended for %v", y.cause(id))
				}
				if at := ended.Load(); at != 14000 {
					t.Errorf("the attempt was called off after %d ms, want 14 s: a second before its lease ends", at)
				}
				if got := gaps(y.times(id)); len(got) != 1 || got[0] < 15*time.Second || got[0] > 17*time.Second || y.peak("a") != 1 {
					t.Errorf("it ran again after %v, want once after 15 s or little more", got)
				}
				w.expect("a", id, queue.Succeeded, "1 lost, 1 succeeded")
				if n.Stale() != 1 || w.logged("an attempt's lease was lost before it was settled") != 1 {
					t.Errorf("%d stale settlements were reported, want 1", n.Stale())
				}
				w.clean("a")
			})
		})
	}
}

// A deliverer that ignores its context keeps no other from running the job.
func TestLostLeaseWithHungDeliverer(t *testing.T) {
	simulate(t, func(w *world) {
		w.newType("a", 1)
		hung := make(chan struct{})
		var again atomic.Bool
		y := newTally(func(ctx context.Context, l *queue.Lease) Outcome {
			if !again.Swap(true) {
				<-hung
				return Outcome{Err: "too late"}
			}
			return Outcome{Verdict: Done}
		})
		n := w.node(y)
		id := w.push(queue.Job{Type: "a"})[0]
		time.Sleep(time.Second)
		n.link.set(always(refused))
		w.node(y)
		time.Sleep(20 * time.Second)
		n.link.set(nil)
		time.Sleep(time.Minute)
		w.expect("a", id, queue.Succeeded, "1 lost, 1 succeeded")
		before := w.get("a", id)
		if lost := w.logged("a lease was lost; its attempt is called off"); lost != 1 {
			t.Errorf("the lost lease was reported %d times", lost)
		}
		close(hung)
		time.Sleep(time.Second)
		w.expect("a", id, queue.Succeeded, "1 lost, 1 succeeded")
		if after := w.get("a", id); !after.FinishedAt.Equal(before.FinishedAt) || n.Stale() != 1 {
			t.Errorf("the stale settlement changed the job, or was not reported (%d)", n.Stale())
		}
		w.clean("a")
	})
}

func TestCancelWhileRunning(t *testing.T) {
	for name, listens := range map[string]bool{"told": true, "found at the renewal": false} {
		t.Run(name, func(t *testing.T) {
			simulate(t, func(w *world) {
				w.newType("a", 3)
				y := newTally(work(time.Minute))
				n := w.node(y)
				ids := w.push(jobs("a", 3)...)
				time.Sleep(time.Second)
				within := 10 * time.Millisecond
				if !listens {
					n.silence()
					within = 5 * time.Second
				}
				if state, err := w.q.Cancel(bg, "a", ids[1]); err != nil || state != queue.Active {
					t.Fatal(state, err)
				}
				time.Sleep(within)
				w.expect("a", ids[1], queue.Cancelled, "1 cancelled")
				if !errors.Is(y.cause(ids[1]), errCancelled) {
					t.Errorf("cause: %v", y.cause(ids[1]))
				}
				time.Sleep(time.Minute)
				w.expect("a", ids[0], queue.Succeeded, "1 succeeded")
				w.expect("a", ids[2], queue.Succeeded, "1 succeeded")
				w.clean("a")
			})
		})
	}
}

func TestCancelReachesARemovedType(t *testing.T) {
	simulate(t, func(w *world) {
		typ := w.newType("a", 1)
		y := newTally(work(time.Minute))
		n := w.node(y)
		id := w.push(queue.Job{Type: "a"})[0]
		time.Sleep(time.Second)
		n.Remove("a")
		n.Set(typ)
		if _, err := w.q.Cancel(bg, "a", id); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Millisecond)
		w.expect("a", id, queue.Cancelled, "1 cancelled")
	})
}

func TestManyCancellationsCostFewCalls(t *testing.T) {
	simulate(t, func(w *world) {
		w.newType("a", 200)
		n := w.node(newTally(work(time.Minute)))
		ids := w.push(jobs("a", 200)...)
		time.Sleep(time.Second)
		before := n.link.calls()
		for _, id := range ids {
			n.Heard(queue.Event{Type: "a", Cancel: id})
		}
		time.Sleep(time.Second)
		if calls := n.link.calls() - before; calls > 20 {
			t.Errorf("%d calls of Redis", calls)
		}
	})
}

func TestRedisAway(t *testing.T) {
	for name, f := range map[string]fault{"refused": refused, "silent": silent, "answers lost": deaf, "answers late": mute} {
		t.Run(name, func(t *testing.T) {
			simulate(t, func(w *world) {
				w.newType("a", 4)
				y := newTally(func(ctx context.Context, l *queue.Lease) Outcome {
					if l.Title == "long" {
						return work(25*time.Second)(ctx, l)
					}
					return work(2*time.Second)(ctx, l)
				})
				n := w.node(y)
				w.node(y, func(o *Options) { o.Queue.(*link).set(always(refused)) }) // it comes back with the other
				short := w.push(jobs("a", 3)...)
				long := w.push(queue.Job{Type: "a", Title: "long"})[0]
				time.Sleep(time.Second)
				n.link.set(always(f))
				time.Sleep(9 * time.Second)
				n.link.set(nil)
				w.nodes[1].link.set(nil)
				time.Sleep(30 * time.Second)
				for _, id := range append(short, long) {
					w.expect("a", id, queue.Succeeded, "1 succeeded")
					if y.count(id) != 1 {
						t.Errorf("%d attempts, want 1: Redis was away for less than a lease", y.count(id))
					}
				}
				if n.Stale() != 0 {
					t.Errorf("%d stale settlements", n.Stale())
				}
				if calls := n.link.calls(); calls > 60 {
					t.Errorf("%d calls of Redis", calls)
				}
				w.clean("a")
			})
		})
	}
}

// While Redis does not answer it is asked now and then, however much happens.
func TestOutageIsNoHotLoop(t *testing.T) {
	simulate(t, func(w *world) {
		w.newType("a", 300)
		n := w.node(newTally(func(ctx context.Context, l *queue.Lease) Outcome {
			return work(time.Second+l.Timeout/100)(ctx, l)
		}))
		batch := jobs("a", 300)
		for i := range batch {
			batch[i].Timeout = time.Minute + time.Duration(i)*time.Second // they end 10 ms apart
		}
		w.push(batch...)
		time.Sleep(time.Second)
		n.link.set(always(refused))
		before := n.link.calls()
		for range 800 {
			time.Sleep(10 * time.Millisecond)
			n.Heard(queue.Event{Type: "a"})
		}
		if calls := n.link.calls() - before; calls > 40 {
			t.Errorf("%d calls of Redis in 8 s", calls)
		}
		n.link.set(nil)
		time.Sleep(time.Minute)
		if s := w.stats("a"); s.Finished != 300 || n.Stale() != 0 {
			t.Errorf("%+v, %d stale", s, n.Stale())
		}
		w.clean("a")
	})
}

// Longer than a lease, with nobody else there to take over: what is settled
// late still counts, and what was called off runs again.
func TestRedisAwayForLong(t *testing.T) {
	simulate(t, func(w *world) {
		w.newType("a", 4)
		y := newTally(func(ctx context.Context, l *queue.Lease) Outcome {
			if l.Title == "long" {
				return work(25*time.Second)(ctx, l)
			}
			return work(2*time.Second)(ctx, l)
		})
		n := w.node(y)
		short := w.push(jobs("a", 3)...)
		long := w.push(queue.Job{Type: "a", Title: "long"})[0]
		time.Sleep(time.Second)
		n.link.set(always(silent))
		time.Sleep(10 * time.Minute)
		if y.now("a") != 0 {
			t.Error("an attempt outlived its lease")
		}
		n.link.set(nil)
		time.Sleep(time.Minute)
		for _, id := range short {
			w.expect("a", id, queue.Succeeded, "1 succeeded")
		}
		w.expect("a", long, queue.Succeeded, "1 released, 1 succeeded")
		if j := w.get("a", long); j.Lost != 0 || j.Attempt != 1 {
			t.Errorf("%+v", j)
		}
		w.clean("a")
	})
}

// The request is repeated as it was, and its jobs run: they do not wait for
// their leases to end.
func TestLostReplyIsRepeated(t *testing.T) {
	for name, f := range map[string]fault{"at once": deaf, "after a timeout": mute} {
		t.Run(name, func(t *testing.T) {
			simulate(t, func(w *world) {
				w.newType("a", 5)
				y := newTally(work(30 * time.Second))
				n := w.node(y)
				time.Sleep(time.Second)
				n.link.set(once("exchange", f))
				begun := time.Now()
				ids := w.push(jobs("a", 1)...)
				time.Sleep(80 * time.Second)
				for _, id := range ids {
					w.expect("a", id, queue.Succeeded, "1 succeeded")
					if got := y.times(id); len(got) != 1 || got[0].Sub(begun) > 3200*time.Millisecond {
						t.Errorf("ran %v, pushed %s", got, begun)
					}
				}
				w.clean("a")
			})
		})
	}
}

// A repeated request may bring leases that are nearly over: they are renewed at once.
func TestOldLeasesOfARepeatedRequest(t *testing.T) {
	simulate(t, func(w *world) {
		w.newType("a", 5)
		y := newTally(work(time.Minute))
		n := w.node(y)
		time.Sleep(time.Second)
		deafOnce := once("exchange", deaf)
		var back atomic.Bool
		n.link.set(func(op string) fault {
			if f := deafOnce(op); f != fine {
				return f
			}
			if !back.Load() {
				return refused
			}
			return fine
		})
		id := w.push(queue.Job{Type: "a"})[0]
		time.Sleep(12 * time.Second)
		if w.get("a", id).State != queue.Active {
			t.Fatal("the job was not claimed")
		}
		back.Store(true)
		time.Sleep(2 * time.Minute)
		w.expect("a", id, queue.Succeeded, "1 succeeded")
		if y.count(id) != 1 {
			t.Errorf("%d attempts", y.count(id))
		}
		w.clean("a")
	})
}

// A dispatcher that is killed settles and renews nothing: others take over
// when its leases end, and each job ends exactly once.
func TestKilledDispatcher(t *testing.T) {
	simulate(t, func(w *world) {
		w.newType("a", 10)
		y := newTally(work(3 * time.Second))
		killed := make(chan struct{})
		var dead atomic.Bool
		n := w.node(DelivererFunc(func(ctx context.Context, l *queue.Lease) Outcome {
			out := y.Deliver(ctx, l)
			if dead.Load() {
				<-killed
			}
			return out
		}))
		ids := w.push(jobs("a", 40)...)
		time.Sleep(4 * time.Second) // ten are done, ten run
		n.link.set(always(silent))
		n.silence()
		dead.Store(true)
		died := time.Now()
		w.node(y)
		w.until("all succeed", time.Minute, func() bool { return w.stats("a").Finished == 40 })
		twice := 0
		for _, id := range ids {
			history := w.attempts("a", id)
			switch times := y.times(id); {
			case history == "1 succeeded" && len(times) == 1:
			case history == "1 lost, 1 succeeded" && len(times) == 2:
				twice++
				if late := times[1].Sub(died); late < 10*time.Second || late > 20*time.Second {
					t.Errorf("a job was taken over %s after the kill", late)
				}
			default:
				t.Errorf("%d attempts: %s", len(times), history)
			}
			if w.get("a", id).State != queue.Succeeded {
				t.Error("a job did not end well")
			}
		}
		if twice != 10 {
			t.Errorf("%d jobs were taken over, want 10", twice)
		}
		close(killed)
		n.link.set(nil) // it was only thought dead: now it settles, too late
		time.Sleep(time.Minute)
		if n.Stale() != 10 || w.stats("a").Finished != 40 {
			t.Errorf("%d stale settlements, %+v", n.Stale(), w.stats("a"))
		}
		w.clean("a")
	})
}
