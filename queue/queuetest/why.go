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
