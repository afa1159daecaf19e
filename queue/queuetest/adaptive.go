package queuetest

import (
	"time"

	"github.com/deetoo/deetoo/queue"
)

func adaptiveTests() map[string]func(*env) {
	return map[string]func(*env){
		"adaptive/rises while all slots are taken":    adaptiveRises,
		"adaptive/falls at most once a round trip":    adaptiveFalls,
		"adaptive/falls when answers come late":       adaptiveLate,
		"adaptive/a baseline follows a slower target": adaptiveBaseline,
		"adaptive/stays within its bounds":            adaptiveBounds,
		"adaptive/rests during an outage":             adaptiveOutage,
	}
}

func (v *env) adaptive(version int64, concurrency int, p queue.AdaptivePolicy) {
	v.Helper()
	v.ok(v.q.Configure(v.ctx(), typ, queue.Settings{Version: version, Concurrency: concurrency, RetainCount: 0, RetainAge: time.Hour, Adaptive: &p}))
}

// answers has n attempts answered after so long, as many at once as may run; it returns
// those it has claimed and not settled.
func (v *env) answers(running []queue.Lease, n int, took time.Duration) []queue.Lease {
	v.Helper()
	for range n {
		if len(running) == 0 {
			v.push(make([]queue.Job, 100)...)
			running = v.claim(100)
		}
		s := told(running[0], queue.Answered)
		s.Took = took
		b := v.exchange([]queue.Settlement{s}, 100)
		if b.Waiting == 0 {
			v.push(make([]queue.Job, 100)...)
		}
		if running = append(running[1:], b.Leases...); len(running) > b.InForce && len(b.Leases) > 0 {
			v.Fatalf("%d run, limit %d", len(running), b.InForce)
		}
	}
	return running
}

func (v *env) adapted() queue.Adaptive {
	v.Helper()
	a := v.stats().Adaptive
	if a == nil {
		v.Fatal("it is not adaptive")
	}
	return *a
}

func adaptiveRises(v *env) {
	v.adaptive(1, 100, queue.AdaptivePolicy{Min: 2, Tolerance: 2})
	if a := v.adapted(); a.Limit != 2 || !a.MovedAt.IsZero() || a.Reason != "" {
		v.Errorf("%+v", a)
	}
	// It doubles after ten answers, or as many as it lets run.
	l := v.answers(nil, 10, 5*time.Millisecond)
	if a := v.adapted(); a.Limit != 4 || a.From != 2 || a.MovedAt.IsZero() || a.Reason != "10 answers with all slots taken" || a.Baseline != 5*time.Millisecond {
		v.Errorf("%+v", a)
	}
	l = v.answers(l, 10+10, 5*time.Millisecond)
	if a := v.adapted(); a.Limit != 16 {
		v.Errorf("%+v", a)
	}
	l = v.answers(l, 15, 5*time.Millisecond)
	if a := v.adapted(); a.Limit != 16 {
		v.Errorf("%+v", a)
	}
	// After its first fall it rises by little: 22, 24, 26, …
	s := told(l[0], queue.Busy)
	s.Attempt.Error = "HTTP 429 Too Many Requests"
	v.settle(s)
	if a := v.adapted(); a.Limit != 11 || a.From != 16 || a.Reason != "HTTP 429 Too Many Requests" {
		v.Fatalf("%+v", a)
	}
	time.Sleep(2 * time.Millisecond) // those that began at the same millisecond count still
	l = v.drain(l[1:])
	l = v.answers(l, 11, 5*time.Millisecond)
	if a := v.adapted(); a.Limit != 12 {
		v.Errorf("%+v", a)
	}
	v.drain(l)
	// While the jobs do not fill it, it stays.
	for range 30 {
		v.push(queue.Job{})
		v.drain(v.claim(1))
	}
	for v.stats().Waiting > 0 {
		v.drain(v.claim(2))
	}
	was := v.adapted().Limit
	for range 50 {
		v.push(queue.Job{})
		v.drain(v.claim(1))
	}
	if a := v.adapted(); a.Limit != was {
		v.Errorf("%+v, it was %d", a, was)
	}
}

// drain ends attempts without telling anything.
func (v *env) drain(leases []queue.Lease) []queue.Lease {
	v.Helper()
	for _, l := range leases {
		v.settle(end(l, queue.Done))
	}
	return nil
}

func adaptiveFalls(v *env) {
	v.adaptive(1, 64, queue.AdaptivePolicy{Min: 40})
	v.push(make([]queue.Job, 200)...)
	l := v.claim(40)
	var done []queue.Settlement
	for i, l := range l {
		s := told(l, queue.Busy)
		if i%2 == 0 {
			s = told(l, queue.Overloaded)
		}
		done = append(done, s)
	}
	v.exchange(done[:10], 0)
	if a := v.adapted(); a.Limit != 40 { // not below the floor
		v.Errorf("%+v", a)
	}
	v.adaptive(2, 64, queue.AdaptivePolicy{Min: 1})
	time.Sleep(2 * time.Millisecond)
	// Those that began before it was lowered say nothing new.
	v.exchange(done[10:], 0)
	if a := v.adapted(); a.Limit != 40 {
		v.Errorf("%+v", a)
	}
	for _, want := range []int{28, 19, 13, 9} {
		l = v.claim(40)
		v.exchange([]queue.Settlement{told(l[0], queue.Busy), told(l[1], queue.Overloaded), told(l[2], queue.Busy)}, 0)
		if a := v.adapted(); a.Limit != want {
			v.Errorf("%+v, want %d", a, want)
		}
		time.Sleep(2 * time.Millisecond)
		v.drain(l[3:])
	}
	// A failure that has nothing to do with load changes nothing.
	l = v.claim(2)
	v.exchange([]queue.Settlement{told(l[0], queue.Failing), told(l[1], queue.Refused)}, 0)
	if a := v.adapted(); a.Limit != 9 {
		v.Errorf("%+v", a)
	}
}

func adaptiveLate(v *env) {
	v.adaptive(1, 100, queue.AdaptivePolicy{Min: 10, TargetLatency: 50 * time.Millisecond})
	l := v.answers(nil, 10, 49*time.Millisecond)
	if a := v.adapted(); a.Limit != 20 || a.Baseline != 0 {
		v.Errorf("%+v", a)
	}
	l = v.answers(l, 20, 51*time.Millisecond)
	if a := v.adapted(); a.Limit != 14 || a.Reason != "latency of 51 ms, over 50 ms" {
		v.Errorf("%+v", a)
	}
	v.drain(l)
}

func adaptiveBaseline(v *env) {
	v.adaptive(1, 100, queue.AdaptivePolicy{Min: 5, Tolerance: 2})
	l := v.answers(nil, 20, 20*time.Millisecond)
	if a := v.adapted(); a.Limit != 20 || a.Baseline != 20*time.Millisecond {
		v.Errorf("%+v", a)
	}
	l = v.answers(l, 20, 39*time.Millisecond)
	if a := v.adapted(); a.Limit != 40 || a.Baseline != 20*time.Millisecond {
		v.Errorf("%+v", a)
	}
	// The target has become slower, whatever is sent: down to the floor, and from there up again.
	for range 40 {
		time.Sleep(2 * time.Millisecond)
		l = v.answers(v.drain(l), 40, 100*time.Millisecond)
		if v.adapted().Limit == 5 {
			break
		}
	}
	// At the floor the baseline has begun to follow, by four windows at most: 20, 28, 35, 42, 47 ms.
	if a := v.adapted(); a.Limit != 5 || a.Baseline >= 50*time.Millisecond {
		v.Fatalf("%+v", a)
	}
	for range 20 {
		time.Sleep(2 * time.Millisecond)
		l = v.answers(v.drain(l), 40, 100*time.Millisecond)
	}
	if a := v.adapted(); a.Limit <= 5 || a.Baseline < 50*time.Millisecond || a.Baseline > 100*time.Millisecond {
		v.Errorf("%+v", a)
	}
	v.drain(l)
}

func adaptiveBounds(v *env) {
	v.adaptive(1, 12, queue.AdaptivePolicy{Min: 5})
	l := v.answers(nil, 60, time.Millisecond)
	if a := v.adapted(); a.Limit != 12 {
		v.Errorf("%+v", a)
	}
	v.drain(l)
	v.adaptive(2, 6, queue.AdaptivePolicy{Min: 5})
	if a := v.adapted(); a.Limit != 6 {
		v.Errorf("%+v", a)
	}
	if l = v.claim(100); len(l) != 6 {
		v.Errorf("%d claimed", len(l))
	}
	v.drain(l)
	v.push(make([]queue.Job, 100)...)
	v.adaptive(3, 100, queue.AdaptivePolicy{Min: 30})
	if l = v.claim(100); len(l) != 30 || v.adapted().Limit != 30 {
		v.Errorf("%d claimed, %+v", len(l), v.adapted())
	}
	v.drain(l)
	v.configure(100)
	v.ok(v.q.Configure(v.ctx(), typ, queue.Settings{Version: 4, Concurrency: 50, RetainCount: 1000, RetainAge: time.Hour}))
	v.push(make([]queue.Job, 100)...)
	if l = v.claim(100); len(l) != 50 || v.stats().Adaptive != nil {
		v.Errorf("%d claimed", len(l))
	}
}

func adaptiveOutage(v *env) {
	v.ok(v.q.Configure(v.ctx(), typ, queue.Settings{Version: 1, Concurrency: 50, RetainCount: 1000, RetainAge: time.Hour,
		Adaptive: &queue.AdaptivePolicy{Min: 20}, Outage: &queue.OutagePolicy{Share: 1, Of: 2, Refused: 2, CanaryMin: time.Millisecond, CanaryMax: time.Millisecond},
	}))
	v.push(make([]queue.Job, 100)...)
	l := v.claim(100)
	if len(l) != 20 {
		v.Fatalf("%d claimed", len(l))
	}
	var done []queue.Settlement
	for _, l := range l {
		done = append(done, told(l, queue.Refused))
	}
	if b := v.exchange(done, 10); !b.Outage.Open || len(b.Leases) != 0 {
		v.Fatalf("%+v", b)
	}
	v.settle(told(v.canary(), queue.Overloaded))
	// The ramp goes up to the type's concurrency, but never over the adaptive one.
	b := v.exchange([]queue.Settlement{told(v.canary(), queue.Answered)}, 10)
	most := 0
	for range 200 {
		if len(b.Leases) == 0 {
			v.Fatalf("%+v", b)
		}
		for _, l := range b.Leases {
			v.settle(told(l, queue.Answered))
		}
		v.push(make([]queue.Job, 100)...)
		b = v.exchange(nil, 100)
		most = max(most, b.InForce)
		if b.InForce > v.adapted().Limit {
			v.Fatalf("%d in force, %+v", b.InForce, v.adapted())
		}
		if b.Outage == nil {
			break
		}
	}
	if b.Outage != nil || most < 20 {
		v.Errorf("up to %d, %+v", most, b.Outage)
	}
}
