package queuetest

import (
	"context"
	"fmt"
	"time"

	"github.com/deetoo/deetoo/queue"
)

func whyTests() map[string]func(*env) {
	return map[string]func(*env){
		"why/how many are ahead":                whyAhead,
		"why/at what pace they end":             whyPace,
		"why/who runs it, and what ran longest": whyRuns,
		"why/dead of the same":                  whyDead,
		"why/who listens":                       whyListeners,
		"why/behind whom in a group":            whyGroups,
		"why/a group's rate, a type's":          whyRates,
	}
}

func (v *env) circumstances(id string) *queue.Circumstances {
	v.Helper()
	c, err := v.q.Circumstances(v.ctx(), typ, id)
	v.ok(err)
	if c.Job.ID != id || c.At.IsZero() {
		v.Errorf("%+v", c)
	}
	return c
}

func whyAhead(v *env) {
	v.configure(1)
	_, err := v.q.Circumstances(v.ctx(), typ, "nobody")
	v.is(err, queue.ErrNotFound)
	v.pushIDs("a", "b", "c")
	for i, id := range []string{"a", "b", "c"} {
		if c := v.circumstances(id); c.Ahead != i || c.Sure != queue.Exact || c.Stats.Waiting != 3 {
			v.Errorf("%s: %d %d", id, c.Ahead, c.Sure)
		}
	}
	v.push(queue.Job{ID: "urgent", Priority: queue.High})
	if c := v.circumstances("c"); c.Ahead != 3 || c.Sure != queue.About {
		v.Errorf("behind an urgent one: %d %d", c.Ahead, c.Sure)
	}
	_, err = v.q.Cancel(v.ctx(), typ, "urgent")
	v.ok(err)
	if c := v.circumstances("c"); c.Sure != queue.About {
		v.Errorf("behind a left-over entry: %d %d", c.Ahead, c.Sure)
	}
	jobs := make([]queue.Job, 10_200)
	for i := range jobs {
		jobs[i].ID = fmt.Sprint(i)
	}
	v.push(jobs...)
	if c := v.circumstances("9000"); c.Ahead != 9004 || c.Sure == queue.AtLeast {
		v.Errorf("far behind: %d %d", c.Ahead, c.Sure)
	}
	if c := v.circumstances("10199"); c.Ahead < 10_000 || c.Ahead > 10_001 || c.Sure != queue.AtLeast {
		v.Errorf("very far behind: %d %d", c.Ahead, c.Sure)
	}
}

func whyGroups(v *env) {
	v.limit(1, queue.Rate{}, queue.GroupLimits{Concurrency: 1})
	v.pushGroups("a/a1", "a/a2", "a/a3", "b/b1", "x1", "x2")
	type place struct {
		ahead int
		sure  queue.Sureness
		queue.Turn
	}
	is := func(when, id string, want place) {
		v.Helper()
		c := v.circumstances(id)
		got := place{ahead: c.Ahead, sure: c.Sure}
		if (c.Turn != nil) != (c.Job.Group != "") {
			v.Fatalf("%s: %s of group %q: %+v", when, id, c.Job.Group, c.Turn)
		}
		if c.Turn != nil {
			got.Turn = *c.Turn
		}
		if got != want {
			v.Errorf("%s: %s: %+v, want %+v", when, id, got, want)
		}
	}
	turn := func(active, before int) queue.Turn { return queue.Turn{Active: active, Limit: 1, Before: before} }

	// The turns: x1 a1 b1 x2 a2 a3.
	is("at first", "x1", place{0, queue.Exact, queue.Turn{}})
	is("at first", "x2", place{1, queue.AtLeast, queue.Turn{}})
	is("at first", "a1", place{0, queue.Exact, turn(0, 1)})
	is("at first", "a3", place{2, queue.Exact, turn(0, 1)})
	is("at first", "b1", place{0, queue.Exact, turn(0, 2)})
	v.claimOne("x1")
	is("after x1", "x2", place{2, queue.Exact, queue.Turn{}})
	is("after x1", "a1", place{0, queue.Exact, turn(0, 0)})
	is("after x1", "b1", place{0, queue.Exact, turn(0, 1)})
	if got := ids(v.claim(2)); got != "a1 b1" {
		v.Fatalf("claimed %s", got)
	}
	is("at the limit", "a2", place{0, queue.Exact, turn(1, 1)})
	v.pushGroups("c/c1")
	if got := ids(v.claim(100)); got != "x2 c1" {
		v.Fatalf("claimed %s", got)
	}
	v.pushGroups("d/d1", "e/e1") // a comes back behind them
	is("passed over", "a3", place{1, queue.Exact, turn(1, 2)})
	is("the next", "d1", place{0, queue.Exact, turn(0, 0)})

	v.push(queue.Job{ID: "a0", Group: "a", Priority: queue.High})
	is("the more urgent", "a0", place{0, queue.Exact, turn(1, 0)})
	is("behind an urgent one", "a3", place{2, queue.About, turn(1, 2)})
	is("behind another's urgent one", "d1", place{0, queue.Exact, turn(0, 1)})
	_, err := v.q.Cancel(v.ctx(), typ, "a2")
	v.ok(err)
	is("behind a left-over entry", "a3", place{2, queue.About, turn(1, 2)})
	v.push(queue.Job{ID: "x3", Priority: queue.Low})
	is("behind groups' urgent ones", "x3", place{5, queue.About, queue.Turn{}})
}

func whyRates(v *env) {
	v.limit(1, queue.Rate{Limit: 3, Per: time.Hour, Burst: 3}, queue.GroupLimits{Rate: queue.Rate{Limit: 1, Per: time.Hour, Burst: 1}})
	v.pushGroups("a/a1", "a/a2", "b/b1", "x1", "x2")
	if c := v.circumstances("a2"); !c.Turn.Until.IsZero() || c.Turn.Limit != 0 || c.Stats.Limited != 0 {
		v.Errorf("before any: %+v %+v", c.Turn, c)
	}
	if got := ids(v.claim(2)); got != "x1 a1" {
		v.Fatalf("claimed %s", got)
	}
	// Until is rounded up to a millisecond, At down: they are an hour and one apart if a1 was claimed in At's millisecond.
	if c := v.circumstances("a2"); c.Turn.Until.Before(c.At.Add(30*time.Minute)) || c.Turn.Until.After(c.At.Add(time.Hour+time.Millisecond)) || c.Turn.Active != 1 || c.Stats.Limited != 0 {
		v.Errorf("a's is used up: %+v %+v", c.Turn, c)
	}
	if c := v.circumstances("b1"); !c.Turn.Until.IsZero() {
		v.Errorf("b's is not: %+v", c.Turn)
	}
	v.claimOne("b1")
	if c := v.circumstances("x2"); c.Turn != nil || c.Stats.Limited < 10*time.Minute {
		v.Errorf("the type's is used up: %+v", c)
	}
}

func whyPace(v *env) {
	v.configure(1)
	v.pushIDs("a", "b", "c", "d", "waits")
	if c := v.circumstances("waits"); c.Pace != 0 {
		v.Errorf("pace %g of nothing", c.Pace)
	}
	for _, id := range []string{"a", "b", "c", "d"} {
		time.Sleep(400 * time.Millisecond)
		v.settle(end(v.claimOne(id), queue.Done))
	}
	if c := v.circumstances("waits"); c.Pace > 2.6 || c.Pace < 0.2 || c.Ahead != 0 {
		v.Errorf("pace %g", c.Pace)
	}
	// What ended before it came tells nothing: the type may have had nothing to do.
	v.pushIDs("new")
	if c := v.circumstances("new"); c.Pace != 0 || c.Ahead != 1 {
		v.Errorf("pace %g, behind %d", c.Pace, c.Ahead)
	}
}

func whyRuns(v *env) {
	v.configure(2)
	v.pushIDs("a", "b", "waits")
	l := v.claimOne("a")
	time.Sleep(3 * time.Millisecond)
	second := v.open(queue.Options{Consumer: "second", Lease: time.Minute})
	_, err := second.Exchange(v.ctx(), typ, nil, 1)
	v.ok(err)
	if c := v.circumstances("waits"); c.Oldest != "a" || !c.OldestSince.Equal(l.StartedAt) || c.Stats.Active != 2 || c.Dispatcher != "" {
		v.Errorf("%+v", c)
	}
	if c := v.circumstances("b"); c.Dispatcher != "second" || c.LeaseEnds.Sub(c.Job.StartedAt) != time.Minute || c.Ahead != 0 || c.Job.State != queue.Active {
		v.Errorf("%+v", c)
	}
}

func whyDead(v *env) {
	v.configure(5)
	v.dies("a", 500, "boom 1")
	v.dies("b", 500, "boom 2")
	v.dies("c", 500, "bang")
	if c := v.circumstances("a"); c.SameFailure != 2 || len(c.Fingerprint) != 16 || len(c.Attempts) != 1 {
		v.Errorf("%+v", c)
	}
	if c := v.circumstances("c"); c.SameFailure != 1 {
		v.Errorf("%+v", c)
	}
}

func whyListeners(v *env) {
	n, err := v.q.Listeners(v.ctx())
	v.ok(err)
	if n != 0 {
		v.Errorf("%d listen", n)
	}
	ctx, stop := context.WithCancel(v.ctx())
	done := make(chan struct{})
	go func() { defer close(done); v.q.Listen(ctx, func(queue.Event) {}, nil) }()
	v.eventually("one listens", func() bool {
		n, err := v.q.Listeners(v.ctx())
		v.ok(err)
		return n == 1
	})
	stop()
	<-done
}
