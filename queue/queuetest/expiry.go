package queuetest

import (
	"fmt"
	"time"

	"github.com/deetoo/deetoo/queue"
)

func expiryTests() map[string]func(*env) {
	return map[string]func(*env){
		"expiry/never started after it":           expiryAtClaim,
		"expiry/takes no slot from others":        expiryInTheWay,
		"expiry/retries due after it":             expiryOfRetries,
		"expiry/by the handler's own failure":     expiryConcluded,
		"expiry/one that runs goes on":            expiryRunning,
		"expiry/gives its unique key up":          expiryUnique,
		"expiry/a replacement has its own":        expiryReplaced,
		"expiry/cannot be before the job is due":  expiryInvalid,
		"expiry/many in the way are cut off soon": expiryCut,
	}
}

// past waits until a time has passed by Redis's clock.
func (v *env) past(at time.Time) {
	v.Helper()
	v.eventually("it is "+at.String(), func() bool { return v.stats().At.After(at) })
}

// expired fails unless a job ended so, with n lines in its history.
func (v *env) expired(id string, n int) {
	v.Helper()
	j := v.inState(id, queue.Cancelled)
	a := v.attempts(id)
	if !j.Expired || j.FinishedAt.IsZero() || len(a) != n || a[n-1].Outcome != "expired" || a[n-1].N != n || a[n-1].Error == "" {
		v.Fatalf("%+v\n%+v", j, a)
	}
}

func expiryAtClaim(v *env) {
	v.configure(10)
	r := v.push(
		queue.Job{ID: "ttl", TTL: 300 * time.Millisecond},
		queue.Job{ID: "at", ExpiresAt: v.stats().At.Add(300 * time.Millisecond)},
		queue.Job{ID: "scheduled", Delay: 200 * time.Millisecond, TTL: 300 * time.Millisecond},
		queue.Job{ID: "long", TTL: time.Hour},
		queue.Job{ID: "plain", Title: `"l":1,"x":1`},
	)
	j := v.get("ttl")
	if left := j.ExpiresAt.Sub(j.EnqueuedAt); left != 300*time.Millisecond {
		v.Errorf("it expires after %v", left)
	}
	v.past(r[0].RunAt.Add(500 * time.Millisecond))
	b := v.exchange(nil, 10)
	if ids(b.Leases) != "long plain" || b.Active != 2 || b.Waiting != 0 {
		v.Errorf("claimed %s, %+v", ids(b.Leases), b)
	}
	for _, id := range []string{"ttl", "at", "scheduled"} {
		v.expired(id, 1)
		if j := v.get(id); !j.StartedAt.IsZero() {
			v.Errorf("%s started at %v", id, j.StartedAt)
		}
	}
	if s := v.stats(); s.Finished != 3 {
		v.Errorf("%+v", s)
	}
	for _, j := range v.all(queue.Cancelled, 10) {
		if !j.Expired {
			v.Errorf("listed: %+v", j)
		}
	}
	// Retried by hand it is expired still.
	v.ok(v.q.RetryNow(v.ctx(), typ, "ttl"))
	if l := v.claim(10); len(l) != 0 {
		v.Errorf("claimed %s", ids(l))
	}
	v.inState("ttl", queue.Cancelled)
}

func expiryInTheWay(v *env) {
	v.configure(3)
	var jobs []queue.Job
	for i := range 50 {
		jobs = append(jobs, queue.Job{ID: fmt.Sprint("late", i), TTL: 50 * time.Millisecond, Priority: queue.High})
	}
	r := v.push(append(jobs, queue.Job{ID: "a"}, queue.Job{ID: "b"}, queue.Job{ID: "c"})...)
	_, err := v.q.Cancel(v.ctx(), typ, "late7") // leaves its entry behind
	v.ok(err)
	v.past(r[0].RunAt.Add(100 * time.Millisecond))
	if got := ids(v.claim(3)); got != "a b c" {
		v.Errorf("claimed %s", got)
	}
	if j := v.inState("late7", queue.Cancelled); j.Expired {
		v.Errorf("%+v", j)
	}
	v.expired("late49", 1)
}

func expiryCut(v *env) {
	v.configure(3)
	jobs := make([]queue.Job, 1500)
	for i := range jobs {
		jobs[i].TTL = 50 * time.Millisecond
	}
	r := v.push(append(jobs, queue.Job{ID: "last"})...)
	v.past(r[len(r)-2].RunAt.Add(100 * time.Millisecond))
	b := v.exchange(nil, 3)
	if len(b.Leases) != 0 || b.Next != 0 || b.Waiting == 0 {
		v.Errorf("%+v", b)
	}
	if b = v.exchange(nil, 3); ids(b.Leases) != "last" || b.Waiting != 0 {
		v.Errorf("%+v", b)
	}
}

func expiryOfRetries(v *env) {
	v.configure(10)
	v.push(queue.Job{ID: "a", TTL: time.Hour}, queue.Job{ID: "b", TTL: time.Hour})
	leases := v.claim(2)
	for i := range leases {
		s := end(leases[i], queue.Retry)
		s.Delay = time.Minute + time.Duration(i)*2*time.Hour
		v.settle(s)
	}
	v.inState("a", queue.Scheduled)
	v.expired("b", 2)
	if a := v.attempts("b"); a[0].Outcome != "failed" {
		v.Errorf("%+v", a)
	}
	if j := v.get("b"); j.StartedAt.IsZero() {
		v.Errorf("%+v", j)
	}
}

func expiryConcluded(v *env) {
	v.configure(10)
	v.push(queue.Job{ID: "a", TTL: time.Hour}, queue.Job{ID: "b", TTL: time.Hour}, queue.Job{ID: "c", TTL: time.Hour})
	leases := v.claim(3)
	for i, delay := range []time.Duration{time.Minute, 2 * time.Hour} {
		v.ok(v.q.Conclude(v.ctx(), typ, leases[i].ID, leases[i].CallbackToken(), queue.Conclusion{Verdict: queue.Retry, Error: "no", Delay: delay}))
	}
	v.inState("a", queue.Scheduled)
	v.expired("b", 2)
	v.ok(v.q.Conclude(v.ctx(), typ, "c", leases[2].CallbackToken(), queue.Conclusion{Verdict: queue.Bury, Error: "no"}))
	v.inState("c", queue.Dead)
}

func expiryRunning(v *env) {
	v.configure(10)
	r := v.push(queue.Job{ID: "a", TTL: 2 * time.Second}, queue.Job{ID: "b", TTL: 2 * time.Second})
	leases := v.claim(2)
	if len(leases) != 2 || leases[0].ExpiresAt.IsZero() {
		v.Fatalf("%+v", leases)
	}
	v.past(r[0].RunAt.Add(2100 * time.Millisecond))
	v.settle(end(leases[0], queue.Done))
	v.inState("a", queue.Succeeded)
	// One given back is not started again.
	v.settle(end(leases[1], queue.Release))
	if l := v.claim(2); len(l) != 0 {
		v.Errorf("claimed %s", ids(l))
	}
	v.expired("b", 1)
}

func expiryUnique(v *env) {
	v.configure(10)
	first := v.unique(queue.Job{TTL: 50 * time.Millisecond}, queue.Unique{})
	v.past(first.RunAt.Add(100 * time.Millisecond))
	v.duplicateOf(v.unique(queue.Job{}, queue.Unique{}), first.ID, queue.Waiting)
	v.claim(1)
	if r := v.unique(queue.Job{}, queue.Unique{}); r.Err != nil {
		v.Error(r.Err)
	}
}

func expiryReplaced(v *env) {
	v.configure(10)
	r := v.push(queue.Job{ID: "a", TTL: 50 * time.Millisecond})
	v.pushIDs("a")
	v.past(r[0].RunAt.Add(100 * time.Millisecond))
	if l := v.claimOne("a"); !l.ExpiresAt.IsZero() {
		v.Errorf("%+v", l)
	}
}

func expiryInvalid(v *env) {
	v.configure(10)
	now := time.Now()
	for _, j := range []queue.Job{
		{TTL: time.Second, ExpiresAt: now.Add(time.Hour)},
		{TTL: -time.Second},
		{TTL: time.Microsecond},
		{TTL: time.Second, Delay: time.Second},
		{TTL: time.Minute, RunAt: now.Add(time.Hour)},
		{ExpiresAt: now.Add(time.Minute), RunAt: now.Add(time.Hour)},
		{ExpiresAt: now.Add(time.Minute), Delay: time.Hour},
		{ExpiresAt: now.AddDate(30, 0, 0)},
		{ExpiresAt: time.UnixMilli(0)},
	} {
		j.Type = typ
		if r, err := v.q.Push(v.ctx(), j); err == nil {
			v.Errorf("%+v: %+v", j, r)
		}
	}
	if s := v.stats(); s.Waiting+s.Scheduled != 0 {
		v.Errorf("%+v", s)
	}
}
