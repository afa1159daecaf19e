package queuetest

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/deetoo/deetoo/queue"
)

// groupRandom does what comes to mind to jobs of a few groups, and checks after
// each step that the queue is sound, that no group is over its concurrency, and that nothing is forgotten.
func groupRandom(v *env) {
	seed := rand.Uint64()
	defer func() {
		if v.Failed() {
			v.Log("seed ", seed)
		}
	}()
	r := rand.New(rand.NewPCG(seed, 1))
	groups := []string{"", "a", "b", "c", "d"}
	version, most := int64(0), 0
	var leases []queue.Lease
	limit := func() {
		version++
		g := queue.GroupLimits{Concurrency: r.IntN(4)}
		if most = g.Concurrency; r.IntN(2) == 0 {
			g.Rate = queue.Rate{Limit: 1 + r.IntN(50), Per: 100 * time.Millisecond}
		}
		v.limit(version, queue.Rate{}, g)
	}
	job := func() queue.Job {
		j := queue.Job{ID: fmt.Sprint(r.IntN(40)), Group: groups[r.IntN(len(groups))], Priority: queue.Priority(r.IntN(5) - 2)}
		if r.IntN(4) == 0 {
			j.Delay = time.Duration(r.IntN(20)) * time.Millisecond
		}
		return j
	}
	running := func() map[string]int {
		n := map[string]int{}
		for _, j := range v.all(queue.Active, 100) {
			n[j.Group]++
		}
		return n
	}
	exchange := func(done []queue.Settlement, want int) {
		before := running()
		b := v.exchange(done, want)
		for _, l := range b.Leases {
			if n := running()[l.Group]; l.Group != "" && most > 0 && n > most && n > before[l.Group] {
				v.Fatalf("%d jobs of group %s run, with %d allowed", n, l.Group, most)
			}
		}
		leases = append(leases, b.Leases...)
	}
	limit()
	for step := range 250 {
		id := fmt.Sprint(r.IntN(40))
		what := r.IntN(14)
		switch {
		case what < 4:
			v.push(job(), job(), job())
		case what < 6:
			exchange(nil, r.IntN(6))
		case what < 9 && len(leases) > 0:
			verdict := []queue.Verdict{queue.Done, queue.Retry, queue.Bury, queue.Release}[r.IntN(4)]
			s := end(leases[0], verdict)
			s.Delay = time.Duration(r.IntN(10)) * time.Millisecond
			leases = leases[1:]
			exchange([]queue.Settlement{s}, r.IntN(3))
		case what == 9:
			_, _ = v.q.Cancel(v.ctx(), typ, id) // whatever state it is in
		case what == 10:
			_ = v.q.RetryNow(v.ctx(), typ, id)
		case what == 11:
			_, err := v.q.Redrive(v.ctx(), typ)
			v.ok(err)
		case what == 12 && r.IntN(4) == 0:
			_, err := v.q.Purge(v.ctx(), typ, queue.Waiting)
			v.ok(err)
		case what == 13 && r.IntN(4) == 0:
			limit()
		}
		if v.healthy(typ); v.Failed() {
			v.Fatalf("after step %d", step)
		}
		if s := v.stats(); s.Waiting != len(v.all(queue.Waiting, 100)) {
			v.Fatalf("step %d: %d are counted, %d listed", step, s.Waiting, len(v.all(queue.Waiting, 100)))
		}
	}
	v.limit(version+1, queue.Rate{}, queue.GroupLimits{Concurrency: 1})
	v.eventually("all is done", func() bool {
		var done []queue.Settlement
		for _, l := range leases {
			done = append(done, end(l, queue.Done))
		}
		leases = nil
		exchange(done, 100)
		s := v.stats()
		return s.Waiting+s.Scheduled+s.Active == 0
	})
	v.eventually("nothing is left of the groups", func() bool { v.exchange(nil, 0); return len(v.traces()) == 0 })
}
