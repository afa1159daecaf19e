package queuetest

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/deetoo/deetoo/queue"
)

func orderTests() map[string]func(*env) {
	return map[string]func(*env){
		"order/priorities first, then first come": orderPriorities,
		"order/no priority starves":               orderStarvation,
		"order/left-over entries":                 orderLeftOver,
		"order/many left-over entries":            orderManyLeftOver,
		"exchange/never over the limit":           limitHolds,
		"exchange/everything at once":             everythingAtOnce,
		"exchange/limit raised and lowered live":  limitMoves,
		"exchange/pause and hold":                 pauseAndHold,
		"exchange/a type nobody configured":       unconfigured,
		"exchange/settle and claim in one call":   settleAndClaim,
	}
}

func orderPriorities(v *env) {
	v.configure(100)
	for _, p := range slices.Backward(queue.Priorities()) {
		v.push(queue.Job{ID: p.String() + "1", Priority: p}, queue.Job{ID: p.String() + "2", Priority: p})
	}
	if s := v.stats(); s.Waiting != 10 || s.ByPriority[queue.Low] != 2 {
		v.Errorf("%+v", s)
	}
	if got := jobIDs(v.all(queue.Waiting, 3)); got != "critical1 critical2 high1 high2 normal1 normal2 low1 low2 lowest1 lowest2" {
		v.Errorf("listed %s", got)
	}
	// The eighth slot is kept for the others: it begins at high, which is empty by then.
	if got := ids(v.claim(20)); got != "critical1 critical2 high1 high2 normal1 normal2 low1 low2 lowest1 lowest2" {
		v.Errorf("claimed %s", got)
	}
}

func orderStarvation(v *env) {
	v.configure(1000)
	for _, p := range queue.Priorities()[1:] {
		v.push(queue.Job{ID: p.String(), Priority: p})
	}
	n, got := 0, []string{}
	for len(got) < 4 && n < 64 {
		// A flood: there are always more critical jobs than are taken.
		v.push(slices.Repeat([]queue.Job{{Priority: queue.Critical}}, 3)...)
		for _, l := range v.claim(2) {
			if n++; l.Priority != queue.Critical {
				got = append(got, fmt.Sprint(n, l.ID))
			}
		}
	}
	if s := strings.Join(got, " "); s != "8high 16normal 24low 32lowest" {
		v.Errorf("through the flood came %s, in %d claims", s, n)
	}
}

func orderLeftOver(v *env) {
	v.configure(10)
	v.pushIDs("a", "b", "c")
	_, err := v.q.Cancel(v.ctx(), typ, "a")
	v.ok(err)
	v.push(queue.Job{ID: "b", Delay: time.Hour})
	if s := v.stats(); s.Waiting != 1 || s.ByPriority[queue.Normal] != 3 {
		v.Errorf("%+v", s)
	}
	v.healthy(typ)
	due := v.get("c").RunAt // behind two left-over entries
	v.eventually("the oldest grows older", func() bool { s := v.stats(); return s.Oldest > 0 && s.Oldest == s.At.Sub(due) })
	// A job that comes back runs at its old place: its entry is still there.
	v.pushIDs("a")
	v.ok(v.q.Promote(v.ctx(), typ, "b"))
	v.healthy(typ)
	if got := ids(v.claim(10)); got != "a b c" {
		v.Errorf("claimed %s, want each once", got)
	}
	if s := v.stats(); s.Waiting != 0 || s.ByPriority[queue.Normal] != 0 {
		v.Errorf("%+v", s)
	}
}

func orderManyLeftOver(v *env) {
	v.configure(10)
	jobs := make([]queue.Job, 2500)
	for i := range jobs {
		jobs[i] = queue.Job{ID: fmt.Sprint("j", i)}
	}
	v.push(jobs...)
	for i := range jobs {
		jobs[i].Delay = time.Hour
	}
	v.push(jobs...)
	v.pushIDs("last")
	if s := v.stats(); s.Waiting != 1 || s.Oldest > time.Minute {
		v.Errorf("%+v", s)
	}
	// One call looks at a bounded number of entries, and says that it is worth to look again.
	calls := 0
	for l := []queue.Lease(nil); len(l) == 0; calls++ {
		b := v.exchange(nil, 5)
		if l = b.Leases; len(l) == 0 && b.Next != 0 {
			v.Fatalf("nothing claimed, and the next look in %v", b.Next)
		}
	}
	if calls > 4 {
		v.Errorf("%d calls", calls)
	}
}

func limitHolds(v *env) {
	const limit, jobs = 7, 300
	v.configure(limit)
	v.push(slices.Repeat([]queue.Job{{}}, jobs)...)
	var running, most, finished atomic.Int64
	var wg sync.WaitGroup
	for n := range 6 {
		q := v.open(queue.Options{Consumer: fmt.Sprint("consumer", n)})
		wg.Go(func() {
			var done []queue.Settlement
			for finished.Load() < jobs {
				running.Add(-int64(len(done)))
				b, err := q.Exchange(v.ctx(), typ, done, 3)
				if err != nil || len(b.Stale) > 0 || b.Active > limit {
					v.Errorf("%+v, %v", b, err)
					return
				}
				finished.Add(int64(len(done)))
				done = nil
				now := running.Add(int64(len(b.Leases)))
				for m := most.Load(); now > m && !most.CompareAndSwap(m, now); m = most.Load() {
				}
				for _, l := range b.Leases {
					done = append(done, end(l, queue.Done))
				}
				time.Sleep(time.Millisecond)
			}
		})
	}
	wg.Wait()
	if most.Load() > limit || finished.Load() != jobs {
		v.Errorf("%d ran at once, %d finished", most.Load(), finished.Load())
	}
}

func limitMoves(v *env) {
	set := func(version int64, n int) {
		v.Helper()
		v.ok(v.q.Configure(v.ctx(), typ, queue.Settings{Version: version, Concurrency: n, RetainCount: 10, RetainAge: time.Hour}))
	}
	set(1, 2)
	v.push(slices.Repeat([]queue.Job{{}}, 20)...)
	first := v.claim(10)
	set(2, 5)
	second := v.claim(10)
	set(3, 1)
	if b := v.exchange(nil, 10); len(first) != 2 || len(second) != 3 || len(b.Leases) != 0 || b.Active != 5 || b.Limit != 1 {
		v.Fatalf("%d, %d, then %+v", len(first), len(second), b)
	}
	// Running ones end as they would; only then is the new limit reached.
	for i, l := range append(first, second...) {
		b := v.exchange([]queue.Settlement{end(l, queue.Done)}, 10)
		if want := i / 4; len(b.Leases) != want {
			v.Errorf("after %d ended: %d claimed, want %d", i+1, len(b.Leases), want)
		}
	}
	set(2, 100)
	if b := v.exchange(nil, 10); b.Limit != 1 || len(b.Leases) != 0 {
		v.Errorf("an older version came into force: %+v", b)
	}
	if n, err := v.q.Version(v.ctx(), typ); n != 3 || err != nil {
		v.Errorf("version %d, %v", n, err)
	}
}

func pauseAndHold(v *env) {
	s := queue.Settings{Version: 1, Concurrency: 5, Paused: true, RetainCount: 10, RetainAge: time.Hour}
	v.ok(v.q.Configure(v.ctx(), typ, s))
	v.push(slices.Repeat([]queue.Job{{}}, 10)...)
	if b := v.exchange(nil, 5); len(b.Leases) != 0 || !b.Paused || b.Waiting != 10 || !v.stats().Paused {
		v.Fatalf("paused: %+v", b)
	}
	s.Version, s.Paused = 2, false
	v.ok(v.q.Configure(v.ctx(), typ, s))
	l := v.claim(3)
	slow := end(l[0], queue.Retry)
	slow.Hold, slow.Delay = 300*time.Millisecond, time.Hour
	b := v.exchange([]queue.Settlement{slow}, 5)
	if len(b.Leases) != 0 || b.Hold <= 0 || b.Hold > 300*time.Millisecond || b.Next > 300*time.Millisecond || v.stats().Hold == 0 {
		v.Fatalf("held with two running: %+v", b)
	}
	b = v.exchange([]queue.Settlement{end(l[1], queue.Done), end(l[2], queue.Done)}, 5)
	if len(b.Leases) != 1 && b.Hold > 0 {
		v.Fatalf("held with none running: %+v", b)
	}
	v.eventually("hold lifted", func() bool { b = v.exchange(nil, 5); return b.Hold == 0 })
	if b.Active != 5 {
		v.Errorf("after the hold: %+v", b)
	}
}

func unconfigured(v *env) {
	v.pushIDs("a")
	if b := v.exchange(nil, 5); len(b.Leases) != 0 || b.Limit != 0 || b.Waiting != 1 || b.Next >= 0 {
		v.Errorf("%+v", b)
	}
	s, err := v.q.Stats(v.ctx(), "nothing")
	v.ok(err)
	if s.Waiting+s.Scheduled+s.Active+s.Dead+s.Finished+s.Limit != 0 || s.Oldest != 0 || s.At.IsZero() {
		v.Errorf("%+v", s)
	}
	both, err := v.q.StatsOf(v.ctx(), []string{typ, "nothing"})
	v.ok(err)
	if len(both) != 2 || both[typ].Waiting != 1 || both["nothing"].Waiting != 0 || both["nothing"].At.IsZero() {
		v.Errorf("%+v", both)
	}
	if n, err := v.q.Version(v.ctx(), "nothing"); n != 0 || err != nil {
		v.Errorf("version %d, %v", n, err)
	}
}

func settleAndClaim(v *env) {
	v.configure(2)
	v.pushIDs("a", "b", "c", "d")
	if b := v.exchange(nil, 0); len(b.Leases) != 0 || b.Waiting != 4 {
		v.Fatalf("%+v", b)
	}
	if b := v.exchange(nil, -1); len(b.Leases) != 0 {
		v.Fatalf("%+v", b)
	}
	l := v.claim(2)
	b := v.exchange([]queue.Settlement{end(l[0], queue.Done), end(l[1], queue.Release)}, 2)
	if ids(b.Leases) != "b c" || b.Active != 2 || b.Waiting != 1 || b.Limit != 2 {
		v.Fatalf("%s, %+v", ids(b.Leases), b)
	}
	for _, l := range b.Leases {
		if l.Attempt != 1 || l.Token == "" || time.Until(l.Deadline) > v.q.Lease() || time.Until(l.Deadline) < v.q.Lease()/2 {
			v.Errorf("lease %+v", l)
		}
	}
	v.inState("a", queue.Succeeded)
}
