package queuetest

import (
	"errors"
	"fmt"
	"time"

	"github.com/deetoo/deetoo/queue"
)

// Each of these runs with every script sent twice, as the Redis client does
// when an answer got lost: the second answer is the one the caller sees.
func repeatTests() map[string]func(*env) {
	tests := map[string]func(*env){}
	for name, test := range map[string]func(*env){
		"push": repeatPush, "exchange": repeatExchange, "a whole life": repeatLife, "administration": repeatAdmin,
	} {
		tests["repeat/"+name] = func(v *env) {
			r := &repeater{}
			r.on.Store(true)
			v.q = v.openOn(another(v, v.client, r), queue.Options{Consumer: "repeating"})
			test(v)
		}
	}
	tests["repeat/a push after its answer was forgotten"] = repeatLate
	tests["repeat/a request whose answers were all lost"] = repeatRequest
	return tests
}

func repeatPush(v *env) {
	v.configure(10)
	for i, r := range v.push(queue.Job{}, queue.Job{ID: "x"}, queue.Job{ID: "x", Priority: queue.High}, queue.Job{ID: "y", Delay: time.Hour}) {
		if r.Replaced != (i == 2) || r.Err != nil {
			v.Errorf("receipt %d: %+v", i, r)
		}
	}
	if s := v.stats(); s.Waiting != 2 || s.ByPriority[queue.Normal] != 2 || s.Scheduled != 1 {
		v.Errorf("%+v", s)
	}
	if l := v.claim(10); len(l) != 2 || l[0].ID != "x" {
		v.Errorf("claimed %s", ids(l))
	}
}

func repeatExchange(v *env) {
	v.configure(3)
	v.pushIDs("a", "b", "c", "d", "e")
	l := v.claim(3)
	if ids(l) != "a b c" || v.stats().Active != 3 {
		v.Fatalf("claimed %s", ids(l))
	}
	s := end(l[0], queue.Retry)
	s.Delay = time.Hour
	forged := end(l[2], queue.Done)
	forged.Token = "forged"
	b := v.exchange([]queue.Settlement{s, end(l[1], queue.Done), forged}, 5)
	if ids(b.Leases) != "d e" || len(b.Stale) != 1 || b.Stale[0] != "c" || b.Active != 3 {
		v.Fatalf("%+v", b)
	}
	if j := v.inState("a", queue.Scheduled); j.Attempt != 1 || len(v.attempts("a")) != 1 {
		v.Errorf("%+v", j)
	}
	for _, l := range b.Leases {
		v.settle(end(l, queue.Done))
	}
	if s := v.stats(); s.Finished != 3 {
		v.Errorf("%+v", s)
	}
}

func repeatLife(v *env) {
	v.configure(1)
	for _, s := range []queue.State{queue.Scheduled, queue.Succeeded, queue.Cancelled, queue.Dead, queue.Active, queue.Waiting} {
		v.put(string(s), s)
		v.inState(string(s), s)
		v.healthy(typ)
	}
	_, err := v.q.Cancel(v.ctx(), typ, string(queue.Active))
	v.ok(err)
	if s := v.stats(); s.Waiting != 1 || s.Scheduled != 1 || s.Active != 1 || s.Dead != 1 || s.Finished != 2 {
		v.Errorf("%+v", s)
	}
}

func repeatAdmin(v *env) {
	v.configure(1)
	for _, s := range []queue.State{queue.Dead, queue.Succeeded, queue.Cancelled} {
		id := string(s)
		v.put(id, s)
		v.ok(v.q.RetryNow(v.ctx(), typ, id))
		v.inState(id, queue.Waiting)
		v.settle(end(v.claimOne(id), queue.Bury))
		v.ok(v.q.Remove(v.ctx(), typ, id))
		v.gone(id)
	}
	for i := range 3 {
		v.put(fmt.Sprint("dead", i), queue.Dead)
	}
	n, err := v.q.Redrive(v.ctx(), typ)
	v.ok(err)
	if s := v.stats(); n != 3 || s.Waiting != 3 {
		v.Errorf("redrove %d, %+v", n, s)
	}
	n, err = v.q.Purge(v.ctx(), typ, queue.Waiting)
	v.ok(err)
	if s := v.stats(); n != 3 || s.Waiting != 0 {
		v.Errorf("purged %d, %+v", n, s)
	}
	// Cancelled with nothing kept: the job is gone before the second try.
	v.ok(v.q.Configure(v.ctx(), typ, queue.Settings{Version: 2, Concurrency: 1}))
	v.pushIDs("x")
	got, err := v.q.Cancel(v.ctx(), typ, "x")
	v.ok(err)
	if got != queue.Cancelled {
		v.Errorf("cancelled: %s", got)
	}
	v.gone("x")
	v.ok(v.q.Destroy(v.ctx(), typ, false))
}

func repeatLate(v *env) {
	v.configure(10)
	q := v.openOn(another(v, v.client, &forgetful{v.client}), queue.Options{})
	r, err := q.Push(v.ctx(), queue.Job{Type: typ}, queue.Job{Type: typ, ID: "x"}, queue.Job{Type: typ, Delay: time.Hour}, queue.Job{Type: typ})
	v.ok(err)
	if s := v.stats(); s.Waiting != 3 || s.ByPriority[queue.Normal] != 3 || s.Scheduled != 1 {
		v.Errorf("%+v", s)
	}
	v.healthy(typ)
	// Those that are all new have a script of their own, which leaves this to the other.
	n, err := q.Push(v.ctx(), queue.Job{Type: typ}, queue.Job{Type: typ, Delay: time.Hour}, queue.Job{Type: typ})
	v.ok(err)
	if s := v.stats(); s.Waiting != 5 || s.ByPriority[queue.Normal] != 5 || s.Scheduled != 2 {
		v.Errorf("%+v", s)
	}
	v.healthy(typ)
	if got, want := ids(v.claim(10)), r[0].ID+" x "+r[3].ID+" "+n[0].ID+" "+n[2].ID; got != want {
		v.Errorf("claimed %s, want %s", got, want)
	}
}

func repeatRequest(v *env) {
	v.configure(5)
	v.pushIDs("a", "b", "c", "d")
	l := v.claim(2)
	cut := &cutter{}
	v.q = v.openOn(another(v, v.client, cut), queue.Options{Consumer: "cut"})
	v.exchange(nil, 0) // else only the answer to the loading of the script would get lost
	cut.on = true
	r := &queue.Request{Done: []queue.Settlement{end(l[0], queue.Done), end(l[1], queue.Bury)}, Want: 2}
	for range 3 {
		if _, err := v.q.ExchangeRequest(v.ctx(), typ, r); !errors.Is(err, errCut) {
			v.Fatalf("error %v", err)
		}
	}
	cut.on = false
	time.Sleep(10 * time.Millisecond) // so that the answer comes later than the claim
	b, err := v.q.ExchangeRequest(v.ctx(), typ, r)
	v.ok(err)
	if ids(b.Leases) != "c d" || len(b.Stale) != 0 || b.Active != 2 {
		v.Fatalf("%+v", b)
	}
	for _, l := range b.Leases {
		// They began when they were claimed: else the history would tell of two attempts.
		if j := v.get(l.ID); !l.StartedAt.Equal(j.StartedAt) {
			v.Errorf("%s began at %s, says its lease, and at %s, says the store", l.ID, l.StartedAt, j.StartedAt)
		}
		v.settle(end(l, queue.Done))
	}
	// The same request once more brings nothing: its leases are settled.
	if b, err = v.q.ExchangeRequest(v.ctx(), typ, &queue.Request{Done: make([]queue.Settlement, queue.MaxSettlements+1)}); err == nil {
		v.Errorf("too many settlements: %+v", b)
	}
}
