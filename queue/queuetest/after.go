package queuetest

import (
	"fmt"
	"strings"
	"time"

	"github.com/deetoo/deetoo/invalid"
	"github.com/deetoo/deetoo/queue"
)

func afterTests() map[string]func(*env) {
	return map[string]func(*env){
		"after/every end is noted once, with what came of it":  afterEnds,
		"after/jobs that nothing follows leave nothing":        afterPlain,
		"after/an ending is one relay's until its lease ends":  afterLease,
		"after/one that gave trouble does not stop the others": afterTrouble,
		"after/the ending outlives the job":                    afterRetention,
		"after/lanes are told":                                 afterTold,
		"after/replaced and purged before they ran":            afterReplaced,
		"after/what follows is kept with the job":              afterKept,
		"after/what is not valid":                              afterInvalid,
		"after/a type is not deleted with endings to relay":    afterDestroy,
		"after/every request twice":                            afterTwice,
	}
}

// endings takes what is in the outbox.
func (v *env) endings() []queue.Ending {
	v.Helper()
	e, _, err := v.q.TakeEndings(v.ctx(), typ, time.Hour)
	v.ok(err)
	return e
}

// relayed takes what is in the outbox, and takes it away.
func (v *env) relayed() []queue.Ending {
	v.Helper()
	e := v.endings()
	keys := make([]string, len(e))
	for i := range e {
		keys[i] = e[i].Key
	}
	v.ok(v.q.Relayed(v.ctx(), typ, keys...))
	return e
}

// watched is a job that something follows.
func watched(id string) queue.Job {
	return queue.Job{ID: id, Type: typ, OnSuccess: &queue.Job{Type: "next", Data: []byte(`{"a": 1}`)}}
}

func afterEnds(v *env) {
	v.policy(1, queue.RetryPolicy{MaxAttempts: 1, MinBackoff: time.Millisecond, MaxBackoff: time.Millisecond})
	short := v.open(queue.Options{Consumer: "short", Lease: 200 * time.Millisecond, MaxLost: 1})
	take := func(q *queue.Queue, id string) queue.Lease {
		v.Helper()
		v.push(watched(id))
		b, err := q.Exchange(v.ctx(), typ, nil, 1)
		v.ok(err)
		fatalIf(v, len(b.Leases) != 1 || b.Leases[0].ID != id, "claimed %s", ids(b.Leases))
		return b.Leases[0]
	}
	check := func(what string, state queue.State, result, failure string) {
		v.Helper()
		e := v.relayed()
		if len(e) != 1 || e[0].Err != nil || e[0].Key == "" {
			v.Fatalf("%s: endings %+v", what, e)
		}
		j := v.inState(what, state)
		got := e[0].Job
		if got.ID != what || got.Type != typ || got.State != state || string(got.Result) != result || !strings.Contains(got.LastError, failure) || failure == "" && got.LastError != "" ||
			!got.EnqueuedAt.Equal(j.EnqueuedAt) || !got.FinishedAt.Equal(j.FinishedAt) || got.Attempt != j.Attempt || got.OnSuccess == nil || got.OnSuccess.Type != "next" {
			v.Errorf("%s: %+v", what, got)
		}
		if again := v.endings(); len(again) != 0 {
			v.Errorf("%s: again %+v", what, again)
		}
	}

	l := take(v.q, "done")
	s := end(l, queue.Done)
	s.Result = []byte(`{"sum":3}`)
	v.settle(s)
	check("done", queue.Succeeded, `{"sum":3}`, "")

	l = take(v.q, "buried")
	v.settle(end(l, queue.Bury))
	check("buried", queue.Dead, "", "boom buried")

	l = take(v.q, "called-back")
	v.accept(l, time.Minute)
	v.ok(v.q.Conclude(v.ctx(), typ, l.ID, l.CallbackToken(), queue.Conclusion{Verdict: queue.Done, Result: []byte("text")}))
	check("called-back", queue.Succeeded, "text", "")

	l = take(v.q, "failed")
	v.ok(v.q.Conclude(v.ctx(), typ, l.ID, l.CallbackToken(), queue.Conclusion{Verdict: queue.Retry, Error: "it said no"}))
	check("failed", queue.Dead, "", "it said no")

	l = take(v.q, "silent")
	v.accept(l, 100*time.Millisecond)
	v.eventually("reaped", func() bool { return v.exchange(nil, 0).Reaped == 1 })
	check("silent", queue.Dead, "", "silent for 0.1 s")

	take(short, "lost")
	v.eventually("reaped", func() bool {
		b, err := short.Exchange(v.ctx(), typ, nil, 0)
		v.ok(err)
		return b.Reaped == 1
	})
	check("lost", queue.Dead, "", "vanished")

	v.push(watched("cancelled"))
	_, err := v.q.Cancel(v.ctx(), typ, "cancelled")
	v.ok(err)
	check("cancelled", queue.Cancelled, "", "")

	l = take(v.q, "called-off")
	_, err = v.q.Cancel(v.ctx(), typ, "called-off")
	v.ok(err)
	v.settle(end(l, queue.Retry))
	check("called-off", queue.Cancelled, "", "boom")

	// Retried by hand it ends anew.
	v.ok(v.q.RetryNow(v.ctx(), typ, "buried"))
	v.settle(end(v.claimOne("buried"), queue.Done))
	check("buried", queue.Succeeded, "", "")
}

func afterPlain(v *env) {
	v.configure(5)
	v.push(queue.Job{ID: "plain"}, queue.Job{ID: "titled", Title: `"a":{`})
	for _, l := range v.claim(5) {
		v.settle(end(l, queue.Done))
	}
	if e := v.endings(); len(e) != 0 {
		v.Errorf("%+v", e)
	}
	if s := v.stats(); s.Endings != 0 || s.Troubled != 0 || s.Finished != 2 {
		v.Errorf("%+v", s)
	}
}

func afterLease(v *env) {
	v.configure(5)
	v.push(watched("x"))
	v.settle(end(v.claimOne("x"), queue.Done))
	first, next, err := v.q.TakeEndings(v.ctx(), typ, 300*time.Millisecond)
	v.ok(err)
	fatalIf(v, len(first) != 1 || next <= 0 || next > 300*time.Millisecond, "%+v, next %s", first, next)
	fatalIf(v, len(v.endings()) != 0, "taken twice")
	var second []queue.Ending
	v.eventually("another gets it", func() bool { second = v.endings(); return len(second) == 1 })
	if second[0].Key != first[0].Key {
		v.Errorf("%q, then %q", first[0].Key, second[0].Key)
	}
	v.ok(v.q.Relayed(v.ctx(), typ, first[0].Key))
	v.ok(v.q.Relayed(v.ctx(), typ, first[0].Key))
	if _, next, err := v.q.TakeEndings(v.ctx(), typ, time.Hour); err != nil || next >= 0 {
		v.Errorf("next %s, %v", next, err)
	}
	// One who comes late with an ending that is gone must not bring it back.
	v.ok(v.q.DeferEnding(v.ctx(), typ, &first[0], 0, "late"))
	if s := v.stats(); s.Endings != 0 || s.Troubled != 0 {
		v.Errorf("%+v", s)
	}
}

func afterTrouble(v *env) {
	v.configure(5)
	for _, id := range []string{"bad", "good"} {
		v.push(watched(id))
		v.settle(end(v.claimOne(id), queue.Done))
	}
	e := v.endings()
	fatalIf(v, len(e) != 2 || e[0].Job.ID != "bad" || e[0].Tries != 0, "%+v", e)
	v.ok(v.q.DeferEnding(v.ctx(), typ, &e[0], 200*time.Millisecond, "no such type"))
	v.ok(v.q.Relayed(v.ctx(), typ, e[1].Key))
	if s := v.stats(); s.Endings != 1 || s.Troubled != 1 {
		v.Errorf("%+v", s)
	}
	v.healthy(typ)
	v.eventually("due again", func() bool { e = v.endings(); return len(e) == 1 })
	if e[0].Job.ID != "bad" || e[0].Tries != 1 || e[0].Trouble != "no such type" {
		v.Errorf("%+v", e)
	}
	v.ok(v.q.Relayed(v.ctx(), typ, e[0].Key))
	if s := v.stats(); s.Endings != 0 || s.Troubled != 0 {
		v.Errorf("%+v", s)
	}
	// Many: a relay gets a part at a time.
	v.ok(v.q.Configure(v.ctx(), typ, queue.Settings{Version: 2, Concurrency: 100, RetainCount: 1000, RetainAge: time.Hour}))
	for i := range 70 {
		v.push(watched(fmt.Sprint(i)))
	}
	for _, l := range v.claim(70) {
		v.settle(end(l, queue.Done))
	}
	seen := map[string]bool{}
	for len(seen) < 70 {
		part := v.relayed()
		fatalIf(v, len(part) == 0, "only %d", len(seen))
		for _, e := range part {
			fatalIf(v, seen[e.Job.ID], "%s twice", e.Job.ID)
			seen[e.Job.ID] = true
		}
	}
}

func afterRetention(v *env) {
	v.ok(v.q.Configure(v.ctx(), typ, queue.Settings{Version: 1, Concurrency: 5}))
	v.push(watched("x"))
	v.settle(end(v.claimOne("x"), queue.Done))
	v.gone("x")
	if e := v.relayed(); len(e) != 1 || e[0].Job.ID != "x" {
		v.Errorf("%+v", e)
	}
}

func afterTold(v *env) {
	v.configure(5)
	v.push(watched("x"))
	l := v.claimOne("x")
	fatalIf(v, v.exchange(nil, 0).Outbox, "told too early")
	b := v.exchange([]queue.Settlement{end(l, queue.Done)}, 0)
	fatalIf(v, !b.Outbox, "not told with the settlement")
	fatalIf(v, !v.exchange(nil, 0).Outbox, "not told again")
	e := v.endings()
	fatalIf(v, v.exchange(nil, 0).Outbox, "told of what a relay has taken")
	v.ok(v.q.Relayed(v.ctx(), typ, e[0].Key))
	fatalIf(v, v.exchange(nil, 0).Outbox, "told of nothing")
}

func afterReplaced(v *env) {
	v.configure(5)
	v.push(watched("x"))
	v.push(watched("x"))
	e := v.relayed()
	if len(e) != 1 || !e[0].Replaced || e[0].Job.State != queue.Cancelled {
		v.Errorf("%+v", e)
	}
	late := watched("later")
	late.Delay = time.Hour
	v.push(late)
	for _, s := range []queue.State{queue.Waiting, queue.Scheduled} {
		_, err := v.q.Purge(v.ctx(), typ, s)
		v.ok(err)
		if e := v.relayed(); len(e) != 1 || e[0].Replaced || e[0].Job.State != queue.Cancelled {
			v.Errorf("%s: %+v", s, e)
		}
	}
	// Finished ones have ended already.
	v.push(watched("x"))
	v.settle(end(v.claimOne("x"), queue.Bury))
	v.relayed()
	_, err := v.q.Purge(v.ctx(), typ, queue.Dead)
	v.ok(err)
	v.put("x", queue.Succeeded)
	v.push(watched("x"))
	if e := v.relayed(); len(e) != 0 {
		v.Errorf("%+v", e)
	}
}

func afterKept(v *env) {
	v.configure(5)
	j := queue.Job{
		ID: "x", Type: typ, Data: []byte(strings.Repeat(" ", 5000) + `{"big":true}`), CallbackURL: "https://example.org/hook?key=1",
		OnFailure: &queue.Job{Type: "alarm", ID: "fixed", Priority: queue.High, Delay: time.Minute, MaxAttempts: 3, Timeout: time.Second, Title: "Alarm\u2028\"a\":{",
			TTL: time.Hour, Unique: &queue.Unique{Key: "only", OnConflict: queue.Debounce, Longest: time.Minute}},
		Then: []queue.Job{
			{Type: "second", Data: []byte("{\n \"lines\": 2\n}"), OnFailure: &queue.Job{Type: "alarm"}},
			{Type: "third", CallbackURL: "https://example.org/end"},
		},
		Parent: &queue.Parent{Type: "before", ID: "1"},
	}
	v.push(j)
	same := func(where string, got *queue.Job) {
		v.Helper()
		f := got.OnFailure
		if f == nil || f.Type != "alarm" || f.ID != "fixed" || f.Priority != queue.High || f.Delay != time.Minute || f.MaxAttempts != 3 || f.Timeout != time.Second || f.Title != j.OnFailure.Title || f.TTL != time.Hour || !f.ExpiresAt.IsZero() || f.Unique == nil || *f.Unique != *j.OnFailure.Unique {
			v.Errorf("%s: on failure %+v", where, f)
		}
		if len(got.Then) != 2 || string(got.Then[0].Data) != `{"lines":2}` || got.Then[0].OnFailure.Type != "alarm" || got.Then[1].CallbackURL != "https://example.org/end" {
			v.Errorf("%s: then %+v", where, got.Then)
		}
		if got.CallbackURL != j.CallbackURL || got.Parent == nil || *got.Parent != *j.Parent || got.OnSuccess != nil {
			v.Errorf("%s: %+v", where, got)
		}
	}
	same("get", v.get("x"))
	l := v.claimOne("x")
	if len(l.Data) != len(j.Data) {
		v.Errorf("%d bytes of data", len(l.Data))
	}
	same("lease", &l.Job)
	v.settle(end(l, queue.Bury))
	same("ending", &v.relayed()[0].Job)
	same("dead", v.get("x"))
}

func afterInvalid(v *env) {
	circle := queue.Job{Type: typ}
	circle.OnSuccess = &circle
	deep := queue.Job{Type: typ}
	for range queue.MaxFollowDepth + 1 {
		inner := deep
		deep = queue.Job{Type: typ, OnSuccess: &inner}
	}
	large := []byte(`"` + strings.Repeat("x", queue.MaxFollowSize) + `"`)
	for field, j := range map[string]queue.Job{
		"on_success.type":            {OnSuccess: &queue.Job{Type: "no spaces"}},
		"on_failure.max_attempts":    {OnFailure: &queue.Job{Type: typ, MaxAttempts: 101}},
		"on_failure.when":            {OnFailure: &queue.Job{Type: typ, RunAt: time.Now()}},
		"on_success.expires_at":      {OnSuccess: &queue.Job{Type: typ, ExpiresAt: time.Now().Add(time.Hour)}},
		"on_failure.data":            {OnFailure: &queue.Job{Type: typ, Data: []byte("{")}},
		"then[1].on_success.id":      {Then: []queue.Job{{Type: typ}, {Type: typ, OnSuccess: &queue.Job{Type: typ, ID: ".."}}}},
		"then[0].then":               {Then: []queue.Job{{Type: typ, Then: []queue.Job{{Type: typ}}}}},
		"then[0].callback_url":       {Then: []queue.Job{{Type: typ, CallbackURL: "ftp://example.org"}}},
		"callback_url":               {CallbackURL: "https://user@example.org"},
		"on_success.then[0].timeout": {OnSuccess: &queue.Job{Type: typ, Then: []queue.Job{{Type: typ, Timeout: -1}}}},
		"":                           circle,
		" deep":                      deep,
		" many":                      {Then: make([]queue.Job, queue.MaxFollowUps+1)},
		" large":                     {OnSuccess: &queue.Job{Type: typ, Data: large}},
	} {
		for i := range j.Then {
			if j.Then[i].Type == "" {
				j.Then[i].Type = typ
			}
		}
		j.Type = typ
		_, err := v.q.Push(v.ctx(), j)
		bad, ok := err.(*invalid.Error)
		if !ok || bad.Field != field && field != "" && field[0] != ' ' {
			v.Errorf("%s: %v", field, err)
		}
	}
	if s := v.stats(); s.Waiting != 0 {
		v.Errorf("%+v", s)
	}
}

func afterDestroy(v *env) {
	v.configure(5)
	v.push(watched("x"))
	v.settle(end(v.claimOne("x"), queue.Done))
	v.is(v.q.Destroy(v.ctx(), typ, false), queue.ErrNotEmpty)
	v.relayed()
	v.ok(v.q.Destroy(v.ctx(), typ, false))
	v.configure(5)
	v.push(watched("x"))
	v.settle(end(v.claimOne("x"), queue.Done))
	v.ok(v.q.Destroy(v.ctx(), typ, true))
	if e := v.endings(); len(e) != 0 {
		v.Errorf("%+v", e)
	}
}

// Each script is sent twice, and the second answer seen.
func afterTwice(v *env) {
	r := &repeater{}
	r.on.Store(true)
	v.q = v.openOn(another(v, v.client, r), queue.Options{Consumer: "repeating"})
	v.configure(5)
	v.push(watched("x"), watched("y"))
	for _, l := range v.claim(5) {
		v.settle(end(l, queue.Done))
	}
	e := v.endings()
	fatalIf(v, len(e) != 2, "%d endings", len(e))
	v.ok(v.q.DeferEnding(v.ctx(), typ, &e[0], 0, "why"))
	v.ok(v.q.Relayed(v.ctx(), typ, e[1].Key))
	again := v.relayed()
	if len(again) != 1 || again[0].Key != e[0].Key || again[0].Tries != 1 {
		v.Errorf("%+v", again)
	}
}
