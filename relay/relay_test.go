package relay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/deetoo/deetoo/queue"
	"github.com/deetoo/deetoo/queue/embedded"
	"github.com/deetoo/deetoo/registry"
)

// world is a queue in memory, on a fake clock.
type world struct {
	*testing.T
	client redis.UniversalClient
	q      *queue.Queue
	mu     sync.Mutex
	gone   map[string]bool // types that cannot be pushed to
	cut    bool            // endings cannot be taken away
}

func simulate(t *testing.T, fn func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		client, end, err := embedded.Memory(nil)
		must(t, err)
		defer func() { must(t, end()) }()
		q, err := queue.New(client, queue.Options{Embedded: true, Lease: time.Hour})
		must(t, err)
		w := &world{T: t, client: client, q: q, gone: map[string]bool{}}
		for _, typ := range []string{"a", "b", "c", "alarm", registry.CallbackType} {
			must(t, q.Configure(t.Context(), typ, queue.Settings{Version: 1, Concurrency: 100, RetainCount: 1000, RetainAge: 24 * time.Hour}))
		}
		fn(w)
		for _, typ := range []string{"a", "b", "c", "alarm", registry.CallbackType} {
			problems, err := q.Fsck(t.Context(), typ)
			must(t, err)
			for _, p := range problems {
				t.Errorf("fsck of %s: %s", typ, p)
			}
		}
	})
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

var errCut = errors.New("cut off")

func (w *world) TakeEndings(ctx context.Context, typ string, lease time.Duration) ([]queue.Ending, time.Duration, error) {
	return w.q.TakeEndings(ctx, typ, lease)
}

func (w *world) DeferEnding(ctx context.Context, typ string, e *queue.Ending, delay time.Duration, why string) error {
	return w.q.DeferEnding(ctx, typ, e, delay, why)
}

// Relayed fails as long as the world is cut: the relay is as good as dead then,
// between its pushes and the ending's removal.
func (w *world) Relayed(ctx context.Context, typ string, keys ...string) error {
	if w.isCut() {
		return errCut
	}
	return w.q.Relayed(ctx, typ, keys...)
}

func (w *world) isCut() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.cut
}

func (w *world) set(fn func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	fn()
}

func (w *world) PushFollowUp(ctx context.Context, o queue.Once, j queue.Job) error {
	w.mu.Lock()
	gone := w.gone[j.Type]
	w.mu.Unlock()
	if gone {
		return &registry.NotFoundError{Name: j.Type}
	}
	_, err := w.q.PushOnce(ctx, o, j)
	return err
}

func (w *world) FollowUpDone(ctx context.Context, o queue.Once, j queue.Job) {
	must(w, w.q.ReleaseOnce(ctx, j.Type, o.Key, time.Minute))
}

// relay runs a relay until the function it returns is called.
func (w *world) relay() (r *Relay, stop func()) {
	r, err := New(Options{Outbox: w, Pusher: w, Workflows: w.q, Types: func() []string { return []string{"a", "b"} }})
	must(w, err)
	ctx, cancel := context.WithCancel(w.Context())
	var wg sync.WaitGroup
	wg.Go(func() { r.Run(ctx) })
	return r, func() { cancel(); wg.Wait() }
}

// finish runs the one job of a type that waits, and returns it.
func (w *world) finish(typ string, v queue.Verdict, result, failure string) queue.Lease {
	w.Helper()
	b, err := w.q.Exchange(w.Context(), typ, nil, 1)
	must(w, err)
	if len(b.Leases) != 1 {
		w.Fatalf("type %s: %d jobs", typ, len(b.Leases))
	}
	l := b.Leases[0]
	outcome := map[queue.Verdict]string{queue.Done: "succeeded", queue.Bury: "dead"}[v]
	_, err = w.q.Exchange(w.Context(), typ, []queue.Settlement{{ID: l.ID, Token: l.Token, Verdict: v, Result: []byte(result),
		Attempt: queue.Attempt{N: 1, StartedAt: l.StartedAt.UnixMilli(), Outcome: outcome, Status: 500, Error: failure}}}, 0)
	must(w, err)
	return l
}

func (w *world) waiting(typ string) int {
	w.Helper()
	s, err := w.q.Stats(w.Context(), typ)
	must(w, err)
	return s.Waiting
}

func (w *world) push(j queue.Job) {
	w.Helper()
	_, err := w.q.Push(w.Context(), j)
	must(w, err)
}

// told is what a follow-up was told.
func told(t testing.TB, l queue.Lease) (o Outcome, data string) {
	t.Helper()
	var e struct {
		Parent Outcome
		Data   json.RawMessage
	}
	must(t, json.Unmarshal(l.Data, &e))
	return e.Parent, string(e.Data)
}

func TestChain(t *testing.T) {
	simulate(t, func(w *world) {
		r, stop := w.relay()
		defer stop()
		w.push(queue.Job{Type: "a", ID: "1", Traceparent: "00-1", OnFailure: &queue.Job{Type: "alarm"},
			Then: []queue.Job{{Type: "b", Data: []byte(`{"own":1}`)}, {Type: "c", OnFailure: &queue.Job{Type: "alarm", Data: []byte(`"c"`)}}}})
		w.finish("a", queue.Done, `{"sum":3}`, "")
		r.Notify("a")
		synctest.Wait()
		b := w.finish("b", queue.Done, "just text", "")
		parent, data := told(t, b)
		if parent.Type != "a" || parent.ID != "1" || parent.State != queue.Succeeded || string(parent.Result) != `{"sum":3}` || parent.Attempts != 1 || data != `{"own":1}` || parent.FinishedAt == "" || parent.Error != "" {
			t.Errorf("b was told %+v and %s", parent, data)
		}
		if b.Parent == nil || *b.Parent != (queue.Parent{Type: "a", ID: "1"}) || b.Traceparent != "00-1" {
			t.Errorf("%+v", b.Job)
		}
		r.Notify("b")
		synctest.Wait()
		c := w.finish("c", queue.Bury, "", "it broke")
		if parent, data := told(t, c); parent.Type != "b" || string(parent.Result) != `"just text"` || data != "null" {
			t.Errorf("c was told %+v and %s", parent, data)
		}
		r.Notify("c")
		synctest.Wait()
		if n := w.waiting("alarm"); n != 1 {
			t.Fatalf("%d alarms", n)
		}
		if parent, data := told(t, w.finish("alarm", queue.Done, "", "")); parent.Type != "c" || parent.State != queue.Dead || parent.Error != "it broke" || parent.Status != 500 || data != `"c"` {
			t.Errorf("the alarm was told %+v and %s", parent, data)
		}
	})
}

func TestCallback(t *testing.T) {
	simulate(t, func(w *world) {
		r, stop := w.relay()
		defer stop()
		url := "https://example.org/hook?key=1"
		ended := func(id string) (o Outcome) {
			t.Helper()
			r.Notify("a")
			synctest.Wait()
			l := w.finish(registry.CallbackType, queue.Done, "", "")
			must(t, json.Unmarshal(l.Data, &o))
			if o.ID != id || o.Type != "a" || l.Target != url || *l.Parent != (queue.Parent{Type: "a", ID: id}) || strings.Contains(l.Title, "key") {
				t.Errorf("%+v, callback %+v", o, l.Job)
			}
			return o
		}
		w.push(queue.Job{Type: "a", ID: "1", CallbackURL: url})
		w.finish("a", queue.Done, "3", "")
		if o := ended("1"); o.State != queue.Succeeded || string(o.Result) != "3" {
			t.Errorf("%+v", o)
		}
		w.push(queue.Job{Type: "a", ID: "2", CallbackURL: url})
		w.finish("a", queue.Bury, "", "no")
		if o := ended("2"); o.State != queue.Dead || o.Error != "no" {
			t.Errorf("%+v", o)
		}
		// Of one that was replaced nothing is told: it goes on in the other.
		w.push(queue.Job{Type: "a", ID: "3", CallbackURL: url})
		w.push(queue.Job{Type: "a", ID: "3", CallbackURL: url})
		_, err := w.q.Cancel(w.Context(), "a", "3")
		must(t, err)
		if o := ended("3"); o.State != queue.Cancelled {
			t.Errorf("%+v", o)
		}
		if n := w.waiting(registry.CallbackType); n != 0 {
			t.Errorf("%d more callbacks", n)
		}
	})
}

// A relay that dies after its pushes is made up for by others, and each push happens once.
func TestExactlyOnce(t *testing.T) {
	simulate(t, func(w *world) {
		const n = 120
		var jobs []queue.Job
		for i := range n {
			jobs = append(jobs, queue.Job{Type: "a", ID: fmt.Sprint(i), OnSuccess: &queue.Job{Type: "b"}, CallbackURL: "https://example.org"})
		}
		_, err := w.q.Push(w.Context(), jobs...)
		must(t, err)
		for range n {
			w.finish("a", queue.Done, "", "")
		}
		w.cut = true
		first, stopFirst := w.relay()
		first.Notify("a")
		time.Sleep(3 * lease) // it tries again and again
		if b := w.waiting("b"); b == 0 {
			t.Fatal("nothing was pushed")
		}
		stopFirst()
		w.set(func() { w.cut = false })
		var stops []func()
		for range 3 {
			r, stop := w.relay()
			r.Notify("a")
			stops = append(stops, stop)
		}
		time.Sleep(2 * lease)
		for _, stop := range stops {
			stop()
		}
		if b, c := w.waiting("b"), w.waiting(registry.CallbackType); b != n || c != n {
			t.Errorf("%d follow-ups and %d callbacks of %d jobs", b, c, n)
		}
		s, err := w.q.Stats(w.Context(), "a")
		must(t, err)
		if s.Endings != 0 {
			t.Errorf("%+v", s)
		}
	})
}

// What cannot be pushed is kept and tried again, and others go on.
func TestTypeIsGone(t *testing.T) {
	simulate(t, func(w *world) {
		w.gone["b"] = true
		r, stop := w.relay()
		defer stop()
		for _, next := range []string{"b", "c", "b", "c"} {
			w.push(queue.Job{Type: "a", OnSuccess: &queue.Job{Type: next}})
			w.finish("a", queue.Done, "", "")
		}
		r.Notify("a")
		time.Sleep(time.Hour)
		s, err := w.q.Stats(w.Context(), "a")
		must(t, err)
		if w.waiting("c") != 2 || s.Endings != 2 || s.Troubled != 2 {
			t.Errorf("%d pushed, %+v", w.waiting("c"), s)
		}
		e, _, err := w.q.TakeEndings(w.Context(), "a", time.Millisecond)
		must(t, err)
		if len(e) > 0 && (e[0].Tries < 12 || e[0].Tries > 60) {
			t.Errorf("%d tries in an hour", e[0].Tries)
		}
		w.set(func() { w.gone["b"] = false })
		time.Sleep(2 * maxBackoff)
		if n := w.waiting("b"); n != 2 {
			t.Errorf("%d pushed", n)
		}
	})
}

// The outboxes of types that no lane of this process looks at are looked at unasked.
func TestUnasked(t *testing.T) {
	simulate(t, func(w *world) {
		_, stop := w.relay()
		defer stop()
		w.push(queue.Job{Type: "b", OnSuccess: &queue.Job{Type: "c"}})
		w.finish("b", queue.Done, "", "")
		time.Sleep(3 * poll)
		if n := w.waiting("c"); n != 1 {
			t.Errorf("%d pushed", n)
		}
	})
}

func TestOptions(t *testing.T) {
	for want, o := range map[string]Options{"outbox": {}, "pusher": {Outbox: &world{}}, "workflows": {Outbox: &world{}, Pusher: &world{}}} {
		if _, err := New(o); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

func TestStepsOfACancelledJob(t *testing.T) {
	j := queue.Job{Type: "a", ID: "1", State: queue.Cancelled, OnSuccess: &queue.Job{Type: "b"}, OnFailure: &queue.Job{Type: "b"}, Then: []queue.Job{{Type: "b"}}, CallbackURL: "https://example.org"}
	steps, err := stepsAfter(&queue.Ending{Key: "1-1", Job: j})
	must(t, err)
	if len(steps) != 1 || steps[0].job.Type != registry.CallbackType {
		t.Errorf("%+v", steps)
	}
	j.State = queue.Dead
	steps, err = stepsAfter(&queue.Ending{Key: "1-1", Job: j})
	must(t, err)
	keys := []string{steps[0].once.Key, steps[1].once.Key}
	if len(steps) != 2 || slices.Contains(keys, "") || keys[0] == keys[1] {
		t.Errorf("%+v", steps)
	}
}
