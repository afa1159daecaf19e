package queuetest

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/deetoo/deetoo/invalid"
	"github.com/deetoo/deetoo/queue"
)

func deadTests() map[string]func(*env) {
	return map[string]func(*env){
		"dead/grouped by what the errors have in common":   deadGrouped,
		"dead/whichever way a job dies":                    deadWays,
		"dead/whichever way a job leaves them":             deadLeaves,
		"dead/errors that are all different share a group": deadOther,
		"dead/groups in pages":                             deadGroupPages,
		"dead/filters":                                     deadFilters,
		"dead/a filter looks at a bounded number":          deadFilterBounded,
		"dead/whole ones":                                  deadWhole,
		"dead/filters that are not valid":                  deadFilterInvalid,
	}
}

// dies has a job fail for good.
func (v *env) dies(id string, status int, problem string) {
	v.Helper()
	v.push(queue.Job{ID: id, Priority: queue.Critical})
	v.diesNow(id, status, problem)
}

// diesNow is dies for a job that waits already.
func (v *env) diesNow(id string, status int, problem string) {
	v.Helper()
	l := v.claimOne(id)
	v.settle(queue.Settlement{ID: id, Token: l.Token, Verdict: queue.Bury, Attempt: queue.Attempt{
		N: l.Attempt, StartedAt: l.StartedAt.UnixMilli(), Outcome: "dead", Status: status, Error: problem,
	}})
}

func (v *env) groups() []queue.DeadGroup {
	v.Helper()
	g, err := v.q.DeadGroups(v.ctx(), typ)
	v.ok(err)
	return g
}

// counts writes the groups' counts and failures.
func counts(groups []queue.DeadGroup) string {
	var out []string
	for _, g := range groups {
		out = append(out, fmt.Sprintf("%d %d %s", g.Count, g.Status, g.Failure))
	}
	return strings.Join(out, "|")
}

func deadGrouped(v *env) {
	v.configure(5)
	for i, c := range []struct {
		failure string
		errors  []string
	}{
		{"timeout after #: # bytes", []string{"timeout after 30s: 17 bytes", "timeout after 1.5s: 0 bytes", "timeout  after 2m30s:\n99 bytes"}},
		{`no user "…" at #`, []string{`no user "leia" at 2026-03-01T12:00:30.000Z`, `no user "han solo" at 2031-12-24T00:00:00.123Z`}},
		{"cannot find '…', can't go on", []string{"cannot find 'x', can't go on", "cannot find 'what was that', can't go on"}},
		{"order # is no order", []string{"order 550e8400-e29b-41d4-a716-446655440000 is no order", "order deadbeef-beef-abcd-efab-deadbeefcafe is no order", "order 01JZX4QK3V0000000000000000 is no order", "order 0x1F is no order", "order deadbeef is no order"}},
		{"dial tcp #: connection refused", []string{"dial tcp 10.0.0.1:80: connection refused", "dial tcp [2001:db8::1]:8080: connection refused", "dial tcp [::1]:1: connection refused"}},
		{"the deed is done", []string{"the deed is done", "  the deed is done "}},
		{"größe # überschritten", []string{"größe 5 überschritten", "größe 77 überschritten"}},
		{"", []string{"", ""}},
	} {
		for k, e := range c.errors {
			v.dies(fmt.Sprintf("%d-%d", i, k), 422, e)
		}
		g := v.groups()
		if counts(g) != fmt.Sprintf("%d 422 %s", len(c.errors), c.failure) {
			v.Errorf("%q: %s", c.errors, counts(g))
			continue
		}
		last := len(c.errors) - 1
		if g[0].Example != fmt.Sprintf("%d-%d", i, last) || g[0].Error != c.errors[last] || g[0].LastAt.Before(g[0].FirstAt) || g[0].LastAt != v.get(g[0].Example).FinishedAt || g[0].FirstAt != v.get(fmt.Sprintf("%d-0", i)).FinishedAt {
			v.Errorf("%+v", g[0])
		}
		_, err := v.q.Purge(v.ctx(), typ, queue.Dead)
		v.ok(err)
	}
	// The status tells failures apart, and so do the words.
	v.dies("a", 500, "it broke")
	v.dies("b", 502, "it broke")
	v.dies("c", 502, "it burnt")
	v.dies("d", 502, "it burnt")
	if got := counts(v.groups()); got != "2 502 it burnt|1 500 it broke|1 502 it broke" && got != "2 502 it burnt|1 502 it broke|1 500 it broke" {
		v.Errorf("%s", got)
	}
}

func deadWays(v *env) {
	v.policy(1, queue.RetryPolicy{MaxAttempts: 1, MinBackoff: time.Second, MaxBackoff: time.Second})
	v.dies("settled", 500, "boom")
	v.pushIDs("called", "silent", "lost")
	short := v.open(queue.Options{Consumer: "short", Lease: 100 * time.Millisecond, MaxLost: 1})
	l := v.claimOne("called")
	v.accept(l, time.Minute)
	v.ok(v.q.Conclude(v.ctx(), typ, "called", l.CallbackToken(), queue.Conclusion{Verdict: queue.Bury, Error: "gave up"}))
	v.accept(v.claimOne("silent"), 100*time.Millisecond)
	_, err := short.Exchange(v.ctx(), typ, nil, 1)
	v.ok(err)
	v.eventually("all are dead", func() bool {
		_, err := short.Exchange(v.ctx(), typ, nil, 0)
		v.ok(err)
		return v.stats().Dead == 4
	})
	found := map[string]string{}
	for _, g := range v.groups() {
		found[g.Example] = fmt.Sprint(g.Count, g.Status, g.Error)
	}
	if found["settled"] != "1 500boom" || found["called"] != "1 202gave up" || !strings.HasPrefix(found["silent"], "1 202accepted with 202, then silent") || !strings.HasPrefix(found["lost"], "1 0its dispatcher vanished") {
		v.Errorf("%v", found)
	}
}

func deadLeaves(v *env) {
	v.configure(5)
	for name, leave := range map[string]func(id string){
		"retry":   func(id string) { v.ok(v.q.RetryNow(v.ctx(), typ, id)) },
		"remove":  func(id string) { v.ok(v.q.Remove(v.ctx(), typ, id)) },
		"replace": func(id string) { v.pushIDs(id) },
		"redrive": func(string) { _, err := v.q.Redrive(v.ctx(), typ); v.ok(err) },
		"purge":   func(string) { _, err := v.q.Purge(v.ctx(), typ, queue.Dead); v.ok(err) },
	} {
		v.dies("1", 500, "boom 1")
		v.dies("2", 500, "boom 2")
		leave("2")
		v.healthy(typ)
		if all := name == "redrive" || name == "purge"; all {
			if g := v.groups(); len(g) != 0 {
				v.Errorf("after %s: %s", name, counts(g))
			}
		} else if g := v.groups(); counts(g) != "1 500 boom #" || g[0].Example != "" || g[0].Error != "boom 2" {
			v.Errorf("after %s: %+v", name, g)
		}
		_, err := v.q.Purge(v.ctx(), typ, queue.Waiting)
		v.ok(err)
		_, err = v.q.Purge(v.ctx(), typ, queue.Dead)
		v.ok(err)
	}
	v.dies("1", 500, "boom")
	v.ok(v.q.Destroy(v.ctx(), typ, true))
	if g := v.groups(); len(g) != 0 {
		v.Errorf("after the type's end: %s", counts(g))
	}
}

// word writes a number in letters, so that no two are of one kind.
func word(n int) string {
	return string([]byte{'s', byte('a' + n/676%26), byte('a' + n/26%26), byte('a' + n%26)})
}

func deadOther(v *env) {
	v.configure(2000)
	const n = 1003
	jobs := make([]queue.Job, n)
	v.push(jobs...)
	var last string
	for settled := 0; settled < n; {
		var done []queue.Settlement
		for i, l := range v.claim(queue.MaxSettlements) {
			s := end(l, queue.Bury)
			s.Attempt.Error = "no " + word(settled+i)
			last = l.ID
			done = append(done, s)
		}
		v.exchange(done, 0)
		settled += len(done)
	}
	g := v.groups()
	if len(g) != 1001 || g[0].Fingerprint != "other" || g[0].Count != 3 || g[0].Status != 0 || g[0].Example != last || g[0].Error != "no "+word(n-1) {
		v.Errorf("%d groups, %+v", len(g), g[0])
	}
	p, err := v.q.ListDead(v.ctx(), typ, queue.DeadFilter{Fingerprint: "other"}, "", 10)
	v.ok(err)
	if len(p.Jobs) != 3 {
		v.Errorf("%d others", len(p.Jobs))
	}
}

func deadGroupPages(v *env) {
	v.configure(5)
	for i := range 7 {
		for k := range 1 + i%3 {
			v.dies(fmt.Sprintf("%d-%d", i, k), 500, word(i))
		}
	}
	want := v.groups()
	if len(want) != 7 || want[0].Count != 3 || want[6].Count != 1 {
		v.Fatalf("%s", counts(want))
	}
	var got []queue.DeadGroup
	cursor := ""
	for {
		p, err := v.q.ListDeadGroups(v.ctx(), typ, cursor, 2)
		v.ok(err)
		if len(p.Groups) > 2 {
			v.Fatalf("%d on a page", len(p.Groups))
		}
		got = append(got, p.Groups...)
		if cursor = p.Next; cursor == "" {
			break
		}
	}
	if counts(got) != counts(want) {
		v.Errorf("in pages %s, want %s", counts(got), counts(want))
	}
	for field, call := range map[string]func() error{
		"limit":  func() error { _, err := v.q.ListDeadGroups(v.ctx(), typ, "", 1001); return err },
		"cursor": func() error { _, err := v.q.ListDeadGroups(v.ctx(), typ, "nonsense", 1); return err },
	} {
		if bad := (*invalid.Error)(nil); !errors.As(call(), &bad) || bad.Field != field {
			v.Errorf("%s: %v", field, bad)
		}
	}
}

// filtered lists the dead that a filter lets through, a page at a time.
func (v *env) filtered(f queue.DeadFilter, limit int) string {
	v.Helper()
	var out []queue.Job
	for cursor, pages := "", 0; ; pages++ {
		p, err := v.q.ListDead(v.ctx(), typ, f, cursor, limit)
		v.ok(err)
		out = append(out, p.Jobs...)
		if cursor = p.Next; cursor == "" {
			return jobIDs(out)
		}
		if pages > 1000 {
			v.Fatal("the pages do not end")
		}
	}
}

func deadFilters(v *env) {
	v.configure(5)
	for _, id := range []string{"a1", "b1", "a2", "b2", "a3"} {
		tags := map[string][]string{"b2": {"x", "vip"}, "a3": {"vip"}, "a1": {"vi"}}[id]
		v.push(queue.Job{ID: id, Priority: queue.Critical, Tags: tags})
		v.diesNow(id, 500, map[byte]string{'a': "Out of memory at ", 'b': "It burnt at "}[id[0]]+id)
		time.Sleep(2 * time.Millisecond)
	}
	big := v.groups()[0]
	middle := v.get("a2").FinishedAt
	for _, limit := range []int{1, 2, 10} {
		for want, f := range map[string]queue.DeadFilter{
			"a3 b2 a2 b1 a1": {},
			"a3 a2 a1":       {Fingerprint: big.Fingerprint},
			"b2 b1":          {Error: "it BURNT"},
			"a3 b2 a2":       {After: middle},
			"b1 a1":          {Before: middle},
			"a3 a2":          {After: middle, Error: "of memory"},
			"":               {Fingerprint: "0123456789abcdef"},
			"a3 b2":          {Tag: "vip"},
			"b2":             {Tag: "vip", Error: "burnt"},
		} {
			if got := v.filtered(f, limit); got != want {
				v.Errorf("%+v by %d: %q, want %q", f, limit, got, want)
			}
		}
	}
}

func deadFilterBounded(v *env) {
	v.configure(2000)
	v.dies("a-needle", 404, "the needle")
	v.many(2500, queue.Bury)
	f := queue.DeadFilter{Error: "needle"}
	p, err := v.q.ListDead(v.ctx(), typ, f, "", 10)
	v.ok(err)
	if len(p.Jobs) != 0 || p.Next == "" {
		v.Errorf("one call looked at more than it should: %d jobs, next %q", len(p.Jobs), p.Next)
	}
	if got := v.filtered(f, 10); got != "a-needle" {
		v.Errorf("found %q", got)
	}
}

func deadFilterInvalid(v *env) {
	now := time.Now()
	for _, c := range []struct {
		field string
		f     queue.DeadFilter
	}{
		{"fingerprint", queue.DeadFilter{Fingerprint: "x"}}, {"fingerprint", queue.DeadFilter{Fingerprint: strings.Repeat("G", 16)}},
		{"error", queue.DeadFilter{Error: strings.Repeat("e", 257)}}, {"before", queue.DeadFilter{After: now, Before: now}},
	} {
		_, err := v.q.ListDead(v.ctx(), typ, c.f, "", 1)
		if bad := (*invalid.Error)(nil); !errors.As(err, &bad) || bad.Field != c.field {
			v.Errorf("%+v: %v", c.f, err)
		}
	}
	_, err := v.q.ListDead(v.ctx(), typ, queue.DeadFilter{}, "", 1001)
	if bad := (*invalid.Error)(nil); !errors.As(err, &bad) || bad.Field != "limit" {
		v.Error(err)
	}
}

func deadWhole(v *env) {
	v.configure(5)
	large := `"` + strings.Repeat("d", 3<<20) + `"`
	for i, data := range []string{large, `{"small":true}`, large, large} {
		id := fmt.Sprint(i)
		v.push(queue.Job{ID: id, Data: []byte(data)})
		v.settle(end(v.claimOne(id), queue.Retry))
		v.ok(v.q.Promote(v.ctx(), typ, id))
		v.settle(end(v.claimOne(id), queue.Bury))
		time.Sleep(2 * time.Millisecond)
	}
	var got []string
	for cursor, pages := "", 1; ; pages++ {
		jobs, next, err := v.q.ExportDead(v.ctx(), typ, queue.DeadFilter{}, cursor, 100)
		v.ok(err)
		for _, j := range jobs {
			got = append(got, j.ID)
			if string(j.Data) != map[bool]string{true: `{"small":true}`, false: large}[j.ID == "1"] || len(j.Attempts) != 2 || j.Attempts[1].Error != "boom "+j.ID || j.LastError != "boom "+j.ID || j.FinishedAt.IsZero() {
				v.Errorf("job %s: %d bytes, %+v", j.ID, len(j.Data), j.Attempts)
			}
		}
		if cursor = next; cursor == "" {
			if pages != 2 {
				v.Errorf("%d pages", pages)
			}
			break
		}
	}
	if strings.Join(got, " ") != "3 2 1 0" {
		v.Errorf("exported %s", got)
	}
}
