package queuetest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/deetoo/deetoo/invalid"
	"github.com/deetoo/deetoo/queue"
)

func retryTests() map[string]func(*env) {
	return map[string]func(*env){
		"admin/promote, retry and remove in each state": requeueStates,
		"admin/redrive":             redrive,
		"admin/purge of each state": purge,
		"admin/destroy":             destroy,
	}
}

func adminTests() map[string]func(*env) {
	return map[string]func(*env){
		"retention/by count":        retainCount,
		"retention/by age":          retainAge,
		"retention/nothing at all":  retainNothing,
		"retention/with left-overs": retainLeftOver,
		"admin/stats":               stats,
		"admin/options":             options,
	}
}

func requeueStates(v *env) {
	v.configure(5)
	for _, c := range []struct {
		state                  queue.State
		promote, retry, remove error
	}{
		{queue.Waiting, nil, nil, queue.ErrConflict},
		{queue.Scheduled, nil, nil, queue.ErrConflict},
		{queue.Active, queue.ErrActive, queue.ErrActive, queue.ErrActive},
		{queue.Succeeded, queue.ErrConflict, nil, nil},
		{queue.Cancelled, queue.ErrConflict, nil, nil},
		{queue.Dead, queue.ErrConflict, nil, nil},
	} {
		for _, op := range []struct {
			name string
			do   func(context.Context, string, string) error
			want error
			then queue.State
		}{
			{"promote", v.q.Promote, c.promote, queue.Waiting},
			{"retry", v.q.RetryNow, c.retry, queue.Waiting},
			{"remove", v.q.Remove, c.remove, ""},
		} {
			id := string(c.state) + "-" + op.name
			v.put(id, c.state)
			err := op.do(v.ctx(), typ, id)
			var state *queue.StateError
			if !errors.Is(err, op.want) || op.want == nil && err != nil ||
				op.want == queue.ErrConflict && (!errors.As(err, &state) || state.State != c.state || state.ID != id || state.Want != op.name) {
				v.Errorf("%s: %v, want %v", id, err, op.want)
			}
			switch {
			case op.want != nil:
				v.inState(id, c.state)
			case op.then == "":
				v.gone(id)
			default:
				if j := v.inState(id, op.then); j.Attempt != 0 || j.Result != nil || string(j.Data) != `"old"` {
					v.Errorf("%s: %+v", id, j)
				}
				if n := len(v.attempts(id)); (n > 0) != (c.state == queue.Dead || c.state == queue.Succeeded) {
					v.Errorf("%s: history of %d", id, n)
				}
			}
			v.healthy(typ)
			_, err = v.q.Purge(v.ctx(), typ, queue.Waiting)
			v.ok(err)
		}
	}
	v.is(v.q.Promote(v.ctx(), typ, "nobody"), queue.ErrNotFound)
	v.is(v.q.RetryNow(v.ctx(), typ, "nobody"), queue.ErrNotFound)
	v.is(v.q.Remove(v.ctx(), typ, "nobody"), queue.ErrNotFound)
}

// many makes n jobs and brings them into a state by few calls.
func (v *env) many(n int, verdict queue.Verdict) {
	v.Helper()
	jobs := make([]queue.Job, n)
	for i := range jobs {
		jobs[i] = queue.Job{ID: fmt.Sprintf("m%05d", i), Data: []byte(`"` + strings.Repeat("d", i%2*5000) + `"`)}
	}
	v.push(jobs...)
	for settled := 0; settled < n; {
		var done []queue.Settlement
		for _, l := range v.claim(queue.MaxSettlements) {
			done = append(done, end(l, verdict))
		}
		v.exchange(done, 0)
		settled += len(done)
	}
}

func redrive(v *env) {
	v.configure(2000)
	v.many(1234, queue.Bury)
	n, err := v.q.Redrive(v.ctx(), typ)
	v.ok(err)
	s := v.stats()
	if n != 1234 || s.Waiting != n || s.Dead != 0 {
		v.Fatalf("%d redriven, %+v", n, s)
	}
	l := v.claim(1)[0]
	if l.Attempt != 1 || len(v.attempts(l.ID)) != 1 {
		v.Errorf("%+v", l)
	}
	if n, err := v.q.Redrive(v.ctx(), typ); n != 0 || err != nil {
		v.Errorf("%d, %v", n, err)
	}
}

func purge(v *env) {
	v.ok(v.q.Configure(v.ctx(), typ, queue.Settings{Version: 1, Concurrency: 2000, RetainCount: 5000, RetainAge: time.Hour}))
	const n = 600
	v.pushIDs("stays")
	stays := v.claimOne("stays")
	for _, s := range []queue.State{queue.Waiting, queue.Scheduled, queue.Succeeded, queue.Cancelled, queue.Dead} {
		switch s {
		case queue.Succeeded:
			v.many(n, queue.Done)
		case queue.Dead:
			v.many(n, queue.Bury)
		default:
			jobs := make([]queue.Job, n)
			for i := range jobs {
				jobs[i] = queue.Job{ID: fmt.Sprint(i), Priority: queue.Priority(i%5 - 2), Data: []byte(`"` + strings.Repeat("d", i%2*5000) + `"`)}
				if s == queue.Scheduled {
					jobs[i].Delay = time.Hour
				}
			}
			if s == queue.Waiting { // leave entries behind
				v.push(jobs...)
				for i := range jobs {
					jobs[i].Priority = queue.Priority((i+1)%5 - 2)
				}
			}
			v.push(jobs...)
		}
		if s == queue.Cancelled {
			for i := range n {
				_, err := v.q.Cancel(v.ctx(), typ, fmt.Sprint(i))
				v.ok(err)
			}
		}
		got, err := v.q.Purge(v.ctx(), typ, s)
		v.ok(err)
		if st := v.stats(); got != n || st.Waiting+st.Scheduled+st.Finished+st.Dead != 0 || st.Active != 1 {
			v.Fatalf("%s: purged %d, %+v", s, got, st)
		}
		v.healthy(typ)
	}
	for _, s := range []queue.State{queue.Active, "", "all"} {
		_, err := v.q.Purge(v.ctx(), typ, s)
		var bad *invalid.Error
		if !errors.As(err, &bad) || bad.Field != "state" {
			v.Errorf("%q: %v", s, err)
		}
	}
	v.settle(end(stays, queue.Done))
}

func destroy(v *env) {
	v.configure(1)
	for _, s := range []queue.State{queue.Waiting, queue.Scheduled, queue.Active, queue.Dead} {
		v.put("x", s)
		v.is(v.q.Destroy(v.ctx(), typ, false), queue.ErrNotEmpty)
		v.inState("x", s)
		v.ok(v.q.Destroy(v.ctx(), typ, true))
		v.gone("x")
		v.configure(1)
	}
	v.put("a", queue.Succeeded)
	v.put("b", queue.Cancelled)
	v.ok(v.q.Destroy(v.ctx(), typ, false))
	if types, err := v.q.Types(v.ctx()); err != nil || len(types) != 0 {
		v.Errorf("types %v, %v", types, err)
	}
	// What was running when its type was destroyed cannot come back.
	v.configure(1)
	v.pushIDs("x")
	l := v.claimOne("x")
	v.ok(v.q.Destroy(v.ctx(), typ, true))
	if b := v.exchange([]queue.Settlement{end(l, queue.Retry)}, 1); len(b.Stale) != 1 {
		v.Errorf("%+v", b)
	}
	v.gone("x")
}

func retainCount(v *env) {
	v.ok(v.q.Configure(v.ctx(), typ, queue.Settings{Version: 1, Concurrency: 10, RetainCount: 3, RetainAge: time.Hour}))
	for i := range 5 {
		v.put(fmt.Sprint("s", i), queue.Succeeded)
		v.put(fmt.Sprint("c", i), queue.Cancelled)
		v.put(fmt.Sprint("d", i), queue.Dead)
	}
	if got := jobIDs(v.all(queue.Succeeded, 10)) + "|" + jobIDs(v.all(queue.Cancelled, 10)); got != "s4|c4 c3" {
		v.Errorf("kept %s", got)
	}
	if s := v.stats(); s.Finished != 3 || s.Dead != 5 {
		v.Errorf("%+v", s)
	}
	v.ok(v.q.Configure(v.ctx(), typ, queue.Settings{Version: 2, Concurrency: 10, RetainCount: 1, RetainAge: time.Hour}))
	if s := v.stats(); s.Finished != 1 {
		v.Errorf("after a change: %+v", s)
	}
}

func retainAge(v *env) {
	v.ok(v.q.Configure(v.ctx(), typ, queue.Settings{Version: 1, Concurrency: 10, RetainCount: 10, RetainAge: 300 * time.Millisecond}))
	v.put("old", queue.Succeeded)
	v.put("dead", queue.Dead)
	v.inState("old", queue.Succeeded)
	finished := v.get("old").FinishedAt
	v.eventually("too old", func() bool {
		v.exchange(nil, 0)
		_, err := v.q.Get(v.ctx(), typ, "old")
		if err == nil && v.stats().At.Sub(finished) > time.Second {
			v.Fatal("it is kept for too long")
		}
		return errors.Is(err, queue.ErrNotFound)
	})
	if d := v.stats().At.Sub(finished); d < 300*time.Millisecond {
		v.Errorf("deleted after %v", d)
	}
	v.inState("dead", queue.Dead)
}

func retainNothing(v *env) {
	for i, s := range []queue.Settings{{RetainCount: 0, RetainAge: time.Hour}, {RetainCount: 10, RetainAge: 0}} {
		s.Version, s.Concurrency = int64(i+1), 10
		v.ok(v.q.Configure(v.ctx(), typ, s))
		v.put("a", queue.Succeeded)
		v.put("b", queue.Cancelled)
		v.gone("a")
		v.gone("b")
		v.put(fmt.Sprint("dead", i), queue.Dead)
		if st := v.stats(); st.Finished != 0 || st.Dead != i+1 {
			v.Errorf("%+v: %+v", s, st)
		}
	}
}

func retainLeftOver(v *env) {
	v.configure(10)
	for _, id := range []string{"a", "b", "c", "d"} {
		v.put(id, queue.Succeeded)
	}
	v.ok(v.q.Remove(v.ctx(), typ, "a"))
	v.push(queue.Job{ID: "b", Delay: time.Hour})
	if s := v.stats(); s.Finished != 2 {
		v.Errorf("%+v", s)
	}
	v.ok(v.q.Configure(v.ctx(), typ, queue.Settings{Version: 2, Concurrency: 10, RetainCount: 1, RetainAge: time.Hour}))
	if got := jobIDs(v.all(queue.Succeeded, 10)); got != "d" || v.stats().Finished != 1 {
		v.Errorf("kept %s, %+v", got, v.stats())
	}
	v.inState("b", queue.Scheduled)
}

func stats(v *env) {
	v.configure(3)
	v.push(queue.Job{ID: "w", Priority: queue.Low})
	pushed := v.get("w").RunAt
	v.push(queue.Job{ID: "later", Priority: queue.Lowest})
	v.put("s", queue.Scheduled)
	v.put("d", queue.Dead)
	v.put("f", queue.Succeeded)
	v.put("a", queue.Active)
	v.put("gone", queue.Cancelled) // its entry is at a list's head
	var s queue.Stats
	v.eventually("the oldest grows older", func() bool { s = v.stats(); return s.Oldest > 20*time.Millisecond })
	if s.Waiting != 2 || s.Scheduled != 1 || s.Active != 1 || s.Dead != 1 || s.Finished != 2 || s.Limit != 3 || s.Paused || s.Hold != 0 ||
		s.ByPriority[queue.Low] != 1 || s.ByPriority[queue.Lowest] != 1 || s.Oldest != s.At.Sub(pushed) {
		v.Errorf("%+v", s)
	}
	v.claim(2)
	if s := v.stats(); s.Waiting != 0 || s.Oldest != 0 {
		v.Errorf("%+v", s)
	}
}

func options(v *env) {
	for field, o := range map[string]queue.Options{
		"prefix": {Prefix: "a{b"}, "consumer": {Consumer: "a b"}, "lease": {Lease: time.Millisecond}, "max_lost": {MaxLost: -1},
	} {
		_, err := queue.New(v.client, o)
		var bad *invalid.Error
		if !errors.As(err, &bad) || bad.Field != field {
			v.Errorf("%+v: %v", o, err)
		}
	}
	q, err := queue.New(v.client, queue.Options{})
	v.ok(err)
	other, err := queue.New(v.client, queue.Options{})
	v.ok(err)
	if q.Lease() != 15*time.Second || q.Consumer() == "" || q.Consumer() == other.Consumer() {
		v.Errorf("lease %v, consumers %q and %q", q.Lease(), q.Consumer(), other.Consumer())
	}
	v.ok(q.Ping(v.ctx()))
}

func listenTests() map[string]func(*env) {
	return map[string]func(*env){"listen/wakes and cancellations": listen}
}

func listen(v *env) {
	v.configure(1)
	var mu sync.Mutex
	var events []queue.Event
	var up []bool
	ctx, cancel := context.WithCancel(v.ctx())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		v.q.Listen(ctx, func(e queue.Event) {
			mu.Lock()
			defer mu.Unlock()
			events = append(events, e)
		}, func(b bool) {
			mu.Lock()
			defer mu.Unlock()
			up = append(up, b)
		})
	}()
	heard := func(e queue.Event) {
		v.Helper()
		v.eventually(fmt.Sprintf("event %+v", e), func() bool {
			mu.Lock()
			defer mu.Unlock()
			for i, got := range events {
				if got == e {
					events = append(events[:i], events[i+1:]...)
					return true
				}
			}
			return false
		})
	}
	heard(queue.Event{}) // anything may have happened before
	v.pushIDs("a")
	heard(queue.Event{Type: typ})
	v.claimOne("a")
	_, err := v.q.Cancel(v.ctx(), typ, "a")
	v.ok(err)
	heard(queue.Event{Type: typ, Cancel: "a"})
	v.push(queue.Job{ID: "later", Delay: time.Hour})
	heard(queue.Event{Type: typ}) // it is the first one due
	v.ok(v.q.Promote(v.ctx(), typ, "later"))
	heard(queue.Event{Type: typ})
	v.ok(v.q.Configure(v.ctx(), typ, queue.Settings{Version: 2, Concurrency: 2}))
	heard(queue.Event{Type: typ})
	v.put("d", queue.Waiting)
	cancel()
	<-ended
	mu.Lock()
	defer mu.Unlock()
	if len(up) != 2 || !up[0] || up[1] {
		v.Errorf("up %v", up)
	}
}
