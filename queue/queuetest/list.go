package queuetest

import (
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/deetoo/deetoo/invalid"
	"github.com/deetoo/deetoo/queue"
)

func listTests() map[string]func(*env) {
	tests := map[string]func(*env){
		"list/bad input":                        listInvalid,
		"list/page size":                        listLimit,
		"list/nothing":                          listNothing,
		"list/released jobs are at the head":    listReleased,
		"list/a job and its left-over entry":    listLeftOver,
		"list/many due in the same millisecond": listTies,
	}
	tests["list/tagged, bounded"] = listTaggedBounded
	for _, s := range queue.States() {
		tests["list/tagged, "+string(s)] = func(v *env) { listTagged(v, s) }
		tests["list/while jobs come and go, "+string(s)] = func(v *env) { listMoving(v, s) }
	}
	return tests
}

// tagged lists the jobs that have a tag, in pages of so many.
func (v *env) tagged(s queue.State, tag string, limit int) []queue.Job {
	v.Helper()
	var out []queue.Job
	for cursor, pages := "", 0; ; pages++ {
		p, err := v.q.ListTagged(v.ctx(), typ, s, tag, cursor, limit)
		v.ok(err)
		out = append(out, p.Jobs...)
		if cursor = p.Next; cursor == "" {
			return out
		}
		if len(p.Jobs) > limit || pages > 1000 {
			v.Fatalf("%d jobs in a page of %d, the %dth", len(p.Jobs), limit, pages)
		}
	}
}

func listTagged(v *env, s queue.State) {
	v.configure(1000)
	const n = 40
	for i := range n {
		tags := []string{"x", "vip"}
		switch {
		case i%2 == 1:
			tags = nil
		case i%7 != 0:
			tags = []string{"vi", "vip2"}
		}
		v.put(fmt.Sprintf("j%02d", i), s, tags...)
	}
	for _, limit := range []int{1, 2, 10, 50} {
		got := v.tagged(s, "vip", limit)
		slices.SortFunc(got, func(a, b queue.Job) int { return strings.Compare(a.ID, b.ID) })
		if jobIDs(got) != "j00 j14 j28" || got[0].State != s || !slices.Contains(got[0].Tags, "vip") {
			v.Errorf("by %d: %s", limit, jobIDs(got))
		}
		if got := v.tagged(s, "nobody's", limit); len(got) != 0 {
			v.Errorf("by %d: %s", limit, jobIDs(got))
		}
		if got := v.tagged(s, "", limit); len(got) != n {
			v.Errorf("by %d: %d of all", limit, len(got))
		}
	}
	_, err := v.q.ListTagged(v.ctx(), typ, s, strings.Repeat("t", queue.MaxTagLength+1), "", 1)
	if bad := (*invalid.Error)(nil); !errors.As(err, &bad) || bad.Field != "tag" {
		v.Errorf("%v", err)
	}
}

// listTaggedBounded: one call looks at so many jobs and no more, and those after it go on there.
func listTaggedBounded(v *env) {
	v.configure(1)
	jobs := make([]queue.Job, 2500)
	v.push(jobs...)
	v.push(queue.Job{ID: "needle", Tags: []string{"vip"}})
	for i := range jobs {
		jobs[i] = queue.Job{Group: "g"}
	}
	v.push(jobs...)
	v.push(queue.Job{ID: "in-g", Group: "g", Tags: []string{"vip"}}, queue.Job{ID: "in-h", Group: "h", Tags: []string{"vip"}})
	p, err := v.q.ListTagged(v.ctx(), typ, queue.Waiting, "vip", "", 10)
	v.ok(err)
	if len(p.Jobs) != 0 || p.Next == "" {
		v.Errorf("one call looked at more than it should: %s, next %q", jobIDs(p.Jobs), p.Next)
	}
	if got := jobIDs(v.tagged(queue.Waiting, "vip", 10)); got != "needle in-g in-h" {
		v.Errorf("found %q", got)
	}
}

// listMoving pages through a list while jobs before, on and behind the page
// go, and others come. A job that stays is seen exactly once.
func listMoving(v *env, s queue.State) {
	v.configure(1000)
	const n = 60
	fill := func(from, to int) {
		for i := from; i < to; i++ {
			v.put(fmt.Sprintf("%s%03d", s, i), s)
		}
	}
	fill(0, n)
	gone := map[string]bool{}
	drop := func(id string) {
		gone[id] = true
		switch s {
		case queue.Waiting, queue.Scheduled:
			_, err := v.q.Cancel(v.ctx(), typ, id)
			v.ok(err)
		case queue.Active:
			j := v.get(id)
			token, err := v.client.HGet(v.ctx(), "{"+v.prefix+":"+typ+"}:leases", id).Result()
			v.ok(err)
			v.settle(end(queue.Lease{Job: *j, Token: strings.Fields(token)[0]}, queue.Done))
		default:
			v.ok(v.q.Remove(v.ctx(), typ, id))
		}
	}
	seen := map[string]int{}
	cursor, round := "", 0
	for {
		p, err := v.q.List(v.ctx(), typ, s, cursor, 7)
		v.ok(err)
		for _, j := range p.Jobs {
			seen[j.ID]++
			if j.State != s || gone[j.ID] {
				v.Fatalf("listed %s as %s", j.ID, j.State)
			}
		}
		if cursor = p.Next; cursor == "" {
			break
		}
		// The last of the page, on which the cursor stands, goes, and one somewhere.
		if len(p.Jobs) > 0 {
			drop(p.Jobs[len(p.Jobs)-1].ID)
		}
		if id := fmt.Sprintf("%s%03d", s, round*5%n); !gone[id] {
			drop(id)
		}
		if s == queue.Waiting && round < 3 { // jobs go at the head, too
			for _, l := range v.claim(1) {
				gone[l.ID] = true
			}
		}
		fill(n+round, n+round+1)
		if round++; round > 50 {
			v.Fatal("the list does not end")
		}
	}
	for i := range n {
		id := fmt.Sprintf("%s%03d", s, i)
		if k := seen[id]; k > 1 || k == 0 && !gone[id] {
			v.Errorf("%s was listed %d times", id, k)
		}
	}
}

func listTies(v *env) {
	at := v.stats().At.Add(time.Hour)
	var jobs []queue.Job
	for i := range 100 {
		jobs = append(jobs, queue.Job{ID: fmt.Sprintf("j%c%02d", "aA_~"[i%4], i), RunAt: at})
	}
	v.push(jobs...)
	want := jobIDs(v.all(queue.Scheduled, 1000))
	var got []queue.Job
	for cursor := ""; ; {
		p, err := v.q.List(v.ctx(), typ, queue.Scheduled, cursor, 9)
		v.ok(err)
		got = append(got, p.Jobs...)
		if cursor = p.Next; cursor == "" {
			break
		}
		_, err = v.q.Cancel(v.ctx(), typ, p.Jobs[8].ID)
		v.ok(err)
	}
	if jobIDs(got) != want {
		v.Errorf("listed\n%s, want\n%s", jobIDs(got), want)
	}
}

func listInvalid(v *env) {
	v.pushIDs("a", "b")
	p, err := v.q.List(v.ctx(), typ, queue.Waiting, "", 1)
	v.ok(err)
	enc := func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
	for _, c := range []struct {
		field  string
		state  queue.State
		cursor string
		limit  int
	}{
		{"limit", queue.Waiting, "", -1}, {"limit", queue.Waiting, "", queue.MaxPage + 1}, {"state", "", "", 1}, {"state", "running", "", 1},
		{"cursor", queue.Scheduled, p.Next, 1}, {"cursor", queue.Waiting, "!", 1}, {"cursor", queue.Waiting, enc("W"), 1},
		{"cursor", queue.Waiting, enc("W6 1"), 1}, {"cursor", queue.Waiting, enc("W1"), 1}, {"cursor", queue.Waiting, enc("W1 x"), 1},
		{"cursor", queue.Succeeded, enc("fx"), 1}, {"cursor", queue.Succeeded, enc("f1 2"), 1},
		{"cursor", queue.Scheduled, enc("S1"), 1}, {"cursor", queue.Scheduled, enc("S-1 a"), 1}, {"cursor", queue.Dead, enc("d1 a\n"), 1},
	} {
		_, err := v.q.List(v.ctx(), typ, c.state, c.cursor, c.limit)
		var bad *invalid.Error
		if !errors.As(err, &bad) || bad.Field != c.field {
			v.Errorf("%+v: %v", c, err)
		}
	}
	// Cursors of places that are no more are no harm.
	for s, at := range map[queue.State]string{
		queue.Waiting: "W5 9000000000", queue.Succeeded: "f-5", queue.Scheduled: "S99999999999999 zzz", queue.Dead: "d0 a",
	} {
		if p, err := v.q.List(v.ctx(), typ, s, enc(at), 5); err != nil || len(p.Jobs) > 0 {
			v.Errorf("%s from %s: %v, %v", s, at, p.Jobs, err)
		}
	}
}

func listLimit(v *env) {
	jobs := make([]queue.Job, 51)
	v.push(jobs...)
	for limit, want := range map[int]int{0: 50, 1: 1, 50: 50, 51: 51, 1000: 51} {
		p, err := v.q.List(v.ctx(), typ, queue.Waiting, "", limit)
		v.ok(err)
		if len(p.Jobs) != want || (p.Next == "") != (want == 51) {
			v.Errorf("limit %d: %d jobs, next %q", limit, len(p.Jobs), p.Next)
		}
	}
}

func listNothing(v *env) {
	for _, s := range queue.States() {
		if p, err := v.q.List(v.ctx(), "nothing", s, "", 10); err != nil || len(p.Jobs) != 0 || p.Next != "" {
			v.Errorf("%s: %+v, %v", s, p, err)
		}
	}
	_, err := v.q.Get(v.ctx(), "nothing", "x")
	v.is(err, queue.ErrNotFound)
	_, err = v.q.Attempts(v.ctx(), "nothing", "x")
	v.is(err, queue.ErrNotFound)
}

func listReleased(v *env) {
	v.configure(10)
	v.pushIDs("a", "b", "c", "d")
	l := v.claim(1)
	p, err := v.q.List(v.ctx(), typ, queue.Waiting, "", 1)
	v.ok(err)
	// Going back to the head moves no other job on the pages to come.
	v.settle(end(l[0], queue.Release))
	rest, err := v.q.List(v.ctx(), typ, queue.Waiting, p.Next, 10)
	v.ok(err)
	if got := jobIDs(p.Jobs) + "|" + jobIDs(rest.Jobs); got != "b|c d" {
		v.Errorf("pages %s", got)
	}
	if got := jobIDs(v.all(queue.Waiting, 1)); got != "a b c d" {
		v.Errorf("listed %s", got)
	}
}

// What does not hold: a job that came back while its old entry was still in
// the list may be shown at both, if they are on different pages.
func listLeftOver(v *env) {
	v.configure(10)
	v.pushIDs("a", "b")
	v.push(queue.Job{ID: "a", Delay: time.Hour})
	v.pushIDs("a")
	v.healthy(typ)
	if got := jobIDs(v.all(queue.Waiting, 10)); got != "a b" {
		v.Errorf("on one page: %s", got)
	}
	if got := ids(v.claim(10)); got != "a b" {
		v.Errorf("claimed %s", got)
	}
	if s := v.stats(); s.Waiting != 0 || s.ByPriority[queue.Normal] != 0 {
		v.Errorf("%+v", s)
	}
}
