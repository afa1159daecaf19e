package queuetest

import (
	"fmt"
	"strings"
	"time"

	"github.com/deetoo/deetoo/invalid"
	"github.com/deetoo/deetoo/queue"
)

func workflowTests() map[string]func(*env) {
	return map[string]func(*env){
		"workflow/all ends are counted, and the last is told":  workflowEnds,
		"workflow/an end counts once, and the last of a job's": workflowAgain,
		"workflow/its ID makes it happen once":                 workflowOnce,
		"workflow/what its creator left undone is resumed":     workflowResumed,
		"workflow/jobs that cannot be pushed":                  workflowUnpushed,
		"workflow/its jobs are as they were given":             workflowKept,
		"workflow/details are bounded":                         workflowDetails,
		"workflow/what is not valid":                           workflowInvalid,
		"workflow/every request twice":                         workflowTwice,
	}
}

// flow is a workflow of n jobs of typ.
func flow(n int) *queue.Workflow {
	w := &queue.Workflow{ID: "w", OnComplete: &queue.Job{Type: "next"}}
	for range n {
		w.Jobs = append(w.Jobs, queue.Job{Type: typ})
	}
	return w
}

// begin creates a workflow and starts it.
func (v *env) begin(w *queue.Workflow) (created, finished bool) {
	v.Helper()
	created, err := v.q.CreateWorkflow(v.ctx(), w)
	v.ok(err)
	finished, err = v.q.StartWorkflow(v.ctx(), w.ID)
	v.ok(err)
	return created, finished
}

// tell does what a relay does with the endings there are, and returns the workflow that is to be completed.
func (v *env) tell() (done *queue.Workflow) {
	v.Helper()
	for _, e := range v.relayed() {
		w, err := v.q.WorkflowJobEnded(v.ctx(), &e, queue.WorkflowDetail{Error: e.Job.LastError})
		v.ok(err)
		if w != nil {
			done = w
		}
	}
	return done
}

func (v *env) workflow() *queue.Workflow {
	v.Helper()
	w, err := v.q.Workflow(v.ctx(), "w")
	v.ok(err)
	return w
}

func workflowEnds(v *env) {
	v.configure(10)
	w := flow(5)
	w.Jobs[2].TTL = 50 * time.Millisecond
	w.Jobs[3].Delay = time.Hour
	w.Jobs[4].ID = "mine"
	created, finished := v.begin(w)
	fatalIf(v, !created || finished, "%v, %v", created, finished)
	if w := v.workflow(); w.State() != queue.WorkflowRunning || w.CreatedAt.IsZero() || len(w.Jobs) != 5 || w.Jobs[4].ID != "mine" || w.Jobs[1].ID != "w-1" || w.Ends[0].State != "" || w.OnComplete.ID != "w-complete" {
		v.Errorf("%+v", w)
	}
	l := v.claimOne("w-0")
	fatalIf(v, l.Workflow == nil || *l.Workflow != (queue.Member{ID: "w"}), "%+v", l.Workflow)
	v.settle(end(l, queue.Done))
	v.settle(end(v.claimOne("w-1"), queue.Bury))
	time.Sleep(100 * time.Millisecond) // past the TTL by Redis's clock
	mine := v.claimOne("mine")
	_, err := v.q.Purge(v.ctx(), typ, queue.Scheduled)
	v.ok(err)
	fatalIf(v, v.tell() != nil, "one is running")
	_, err = v.q.Cancel(v.ctx(), typ, "mine")
	v.ok(err)
	v.settle(end(mine, queue.Retry))
	done := v.tell()
	fatalIf(v, done == nil, "not told: %+v", v.workflow())
	if done.State() != queue.WorkflowFailed || done.Succeeded != 1 || done.Dead != 1 || done.Cancelled != 3 || done.FinishedAt.IsZero() || !done.CompletedAt.IsZero() ||
		done.Ends[0].State != queue.Succeeded || done.Ends[1].State != queue.Dead || done.Ends[1].Error != "boom w-1" || done.Ends[2].State != queue.Cancelled {
		v.Errorf("%+v", done)
	}
}

func workflowAgain(v *env) {
	v.configure(10)
	v.begin(flow(2))
	v.settle(end(v.claimOne("w-0"), queue.Bury))
	first := v.endings()
	fatalIf(v, len(first) != 1, "%+v", first)
	again := func(e queue.Ending) *queue.Workflow {
		v.Helper()
		w, err := v.q.WorkflowJobEnded(v.ctx(), &e, queue.WorkflowDetail{})
		v.ok(err)
		return w
	}
	for range 3 {
		fatalIf(v, again(first[0]) != nil, "told too early")
	}
	if w := v.workflow(); w.Dead != 1 {
		v.Errorf("%+v", w)
	}
	// Retried by hand, and told in the wrong order.
	v.ok(v.q.RetryNow(v.ctx(), typ, "w-0"))
	var rest []queue.Lease
	for _, l := range v.claim(2) {
		if l.ID == "w-0" {
			v.settle(end(l, queue.Done))
		} else {
			rest = append(rest, l)
		}
	}
	second := v.endings()
	fatalIf(v, len(second) != 1 || len(rest) != 1, "%+v", second)
	again(second[0])
	again(first[0])
	if w := v.workflow(); w.Dead != 0 || w.Succeeded != 1 || w.Ends[0].State != queue.Succeeded {
		v.Errorf("%+v", w)
	}
	v.settle(end(rest[0], queue.Done))
	third := v.endings()
	for range 2 { // until what follows is pushed, whoever comes is told
		if w := again(third[0]); w == nil || w.State() != queue.WorkflowSucceeded {
			v.Fatalf("%+v", w)
		}
	}
	v.ok(v.q.WorkflowCompleted(v.ctx(), "w"))
	v.ok(v.q.WorkflowCompleted(v.ctx(), "w"))
	fatalIf(v, again(third[0]) != nil || again(first[0]) != nil, "told again")
	// Nothing changes after that.
	v.ok(v.q.RetryNow(v.ctx(), typ, "w-1"))
	v.settle(end(v.claimOne("w-1"), queue.Bury))
	fatalIf(v, v.tell() != nil, "told again")
	if w := v.workflow(); w.State() != queue.WorkflowSucceeded || w.CompletedAt.IsZero() {
		v.Errorf("%+v", w)
	}
	// Nor is anybody told of one that is forgotten.
	other := third[0]
	other.Job.Workflow = &queue.Member{ID: "forgotten"}
	fatalIf(v, again(other) != nil, "told of nothing")
	_, err := v.q.Workflow(v.ctx(), "forgotten")
	v.is(err, queue.ErrNoWorkflow)
	_, err = v.q.StartWorkflow(v.ctx(), "forgotten")
	v.is(err, queue.ErrNoWorkflow)
}

func workflowOnce(v *env) {
	v.configure(10)
	v.begin(flow(3))
	v.settle(end(v.claimOne("w-0"), queue.Done))
	same := flow(3)
	same.Traceparent = "00-another"
	created, finished := v.begin(same)
	if s := v.stats(); created || finished || s.Waiting != 2 || s.Finished != 1 {
		v.Errorf("%v, %v, %+v", created, finished, s)
	}
	_, err := v.q.CreateWorkflow(v.ctx(), flow(2))
	v.is(err, queue.ErrWorkflowExists)
	if w := v.workflow(); len(w.Jobs) != 3 {
		v.Errorf("%+v", w)
	}
}

func workflowResumed(v *env) {
	v.configure(10)
	_, err := v.q.CreateWorkflow(v.ctx(), flow(3)) // and its creator dies
	v.ok(err)
	some, err := v.q.ResumeWorkflows(v.ctx())
	v.ok(err)
	fatalIf(v, len(some) != 0 || v.stats().Waiting != 0, "its creator may live")
	v.age("w")
	some, err = v.q.ResumeWorkflows(v.ctx())
	v.ok(err)
	fatalIf(v, len(some) != 0 || v.stats().Waiting != 3, "%d, %+v", len(some), v.stats())
	v.settle(end(v.claimOne("w-0"), queue.Done))
	_, err = v.q.ResumeWorkflows(v.ctx())
	v.ok(err)
	if s := v.stats(); s.Waiting != 2 || s.Finished != 1 {
		v.Errorf("pushed again: %+v", s)
	}
	for _, key := range []string{":@workflows}:open", ":@workflow:w}:jobs"} { // of different slots
		n, err := v.client.Exists(v.ctx(), "{"+v.prefix+key).Result()
		v.ok(err)
		fatalIf(v, n != 0, "%s is left of its creation", key)
	}
	types, err := v.q.Types(v.ctx())
	v.ok(err)
	fatalIf(v, len(types) != 1, "types %q", types)
}

// age has a creation look as if its creator had died.
func (v *env) age(id string) {
	v.Helper()
	v.ok(v.client.ZIncrBy(v.ctx(), "{"+v.prefix+":@workflows}:open", -60_000, id).Err())
}

func workflowUnpushed(v *env) {
	v.configure(10)
	v.push(queue.Job{ID: "busy"})
	v.claimOne("busy")
	w := flow(1)
	w.Jobs[0].ID = "busy"
	_, finished := v.begin(w)
	fatalIf(v, !finished, "not told")
	if w := v.workflow(); w.State() != queue.WorkflowFailed || w.Dead != 1 || !strings.Contains(w.Ends[0].Error, "running") {
		v.Errorf("%+v", w)
	}
	// Nobody has an ending of it: it is resumed until what follows has been pushed.
	for range 2 {
		v.age("w")
		some, err := v.q.ResumeWorkflows(v.ctx())
		v.ok(err)
		fatalIf(v, len(some) != 1 || some[0].ID != "w", "%+v", some)
	}
	v.ok(v.q.WorkflowCompleted(v.ctx(), "w"))
	some, err := v.q.ResumeWorkflows(v.ctx())
	v.ok(err)
	fatalIf(v, len(some) != 0, "%+v", some)
}

func workflowKept(v *env) {
	v.configure(10)
	w := flow(2)
	w.Traceparent = "00-trace"
	w.Jobs[0] = queue.Job{Type: typ, Data: []byte("{\"a\":\n \"<&>\"}"), RunAt: time.Now().Add(time.Hour).Truncate(time.Millisecond), Priority: queue.High, Title: "one",
		Tags: []string{"x"}, MaxAttempts: 3, Group: "g", CallbackURL: "https://example.org", OnSuccess: &queue.Job{Type: "next"}, TTL: 2 * time.Hour}
	at := w.Jobs[0].RunAt
	v.begin(w)
	j := v.get("w-0")
	if string(j.Data) != "{\"a\":\n \"<&>\"}" || j.Priority != queue.High || j.Title != "one" || len(j.Tags) != 1 || j.MaxAttempts != 3 || j.Group != "g" || j.CallbackURL == "" ||
		j.OnSuccess == nil || j.Traceparent != "00-trace" || !j.RunAt.Equal(at) || j.State != queue.Scheduled || j.ExpiresAt.Sub(j.EnqueuedAt) != 2*time.Hour {
		v.Errorf("%+v", j)
	}
	if j := v.get("w-1"); string(j.Data) != "null" || j.State != queue.Waiting {
		v.Errorf("%+v", j)
	}
}

func workflowDetails(v *env) {
	v.configure(10)
	v.begin(flow(3))
	for i := range 3 {
		v.settle(end(v.claimOne(fmt.Sprintf("w-%d", i)), queue.Done))
	}
	for _, e := range v.relayed() {
		_, err := v.q.WorkflowJobEnded(v.ctx(), &e, queue.WorkflowDetail{Result: []byte(`"` + strings.Repeat("x", 40<<10) + `"`)})
		v.ok(err)
	}
	w := v.workflow()
	if w.State() != queue.WorkflowSucceeded || len(w.Ends[0].Result) < 40<<10 || w.Ends[1].Result != nil || w.Ends[2].Result != nil {
		v.Errorf("%s: %d, %d, %d bytes", w.State(), len(w.Ends[0].Result), len(w.Ends[1].Result), len(w.Ends[2].Result))
	}
}

func workflowInvalid(v *env) {
	circle := &queue.Job{Type: typ}
	circle.OnSuccess = circle
	for field, change := range map[string]func(w *queue.Workflow){
		"id":                 func(w *queue.Workflow) { w.ID = strings.Repeat("x", 201) },
		"jobs":               func(w *queue.Workflow) { w.Jobs = nil },
		"jobs ":              func(w *queue.Workflow) { w.Jobs = make([]queue.Job, 1001) },
		"jobs[1].type":       func(w *queue.Workflow) { w.Jobs[1].Type = "no spaces" },
		"jobs[1].id":         func(w *queue.Workflow) { w.Jobs[1].ID = "w-0" },
		"jobs[0].unique_key": func(w *queue.Workflow) { w.Jobs[0].Unique = &queue.Unique{Key: "k"} },
		"callback_url":       func(w *queue.Workflow) { w.CallbackURL = "ftp://example.org" },
		"on_complete.when":   func(w *queue.Workflow) { w.OnComplete.RunAt = time.Now() },
		"on_failure.then[0].id": func(w *queue.Workflow) {
			w.OnFailure = &queue.Job{Type: typ, Then: []queue.Job{{Type: typ, ID: ".."}}}
		},
		"": func(w *queue.Workflow) { w.OnSuccess = circle },
	} {
		w := flow(2)
		change(w)
		_, err := v.q.CreateWorkflow(v.ctx(), w)
		if bad, ok := err.(*invalid.Error); !ok || bad.Field != strings.TrimSpace(field) {
			v.Errorf("%s: %v", field, err)
		}
	}
	_, err := v.q.Workflow(v.ctx(), "w")
	v.is(err, queue.ErrNoWorkflow)
}

// Each script is sent twice, and the second answer seen.
func workflowTwice(v *env) {
	r := &repeater{}
	r.on.Store(true)
	v.q = v.openOn(another(v, v.client, r), queue.Options{Consumer: "repeating"})
	v.configure(10)
	created, _ := v.begin(flow(2))
	fatalIf(v, !created, "not created")
	for _, l := range v.claim(2) {
		v.settle(end(l, queue.Done))
	}
	if w := v.tell(); w == nil || w.Succeeded != 2 {
		v.Errorf("%+v", w)
	}
	v.ok(v.q.WorkflowCompleted(v.ctx(), "w"))
}
