package dispatch

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/deetoo/deetoo/queue"
	"github.com/deetoo/deetoo/registry"
)

// posts is a deliverer of batches that remembers them.
type posts struct {
	*tally
	batch func(ctx context.Context, leases []*queue.Lease) []Outcome

	mu       sync.Mutex
	sizes    []int
	now, max int
	began    []time.Time
}

// newPosts makes one; alone attempts jobs that come alone.
func newPosts(batch func(context.Context, []*queue.Lease) []Outcome) *posts {
	return &posts{tally: newTally(work(time.Second)), batch: batch}
}

func (p *posts) DeliverBatch(ctx context.Context, leases []*queue.Lease) []Outcome {
	p.mu.Lock()
	p.sizes, p.began = append(p.sizes, len(leases)), append(p.began, time.Now())
	p.now++
	p.max = max(p.max, p.now)
	p.mu.Unlock()
	defer func() { p.mu.Lock(); defer p.mu.Unlock(); p.now-- }()
	return p.batch(ctx, leases)
}

// seen says how many jobs each POST had so far, and how many POSTs there were at once at most.
func (p *posts) seen() (string, int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Trim(fmt.Sprint(p.sizes), "[]"), p.max
}

func each(out func(*queue.Lease) Outcome) func(context.Context, []*queue.Lease) []Outcome {
	return func(_ context.Context, leases []*queue.Lease) []Outcome {
		outs := make([]Outcome, len(leases))
		for i, l := range leases {
			outs[i] = out(l)
		}
		return outs
	}
}

// takes succeeds after d, and fails for all if it is called off.
func takes(d time.Duration) func(context.Context, []*queue.Lease) []Outcome {
	return func(ctx context.Context, leases []*queue.Lease) []Outcome {
		err := wait(ctx, d)
		return each(func(*queue.Lease) Outcome {
			if err != nil {
				return Outcome{Err: err.Error()}
			}
			return Outcome{Verdict: Done, Status: 200}
		})(ctx, leases)
	}
}

func batches(size int, wait time.Duration) func(*registry.Type) {
	return func(t *registry.Type) { t.Batch = registry.Batch{Size: size, Wait: wait, MaxBytes: 1 << 20} }
}

func TestBatchFillsBySizeAndTime(t *testing.T) {
	simulate(t, func(w *world) {
		w.newType("a", 5, batches(3, 2*time.Second))
		p := newPosts(takes(100 * time.Millisecond))
		w.node(p)
		time.Sleep(time.Second)
		begun := time.Now()
		ids := w.push(jobs("a", 7)...)
		time.Sleep(10 * time.Second)
		if sizes, _ := p.seen(); sizes != "3 3 1" {
			t.Fatalf("sizes %s", sizes)
		}
		for i, most := range []time.Duration{0, 0, 2 * time.Second} {
			if took := p.began[i].Sub(begun); took < most || took > most+100*time.Millisecond {
				t.Errorf("POST %d after %s, want %s", i+1, took, most)
			}
		}
		for _, id := range ids {
			w.expect("a", id, queue.Succeeded, "1 succeeded")
		}
		w.clean("a")
	})
}

// However many dispatchers there are, and however full the batches: no more POSTs than slots.
func TestBatchSlotsHoldInTheCluster(t *testing.T) {
	simulate(t, func(w *world) {
		w.newType("a", 3, batches(4, 20*time.Millisecond))
		p := newPosts(takes(300 * time.Millisecond))
		for range 3 {
			w.node(p)
		}
		var ids []string
		for i := range 60 {
			ids = append(ids, w.push(jobs("a", 1+i%5)...)...)
			time.Sleep(35 * time.Millisecond)
		}
		w.until("all are done", time.Minute, func() bool { return w.stats("a").Finished == len(ids) })
		sizes, most := p.seen()
		if most != 3 {
			t.Errorf("%d POSTs at once, want 3: %s", most, sizes)
		}
		for _, id := range ids {
			w.expect("a", id, queue.Succeeded, "1 succeeded")
		}
		w.clean("a")
	})
}

// Each job has its own verdict; those that failed are tried again, together.
func TestBatchPartialFailure(t *testing.T) {
	simulate(t, func(w *world) {
		w.newType("a", 1, batches(10, 0))
		p := newPosts(each(func(l *queue.Lease) Outcome {
			switch {
			case l.ID == "dead":
				return Outcome{Verdict: Dead, Status: 489, Err: "never"}
			case l.ID == "short" && l.Attempt == 1:
				return Outcome{Status: 500, Err: "boom"}
			}
			return Outcome{Verdict: Done, Status: 200, Result: []byte(`"` + l.ID + `"`)}
		}))
		p.batch = func(all func(context.Context, []*queue.Lease) []Outcome) func(context.Context, []*queue.Lease) []Outcome {
			return func(ctx context.Context, leases []*queue.Lease) []Outcome {
				outs := all(ctx, leases)
				if leases[len(leases)-1].ID == "unsaid" && leases[0].Attempt == 1 {
					return outs[:len(outs)-1]
				}
				return outs
			}
		}(p.batch)
		w.push(queue.Job{Type: "a", ID: "done"}, queue.Job{Type: "a", ID: "dead"}, queue.Job{Type: "a", ID: "short"}, queue.Job{Type: "a", ID: "unsaid"})
		w.node(p)
		time.Sleep(10 * time.Second)
		w.expect("a", "done", queue.Succeeded, "1 succeeded")
		w.expect("a", "dead", queue.Dead, "1 dead")
		w.expect("a", "short", queue.Succeeded, "1 failed, 2 succeeded")
		w.expect("a", "unsaid", queue.Succeeded, "1 failed, 2 succeeded")
		if sizes, _ := p.seen(); sizes != "4 2" {
			t.Errorf("sizes %s", sizes)
		}
		if j := w.get("a", "done"); string(j.Result) != `"done"` {
			t.Errorf("result %s", j.Result)
		}
		w.clean("a")
	})
}

// A deliverer that panics has failed all of the batch, and one that knows no batches says so.
func TestBatchGoesWrong(t *testing.T) {
	for name, d := range map[string]Deliverer{
		"panic":  newPosts(func(context.Context, []*queue.Lease) []Outcome { panic("CANARY") }),
		"cannot": DelivererFunc(answer(Outcome{Verdict: Done})),
	} {
		t.Run(name, func(t *testing.T) {
			simulate(t, func(w *world) {
				w.newType("a", 1, batches(2, 0), func(t *registry.Type) { t.Retry.MaxAttempts = 2 })
				w.node(d)
				ids := w.push(jobs("a", 3)...)
				time.Sleep(30 * time.Second)
				for _, id := range ids {
					w.expect("a", id, queue.Dead, "1 failed, 2 dead")
					want := map[string]string{"panic": "the handler panicked", "cannot": "this dispatcher cannot deliver several jobs at once"}[name]
					if j := w.get("a", id); j.LastError != want {
						t.Errorf("%s", j.LastError)
					}
				}
				if w.logged("CANARY") > 0 {
					t.Error("the value of a panic is in the log")
				}
				w.clean("a")
			})
		})
	}
}

// One job that is cancelled does not cost the others their attempt; all of them cancelled end it.
func TestBatchCancel(t *testing.T) {
	simulate(t, func(w *world) {
		w.newType("a", 2, batches(3, 0))
		var mu sync.Mutex
		causes := map[string]error{}
		p := newPosts(nil)
		p.batch = func(ctx context.Context, leases []*queue.Lease) []Outcome {
			err := wait(ctx, 30*time.Second)
			mu.Lock()
			causes[leases[0].ID] = context.Cause(ctx)
			mu.Unlock()
			return each(func(l *queue.Lease) Outcome {
				if err != nil || l.ID == "b" {
					return Outcome{Err: "failed"}
				}
				return Outcome{Verdict: Done}
			})(ctx, leases)
		}
		w.node(p)
		for _, ids := range []string{"a b c", "x y z"} {
			var batch []queue.Job
			for id := range strings.FieldsSeq(ids) {
				batch = append(batch, queue.Job{Type: "a", ID: id})
			}
			w.push(batch...)
			time.Sleep(time.Second)
		}
		for _, id := range []string{"b", "c", "x", "y", "z"} {
			if _, err := w.q.Cancel(bg, "a", id); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(10 * time.Second)
		for _, id := range []string{"x", "y", "z"} {
			w.expect("a", id, queue.Cancelled, "1 cancelled")
		}
		if j := w.get("a", "b"); j.State != queue.Active {
			t.Errorf("while the others run, a cancelled job is %s", j.State)
		}
		time.Sleep(time.Minute)
		w.expect("a", "a", queue.Succeeded, "1 succeeded")
		w.expect("a", "b", queue.Cancelled, "1 cancelled")
		w.expect("a", "c", queue.Succeeded, "1 succeeded") // it was done all the same
		mu.Lock()
		defer mu.Unlock()
		if causes["a"] != nil || !errors.Is(causes["x"], errCancelled) {
			t.Errorf("called off: %v", causes)
		}
		w.clean("a")
	})
}

// A dispatcher that vanishes in the middle of a batch: its jobs go on with another, and so does its slot.
func TestBatchDispatcherVanishes(t *testing.T) {
	simulate(t, func(w *world) {
		w.newType("a", 1, batches(3, 0))
		p := newPosts(takes(time.Hour))
		n := w.node(p)
		ids := w.push(jobs("a", 3)...)
		w.until("they run", time.Minute, func() bool { s, _ := p.seen(); return s == "3" })
		n.link.set(always(refused))
		n.silence()
		other := newPosts(takes(time.Second))
		w.node(other)
		w.until("they are done", 5*time.Minute, func() bool { return w.stats("a").Finished == 3 })
		for _, id := range ids {
			w.expect("a", id, queue.Succeeded, "1 lost, 1 succeeded")
		}
		w.clean("a")
	})
}

// Jobs that wait for company wait in the queue: a dispatcher that stops has nothing of them to lose.
func TestBatchStopWhileGathering(t *testing.T) {
	simulate(t, func(w *world) {
		w.newType("a", 2, batches(3, 10*time.Second))
		p := newPosts(takes(5 * time.Second))
		n := w.node(p)
		time.Sleep(time.Second)
		ids := w.push(jobs("a", 4)...)
		time.Sleep(time.Second)
		begun := time.Now()
		if err := n.Stop(within(30 * time.Second)); err != nil || time.Since(begun) != 4*time.Second {
			t.Errorf("%v after %s", err, time.Since(begun))
		}
		w.expect("a", ids[3], queue.Waiting, "")
		other := newPosts(takes(time.Second))
		w.node(other)
		w.until("the last is done", time.Minute, func() bool { return w.stats("a").Finished == 4 })
		if sizes, _ := other.seen(); sizes != "1" {
			t.Errorf("sizes %s", sizes)
		}
		w.clean("a")
	})
}

// A deadline that comes in the middle gives all of the batch back.
func TestBatchStopAtTheDeadline(t *testing.T) {
	simulate(t, func(w *world) {
		w.newType("a", 2, batches(3, 0))
		n := w.node(newPosts(takes(time.Hour)))
		ids := w.push(jobs("a", 3)...)
		time.Sleep(time.Second)
		if err := n.Stop(within(time.Second)); err == nil {
			t.Error("it says that nothing was aborted")
		}
		for _, id := range ids {
			w.expect("a", id, queue.Waiting, "1 released")
		}
		w.clean("a")
	})
}

// A batch that was accepted keeps its slot until the last of its jobs is concluded.
func TestBatchAccepted(t *testing.T) {
	simulate(t, func(w *world) {
		w.newType("a", 1, batches(2, 0))
		var mu sync.Mutex
		tokens := map[string]string{}
		p := newPosts(each(func(l *queue.Lease) Outcome {
			mu.Lock()
			defer mu.Unlock()
			tokens[l.ID] = l.CallbackToken()
			return Outcome{Verdict: Accept}
		}))
		w.node(p)
		ids := w.push(jobs("a", 4)...)
		time.Sleep(time.Second)
		for i, id := range ids[:2] {
			if sizes, _ := p.seen(); sizes != "2" {
				t.Fatalf("after %d callbacks: %s", i, sizes)
			}
			mu.Lock()
			token := tokens[id]
			mu.Unlock()
			if err := w.q.Conclude(bg, "a", id, token, queue.Conclusion{Verdict: queue.Done}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
		}
		if sizes, _ := p.seen(); sizes != "2 2" {
			t.Errorf("sizes %s", sizes)
		}
		w.clean("a")
	})
}

// The lane's own count of its slots survives batches that come and go in pieces.
func TestBatchTurnedOnAndOff(t *testing.T) {
	simulate(t, func(w *world) {
		w.newType("a", 2)
		p := newPosts(takes(time.Second))
		w.node(p)
		total := 0
		for i := range 12 {
			w.push(jobs("a", 5)...)
			total += 5
			next := w.typ("a")
			if next.Batch = (registry.Batch{}); i%2 == 0 {
				next.Batch = registry.Batch{Size: 2 + i, MaxBytes: 1 << 20}
			}
			w.set(&next)
			time.Sleep(700 * time.Millisecond)
		}
		w.until("all are done", time.Hour, func() bool { return w.stats("a").Finished == total })
		if _, most := p.seen(); most > 2 || p.peak("a") > 2 {
			t.Errorf("%d POSTs at once, and %d jobs alone", most, p.peak("a"))
		}
		w.nodes[0].mu.Lock()
		l := w.nodes[0].lanes["a"]
		w.nodes[0].mu.Unlock()
		if err := w.nodes[0].Stop(bg); err != nil || l.spare != 0 || len(l.inflight) != 0 {
			t.Errorf("%v, %d to spare, %d in flight", err, l.spare, len(l.inflight))
		}
		w.clean("a")
	})
}
