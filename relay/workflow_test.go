package relay

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/deetoo/deetoo/queue"
	"github.com/deetoo/deetoo/registry"
)

// start creates a workflow and pushes its jobs.
func (w *world) start(flow *queue.Workflow) {
	w.Helper()
	_, err := w.q.CreateWorkflow(w.Context(), flow)
	must(w, err)
	_, err = w.q.StartWorkflow(w.Context(), flow.ID)
	must(w, err)
}

// taken runs the one job of a type that waits, and returns its data as told to those that follow a workflow.
func (w *world) taken(typ string) (o WorkflowOutcome, data string, l queue.Lease) {
	w.Helper()
	l = w.finish(typ, queue.Done, "", "")
	var e struct {
		Workflow WorkflowOutcome
		Data     json.RawMessage
	}
	must(w, json.Unmarshal(l.Data, &e))
	return e.Workflow, string(e.Data), l
}

func (w *world) look(r *Relay) {
	r.Notify("a")
	r.Notify("b")
	synctest.Wait()
}

func TestWorkflowCompletes(t *testing.T) {
	simulate(t, func(w *world) {
		r, stop := w.relay()
		defer stop()
		w.start(&queue.Workflow{ID: "good", Jobs: []queue.Job{{Type: "a"}, {Type: "b"}}, CallbackURL: "https://example.org/hook",
			OnSuccess: &queue.Job{Type: "c", Data: []byte(`{"own":1}`)}, OnFailure: &queue.Job{Type: "alarm"}})
		w.finish("a", queue.Done, `{"sum":3}`, "")
		w.look(r)
		if n := w.waiting("c") + w.waiting("alarm") + w.waiting(registry.CallbackType); n != 0 {
			t.Fatalf("%d pushed too early", n)
		}
		w.finish("b", queue.Done, "text", "")
		w.look(r)
		o, data, l := w.taken("c")
		if o.ID != "good" || o.State != queue.WorkflowSucceeded || o.Total != 2 || o.Succeeded != 2 || data != `{"own":1}` || o.FinishedAt == "" || l.ID != "good-success" ||
			string(o.Jobs[0].Result) != `{"sum":3}` || string(o.Jobs[1].Result) != `"text"` || o.Jobs[1].Type != "b" || o.Jobs[1].ID != "good-1" {
			t.Errorf("told %+v and %s", o, data)
		}
		back := w.finish(registry.CallbackType, queue.Done, "", "")
		var told WorkflowOutcome
		must(t, json.Unmarshal(back.Data, &told))
		if told.ID != "good" || back.Target != "https://example.org/hook" || back.Parent == nil || back.Parent.Type != "a" || w.waiting("alarm") != 0 {
			t.Errorf("the callback was told %+v", told)
		}
		w.start(&queue.Workflow{ID: "bad", Jobs: []queue.Job{{Type: "a"}, {Type: "b"}},
			OnComplete: &queue.Job{Type: "c"}, OnSuccess: &queue.Job{Type: "c"}, OnFailure: &queue.Job{Type: "alarm"}})
		w.finish("a", queue.Bury, "", "it broke")
		w.finish("b", queue.Done, "", "")
		w.look(r)
		if o, data, _ := w.taken("alarm"); o.State != queue.WorkflowFailed || o.Dead != 1 || o.Jobs[0].Error != "it broke" || o.Jobs[0].Status != 500 || data != "null" {
			t.Errorf("told %+v and %s", o, data)
		}
		if _, _, l := w.taken("c"); l.ID != "bad-complete" || w.waiting("c") != 0 {
			t.Errorf("%s, and %d more", l.ID, w.waiting("c"))
		}
	})
}

// Relays that die between any two steps are made up for by others, and what follows is pushed once.
func TestWorkflowCompletesOnce(t *testing.T) {
	simulate(t, func(w *world) {
		const n = 60
		flow := &queue.Workflow{ID: "w", OnComplete: &queue.Job{Type: "c"}}
		for i := range n {
			flow.Jobs = append(flow.Jobs, queue.Job{Type: []string{"a", "b"}[i%2]})
		}
		w.start(flow)
		for i := range n {
			w.finish([]string{"a", "b"}[i%2], queue.Done, fmt.Sprint(i), "")
		}
		w.set(func() { w.cut, w.gone["c"] = true, true })
		first, stopFirst := w.relay()
		w.look(first)
		time.Sleep(2 * lease)
		if w.waiting("c") != 0 {
			t.Fatal("c has gone")
		}
		w.set(func() { w.gone["c"] = false })
		time.Sleep(2 * maxBackoff)
		if c := w.waiting("c"); c != 1 {
			t.Fatalf("%d pushed", c)
		}
		w.finish("c", queue.Done, "", "")
		stopFirst()
		w.set(func() { w.cut = false })
		var stops []func()
		for range 3 {
			r, stop := w.relay()
			r.Notify("a")
			r.Notify("b")
			stops = append(stops, stop)
		}
		time.Sleep(2 * maxBackoff)
		for _, stop := range stops {
			stop()
		}
		if c := w.waiting("c"); c != 0 {
			t.Errorf("%d more pushed", c)
		}
		for _, typ := range []string{"a", "b"} {
			s, err := w.q.Stats(w.Context(), typ)
			must(t, err)
			if s.Endings != 0 {
				t.Errorf("%+v", s)
			}
		}
		got, err := w.q.Workflow(w.Context(), "w")
		must(t, err)
		if got.Succeeded != n || got.CompletedAt.IsZero() || slices.ContainsFunc(got.Ends, func(e queue.WorkflowEnd) bool { return e.Result == nil }) {
			t.Errorf("%+v", got)
		}
	})
}

// halfway is a workflow's producer that dies right after what it pushed last.
type halfway struct {
	Workflows
	cut bool
}

func (h *halfway) WorkflowCompleted(ctx context.Context, id string) error {
	if h.cut {
		return errCut
	}
	return h.Workflows.WorkflowCompleted(ctx, id)
}

// A workflow whose creator died is begun by a relay, and ended by it if there is no job that could end.
func TestWorkflowIsResumed(t *testing.T) {
	simulate(t, func(w *world) {
		h := &halfway{Workflows: w.q, cut: true}
		run := func() (stop func()) {
			r, err := New(Options{Outbox: w, Pusher: w, Workflows: h, Types: func() []string { return []string{"a", "b"} }})
			must(t, err)
			ctx, cancel := context.WithCancel(w.Context())
			done := make(chan struct{})
			go func() { r.Run(ctx); close(done) }()
			return func() { cancel(); <-done }
		}
		_, err := w.q.CreateWorkflow(w.Context(), &queue.Workflow{ID: "w", Jobs: []queue.Job{{Type: "a"}, {Type: "b"}}, OnComplete: &queue.Job{Type: "c"}})
		must(t, err)
		stop := run()
		time.Sleep(4 * poll)
		if a, b := w.waiting("a"), w.waiting("b"); a != 1 || b != 1 {
			t.Fatalf("%d and %d jobs", a, b)
		}
		w.finish("a", queue.Done, "", "")
		w.finish("b", queue.Done, "", "")
		time.Sleep(4 * poll)
		stop()
		h.cut = false
		stop = run()
		time.Sleep(2 * maxBackoff)
		if c := w.waiting("c"); c != 1 {
			t.Errorf("%d pushed", c)
		}
		// None of the jobs of the next can be pushed.
		w.push(queue.Job{Type: "a", ID: "busy"})
		b, err := w.q.Exchange(w.Context(), "a", nil, 1)
		must(t, err)
		w.start(&queue.Workflow{ID: "v", Jobs: []queue.Job{{Type: "a", ID: "busy"}}, OnComplete: &queue.Job{Type: "alarm"}})
		time.Sleep(4 * poll)
		stop()
		if n := w.waiting("alarm"); n != 1 || len(b.Leases) != 1 {
			t.Errorf("%d pushed", n)
		}
	})
}
