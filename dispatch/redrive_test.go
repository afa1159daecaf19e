package dispatch

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/deetoo/deetoo/queue"
)

// buried is a type with n dead jobs, whose handler works again once they are: each attempt takes a second.
func buried(w *world, n int, change ...func(*Options)) (ids []string, broken func(id string)) {
	bad := map[string]bool{}
	y := newTally(func(ctx context.Context, l *queue.Lease) Outcome {
		w.mu.Lock()
		fails := bad[l.ID]
		w.mu.Unlock()
		if fails {
			return Outcome{Verdict: Dead, Status: 500, Err: "boom"}
		}
		return work(time.Second)(ctx, l)
	})
	set := func(id string, fails bool) {
		w.mu.Lock()
		defer w.mu.Unlock()
		bad[id] = fails
	}
	w.newType("email", 5)
	jobs := jobs("email", n)
	for i := range jobs {
		jobs[i].ID = string(rune('a' + i))
		set(jobs[i].ID, true)
	}
	w.node(y, change...)
	w.node(y, change...)
	ids = w.push(jobs...)
	w.until("all are dead", time.Minute, func() bool { return w.stats("email").Dead == n })
	for _, id := range ids {
		set(id, false)
	}
	return ids, func(id string) { set(id, true) }
}

func (w *world) redrive(s queue.RedriveSpec) string {
	w.Helper()
	r, err := w.q.StartRedrive(bg, "email", s, "leia")
	if err != nil {
		w.Fatal(err)
	}
	return r.ID
}

func (w *world) redriven(id string) *queue.Redrive {
	w.Helper()
	r, err := w.q.GetRedrive(bg, "email", id)
	if err != nil {
		w.Fatal(err)
	}
	return r
}

// The canaries' outcome is what sends the others, at once, and at the rate.
func TestRedriveGoesOnByItself(t *testing.T) {
	simulate(t, func(w *world) {
		buried(w, 20)
		id := w.redrive(queue.RedriveSpec{Canary: 2, Rate: queue.RedriveRate{Jobs: 2, Period: time.Second}})
		w.until("the canaries are past", 5*time.Second, func() bool { return w.redriven(id).State == queue.RedriveRunning })
		began := time.Now()
		for w.redriven(id).State == queue.RedriveRunning {
			if r := w.redriven(id); r.Count-2 > 3+int(2*time.Since(began).Seconds()) {
				t.Fatalf("%d after %s", r.Count, time.Since(began))
			}
			if time.Sleep(250 * time.Millisecond); time.Since(began) > time.Minute {
				t.Fatalf("it does not end: %+v", w.redriven(id))
			}
		}
		if r := w.redriven(id); r.State != queue.RedriveDone || r.Count != 20 || r.Succeeded != 2 {
			t.Errorf("%+v", r)
		}
		if took := time.Since(began); took < 8*time.Second || took > 15*time.Second {
			t.Errorf("18 jobs, 2 a second, took %s", took)
		}
		w.until("all have succeeded", 10*time.Second, func() bool { return w.stats("email").Finished == 20 })
		w.clean("email")
	})
}

func TestRedriveStopsWithItsCanary(t *testing.T) {
	simulate(t, func(w *world) {
		ids, broken := buried(w, 5)
		broken(ids[1])
		id := w.redrive(queue.RedriveSpec{Canary: 3})
		w.until("it has stopped", 5*time.Second, func() bool { return w.redriven(id).State == queue.RedriveStopped })
		if r := w.redriven(id); r.Reason != "canary b died again: boom" || r.Count != 3 {
			t.Errorf("%+v", r)
		}
		w.until("the others are through", 10*time.Second, func() bool { return w.stats("email").Finished == 2 })
		if s := w.stats("email"); s.Dead != 3 {
			t.Errorf("%+v", s)
		}
		w.clean("email")
	})
}

// Whoever is to make the next step may fail to, or die: somebody is told again.
func TestRedriveOutlivesItsDispatchers(t *testing.T) {
	simulate(t, func(w *world) {
		var told atomic.Int64
		buried(w, 8, func(o *Options) {
			step := o.Redrive
			o.Redrive = func(ctx context.Context, typ string) (time.Duration, error) {
				if told.Add(1)%2 == 1 {
					return 0, errors.New("it died")
				}
				return step(ctx, typ)
			}
		})
		id := w.redrive(queue.RedriveSpec{Rate: queue.RedriveRate{Jobs: 1, Period: time.Second}})
		w.until("it is done", 5*time.Minute, func() bool { return w.redriven(id).State == queue.RedriveDone })
		w.until("all have succeeded", 10*time.Second, func() bool { return w.stats("email").Finished == 8 })
		if told.Load() < 8 {
			t.Errorf("told %d times", told.Load())
		}
		w.clean("email")
	})
}
