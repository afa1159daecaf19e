package queuetest

import (
	"fmt"
	"testing"
	"time"

	"github.com/deetoo/deetoo/queue"
)

func replaceTests() map[string]func(*env) {
	tests := map[string]func(*env){
		"replace/a running job is left alone": replaceActive,
		"replace/places in the list":          replacePlaces,
	}
	for _, s := range queue.States() {
		if s != queue.Active {
			for _, delay := range []time.Duration{0, time.Hour} {
				tests[fmt.Sprintf("replace/%s, due in %v", s, delay)] = func(v *env) { replaceIn(v, s, delay) }
			}
		}
	}
	return tests
}

func replaceIn(v *env, s queue.State, delay time.Duration) {
	v.configure(5)
	v.put("x", s)
	want := queue.Waiting
	if delay > 0 {
		want = queue.Scheduled
	}
	for _, p := range []queue.Priority{queue.Critical, queue.Low} {
		r := v.push(queue.Job{ID: "x", Data: []byte(`"new"`), Priority: p, Delay: delay, Title: "new"})[0]
		if !r.Replaced || r.Err != nil || r.State != want {
			v.Fatalf("receipt %+v", r)
		}
		j := v.inState("x", want)
		if string(j.Data) != `"new"` || j.Title != "new" || j.Priority != p || j.Attempt != 0 || j.Result != nil || j.LastError != "" ||
			!j.FinishedAt.IsZero() || !j.StartedAt.IsZero() || len(v.attempts("x")) != 0 {
			v.Fatalf("%+v", j)
		}
		v.healthy(typ)
	}
	if s := v.stats(); s.Waiting+s.Scheduled != 1 || s.Dead+s.Finished+s.Active != 0 {
		v.Fatalf("%+v", s)
	}
	if delay > 0 {
		v.ok(v.q.Promote(v.ctx(), typ, "x"))
	}
	if l := v.claim(5); ids(l) != "x" || string(l[0].Data) != `"new"` {
		v.Fatalf("claimed %s", ids(l))
	}
}

func replaceActive(v *env) {
	v.configure(5)
	v.put("x", queue.Active)
	before := fmt.Sprintf("%+v", v.get("x"))
	r := v.push(queue.Job{ID: "x", Data: []byte(`"new"`)}, queue.Job{ID: "y"})
	v.is(r[0].Err, queue.ErrActive)
	if after := fmt.Sprintf("%+v", v.get("x")); after != before {
		v.Errorf("it was\n%s, and is\n%s", before, after)
	}
	if r[1].Err != nil || v.inState("y", queue.Waiting) == nil {
		v.Errorf("the next of the batch: %+v", r[1])
	}
}

func replacePlaces(v *env) {
	v.configure(5)
	v.pushIDs("a", "b", "c")
	v.pushIDs("a") // keeps its place
	v.push(queue.Job{ID: "b", Priority: queue.High})
	if got := jobIDs(v.all(queue.Waiting, 2)); got != "b a c" {
		v.Errorf("listed %s", got)
	}
	if got := ids(v.claim(5)); got != "b a c" {
		v.Errorf("claimed %s", got)
	}
}

func cancelTests() map[string]func(*env) {
	return map[string]func(*env){
		"cancel/in each state":              cancelStates,
		"cancel/a running job":              cancelActive,
		"cancel/a running job that is lost": cancelLost,
		"cancel/a consumer named c":         cancelConsumerC,
		"cancel/twice within a millisecond": cancelTwice,
	}
}

func cancelStates(v *env) {
	v.configure(5)
	for _, s := range []queue.State{queue.Waiting, queue.Scheduled, queue.Cancelled} {
		v.put(string(s), s)
		got, err := v.q.Cancel(v.ctx(), typ, string(s))
		v.ok(err)
		j := v.inState(string(s), queue.Cancelled)
		if got != queue.Cancelled || j.FinishedAt.IsZero() || !j.StartedAt.IsZero() || j.Attempt != 0 {
			v.Errorf("%s: %s, %+v", s, got, j)
		}
		v.healthy(typ)
	}
	for _, s := range []queue.State{queue.Succeeded, queue.Dead} {
		v.put(string(s), s)
		got, err := v.q.Cancel(v.ctx(), typ, string(s))
		v.is(err, queue.ErrConflict)
		if got != s || v.get(string(s)).State != s {
			v.Errorf("%s: %s", s, got)
		}
	}
	_, err := v.q.Cancel(v.ctx(), typ, "nobody")
	v.is(err, queue.ErrNotFound)
	if l := v.claim(5); len(l) != 0 {
		v.Errorf("claimed %s", ids(l))
	}
}

func cancelActive(v *env) {
	v.configure(5)
	for _, c := range []struct {
		verdict queue.Verdict
		want    queue.State
		attempt int
	}{
		{queue.Retry, queue.Cancelled, 1}, {queue.Bury, queue.Cancelled, 1}, {queue.Release, queue.Cancelled, 0}, {queue.Done, queue.Succeeded, 1},
	} {
		id := string(c.verdict)
		v.pushIDs(id)
		l := v.claimOne(id)
		for range 2 {
			got, err := v.q.Cancel(v.ctx(), typ, id)
			v.ok(err)
			if j := v.inState(id, queue.Active); got != queue.Active || !j.CancelRequested {
				v.Fatalf("%s, %+v", got, j)
			}
		}
		if listed := v.all(queue.Active, 5); len(listed) != 1 || !listed[0].CancelRequested {
			v.Errorf("listed %+v", listed)
		}
		kept, err := v.q.Renew(v.ctx(), typ, []*queue.Lease{&l})
		v.ok(err)
		if kept[0] != queue.CancelRequested {
			v.Errorf("renewal says %c", kept[0])
		}
		v.settle(end(l, c.verdict))
		if j := v.inState(id, c.want); j.Attempt != c.attempt || j.CancelRequested || !j.StartedAt.Equal(l.StartedAt) {
			v.Errorf("%c: %+v", c.verdict, j)
		}
	}
}

func cancelLost(v *env) {
	v.configure(5)
	short := v.open(queue.Options{Consumer: "short", Lease: 100 * time.Millisecond})
	v.pushIDs("x")
	_, err := short.Exchange(v.ctx(), typ, nil, 1)
	v.ok(err)
	_, err = v.q.Cancel(v.ctx(), typ, "x")
	v.ok(err)
	v.eventually("reaped", func() bool { return v.exchange(nil, 5).Reaped == 1 })
	if j := v.inState("x", queue.Cancelled); j.Lost != 1 {
		v.Errorf("%+v", j)
	}
}

// A lease ends in " c" when its job was cancelled, and a consumer may be called c.
func cancelConsumerC(v *env) {
	v.configure(5)
	q := v.open(queue.Options{Consumer: "c"})
	v.pushIDs("x")
	b, err := q.Exchange(v.ctx(), typ, nil, 1)
	v.ok(err)
	kept, err := q.Renew(v.ctx(), typ, []*queue.Lease{&b.Leases[0]})
	v.ok(err)
	if kept[0] != queue.Kept || v.get("x").CancelRequested {
		v.Errorf("renewal says %c", kept[0])
	}
	_, err = q.Exchange(v.ctx(), typ, []queue.Settlement{end(b.Leases[0], queue.Release)}, 0)
	v.ok(err)
	v.inState("x", queue.Waiting)
}

func cancelTwice(v *env) {
	v.configure(5)
	for range 3 {
		v.pushIDs("x")
		_, err := v.q.Cancel(v.ctx(), typ, "x")
		v.ok(err)
	}
	v.healthy(typ)
	if got := v.all(queue.Cancelled, 5); jobIDs(got) != "x" {
		v.Errorf("listed %s", jobIDs(got))
	}
	n, err := v.q.Purge(v.ctx(), typ, queue.Cancelled)
	v.ok(err)
	if s := v.stats(); n != 1 || s.Finished != 0 || s.Waiting != 0 {
		v.Errorf("%d purged, %+v", n, s)
	}
}

// fatalIf keeps table tests short.
func fatalIf(t testing.TB, bad bool, format string, args ...any) {
	t.Helper()
	if bad {
		t.Fatalf(format, args...)
	}
}
