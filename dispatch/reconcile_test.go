package dispatch

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/deetoo/deetoo/queue"
	"github.com/deetoo/deetoo/registry"
)

// endpoint answers questions, one after the other, the last for ever.
type endpoint struct {
	mu      sync.Mutex
	answers []Reconciled
	asked   []time.Time
}

func (e *endpoint) reconcile(context.Context, *queue.Lease) Reconciled {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.asked = append(e.asked, time.Now())
	return e.answers[min(len(e.asked), len(e.answers))-1]
}

func (e *endpoint) times() []time.Time {
	e.mu.Lock()
	defer e.mu.Unlock()
	return append([]time.Time(nil), e.asked...)
}

// asking is the option of a dispatcher that asks the endpoint.
func (e *endpoint) asking(o *Options) { o.Reconcile = e.reconcile }

func reconciled(t *registry.Type) { t.ReconcileURL = "http://x.test/status" }

func TestReconcileAfterALostAnswer(t *testing.T) {
	lost := Outcome{Err: "timeout after 10m", Unsure: true}
	for name, tc := range map[string]struct {
		say       []Reconciled
		state     queue.State
		history   string
		asked     int
		delivered int
		unsure    bool
	}{
		"done":           {[]Reconciled{{State: FateDone, Result: []byte(`"paid"`)}}, queue.Succeeded, "1 succeeded", 1, 1, false},
		"running, done":  {[]Reconciled{{State: FateRunning}, {State: FateRunning}, {State: FateDone}}, queue.Succeeded, "1 succeeded", 3, 1, false},
		"unknown":        {[]Reconciled{{State: FateUnknown}}, queue.Succeeded, "1 failed, 2 succeeded", 2, 2, false}, // once more before it is sent
		"unknown, done":  {[]Reconciled{{State: FateUnknown}, {State: FateDone}}, queue.Succeeded, "1 failed, 2 succeeded", 2, 1, false},
		"nobody to ask":  {[]Reconciled{{Err: "HTTP 500"}}, queue.Dead, "1 failed, 2 failed, 3 failed, 4 dead", 4, 1, true},
		"asked later":    {[]Reconciled{{Err: "HTTP 500"}, {Err: "HTTP 500"}, {State: FateDone}}, queue.Succeeded, "1 failed, 2 failed, 3 succeeded", 3, 1, false},
		"unknown later":  {[]Reconciled{{Err: "HTTP 500"}, {State: FateUnknown}}, queue.Succeeded, "1 failed, 2 succeeded", 2, 2, false},
		"lost meanwhile": {[]Reconciled{{State: FateRunning}, {Err: "HTTP 500"}, {State: FateDone}}, queue.Succeeded, "1 failed, 2 succeeded", 3, 1, false},
	} {
		t.Run(name, func(t *testing.T) {
			simulate(t, func(w *world) {
				w.newType("a", 1, reconciled)
				e := &endpoint{answers: tc.say}
				var first atomic.Bool
				y := newTally(func(context.Context, *queue.Lease) Outcome {
					if first.CompareAndSwap(false, true) {
						return lost
					}
					return Outcome{Verdict: Done, Status: 200}
				})
				w.node(y, e.asking)
				id := w.push(queue.Job{Type: "a"})[0]
				time.Sleep(5 * time.Minute)
				w.expect("a", id, tc.state, tc.history)
				if j := w.get("a", id); len(e.times()) != tc.asked || y.count(id) != tc.delivered || j.Unsure != tc.unsure {
					t.Errorf("asked %d times, delivered %d; %+v", len(e.times()), y.count(id), j)
				}
				w.clean("a")
			})
		})
	}
}

// What is running keeps its slot, and its lease, for as long as it runs.
func TestReconcileKeepsTheSlot(t *testing.T) {
	simulate(t, func(w *world) {
		w.newType("a", 1, reconciled)
		say := make([]Reconciled, 20)
		for i := range say {
			say[i].State = FateRunning
		}
		e := &endpoint{answers: append(say, Reconciled{State: FateDone})}
		y := newTally(func(_ context.Context, l *queue.Lease) Outcome {
			if l.ID == "first" {
				return Outcome{Err: "timeout", Unsure: true}
			}
			return Outcome{Verdict: Done}
		})
		w.node(y, e.asking)
		w.push(queue.Job{Type: "a", ID: "first"})
		time.Sleep(time.Second)
		w.push(queue.Job{Type: "a", ID: "second"})
		time.Sleep(2 * time.Minute)
		if y.count("second") != 0 || w.get("a", "first").State != queue.Active || y.count("first") != 1 {
			t.Errorf("the slot was given away: %+v", w.stats("a"))
		}
		time.Sleep(2 * time.Minute)
		w.expect("a", "first", queue.Succeeded, "1 succeeded")
		w.expect("a", "second", queue.Succeeded, "1 succeeded")
		asked := gaps(e.times())
		for i, want := range []time.Duration{1, 2, 4, 8, 10, 10} {
			if asked[i] != want*time.Second {
				t.Errorf("asked again after %v, want %vs", asked[i], int(want))
			}
		}
		w.clean("a")
	})
}

// Whoever takes over the job of a dispatcher that vanished asks before it sends anything; and so does
// who takes over from one that shuts down.
func TestReconcileAfterALostDispatcher(t *testing.T) {
	for name, vanish := range map[string]func(n *node){
		"vanished":  func(n *node) { n.link.set(always(refused)); n.silence() },
		"shut down": func(n *node) { ctx, cancel := context.WithTimeout(bg, time.Second); defer cancel(); _ = n.Stop(ctx) },
	} {
		t.Run(name, func(t *testing.T) {
			simulate(t, func(w *world) {
				w.newType("a", 1, reconciled)
				y := newTally(func(ctx context.Context, _ *queue.Lease) Outcome {
					<-ctx.Done()
					return Outcome{Verdict: Release, Err: "called off", Unsure: true}
				})
				n := w.node(y, (&endpoint{answers: []Reconciled{{}}}).asking)
				id := w.push(queue.Job{Type: "a"})[0]
				w.until("it runs", time.Minute, func() bool { return y.count(id) == 1 })
				vanish(n)
				e := &endpoint{answers: []Reconciled{{State: FateRunning}, {State: FateDone, Result: []byte("1")}}}
				w.node(y, e.asking)
				w.until("it is done", 5*time.Minute, func() bool { return w.get("a", id).State == queue.Succeeded })
				if j := w.get("a", id); y.count(id) != 1 || len(e.times()) != 2 || string(j.Result) != "1" {
					t.Errorf("delivered %d times, asked %d: %+v", y.count(id), len(e.times()), j)
				}
				w.clean("a")
			})
		})
	}
}

// A dispatcher that gives such a job back untried, because it learnt of it too late, leaves the question open.
func TestReconcileAfterALeaseThatCameTooLate(t *testing.T) {
	simulate(t, func(w *world) {
		w.newType("a", 1, reconciled)
		y := newTally(work(time.Hour))
		n := w.node(y, (&endpoint{answers: []Reconciled{{}}}).asking)
		id := w.push(queue.Job{Type: "a"})[0]
		w.until("it runs", time.Minute, func() bool { return y.count(id) == 1 })
		e := &endpoint{answers: []Reconciled{{State: FateDone}}}
		heir := w.node(y, e.asking)
		time.Sleep(time.Second)
		n.link.set(always(refused))
		n.silence()
		// The answer that brings the job is lost, and comes when its lease is nearly over.
		deafOnce := once("exchange", deaf)
		var back atomic.Bool
		heir.link.set(func(op string) fault {
			if f := deafOnce(op); f != fine {
				return f
			}
			if !back.Load() {
				return refused
			}
			return fine
		})
		w.until("its lease was lost, and taken", 5*time.Minute, func() bool { j := w.get("a", id); return j.State == queue.Active && j.Lost == 1 })
		time.Sleep(14500 * time.Millisecond)
		if j := w.get("a", id); j.State != queue.Active || !j.Unsure || len(e.times()) != 0 {
			t.Fatalf("asked %d times: %+v", len(e.times()), j)
		}
		back.Store(true)
		w.until("it is done", 5*time.Minute, func() bool { return w.get("a", id).State == queue.Succeeded })
		if y.count(id) != 1 || len(e.times()) != 1 {
			t.Errorf("delivered %d times, asked %d", y.count(id), len(e.times()))
		}
		w.clean("a")
	})
}

// A job that is cancelled, or whose dispatcher stops, while the endpoint is asked is let go at once.
func TestReconcileEnds(t *testing.T) {
	simulate(t, func(w *world) {
		w.newType("a", 2, reconciled)
		e := &endpoint{answers: []Reconciled{{State: FateRunning}}}
		y := newTally(answer(Outcome{Err: "timeout", Unsure: true}))
		n := w.node(y, e.asking)
		ids := w.push(queue.Job{Type: "a"}, queue.Job{Type: "a"})
		time.Sleep(time.Minute)
		if _, err := w.q.Cancel(bg, "a", ids[0]); err != nil {
			t.Fatal(err)
		}
		w.until("it is cancelled", time.Minute, func() bool { return w.get("a", ids[0]).State == queue.Cancelled })
		begun := time.Now()
		if err := n.Stop(bg); err != nil || time.Since(begun) > time.Second {
			t.Errorf("it took %s to stop: %v", time.Since(begun), err)
		}
		if j := w.get("a", ids[1]); j.State != queue.Waiting || !j.Unsure || j.Attempt != 0 {
			t.Errorf("%+v", j)
		}
		w.clean("a")
	})
}

// Types without a reconcile_url, and dispatchers that cannot ask, retry as ever.
func TestNobodyIsAsked(t *testing.T) {
	simulate(t, func(w *world) {
		w.newType("a", 1)
		w.newType("b", 1, reconciled)
		e := &endpoint{answers: []Reconciled{{Err: "must not be asked"}}}
		y := newTally(func(_ context.Context, l *queue.Lease) Outcome {
			if l.Attempt == 1 {
				return Outcome{Err: "timeout", Unsure: true}
			}
			return Outcome{Verdict: Done}
		})
		n := w.node(y, e.asking)
		a := w.push(queue.Job{Type: "a"})[0]
		time.Sleep(time.Minute)
		w.expect("a", a, queue.Succeeded, "1 failed, 2 succeeded")
		if err := n.Stop(bg); err != nil || len(e.times()) != 0 {
			t.Errorf("%v, asked %d times", err, len(e.times()))
		}
		w.node(y)
		b := w.push(queue.Job{Type: "b"})[0]
		time.Sleep(time.Minute)
		w.expect("b", b, queue.Succeeded, "1 failed, 2 succeeded")
	})
}

// Jobs that an outage gives back at no cost keep their question, too: nothing is sent twice.
func TestReconcileThroughAnOutage(t *testing.T) {
	simulate(t, func(w *world) {
		w.newType("a", 30, defaultOutage, reconciled)
		var back atomic.Bool
		y := newTally(func(context.Context, *queue.Lease) Outcome {
			if back.Load() {
				return Outcome{Verdict: Done}
			}
			return Outcome{Err: "timeout", Unsure: true, Health: queue.Failing}
		})
		for range 2 {
			w.node(y, func(o *Options) {
				o.Reconcile = func(context.Context, *queue.Lease) Reconciled {
					if back.Load() {
						return Reconciled{State: FateDone}
					}
					return Reconciled{Err: "HTTP 500"}
				}
			})
		}
		ids := w.push(jobs("a", 200)...)
		time.Sleep(2 * time.Second)
		if s := w.stats("a"); s.Outage == nil || !s.Outage.Open {
			t.Fatalf("the type is not held: %+v", s)
		}
		time.Sleep(time.Minute)
		unsure := 0
		for _, id := range ids {
			if w.get("a", id).Unsure {
				unsure++
			}
		}
		if unsure == 0 {
			t.Error("no question is kept")
		}
		back.Store(true)
		w.until("all done", 10*time.Minute, func() bool { return w.stats("a").Finished == len(ids) })
		for _, id := range ids {
			if y.count(id) > 1 {
				t.Errorf("%s was sent %d times", id, y.count(id))
			}
		}
		w.clean("a")
	})
}
