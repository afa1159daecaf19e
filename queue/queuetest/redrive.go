package queuetest

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/deetoo/deetoo/invalid"
	"github.com/deetoo/deetoo/queue"
)

func redriveTests() map[string]func(*env) {
	return map[string]func(*env){
		"redrive/by filter":                                redriveFiltered,
		"redrive/by ID":                                    redriveByID,
		"redrive/with patched data":                        redrivePatched,
		"redrive/more than a step":                         redriveSteps,
		"redrive/canaries succeed, then the rest":          redriveCanaries,
		"redrive/canaries succeed where nothing is kept":   redriveCanariesUnkept,
		"redrive/a canary that dies stops it":              redriveCanaryDies,
		"redrive/a canary that is cancelled stops it":      redriveCanaryGone,
		"redrive/fewer jobs than canaries":                 redriveFewCanaries,
		"redrive/at a rate":                                redriveRate,
		"redrive/stopped by somebody":                      redriveStopped,
		"redrive/one consumer is told, and another if not": redriveTold,
		"redrive/so many at once, so many remembered":      redriveBounded,
		"redrive/each step sent twice":                     redriveRepeated,
		"redrive/specs that are not valid":                 redriveInvalid,
		"redrive/purge by filter":                          purgeFiltered,
	}
}

func (v *env) redrives(s queue.RedriveSpec) *queue.Redrive {
	v.Helper()
	r, err := v.q.StartRedrive(v.ctx(), typ, s, "leia")
	v.ok(err)
	return v.isRedrive(r)
}

// isRedrive checks what holds of each.
func (v *env) isRedrive(r *queue.Redrive) *queue.Redrive {
	v.Helper()
	if r.By != "leia" || r.StartedAt.IsZero() || r.UpdatedAt.Before(r.StartedAt) || (r.State == queue.RedriveStopped) != (r.Reason != "") {
		v.Errorf("%+v", r)
	}
	return r
}

// redriven looks a redrive up, and fails unless it is in that state with that count.
func (v *env) redriven(r *queue.Redrive, state queue.RedriveState, count int) *queue.Redrive {
	v.Helper()
	got, err := v.q.GetRedrive(v.ctx(), typ, r.ID)
	v.ok(err)
	if got.State != state || got.Count != count {
		v.Fatalf("%s with %d jobs, want %s with %d: %+v", got.State, got.Count, state, count, got)
	}
	return v.isRedrive(got)
}

// step makes the steps that are due, and maybe one that is not.
func (v *env) step() {
	v.Helper()
	for range 100 {
		wait, err := v.q.StepRedrives(v.ctx(), typ)
		v.ok(err)
		if wait != 0 {
			return
		}
	}
	v.Fatal("the steps do not end")
}

// buries pushes jobs of those IDs and has them die in that order, a moment apart.
func (v *env) buries(ids ...string) {
	v.Helper()
	for _, id := range ids {
		v.dies(id, 500, "boom "+id)
		time.Sleep(2 * time.Millisecond)
	}
}

func redriveFiltered(v *env) {
	v.configure(5)
	for _, id := range []string{"a1", "b1", "a2", "b2"} {
		v.dies(id, 500, map[byte]string{'a': "out of memory", 'b': "it burnt"}[id[0]])
		time.Sleep(2 * time.Millisecond)
	}
	if r := v.redrives(queue.RedriveSpec{DeadFilter: queue.DeadFilter{Error: "BURNT", Before: v.get("b2").FinishedAt}}); r.State != queue.RedriveDone || r.Count != 1 {
		v.Errorf("%+v", r)
	}
	v.inState("b1", queue.Waiting)
	if j := v.inState("b1", queue.Waiting); j.Attempt != 0 || len(v.attempts("b1")) != 1 {
		v.Errorf("%+v", j)
	}
	if r := v.redrives(queue.RedriveSpec{DeadFilter: queue.DeadFilter{Fingerprint: v.groups()[0].Fingerprint}}); r.State != queue.RedriveDone || r.Count != 2 {
		v.Errorf("%+v", r)
	}
	if got := jobIDs(v.all(queue.Dead, 5)) + "|" + jobIDs(v.all(queue.Waiting, 5)); got != "b2|b1 a1 a2" {
		v.Errorf("dead|waiting: %s", got)
	}
	if r := v.redrives(queue.RedriveSpec{DeadFilter: queue.DeadFilter{Error: "nothing"}}); r.State != queue.RedriveDone || r.Count != 0 {
		v.Errorf("%+v", r)
	}
}

func redriveByID(v *env) {
	v.configure(5)
	v.buries("a", "b", "c", "d")
	v.pushIDs("waits")
	if r := v.redrives(queue.RedriveSpec{IDs: []string{"c", "nobody", "waits", "a"}}); r.State != queue.RedriveDone || r.Count != 2 {
		v.Errorf("%+v", r)
	}
	if got := jobIDs(v.all(queue.Dead, 5)) + "|" + jobIDs(v.all(queue.Waiting, 5)); got != "d b|c a waits" {
		v.Errorf("dead|waiting: %s", got)
	}
}

func redrivePatched(v *env) {
	v.configure(5)
	large := strings.Repeat("x", 5000)
	for _, c := range []struct{ id, data string }{
		{"object", `{"url":"http://old","keep":{"big":12345678901234567890,"none":null,"list":[]},"drop":1}`},
		{"string", `"text"`}, {"large", `{"pad":"` + large + `","url":"http://old"}`}, {"grows", `{}`},
	} {
		v.push(queue.Job{ID: c.id, Data: []byte(c.data), Title: "a title", Priority: queue.Critical})
		v.settle(end(v.claimOne(c.id), queue.Bury))
	}
	r := v.redrives(queue.RedriveSpec{IDs: []string{"object", "string", "large"}, Patch: []byte(`{"url":"http://new","drop":null,"new":{"deep":true}}`)})
	if r.State != queue.RedriveDone || r.Count != 3 {
		v.Errorf("%+v", r)
	}
	r = v.redrives(queue.RedriveSpec{Patch: []byte(`{"pad":"` + large + `"}`)})
	if r.State != queue.RedriveDone || r.Count != 1 {
		v.Errorf("%+v", r)
	}
	for id, want := range map[string]string{
		"object": `{"url":"http://new","keep":{"big":12345678901234567890,"none":null,"list":[]},"new":{"deep":true}}`,
		"string": `{"url":"http://new","new":{"deep":true}}`, "large": `{"pad":"` + large + `","url":"http://new","new":{"deep":true}}`,
		"grows": `{"pad":"` + large + `"}`,
	} {
		j := v.inState(id, queue.Waiting)
		var got, wanted map[string]json.RawMessage
		if json.Unmarshal(j.Data, &got) != nil || json.Unmarshal([]byte(want), &wanted) != nil || len(got) != len(wanted) || j.Title != "a title" || j.Priority != queue.Critical {
			v.Errorf("%s: %.200s", id, j.Data)
		}
		for k, w := range wanted {
			if string(got[k]) != string(w) {
				v.Errorf("%s: %s is %.100s, want %.100s", id, k, got[k], w)
			}
		}
	}
	// And they run with it.
	if l := v.claimOne("object"); !strings.Contains(string(l.Data), "http://new") {
		v.Errorf("%s", l.Data)
	}
}

func redriveSteps(v *env) {
	v.configure(3000)
	v.many(2300, queue.Bury)
	// Of both kinds of steps, and none of the other jobs.
	v.dies("odd", 404, "another failure")
	time.Sleep(2 * time.Millisecond)
	r := v.redrives(queue.RedriveSpec{DeadFilter: queue.DeadFilter{Error: "boom"}})
	if r.State != queue.RedriveDone || r.Count != 2300 {
		v.Errorf("%+v", r)
	}
	if s := v.stats(); s.Dead != 1 || s.Waiting != 2300 {
		v.Errorf("%+v", s)
	}
}

func redriveCanaries(v *env) {
	v.configure(5)
	v.buries("a", "b", "c", "d")
	r := v.redrives(queue.RedriveSpec{Canary: 2})
	v.redriven(r, queue.RedriveCanary, 2)
	if got := jobIDs(v.all(queue.Waiting, 5)); got != "a b" {
		v.Fatalf("canaries %s", got)
	}
	v.step()
	v.settle(end(v.claimOne("a"), queue.Done))
	v.step()
	if r := v.redriven(r, queue.RedriveCanary, 2); r.Placed != 2 || r.Succeeded != 1 {
		v.Errorf("%+v", r)
	}
	// One that fails and is tried again is still being waited for.
	v.settle(end(v.claimOne("b"), queue.Retry))
	v.step()
	v.redriven(r, queue.RedriveCanary, 2)
	v.ok(v.q.Promote(v.ctx(), typ, "b"))
	l := v.claimOne("b")
	v.accept(l, time.Minute)
	v.ok(v.q.Conclude(v.ctx(), typ, "b", l.CallbackToken(), queue.Conclusion{Verdict: queue.Done}))
	v.step()
	if r := v.redriven(r, queue.RedriveDone, 4); r.Succeeded != 2 {
		v.Errorf("%+v", r)
	}
	if got := jobIDs(v.all(queue.Waiting, 5)); got != "c d" {
		v.Errorf("then %s", got)
	}
}

func redriveCanariesUnkept(v *env) {
	v.ok(v.q.Configure(v.ctx(), typ, queue.Settings{Version: 1, Concurrency: 5}))
	v.buries("a", "b", "c")
	r := v.redrives(queue.RedriveSpec{Canary: 1})
	v.settle(end(v.claimOne("a"), queue.Done))
	v.gone("a")
	v.step()
	v.redriven(r, queue.RedriveDone, 3)
}

func redriveCanaryDies(v *env) {
	v.configure(5)
	v.buries("a", "b", "c")
	r := v.redrives(queue.RedriveSpec{Canary: 2})
	v.settle(end(v.claimOne("a"), queue.Done))
	v.settle(end(v.claimOne("b"), queue.Bury))
	v.step()
	if r := v.redriven(r, queue.RedriveStopped, 2); r.Reason != "canary b died again: boom b" || r.Succeeded != 1 {
		v.Errorf("%+v", r)
	}
	v.inState("c", queue.Dead)
	// It counts no more what becomes of them.
	v.ok(v.q.RetryNow(v.ctx(), typ, "b"))
	v.settle(end(v.claimOne("b"), queue.Done))
	v.step()
	v.redriven(r, queue.RedriveStopped, 2)
}

func redriveCanaryGone(v *env) {
	v.configure(5)
	for name, leave := range map[string]func(id string){
		"cancelled": func(id string) { _, err := v.q.Cancel(v.ctx(), typ, id); v.ok(err) },
		"purged":    func(string) { _, err := v.q.Purge(v.ctx(), typ, queue.Waiting); v.ok(err) },
	} {
		v.buries("a", "b")
		r := v.redrives(queue.RedriveSpec{Canary: 1})
		leave("a")
		v.eventually("it is noticed", func() bool {
			v.step()
			time.Sleep(time.Second)
			got, err := v.q.GetRedrive(v.ctx(), typ, r.ID)
			v.ok(err)
			return got.State == queue.RedriveStopped
		})
		if r := v.redriven(r, queue.RedriveStopped, 1); !strings.Contains(r.Reason, "canary a was cancelled or deleted") {
			v.Errorf("%s: %+v", name, r)
		}
		_, err := v.q.Purge(v.ctx(), typ, queue.Dead)
		v.ok(err)
	}
}

func redriveFewCanaries(v *env) {
	v.configure(5)
	v.buries("a")
	r := v.redrives(queue.RedriveSpec{Canary: 5})
	v.redriven(r, queue.RedriveCanary, 1)
	v.settle(end(v.claimOne("a"), queue.Done))
	v.step()
	v.redriven(r, queue.RedriveDone, 1)
	if r := v.redrives(queue.RedriveSpec{Canary: 5}); r.State != queue.RedriveDone || r.Count != 0 {
		v.Errorf("of none: %+v", r)
	}
}

func redriveRate(v *env) {
	v.configure(5)
	var ids []string
	for i := range 12 {
		ids = append(ids, fmt.Sprintf("%02d", i))
	}
	v.buries(ids...)
	r := v.redrives(queue.RedriveSpec{Rate: queue.RedriveRate{Jobs: 4, Period: time.Second}})
	began := r.StartedAt
	v.redriven(r, queue.RedriveRunning, 1)
	v.eventually("all are redriven", func() bool {
		v.step()
		got, err := v.q.GetRedrive(v.ctx(), typ, r.ID)
		v.ok(err)
		if most := 4 + 1 + int(4*v.stats().At.Sub(began).Seconds()); got.Count > most {
			v.Fatalf("%d after %s", got.Count, v.stats().At.Sub(began))
		}
		return got.State == queue.RedriveDone
	})
	if took := v.redriven(r, queue.RedriveDone, 12).UpdatedAt.Sub(began); took < 11*250*time.Millisecond-time.Second {
		v.Errorf("it took %s", took)
	}
}

func redriveStopped(v *env) {
	v.configure(5)
	v.buries("a", "b", "c")
	r := v.redrives(queue.RedriveSpec{Rate: queue.RedriveRate{Jobs: 1, Period: time.Hour}})
	v.redriven(r, queue.RedriveRunning, 1)
	for range 2 { // the second time nothing changes
		stopped, err := v.q.StopRedrive(v.ctx(), typ, r.ID, "han")
		v.ok(err)
		if stopped.State != queue.RedriveStopped || stopped.Reason != "stopped by han" {
			v.Errorf("%+v", stopped)
		}
	}
	v.step()
	v.redriven(r, queue.RedriveStopped, 1)
	_, err := v.q.StopRedrive(v.ctx(), typ, "nothing", "han")
	v.is(err, queue.ErrNoRedrive)
	_, err = v.q.GetRedrive(v.ctx(), typ, "nothing")
	v.is(err, queue.ErrNoRedrive)
	if wait, err := v.q.StepRedrives(v.ctx(), typ); err != nil || wait >= 0 {
		v.Errorf("%s, %v", wait, err)
	}
}

func redriveTold(v *env) {
	v.configure(5)
	v.buries("a", "b")
	if b := v.exchange(nil, 0); b.Redrive {
		v.Error("told of none")
	}
	r := v.redrives(queue.RedriveSpec{Rate: queue.RedriveRate{Jobs: 1, Period: time.Second}})
	second := v.open(queue.Options{Consumer: "second"})
	told := time.Time{}
	v.eventually("one is told", func() bool {
		b := v.exchange(nil, 0)
		told = v.stats().At
		return b.Redrive
	})
	// It does nothing, as if it had died: nobody is told for a while, and then another is.
	b, err := second.Exchange(v.ctx(), typ, nil, 0)
	v.ok(err)
	if b.Redrive || b.Next < 0 || b.Next > 5*time.Second {
		v.Errorf("%+v", b)
	}
	v.eventually("the other is told", func() bool {
		b, err := second.Exchange(v.ctx(), typ, nil, 0)
		v.ok(err)
		if b.Redrive && v.stats().At.Sub(told) < 4*time.Second {
			v.Errorf("after %s", v.stats().At.Sub(told))
		}
		return b.Redrive
	})
	_, err = second.StepRedrives(v.ctx(), typ)
	v.ok(err)
	v.redriven(r, queue.RedriveDone, 2)
}

func redriveBounded(v *env) {
	v.configure(5)
	v.buries("a", "b")
	slow := queue.RedriveSpec{Rate: queue.RedriveRate{Jobs: 1, Period: time.Hour}}
	first := v.redrives(slow)
	for range queue.MaxRedriving - 1 {
		v.redrives(queue.RedriveSpec{Canary: 1, DeadFilter: queue.DeadFilter{Error: "none"}})
	}
	for range 110 {
		v.redrives(queue.RedriveSpec{})
		_, err := v.q.Purge(v.ctx(), typ, queue.Waiting)
		v.ok(err)
		v.dies("x", 500, "boom")
		time.Sleep(2 * time.Millisecond)
	}
	all, err := v.q.Redrives(v.ctx(), typ)
	v.ok(err)
	if len(all) > 101 || len(all) < 100 {
		v.Errorf("%d are remembered", len(all))
	}
	for i := 1; i < len(all); i++ {
		if all[i].StartedAt.After(all[i-1].StartedAt) {
			v.Errorf("out of order at %d", i)
		}
	}
	if _, err := v.q.GetRedrive(v.ctx(), typ, first.ID); err != nil {
		v.Errorf("one that goes on is forgotten: %v", err)
	}
	v.put("y", queue.Dead)
	for i := range queue.MaxRedriving {
		v.put(fmt.Sprint("z", i), queue.Dead)
	}
	started := 1
	for ; ; started++ {
		_, err := v.q.StartRedrive(v.ctx(), typ, slow, "leia")
		if errors.Is(err, queue.ErrRedriving) {
			break
		}
		v.ok(err)
		if started > queue.MaxRedriving {
			v.Fatal("too many go on")
		}
	}
	if started != queue.MaxRedriving {
		v.Errorf("%d go on", started)
	}
}

func redriveRepeated(v *env) {
	v.configure(5)
	v.buries("a", "b", "c", "d")
	plain := v.q
	r := &repeater{}
	r.on.Store(true)
	v.q = v.openOn(another(v, v.client, r), queue.Options{Consumer: "first", Lease: 10 * time.Minute})
	op := v.redrives(queue.RedriveSpec{Canary: 2, Patch: []byte(`{"n":1}`)})
	v.redriven(op, queue.RedriveCanary, 2)
	v.settle(end(v.claimOne("a"), queue.Done))
	v.settle(end(v.claimOne("b"), queue.Done))
	if r := v.redriven(op, queue.RedriveCanary, 2); r.Succeeded != 2 {
		v.Errorf("%+v", r)
	}
	for range 3 {
		v.step()
	}
	v.redriven(op, queue.RedriveDone, 4)
	_, err := v.q.Purge(v.ctx(), typ, queue.Waiting)
	v.ok(err)
	v.buries("e", "f")
	if n, err := v.q.PurgeDead(v.ctx(), typ, queue.DeadFilter{Error: "boom e"}); n != 1 || err != nil {
		v.Errorf("%d, %v", n, err)
	}
	v.q = plain
}

func redriveInvalid(v *env) {
	for field, s := range map[string]queue.RedriveSpec{
		"fingerprint": {DeadFilter: queue.DeadFilter{Fingerprint: "x"}},
		"ids":         {IDs: make([]string, queue.MaxRedriveIDs+1)},
		"ids[1]":      {IDs: []string{"a", ""}},
		"patch":       {Patch: []byte(`[1]`)},
		"canary":      {Canary: queue.MaxCanaries + 1},
		"rate.jobs":   {Rate: queue.RedriveRate{Jobs: -1, Period: time.Second}},
		"rate.period": {Rate: queue.RedriveRate{Jobs: 1}},
	} {
		_, err := v.q.StartRedrive(v.ctx(), typ, s, "")
		if bad := (*invalid.Error)(nil); !errors.As(err, &bad) || bad.Field != field {
			v.Errorf("%s: %v", field, err)
		}
	}
	for _, s := range []queue.RedriveSpec{
		{IDs: []string{"a"}, DeadFilter: queue.DeadFilter{Error: "x"}}, {Patch: []byte(`{`)}, {Patch: []byte(` `)}, {Patch: []byte(`{"a":1} x`)},
		{Patch: []byte(`{"a":"` + strings.Repeat("x", queue.MaxPatchSize) + `"}`)}, {Canary: -1},
	} {
		_, err := v.q.StartRedrive(v.ctx(), typ, s, "")
		if bad := (*invalid.Error)(nil); !errors.As(err, &bad) {
			v.Errorf("%+.100v: %v", s, err)
		}
	}
}

func purgeFiltered(v *env) {
	v.configure(5)
	for _, id := range []string{"a1", "b1", "a2"} {
		v.dies(id, 500, map[byte]string{'a': "out of memory", 'b': "it burnt"}[id[0]])
	}
	if n, err := v.q.PurgeDead(v.ctx(), typ, queue.DeadFilter{Error: "memory"}); n != 2 || err != nil {
		v.Errorf("%d, %v", n, err)
	}
	v.gone("a1")
	v.inState("b1", queue.Dead)
	if n, err := v.q.PurgeDead(v.ctx(), typ, queue.DeadFilter{}); n != 1 || err != nil {
		v.Errorf("%d, %v", n, err)
	}
}
