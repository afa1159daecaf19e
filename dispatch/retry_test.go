package dispatch

import (
	"context"
	"fmt"
	"reflect"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/deetoo/deetoo/queue"
	"github.com/deetoo/deetoo/registry"
)

func TestBackoff(t *testing.T) {
	plain := registry.Retry{MinBackoff: time.Second, MaxBackoff: 10 * time.Second, NoJitter: true}
	for n, want := range []time.Duration{1, 1, 2, 4, 8, 10, 10} {
		if got := Backoff(plain, n); got != want*time.Second {
			t.Errorf("after attempt %d: %s, want %s", n, got, want*time.Second)
		}
	}
	week := registry.Retry{MinBackoff: 24 * time.Hour, MaxBackoff: 7 * 24 * time.Hour, NoJitter: true}
	for _, n := range []int{4, 40, 63, 64, 100, 1 << 30} {
		if got := Backoff(week, n); got != week.MaxBackoff {
			t.Errorf("after attempt %d: %s", n, got)
		}
	}
	jitter := plain
	jitter.NoJitter = false
	for n := 1; n < 7; n++ {
		most, low, high := Backoff(plain, n), 0, 0
		for range 1000 {
			d := Backoff(jitter, n)
			if d < 0 || d > most {
				t.Fatalf("after attempt %d: %s, want 0 to %s", n, d, most)
			}
			if d < most/4 {
				low++
			}
			if d > most*3/4 {
				high++
			}
		}
		if low < 150 || high < 150 {
			t.Errorf("after attempt %d: %d of 1000 in the first quarter and %d in the last: not full jitter", n, low, high)
		}
	}
}

// gaps returns the time from each attempt to the next.
func gaps(times []time.Time) []time.Duration {
	var out []time.Duration
	for i := 1; i < len(times); i++ {
		out = append(out, times[i].Sub(times[i-1]))
	}
	return out
}

func TestRetriesExactlyThenDead(t *testing.T) {
	simulate(t, func(w *world) {
		w.newType("a", 5)
		y := newTally(answer(Outcome{Status: 500, Err: "no", Excerpt: "oops"}))
		w.node(y)
		id := w.push(queue.Job{Type: "a"})[0]
		own := w.push(queue.Job{Type: "a", MaxAttempts: 2})[0]
		time.Sleep(time.Minute)
		if got, want := gaps(y.times(id)), []time.Duration{time.Second, 2 * time.Second, 4 * time.Second}; !reflect.DeepEqual(got, want) {
			t.Errorf("attempts %v apart, want %v", got, want)
		}
		w.expect("a", id, queue.Dead, "1 failed, 2 failed, 3 failed, 4 dead")
		w.expect("a", own, queue.Dead, "1 failed, 2 dead")
		if j := w.get("a", id); j.LastError != "no" || j.Attempt != 4 {
			t.Errorf("%+v", j)
		}
		w.clean("a")
	})
}

func TestJitteredRetriesStayInBounds(t *testing.T) {
	simulate(t, func(w *world) {
		w.newType("a", 50, func(t *registry.Type) { t.Retry.NoJitter = false })
		y := newTally(answer(Outcome{}))
		w.node(y)
		ids := w.push(jobs("a", 50)...)
		time.Sleep(time.Minute)
		distinct := map[time.Duration]bool{}
		for _, id := range ids {
			for i, gap := range gaps(y.times(id)) {
				// Redis counts in milliseconds, a lane wakes on the next.
				if most := time.Second << i; gap > most+2*time.Millisecond {
					t.Errorf("attempt %d came %s after the one before, want at most %s", i+2, gap, most)
				}
				distinct[gap] = true
			}
			w.expect("a", id, queue.Dead, "1 failed, 2 failed, 3 failed, 4 dead")
		}
		if len(distinct) < 100 {
			t.Errorf("only %d different waits among 150", len(distinct))
		}
		w.clean("a")
	})
}

func TestVerdicts(t *testing.T) {
	for name, tc := range map[string]struct {
		deliver func(ctx context.Context, l *queue.Lease) Outcome
		state   queue.State
		history string
		err     string
	}{
		"dead":     {answer(Outcome{Verdict: Dead, Status: 489, Err: "never"}), queue.Dead, "1 dead", "never"},
		"panic":    {func(context.Context, *queue.Lease) Outcome { panic("secret") }, queue.Dead, "1 failed, 2 failed, 3 failed, 4 dead", "the handler panicked"},
		"goexit":   {func(context.Context, *queue.Lease) Outcome { runtime.Goexit(); panic("unreached") }, queue.Dead, "1 failed, 2 failed, 3 failed, 4 dead", "the handler ended its goroutine"},
		"nonsense": {answer(Outcome{Verdict: 99}), queue.Dead, "1 failed, 2 failed, 3 failed, 4 dead", ""},
		"release once": {func(_ context.Context, l *queue.Lease) Outcome {
			if time.Since(l.StartedAt) == 0 && l.EnqueuedAt.Equal(l.StartedAt) {
				time.Sleep(time.Second)
				return Outcome{Verdict: Release}
			}
			return Outcome{Verdict: Done}
		}, queue.Succeeded, "1 released, 1 succeeded", ""},
		"at last": {func(_ context.Context, l *queue.Lease) Outcome {
			if l.Attempt < 3 {
				return Outcome{Err: "not yet"}
			}
			return Outcome{Verdict: Done, Result: []byte(fmt.Sprint(l.Attempt))}
		}, queue.Succeeded, "1 failed, 2 failed, 3 succeeded", ""},
	} {
		t.Run(name, func(t *testing.T) {
			simulate(t, func(w *world) {
				w.newType("a", 5)
				w.node(DelivererFunc(tc.deliver))
				id := w.push(queue.Job{Type: "a"})[0]
				time.Sleep(time.Minute)
				w.expect("a", id, tc.state, tc.history)
				if j := w.get("a", id); j.LastError != tc.err {
					t.Errorf("the last error is %q", j.LastError)
				}
				if w.logged("secret") > 0 {
					t.Error("the log quotes what a handler panicked with")
				}
				w.clean("a")
			})
		})
	}
}

func TestRetryAfterSlowsTheType(t *testing.T) {
	simulate(t, func(w *world) {
		w.newType("a", 10)
		var answered atomic.Bool
		y := newTally(func(ctx context.Context, l *queue.Lease) Outcome {
			if !answered.Swap(true) {
				return Outcome{Status: 429, RetryAfter: 7 * time.Second}
			}
			return work(time.Second)(ctx, l)
		})
		n := w.node(y)
		first := w.push(queue.Job{Type: "a"})[0]
		time.Sleep(time.Second)
		before := n.link.calls()
		w.push(jobs("a", 20)...)
		time.Sleep(5500 * time.Millisecond)
		if y.peak("a") != 1 {
			t.Errorf("%d ran at once while the type should slow down", y.peak("a"))
		}
		if calls := n.link.calls() - before; calls > 40 {
			t.Errorf("%d calls of Redis while holding back", calls)
		}
		time.Sleep(time.Minute)
		// It comes back behind those that waited meanwhile.
		if got := gaps(y.times(first)); len(got) != 1 || got[0] < 7*time.Second || got[0] > 10*time.Second {
			t.Errorf("the job came again after %v, want 7s or little more", got)
		}
		if y.peak("a") < 9 {
			t.Errorf("only %d ran at once after the hold", y.peak("a"))
		}
		if s := w.stats("a"); s.Finished != 21 {
			t.Errorf("%+v", s)
		}
		w.clean("a")
	})
}

func TestRetryAfterExactly(t *testing.T) {
	simulate(t, func(w *world) {
		w.newType("a", 10)
		y := newTally(func(_ context.Context, l *queue.Lease) Outcome {
			if l.Attempt == 1 {
				return Outcome{Status: 503, RetryAfter: 7321 * time.Millisecond}
			}
			return Outcome{Verdict: Done}
		})
		w.node(y)
		id := w.push(queue.Job{Type: "a"})[0]
		time.Sleep(time.Minute)
		if got := gaps(y.times(id)); len(got) != 1 || got[0] != 7321*time.Millisecond {
			t.Errorf("the job came again after %v, want 7.321s", got)
		}
	})
}

// A deliverer that refuses jobs for a while keeps them, at no great cost.
func TestRefusedJobsAreNotTakenInAHotLoop(t *testing.T) {
	simulate(t, func(w *world) {
		w.newType("a", 3)
		var ready atomic.Bool
		y := newTally(func(context.Context, *queue.Lease) Outcome {
			if !ready.Load() {
				return Outcome{Verdict: Release}
			}
			return Outcome{Verdict: Done}
		})
		n := w.node(y)
		ids := w.push(jobs("a", 6)...)
		time.Sleep(10 * time.Second)
		if calls := n.link.calls(); calls > 400 {
			t.Errorf("%d calls of Redis in ten seconds", calls)
		}
		ready.Store(true)
		time.Sleep(150 * time.Millisecond)
		for _, id := range ids {
			if j := w.get("a", id); j.State != queue.Succeeded || j.Attempt != 1 {
				t.Errorf("%+v", j)
			}
		}
		w.clean("a")
	})
}

func TestTimeouts(t *testing.T) {
	simulate(t, func(w *world) {
		w.newType("a", 5, func(t *registry.Type) { t.Timeout = 20 * time.Second; t.Retry.MaxAttempts = 1 })
		var ends sync.Map
		y := newTally(func(ctx context.Context, l *queue.Lease) Outcome {
			begun := time.Now()
			<-ctx.Done()
			ends.Store(l.Title, time.Since(begun))
			return Outcome{Err: ctx.Err().Error()}
		})
		w.node(y)
		types := w.push(queue.Job{Type: "a", Title: "type's"})[0]
		time.Sleep(time.Minute)
		own := w.push(queue.Job{Type: "a", Title: "own", Timeout: 90 * time.Second})[0]
		time.Sleep(2 * time.Minute)
		short := w.push(queue.Job{Type: "a", Title: "short", Timeout: 150 * time.Millisecond})[0]
		time.Sleep(time.Minute)
		for title, want := range map[string]time.Duration{"type's": 20 * time.Second, "own": 90 * time.Second, "short": 150 * time.Millisecond} {
			if got, _ := ends.Load(title); got != want {
				t.Errorf("%s: the attempt ended after %v, want %s", title, got, want)
			}
		}
		for _, id := range []string{types, own, short} {
			w.expect("a", id, queue.Dead, "1 dead")
			if y.cause(id) != context.DeadlineExceeded {
				t.Errorf("cause: %v", y.cause(id))
			}
		}
	})
}

func TestGoneEndpointPausesFirst(t *testing.T) {
	simulate(t, func(w *world) {
		w.newType("a", 3)
		var back atomic.Bool
		y := newTally(func(context.Context, *queue.Lease) Outcome {
			if !back.Load() {
				return Outcome{Verdict: Pause, Status: 410}
			}
			return Outcome{Verdict: Done}
		})
		n := w.node(y)
		w.node(y)
		id := w.push(queue.Job{Type: "a"})[0]
		time.Sleep(time.Minute)
		if y.count(id) != 1 {
			t.Errorf("%d attempts against a gone endpoint", y.count(id))
		}
		if s := w.stats("a"); !s.Paused || s.Waiting != 1 {
			t.Errorf("%+v", s)
		}
		if reason := w.typ("a").PausedReason; reason != "the endpoint answered 410 for job "+id+": it is gone" {
			t.Error(reason)
		}
		if calls := n.link.calls(); calls > 20 {
			t.Errorf("%d calls of Redis in a minute of pause", calls)
		}
		back.Store(true)
		resumed := w.typ("a")
		resumed.Paused = false
		w.set(&resumed)
		time.Sleep(10 * time.Millisecond)
		w.expect("a", id, queue.Succeeded, "1 released, 1 succeeded")
		w.clean("a")
	})
}

func TestGoneEndpointThatCannotBePaused(t *testing.T) {
	for name, down := range map[string]time.Duration{"a while": 3 * time.Second, "for good": time.Hour} {
		t.Run(name, func(t *testing.T) {
			simulate(t, func(w *world) {
				w.newType("a", 5)
				y := newTally(answer(Outcome{Verdict: Pause, Status: 410}))
				up := time.Now().Add(down)
				n := w.node(y, func(o *Options) {
					pause := o.Pause
					o.Pause = func(ctx context.Context, typ, reason string) error {
						if time.Now().Before(up) {
							return errLink
						}
						return pause(ctx, typ, reason)
					}
				})
				w.push(jobs("a", 3)...)
				time.Sleep(100 * time.Millisecond)
				id := w.push(queue.Job{Type: "a"})[0]
				time.Sleep(3800 * time.Millisecond)
				if y.count(id) != 0 {
					t.Error("a job was taken for an endpoint known to be gone")
				}
				time.Sleep(10 * time.Minute)
				if down < time.Minute {
					if s := w.stats("a"); !s.Paused || s.Waiting != 4 || s.Dead != 0 || y.count(id) != 0 {
						t.Errorf("%+v", s)
					}
				} else {
					w.expect("a", id, queue.Dead, "1 failed, 2 failed, 3 failed, 4 dead")
				}
				if calls := n.link.calls(); calls > 200 {
					t.Errorf("%d calls of Redis", calls)
				}
				w.clean("a")
			})
		})
	}
}
