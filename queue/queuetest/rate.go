package queuetest

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/deetoo/deetoo/queue"
)

func rateTests() map[string]func(*env) {
	return map[string]func(*env){
		"rate/a burst, then none":               rateBurst,
		"rate/it says when the next may start":  rateNext,
		"rate/only what was taken counts":       rateTaken,
		"rate/a job given back is not refunded": rateReleased,
		"rate/changed and lifted live":          rateLive,
		"rate/many consumers, one envelope":     rateEnvelope,
		"rate/a repeated request spends once":   rateRepeated,
		"rate/fast by default":                  rateDefault,
	}
}

// limit puts a rate and limits of groups in force, with plenty of slots.
func (v *env) limit(version int64, r queue.Rate, g queue.GroupLimits) {
	v.Helper()
	v.ok(v.q.Configure(v.ctx(), typ, queue.Settings{
		Version: version, Concurrency: 2000, RetainCount: 1000, RetainAge: time.Hour, Rate: r, Groups: g,
	}))
}

func (v *env) pushMany(n int) {
	v.Helper()
	v.push(slices.Repeat([]queue.Job{{}}, n)...)
}

func rateBurst(v *env) {
	v.limit(1, queue.Rate{Limit: 10, Per: time.Hour, Burst: 3}, queue.GroupLimits{})
	if b := v.exchange(nil, 10); b.Limited != 0 || b.Next >= 0 {
		v.Errorf("nothing waits, and yet %+v", b)
	}
	v.pushMany(10)
	if s := v.stats(); s.Limited != 0 {
		v.Errorf("%+v", s)
	}
	b := v.exchange(nil, 10)
	if len(b.Leases) != 3 || b.Limited <= 5*time.Minute || b.Limited > 6*time.Minute+time.Second || b.Next != b.Limited {
		v.Fatalf("%d leases, limited for %v, next in %v", len(b.Leases), b.Limited, b.Next)
	}
	if s := v.stats(); s.Limited <= 5*time.Minute || s.Limited > 6*time.Minute+time.Second {
		v.Errorf("stats: limited for %v", s.Limited)
	}
	// Who wants nothing need not come back for it.
	if b := v.exchange(nil, 0); b.Limited == 0 || b.Next >= 0 && b.Next < 7*time.Minute {
		v.Errorf("next in %v", b.Next)
	}
}

func rateNext(v *env) {
	v.limit(1, queue.Rate{Limit: 20, Per: time.Second, Burst: 1}, queue.GroupLimits{})
	v.pushMany(4)
	begin := v.stats().At
	var last time.Time
	for range 4 {
		b := v.exchange(nil, 10)
		if len(b.Leases) != 1 {
			v.Fatalf("%d leases when one was due; %+v", len(b.Leases), b)
		}
		last = b.Leases[0].StartedAt
		if b.Waiting == 0 {
			break
		}
		if b.Next <= 0 || b.Next > 51*time.Millisecond {
			v.Fatalf("next in %v", b.Next)
		}
		time.Sleep(b.Next)
	}
	if took := last.Sub(begin); took < 149*time.Millisecond {
		v.Errorf("4 jobs at 20 a second in %v", took)
	}
}

func rateTaken(v *env) {
	v.limit(1, queue.Rate{Limit: 10, Per: time.Hour, Burst: 10}, queue.GroupLimits{})
	v.pushMany(2)
	if n := len(v.claim(10)); n != 2 {
		v.Fatalf("claimed %d", n)
	}
	v.pushMany(20)
	if n := len(v.claim(20)); n != 8 {
		v.Fatalf("claimed %d of the 8 that are left", n)
	}
}

func rateReleased(v *env) {
	v.limit(1, queue.Rate{Limit: 2, Per: time.Hour, Burst: 2}, queue.GroupLimits{})
	v.pushMany(4)
	l := v.claim(1)
	if b := v.exchange([]queue.Settlement{end(l[0], queue.Release)}, 10); len(b.Leases) != 1 {
		v.Fatalf("%d leases", len(b.Leases))
	}
}

func rateLive(v *env) {
	v.limit(1, queue.Rate{Limit: 1, Per: 24 * time.Hour}, queue.GroupLimits{})
	v.pushMany(50)
	if n := len(v.claim(50)); n != 1 {
		v.Fatalf("claimed %d", n)
	}
	// The day that the old rate had asked for is forgotten.
	v.limit(2, queue.Rate{Limit: 1000, Per: time.Second, Burst: 5}, queue.GroupLimits{})
	v.eventually("the new rate holds", func() bool { return len(v.claim(50)) > 0 })
	v.limit(3, queue.Rate{Limit: 1, Per: 24 * time.Hour}, queue.GroupLimits{})
	v.eventually("what the faster one lent is over", func() bool { return len(v.claim(10)) == 1 })
	if b := v.exchange(nil, 1); len(b.Leases) != 0 || b.Limited < time.Hour {
		v.Fatalf("%+v", b)
	}
	v.limit(4, queue.Rate{}, queue.GroupLimits{})
	if b := v.exchange(nil, 100); b.Waiting != 0 || len(b.Leases) < 40 || b.Limited != 0 {
		v.Fatalf("%d leases, %+v", len(b.Leases), b)
	}
}

// Whatever the number of dispatchers, within any time t no more jobs start than burst + t·limit/per.
func rateEnvelope(v *env) {
	const jobs, limit, burst = 120, 300, 7
	v.limit(1, queue.Rate{Limit: limit, Per: time.Second, Burst: burst}, queue.GroupLimits{})
	v.pushMany(jobs)
	var mu sync.Mutex
	var starts []time.Time
	var all sync.WaitGroup
	for n := range 6 {
		q := v.open(queue.Options{Consumer: fmt.Sprint("consumer", n)})
		all.Go(func() {
			for {
				b, err := q.Exchange(v.ctx(), typ, nil, 1+n)
				if err != nil {
					v.Error(err)
					return
				}
				mu.Lock()
				for _, l := range b.Leases {
					starts = append(starts, l.StartedAt)
				}
				mu.Unlock()
				if b.Waiting == 0 {
					return
				}
				time.Sleep(time.Millisecond)
			}
		})
	}
	all.Wait()
	if len(starts) != jobs {
		v.Fatalf("%d jobs started", len(starts))
	}
	inEnvelope(v, starts, limit, burst)
}

// inEnvelope checks each stretch between two starts. They are known to the millisecond.
func inEnvelope(v *env, starts []time.Time, perSecond, burst float64) {
	v.Helper()
	slices.SortFunc(starts, time.Time.Compare)
	for i := range starts {
		for j := i; j < len(starts); j++ {
			span := starts[j].Sub(starts[i]) + time.Millisecond
			if n := j - i + 1; float64(n) > burst+span.Seconds()*perSecond {
				v.Fatalf("%d jobs started within %v", n, span)
			}
		}
	}
}

func rateRepeated(v *env) {
	r := &repeater{}
	r.on.Store(true)
	v.q = v.openOn(another(v, v.client, r), queue.Options{Consumer: "repeating"})
	v.limit(1, queue.Rate{Limit: 4, Per: time.Hour, Burst: 4}, queue.GroupLimits{Concurrency: 3, Rate: queue.Rate{Limit: 2, Per: time.Hour, Burst: 2}})
	for range 3 {
		v.push(queue.Job{Group: "a"}, queue.Job{Group: "b"})
	}
	first := v.claim(2)
	second := v.claim(10)
	if len(first) != 2 || len(second) != 2 {
		v.Fatalf("claimed %d and %d of 4", len(first), len(second))
	}
	for _, l := range append(first, second...) {
		v.settle(end(l, queue.Done))
	}
	if n := len(v.claim(10)); n != 0 {
		v.Fatalf("claimed %d more", n)
	}
}

func rateDefault(v *env) {
	for _, c := range []struct {
		rate  queue.Rate
		burst int
	}{
		{queue.Rate{Limit: 5, Per: time.Second}, 1},
		{queue.Rate{Limit: 1000, Per: time.Hour}, 1},
		{queue.Rate{Limit: 100, Per: time.Second}, 10},
		{queue.Rate{Limit: 30, Per: 50 * time.Millisecond}, 30},
	} {
		name := fmt.Sprintf("t%d.%d", c.rate.Limit, c.rate.Per.Milliseconds())
		v.ok(c.rate.Validate())
		v.ok(v.q.Configure(v.ctx(), name, queue.Settings{Version: 1, Concurrency: 1000, RetainAge: time.Hour, Rate: c.rate}))
		jobs := slices.Repeat([]queue.Job{{Type: name}}, 50)
		_, err := v.q.Push(v.ctx(), jobs...)
		v.ok(err)
		b, err := v.q.Exchange(v.ctx(), name, nil, 50)
		v.ok(err)
		if len(b.Leases) != c.burst {
			v.Errorf("%+v: %d start at once, want %d", c.rate, len(b.Leases), c.burst)
		}
	}
	for _, bad := range []queue.Rate{
		{Limit: -1, Per: time.Second}, {Per: time.Second}, {Limit: 1}, {Limit: 1, Per: 25 * time.Hour}, {Limit: 2_000_000, Per: time.Hour},
		{Limit: 2000, Per: time.Millisecond}, {Limit: 2, Per: time.Second, Burst: 3}, {Limit: 2, Per: time.Second, Burst: -1},
	} {
		if bad.Validate() == nil {
			v.Errorf("%+v is valid", bad)
		}
	}
}
