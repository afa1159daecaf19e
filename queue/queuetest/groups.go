package queuetest

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/deetoo/deetoo/queue"
)

func groupTests() map[string]func(*env) {
	return map[string]func(*env){
		"group/served in turn":                      groupTurns,
		"group/a newcomer waits a round at most":    groupNewcomer,
		"group/jobs without a group are one":        groupNone,
		"group/priorities":                          groupPriorities,
		"group/concurrency":                         groupConcurrency,
		"group/rate":                                groupRate,
		"group/limits changed live":                 groupLive,
		"group/every way out and back":              groupStates,
		"group/replaced into another":               groupReplaced,
		"group/left-over entries":                   groupLeftOver,
		"group/a lost dispatcher, a silent handler": groupReaped,
		"group/lists":                               groupLists,
		"group/purged and destroyed":                groupPurged,
		"group/names":                               groupNames,
		"group/at random":                           groupRandom,
	}
}

// pushGroups pushes a job for each "group/id", or "id" alone.
func (v *env) pushGroups(names ...string) {
	v.Helper()
	var jobs []queue.Job
	for _, n := range names {
		group, id, ok := strings.Cut(n, "/")
		if !ok {
			group, id = "", n
		}
		jobs = append(jobs, queue.Job{ID: id, Group: group})
	}
	v.push(jobs...)
}

// turns returns the groups as "name waiting/active", with ! at a limit.
func (v *env) turns() string {
	v.Helper()
	var out []string
	cursor := ""
	for {
		p, err := v.q.Groups(v.ctx(), typ, cursor, 2)
		v.ok(err)
		for _, g := range p.Groups {
			s := fmt.Sprintf("%s %d/%d", g.Name, g.Waiting, g.Active)
			if g.Full || g.Limited > 0 {
				s += "!"
			}
			out = append(out, s)
		}
		if cursor = p.Next; cursor == "" {
			return strings.Join(out, " ")
		}
	}
}

// traces returns the keys that are left of groups.
func (v *env) traces() []string {
	v.Helper()
	var out []string
	scan := func(c redis.UniversalClient) {
		it := c.Scan(v.ctx(), 0, "{"+v.prefix+":"+typ+"}:groups*", 1000).Iterator()
		for it.Next(v.ctx()) {
			out = append(out, it.Val())
		}
		v.ok(it.Err())
	}
	if c, ok := v.client.(*redis.ClusterClient); ok {
		slot, err := c.MasterForKey(v.ctx(), "{"+v.prefix+":"+typ+"}:groups")
		v.ok(err)
		scan(slot)
	} else {
		scan(v.client)
	}
	return out
}

func groupTurns(v *env) {
	v.configure(100)
	v.pushGroups("a/a1", "a/a2", "a/a3", "a/a4", "b/b1", "b/b2", "c/c1")
	if got := v.turns(); got != "a 4/0 b 2/0 c 1/0" {
		v.Errorf("groups %s", got)
	}
	if s := v.stats(); s.Waiting != 7 || s.ByPriority[queue.Normal] != 7 {
		v.Errorf("%+v", s)
	}
	l := v.claim(2)
	if got := ids(l); got != "a1 b1" || l[0].Group != "a" {
		v.Fatalf("claimed %s", got)
	}
	v.pushGroups("d/d1") // behind those that wait for their next turn
	if got := ids(v.claim(10)); got != "c1 a2 b2 d1 a3 a4" {
		v.Fatalf("claimed %s", got)
	}
	if got := v.turns(); got != "a 0/4 b 0/2 c 0/1 d 0/1" {
		v.Errorf("groups %s", got)
	}
	for _, j := range v.all(queue.Active, 100) {
		if want := j.ID[:1]; j.Group != want || v.get(j.ID).Group != want {
			v.Errorf("job %s is of group %q", j.ID, j.Group)
		}
	}
}

// With 1,000 groups, a newcomer's first job starts after at most one round, whatever the others have.
func groupNewcomer(v *env) {
	const groups = 1000
	v.limit(1, queue.Rate{}, queue.GroupLimits{})
	jobs := slices.Repeat([]queue.Job{{Group: "whale"}}, 2500)
	for i := range groups - 1 {
		jobs = append(jobs, queue.Job{Group: fmt.Sprint("g", i)}, queue.Job{Group: fmt.Sprint("g", i)})
	}
	v.push(jobs...)
	done := []queue.Settlement{}
	claim := func(n int) []queue.Lease {
		b := v.exchange(done, n)
		done = done[:0]
		for _, l := range b.Leases {
			done = append(done, end(l, queue.Done))
		}
		return b.Leases
	}
	for range 3 {
		claim(77) // the ring has turned some way
	}
	v.pushGroups("newcomer/first", "newcomer/second")
	before := 0
	for found := false; !found; {
		for _, l := range claim(50) {
			if found = l.ID == "first"; found {
				break
			}
			before++
		}
		if before > 2*groups {
			v.Fatal("it never comes")
		}
	}
	if before > groups {
		v.Errorf("%d jobs started before the newcomer's first", before)
	}
	claim(0)
	if s := v.stats(); s.Waiting == 0 || s.Active != 0 {
		v.Errorf("%+v", s)
	}
}

func groupNone(v *env) {
	v.configure(100)
	v.pushGroups("x1", "x2", "x3", "x4", "x5", "a/a1", "a/a2", "b/b1", "b/b2")
	if got := ids(v.claim(100)); got != "x1 a1 b1 x2 a2 b2 x3 x4 x5" {
		v.Errorf("claimed %s", got)
	}
	// After groups have come and gone, they owe nothing to those without.
	v.pushGroups("x6", "x7", "a/a3", "a/a4", "a/a5")
	if got := ids(v.claim(1)); got != "x6" {
		v.Errorf("claimed %s", got)
	}
	if got := ids(v.claim(100)); got != "a3 x7 a4 a5" {
		v.Errorf("claimed %s", got)
	}
}

func groupPriorities(v *env) {
	v.configure(100)
	for _, p := range slices.Backward(queue.Priorities()) {
		for _, g := range []string{"a", "b", ""} {
			v.push(queue.Job{ID: g + p.String(), Group: g, Priority: p})
		}
	}
	if s := v.stats(); s.Waiting != 15 || s.ByPriority[queue.High] != 3 {
		v.Errorf("%+v", s)
	}
	if got := jobIDs(v.all(queue.Waiting, 4)); got != "critical acritical bcritical high ahigh bhigh normal anormal bnormal low alow blow lowest alowest blowest" {
		v.Errorf("listed %s", got)
	}
	// The eighth slot is kept for high.
	if got := ids(v.claim(100)); got != "critical acritical bcritical high ahigh bhigh normal anormal bnormal low alow blow lowest alowest blowest" {
		v.Errorf("claimed %s", got)
	}
}

func groupConcurrency(v *env) {
	v.limit(1, queue.Rate{}, queue.GroupLimits{Concurrency: 2})
	v.pushGroups("a/a1", "a/a2", "a/a3", "a/a4", "b/b1", "x1", "x2", "x3")
	v.push(queue.Job{ID: "a0", Group: "a", Priority: queue.Low})
	b := v.exchange(nil, 100)
	if got := ids(b.Leases); got != "x1 a1 b1 x2 a2 x3" || b.Waiting != 3 || b.Next >= 0 && b.Next < time.Minute {
		v.Fatalf("claimed %s, %+v", got, b)
	}
	if got := v.turns(); got != "a 3/2! b 0/1" {
		v.Errorf("groups %s", got)
	}
	if n := len(v.claim(100)); n != 0 {
		v.Fatalf("claimed %d over the limit", n)
	}
	b = v.exchange([]queue.Settlement{end(b.Leases[1], queue.Done)}, 100)
	if got := ids(b.Leases); got != "a3" {
		v.Fatalf("claimed %s for the slot that a1 left", got)
	}
	// Whatever ends an attempt lets the group go on.
	s := end(b.Leases[0], queue.Retry)
	s.Delay = time.Hour
	if b = v.exchange([]queue.Settlement{s}, 100); ids(b.Leases) != "a4" {
		v.Fatalf("claimed %s", ids(b.Leases))
	}
	if b = v.exchange([]queue.Settlement{end(b.Leases[0], queue.Bury)}, 100); ids(b.Leases) != "a0" {
		v.Fatalf("claimed %s", ids(b.Leases))
	}
	if b = v.exchange([]queue.Settlement{end(b.Leases[0], queue.Release)}, 100); ids(b.Leases) != "a0" {
		v.Fatalf("claimed %s", ids(b.Leases))
	}
}

func groupRate(v *env) {
	v.limit(1, queue.Rate{}, queue.GroupLimits{Rate: queue.Rate{Limit: 10, Per: time.Second, Burst: 2}})
	v.pushGroups("a/a1", "a/a2", "a/a3", "a/a4", "b/b1", "x1", "x2", "x3")
	b := v.exchange(nil, 100)
	if got := ids(b.Leases); got != "x1 a1 b1 x2 a2 x3" && got != "x1 a1 b1 x2 a2 x3 a3" {
		v.Fatalf("claimed %s", got)
	}
	if b.Next > 101*time.Millisecond || b.Limited != 0 {
		v.Errorf("%+v", b)
	}
	var starts []time.Time
	for _, l := range b.Leases {
		if l.Group == "a" {
			starts = append(starts, l.StartedAt)
		}
	}
	for len(starts) < 4 {
		if b.Waiting > 0 && (b.Next < 0 || b.Next > 101*time.Millisecond) {
			v.Fatalf("next in %v", b.Next)
		}
		time.Sleep(max(b.Next, 0))
		b = v.exchange(nil, 100)
		for _, l := range b.Leases {
			starts = append(starts, l.StartedAt)
		}
	}
	inEnvelope(v, starts, 10, 2)
	for _, l := range v.all(queue.Active, 100) {
		_, err := v.q.Cancel(v.ctx(), typ, l.ID)
		v.ok(err)
	}
	if got := v.turns(); !strings.HasPrefix(got, "a 0/4") {
		v.Errorf("groups %s", got)
	}
}

func groupLive(v *env) {
	v.limit(1, queue.Rate{}, queue.GroupLimits{Concurrency: 1})
	for i := range 20 {
		v.pushGroups(fmt.Sprint("a/a", i), fmt.Sprint("b/b", i))
	}
	if n := len(v.claim(100)); n != 2 {
		v.Fatalf("claimed %d", n)
	}
	v.limit(2, queue.Rate{}, queue.GroupLimits{Concurrency: 3})
	if n := len(v.claim(100)); n != 4 {
		v.Fatalf("claimed %d", n)
	}
	v.limit(3, queue.Rate{}, queue.GroupLimits{Concurrency: 10, Rate: queue.Rate{Limit: 1, Per: 24 * time.Hour}})
	if got := ids(v.claim(100)); got != "a3 b3" {
		v.Fatalf("claimed %s", got)
	}
	if b := v.exchange(nil, 100); len(b.Leases) != 0 || b.Next < 5*time.Minute {
		v.Fatalf("%+v", b)
	}
	v.limit(4, queue.Rate{}, queue.GroupLimits{Rate: queue.Rate{Limit: 1000, Per: time.Second, Burst: 2}})
	v.eventually("the new rate holds", func() bool { return len(v.claim(100)) > 0 })
	v.limit(5, queue.Rate{}, queue.GroupLimits{})
	v.claim(100)
	if s := v.stats(); s.Waiting != 0 || s.Active != 40 {
		v.Errorf("%+v", s)
	}
}

func groupStates(v *env) {
	v.limit(1, queue.Rate{}, queue.GroupLimits{Concurrency: 1})
	v.pushGroups("a/a1", "a/a2")
	v.push(queue.Job{ID: "a3", Group: "a", Delay: time.Hour})
	v.settle(end(v.claimOne("a1"), queue.Bury))
	v.settle(end(v.claimOne("a2"), queue.Done))
	v.ok(v.q.RetryNow(v.ctx(), typ, "a2"))
	v.ok(v.q.Promote(v.ctx(), typ, "a3"))
	n, err := v.q.Redrive(v.ctx(), typ)
	v.ok(err)
	v.healthy(typ)
	if got := v.turns(); n != 1 || got != "a 3/0" {
		v.Fatalf("%d redriven, %s", n, got)
	}
	_, err = v.q.Cancel(v.ctx(), typ, "a3")
	v.ok(err)
	l := v.claimOne("a2")
	s := end(l, queue.Retry) // due again at once
	v.settle(s)
	l = v.claimOne("a1")
	v.healthy(typ)
	v.exchange(nil, 10)
	if got := v.turns(); got != "a 1/1!" {
		v.Fatal(got)
	}
	// Its handler accepts it, beats, and concludes it: the other may run.
	v.accept(l, time.Hour)
	v.report(l, queue.Report{Log: "at it"})
	v.healthy(typ)
	v.ok(v.q.Conclude(v.ctx(), typ, "a1", l.CallbackToken(), queue.Conclusion{Verdict: queue.Done}))
	v.healthy(typ)
	l = v.claimOne("a2")
	v.ok(v.q.Conclude(v.ctx(), typ, "a2", l.CallbackToken(), queue.Conclusion{Verdict: queue.Retry}))
	v.healthy(typ)
	v.inState("a2", queue.Scheduled)
	if left := v.traces(); len(left) > 0 {
		v.Errorf("left: %s", left)
	}
}

func groupReplaced(v *env) {
	v.configure(100)
	v.pushGroups("a/1", "a/2", "b/3", "4")
	v.pushGroups("a/1") // keeps its place
	v.pushGroups("b/2", "3", "b/4")
	v.healthy(typ)
	if s := v.stats(); s.Waiting != 4 || s.ByPriority[queue.Normal] != 7 {
		v.Errorf("%+v", s)
	}
	if got := v.turns(); got != "a 1/0 b 2/0" {
		v.Errorf("groups %s", got)
	}
	// And back again: where it was, its entry is still there.
	v.pushGroups("a/2")
	v.healthy(typ)
	if got := ids(v.claim(10)); got != "3 1 4 2" {
		v.Errorf("claimed %s", got)
	}
	if got := v.turns(); got != "a 0/2 b 0/1" {
		v.Errorf("groups %s", got)
	}
	v.healthy(typ)
}

func groupLeftOver(v *env) {
	v.configure(10)
	for i := range 1500 {
		v.pushGroups(fmt.Sprint("a/a", i))
		if i%100 == 99 {
			v.pushGroups(fmt.Sprint("b/b", i))
		}
	}
	for i := range 1499 {
		_, err := v.q.Cancel(v.ctx(), typ, fmt.Sprint("a", i))
		v.ok(err)
	}
	if got := v.turns(); got != "a 1/0 b 15/0" {
		v.Fatalf("groups %s", got)
	}
	if s := v.stats(); s.Waiting != 16 || s.Oldest > time.Hour {
		v.Errorf("%+v", s)
	}
	// Entries that were left over are no turns: its job comes at its first.
	calls, got := 0, []string{}
	for len(got) < 2 {
		if calls++; calls > 5 {
			v.Fatalf("%d calls, %v", calls, got)
		}
		b := v.exchange(nil, 2-len(got))
		if got = append(got, strings.Fields(ids(b.Leases))...); len(got) < 2 && b.Next != 0 {
			v.Fatalf("claimed %v, and the next look in %v", got, b.Next)
		}
	}
	if s := strings.Join(got, " "); s != "a1499 b99" {
		v.Errorf("claimed %s", s)
	}
	v.healthy(typ)
}

func groupReaped(v *env) {
	v.limit(1, queue.Rate{}, queue.GroupLimits{Concurrency: 1})
	v.pushGroups("a/a1", "a/a2", "b/b1", "b/b2")
	brief := v.open(queue.Options{Consumer: "brief", Lease: 100 * time.Millisecond, MaxLost: 1})
	b, err := brief.Exchange(v.ctx(), typ, nil, 10)
	v.ok(err)
	if ids(b.Leases) != "a1 b1" {
		v.Fatalf("claimed %s", ids(b.Leases))
	}
	accept := end(b.Leases[1], queue.Accept)
	accept.Delay, accept.Attempt = 100*time.Millisecond, queue.Attempt{}
	v.settle(accept)
	if v.get("b1").Group != "b" {
		v.Error("b1 lost its group")
	}
	var got []string
	v.eventually("both groups go on", func() bool {
		b := v.exchange(nil, 10)
		got = append(got, strings.Fields(ids(b.Leases))...)
		return len(got) >= 2
	})
	slices.Sort(got)
	if s := strings.Join(got, " "); s != "a1 b2" {
		v.Errorf("claimed %s", s) // a1 is back at the head of its list, b1 is to be retried
	}
	v.healthy(typ)
}

func groupLists(v *env) {
	v.configure(100)
	for i := range 30 {
		v.pushGroups(fmt.Sprintf("g%d/%02d", i%4, i))
	}
	v.pushGroups("x1", "x2")
	due := v.get("00").RunAt
	v.eventually("the oldest grows older", func() bool { s := v.stats(); return s.Oldest > 0 && s.Oldest == s.At.Sub(due) })
	// Jobs that are taken between two pages move no others.
	p, err := v.q.List(v.ctx(), typ, queue.Waiting, "", 4)
	v.ok(err)
	if got := jobIDs(p.Jobs); got != "x1 x2 00 04" {
		v.Errorf("listed %s", got)
	}
	v.claim(7) // x1, two of g0, two of g1 …
	var rest []string
	for p.Next != "" {
		p, err = v.q.List(v.ctx(), typ, queue.Waiting, p.Next, 4)
		v.ok(err)
		for _, j := range p.Jobs {
			rest = append(rest, j.ID)
		}
	}
	if got := strings.Join(rest, " "); got != "08 12 16 20 24 28 05 09 13 17 21 25 29 06 10 14 18 22 26 07 11 15 19 23 27" {
		v.Errorf("then %s", got)
	}
	for _, cursor := range []string{"V", "VzMgMCBhIGI", "bm8gZ3JvdXA"} { // of "W", "W3 0 a b", "no group"
		if _, err := v.q.List(v.ctx(), typ, queue.Waiting, cursor, 4); err == nil {
			v.Errorf("cursor %s is taken", cursor)
		}
		if _, err := v.q.Groups(v.ctx(), typ, cursor+"~", 4); err == nil {
			v.Errorf("cursor %s is taken", cursor)
		}
	}
}

func groupPurged(v *env) {
	v.limit(1, queue.Rate{}, queue.GroupLimits{Concurrency: 1, Rate: queue.Rate{Limit: 2, Per: time.Second}})
	for i := range 700 {
		v.pushGroups(fmt.Sprintf("g%d/%d", i%30, i), fmt.Sprint("x", i))
	}
	l := v.claim(40) // the groups have run into their limits
	_, err := v.q.Cancel(v.ctx(), typ, "699")
	v.ok(err)
	n, err := v.q.Purge(v.ctx(), typ, queue.Waiting)
	v.ok(err)
	if s := v.stats(); n != 1400-len(l)-1 || s.Waiting != 0 || s.ByPriority[queue.Normal] != 0 {
		v.Errorf("purged %d, %+v", n, s)
	}
	v.healthy(typ)
	for _, l := range l {
		v.settle(end(l, queue.Done))
	}
	if got := v.turns(); got != "" {
		v.Errorf("groups %s", got)
	}
	// Nothing is left of a group that has no jobs once its rate has passed.
	v.eventually("nothing is left", func() bool { v.exchange(nil, 0); return len(v.traces()) == 0 })
	v.pushGroups("a/a1", "a/a2", "b/b1")
	v.claim(1)
	v.is(v.q.Destroy(v.ctx(), typ, false), queue.ErrNotEmpty)
	v.ok(v.q.Destroy(v.ctx(), typ, true))
	if left := v.traces(); len(left) > 0 {
		v.Errorf("left: %s", left)
	}
}

func groupNames(v *env) {
	v.configure(10)
	// What scripts note in front of a job's options hides no group.
	v.pushGroups("a/unsure")
	l := v.claimOne("unsure")
	s := end(l, queue.Release)
	s.Unsure = true
	v.settle(s)
	if j := v.get("unsure"); !j.Unsure || j.Group != "a" || v.turns() != "a 1/0" {
		v.Errorf("%+v, %s", j, v.turns())
	}
	v.healthy(typ)
	v.settle(end(v.claimOne("unsure"), queue.Done))
	for _, bad := range []string{"a b", `a"b`, `a\b`, "a\n", "é", strings.Repeat("a", 129)} {
		if _, err := v.q.Push(v.ctx(), queue.Job{Type: typ, Group: bad}); err == nil {
			v.Errorf("group %q is taken", bad)
		}
	}
	names := []string{"{curly}", "<a&b>", "tenant:3", "%s*?[x]", "1", strings.Repeat("a", 128), "c", "g", "h100"}
	for i, n := range names {
		v.push(queue.Job{ID: fmt.Sprint(i), Group: n, Title: "<&>", Priority: queue.High})
	}
	v.healthy(typ)
	for i, l := range v.claim(20) {
		if l.Group != names[i] || l.Title != "<&>" {
			v.Errorf("claimed %q of %q", l.Title, l.Group)
		}
		_, err := v.q.Cancel(v.ctx(), typ, l.ID)
		v.ok(err)
		if j := v.get(l.ID); !j.CancelRequested || j.Group != names[i] || j.Accepted {
			v.Errorf("%+v", j)
		}
		accept := end(l, queue.Accept)
		accept.Delay, accept.Attempt = time.Hour, queue.Attempt{}
		v.settle(accept)
		if j := v.get(l.ID); !j.CancelRequested || !j.Accepted {
			v.Errorf("%+v", j)
		}
		v.settle(end(l, queue.Retry)) // which ends it as cancelled
		v.inState(l.ID, queue.Cancelled)
	}
	if left := v.traces(); len(left) > 0 {
		v.Errorf("left: %s", left)
	}
}
