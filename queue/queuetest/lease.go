package queuetest

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/deetoo/deetoo/queue"
)

func leaseTests() map[string]func(*env) {
	return map[string]func(*env){
		"lease/one that ends is taken back":         leaseEnds,
		"lease/lost too often":                      leaseLostTooOften,
		"lease/renewed ones are kept, others named": leaseRenew,
		"lease/stale tokens change nothing":         leaseStale,
		"lease/release":                             leaseRelease,
		"retry/nobody knows what became of it":      retryUnsure,
		"retry/snoozed at no cost":                  retrySnooze,
		"retry/with delay":                          retryDelay,
		"retry/history is bounded":                  historyBounded,
		"retry/history of a first success":          historyFirstSuccess,
		"retry/texts are cut":                       historyCut,
	}
}

func leaseEnds(v *env) {
	v.configure(5)
	v.pushIDs("a", "b", "c")
	short := v.open(queue.Options{Consumer: "short", Lease: 100 * time.Millisecond})
	b, err := short.Exchange(v.ctx(), typ, nil, 2)
	v.ok(err)
	lost := b.Leases
	if b.Next > 100*time.Millisecond || b.Next < 0 || ids(lost) != "a b" {
		v.Fatalf("%s, next %v", ids(lost), b.Next)
	}
	reaped := 0
	v.eventually("both reaped", func() bool {
		b := v.exchange(nil, 0)
		reaped += b.Reaped
		return reaped == 2
	})
	for _, id := range []string{"a", "b"} {
		j, h := v.inState(id, queue.Waiting), v.attempts(id)
		if j.Lost != 1 || j.Attempt != 0 || len(h) != 1 || h[0].Outcome != "lost" || h[0].N != 1 || h[0].Dispatcher != "short" ||
			h[0].Error == "" || h[0].StartedAt != lost[0].StartedAt.UnixMilli() || h[0].Duration < 100 || j.LastError != h[0].Error {
			v.Errorf("%+v, %+v", j, h)
		}
	}
	// They are back at the head.
	next := v.claim(5)
	if got := ids(next); got != "b a c" {
		v.Errorf("claimed %s", got)
	}
	// What the old attempts bring is stale.
	b, err = short.Exchange(v.ctx(), typ, []queue.Settlement{end(lost[0], queue.Done), end(lost[1], queue.Bury)}, 0)
	v.ok(err)
	if strings.Join(b.Stale, " ") != "a b" || b.Active != 3 {
		v.Errorf("%+v", b)
	}
	v.settle(end(next[1], queue.Done))
	if h := v.attempts("a"); len(h) != 2 || h[1].Outcome != "succeeded" || h[1].N != 1 || h[1].Dispatcher != "first" {
		v.Errorf("history %+v", h)
	}
}

func leaseLostTooOften(v *env) {
	v.configure(5)
	v.pushIDs("x")
	short := v.open(queue.Options{Consumer: "short", Lease: 100 * time.Millisecond, MaxLost: 3})
	for n := 1; n <= 3; n++ {
		b, err := short.Exchange(v.ctx(), typ, nil, 1)
		v.ok(err)
		fatalIf(v, len(b.Leases) != 1 || b.Leases[0].Lost != n-1 || b.Leases[0].Attempt != 1, "round %d: %+v", n, b)
		v.eventually("reaped", func() bool {
			b, err := short.Exchange(v.ctx(), typ, nil, 0)
			v.ok(err)
			return b.Reaped == 1
		})
	}
	j := v.inState("x", queue.Dead)
	if j.Lost != 3 || j.Attempt != 0 || j.LastError == "" || j.FinishedAt.IsZero() || len(v.attempts("x")) != 3 {
		v.Errorf("%+v", j)
	}
}

func leaseRenew(v *env) {
	v.configure(5)
	v.pushIDs("a", "b")
	short := v.open(queue.Options{Consumer: "short", Lease: 1500 * time.Millisecond})
	b, err := short.Exchange(v.ctx(), typ, nil, 2)
	v.ok(err)
	a, other := b.Leases[0], b.Leases[1]
	reaped := false
	v.eventually("the other is lost", func() bool {
		got, err := short.Renew(v.ctx(), typ, []*queue.Lease{&a})
		v.ok(err)
		fatalIf(v, got[0] != queue.Kept, "renewal says %c", got[0])
		reaped = reaped || v.exchange(nil, 0).Reaped == 1
		return reaped
	})
	wrong := a
	wrong.Token = "wrong"
	got, err := short.Renew(v.ctx(), typ, []*queue.Lease{&other, &a, &wrong, {Job: queue.Job{ID: "nobody"}}})
	v.ok(err)
	if string(fmt.Sprintf("%c", got)) != "[l k l l]" {
		v.Errorf("renewals %c", got)
	}
	if n := v.inState("a", queue.Active).Lost; n != 0 {
		v.Errorf("lost %d", n)
	}
	v.inState("b", queue.Waiting)
	if got, err := short.Renew(v.ctx(), typ, nil); len(got) != 0 || err != nil {
		v.Errorf("no leases: %v, %v", got, err)
	}
	// More than one script takes.
	many := make([]*queue.Lease, 1201)
	for i := range many {
		many[i] = &queue.Lease{Job: queue.Job{ID: fmt.Sprint(i)}, Token: "t"}
	}
	many[1200] = &a
	got, err = short.Renew(v.ctx(), typ, many)
	v.ok(err)
	if len(got) != 1201 || got[0] != queue.Lost || got[1200] != queue.Kept {
		v.Errorf("%d renewals", len(got))
	}
}

func leaseStale(v *env) {
	v.configure(5)
	v.pushIDs("a", "b")
	a := v.claimOne("a")
	forged, unknown := end(a, queue.Done), end(a, queue.Done)
	forged.Token = "forged"
	unknown.ID = "nobody"
	before := fmt.Sprintf("%+v", v.get("a"))
	b := v.exchange([]queue.Settlement{forged, unknown, {ID: "b", Token: "", Verdict: queue.Bury}}, 0)
	if strings.Join(b.Stale, " ") != "a nobody b" || fmt.Sprintf("%+v", v.get("a")) != before {
		v.Errorf("%+v, %+v", b, v.get("a"))
	}
	v.inState("b", queue.Waiting)
	// Twice in one call and again in the next: the first counts.
	b = v.exchange([]queue.Settlement{end(a, queue.Done), end(a, queue.Bury)}, 0)
	b2 := v.exchange([]queue.Settlement{end(a, queue.Bury)}, 0)
	if strings.Join(b.Stale, " ") != "a" || strings.Join(b2.Stale, " ") != "a" {
		v.Errorf("%v, then %v", b.Stale, b2.Stale)
	}
	v.inState("a", queue.Succeeded)
}

func leaseRelease(v *env) {
	v.configure(5)
	v.pushIDs("a", "b", "c")
	l := v.claim(2)
	noted := end(l[1], queue.Release)
	noted.Attempt.Outcome, noted.Attempt.Error = "released", "shutting down"
	v.exchange([]queue.Settlement{end(l[0], queue.Release), noted}, 0)
	if got := jobIDs(v.all(queue.Waiting, 10)); got != "b a c" {
		v.Errorf("listed %s", got)
	}
	if j := v.inState("a", queue.Waiting); j.Attempt != 0 || j.Lost != 0 || len(v.attempts("a")) != 0 {
		v.Errorf("it cost something: %+v", j)
	}
	if h := v.attempts("b"); len(h) != 1 || h[0].Outcome != "released" || v.get("b").Attempt != 0 {
		v.Errorf("history %+v", h)
	}
	again := v.claim(3)
	if ids(again) != "b a c" || again[0].Token == l[1].Token || again[0].Attempt != 1 {
		v.Errorf("claimed %s", ids(again))
	}
}

func retryDelay(v *env) {
	v.configure(5)
	v.pushIDs("x")
	s := end(v.claimOne("x"), queue.Retry)
	s.Delay = 200*time.Millisecond + 700*time.Microsecond
	b := v.exchange([]queue.Settlement{s}, 5)
	if b.Active != 0 || b.Next > 200*time.Millisecond || b.Next < 0 {
		v.Errorf("%+v", b)
	}
	j := v.inState("x", queue.Scheduled)
	if j.Attempt != 1 || j.LastError != "boom x" || j.StartedAt.IsZero() || !j.FinishedAt.IsZero() {
		v.Errorf("%+v", j)
	}
	if listed := v.all(queue.Scheduled, 5); listed[0].LastError != "boom x" || !listed[0].RunAt.Equal(j.RunAt) {
		v.Errorf("listed %+v", listed)
	}
	var l []queue.Lease
	v.eventually("retried", func() bool { l = v.claim(1); return len(l) > 0 })
	if l[0].Attempt != 2 || l[0].StartedAt.Before(j.RunAt) {
		v.Errorf("%+v, due %v", l[0], j.RunAt)
	}
	v.settle(end(l[0], queue.Done))
	h := v.attempts("x")
	if len(h) != 2 || h[0].Outcome != "failed" || h[0].Status != 500 || h[1].Outcome != "succeeded" || h[1].N != 2 {
		v.Errorf("history %+v", h)
	}
}

func historyBounded(v *env) {
	v.configure(1)
	v.pushIDs("x")
	l := v.claimOne("x")
	for range 30 {
		b := v.exchange([]queue.Settlement{end(l, queue.Retry)}, 1)
		fatalIf(v, ids(b.Leases) != "x", "claimed %s", ids(b.Leases))
		l = b.Leases[0]
	}
	v.settle(end(l, queue.Bury))
	h := v.attempts("x")
	if len(h) != 25 || h[0].N != 7 || h[24].N != 31 || h[24].Outcome != "dead" {
		v.Fatalf("%d attempts: %+v", len(h), h)
	}
	if j := v.all(queue.Dead, 5)[0]; j.Attempt != 31 || j.LastError != "boom x" {
		v.Errorf("%+v", j)
	}
	// A retry begins anew, and its success is the 25th.
	v.ok(v.q.RetryNow(v.ctx(), typ, "x"))
	v.settle(end(v.claimOne("x"), queue.Done))
	if h := v.attempts("x"); len(h) != 25 || h[24].Outcome != "succeeded" || h[24].N != 1 || h[23].Outcome != "dead" {
		v.Errorf("%d attempts, the last %+v", len(h), h[len(h)-1])
	}
}

func historyFirstSuccess(v *env) {
	v.configure(1)
	v.pushIDs("x")
	for n := 1; n <= 3; n++ {
		time.Sleep(2 * time.Millisecond) // attempts are told apart by when they began
		v.settle(end(v.claimOne("x"), queue.Done))
		h := v.attempts("x")
		fatalIf(v, len(h) != n, "%d attempts after %d successes", len(h), n)
		for _, a := range h {
			if a.Outcome != "succeeded" || a.N != 1 || a.Status != 200 || a.StartedAt == 0 {
				v.Errorf("%+v", a)
			}
		}
		v.ok(v.q.RetryNow(v.ctx(), typ, "x"))
	}
}

func historyCut(v *env) {
	v.configure(1)
	v.pushIDs("x")
	s := end(v.claimOne("x"), queue.Bury)
	s.Attempt.Error = strings.Repeat("é", queue.MaxExcerptSize)
	s.Attempt.Excerpt = "a\xff\n\"" + strings.Repeat("x", queue.MaxExcerptSize)
	v.settle(s)
	a := v.attempts("x")[0]
	if len(a.Error) != queue.MaxExcerptSize || len(a.Excerpt) != queue.MaxExcerptSize || !strings.HasPrefix(a.Excerpt, "a\ufffd\n\"x") {
		v.Errorf("error of %d bytes, excerpt %.20q of %d", len(a.Error), a.Excerpt, len(a.Excerpt))
	}
}

func retrySnooze(v *env) {
	v.configure(5)
	v.push(queue.Job{ID: "x", MaxAttempts: 2})
	for n := range 3 {
		l := v.claimOne("x")
		s := end(l, queue.Snooze)
		s.Delay, s.Attempt.Status = time.Hour, 409
		s.Hold = 0
		before := time.Now()
		b := v.exchange([]queue.Settlement{s}, 5)
		if len(b.Leases) != 0 || b.Active != 0 || b.Hold != 0 || b.Next < 59*time.Minute || b.Next > time.Hour {
			v.Fatalf("%+v", b)
		}
		j, h := v.inState("x", queue.Scheduled), v.attempts("x")
		if d := j.RunAt.Sub(before); j.Attempt != 0 || d < 59*time.Minute || d > 61*time.Minute || len(h) != n+1 || h[n].Outcome != "snoozed" || h[n].N != 1 || h[n].Status != 409 {
			v.Errorf("%+v, due in %v, %+v", j, d, h)
		}
		// A settlement that is repeated changes nothing more.
		if b := v.exchange([]queue.Settlement{s}, 0); len(b.Stale) != 1 {
			v.Errorf("%+v", b)
		}
		v.ok(v.q.Promote(v.ctx(), typ, "x"))
	}
	l := v.claimOne("x")
	if l.Attempt != 1 || l.RunAt.After(l.StartedAt) {
		v.Errorf("%+v", l)
	}
	_, err := v.q.Cancel(v.ctx(), typ, "x")
	v.ok(err)
	s := end(l, queue.Snooze)
	s.Delay = time.Hour
	v.settle(s)
	if j := v.inState("x", queue.Cancelled); j.Attempt != 0 {
		v.Errorf("%+v", j)
	}
}

func retryUnsure(v *env) {
	v.policy(1, queue.RetryPolicy{MaxAttempts: 9, MinBackoff: time.Millisecond, MaxBackoff: time.Millisecond})
	large := json.RawMessage(`"` + strings.Repeat("x", 20_000) + `"`)
	for _, job := range []queue.Job{{ID: "plain", Data: json.RawMessage(`{"?":1}`)}, {ID: "titled", Title: `{"?":1}`, MaxAttempts: 7}, {ID: "large", Data: large}} {
		v.push(job)
		for i, step := range []struct {
			verdict queue.Verdict
			unsure  bool
			then    queue.State
		}{
			{queue.Release, false, queue.Waiting}, {queue.Release, true, queue.Waiting}, {queue.Release, true, queue.Waiting}, {queue.Retry, false, queue.Scheduled},
			{queue.Retry, true, queue.Scheduled}, {queue.Snooze, true, queue.Scheduled}, {queue.Snooze, false, queue.Scheduled}, {queue.Release, true, queue.Waiting},
			{queue.Release, false, queue.Waiting}, {queue.Bury, true, queue.Dead},
		} {
			l := v.claimOne(job.ID)
			s := end(l, step.verdict)
			s.Unsure, s.Delay = step.unsure, time.Hour
			v.settle(s)
			if j := v.inState(job.ID, step.then); j.Unsure != step.unsure || j.Title != job.Title || j.MaxAttempts != job.MaxAttempts || string(j.Data) != string(l.Data) {
				v.Fatalf("%s, step %d: %+v", job.ID, i, j)
			}
			if step.then == queue.Scheduled {
				v.ok(v.q.Promote(v.ctx(), typ, job.ID))
			}
		}
		// A retry by hand must know it too, and so must whoever gets the job.
		v.ok(v.q.RetryNow(v.ctx(), typ, job.ID))
		l := v.claimOne(job.ID)
		if !l.Unsure {
			v.Errorf("%+v", l)
		}
		v.settle(end(l, queue.Done))
		if j := v.inState(job.ID, queue.Succeeded); j.Unsure {
			v.Errorf("%+v", j)
		}
	}
	// A dispatcher that vanished leaves the question behind; so does a handler that fell silent, but not one that says how it ended.
	short := v.open(queue.Options{Consumer: "short", Lease: 100 * time.Millisecond})
	for id, accepted := range map[string]bool{"lost": false, "silent": true} {
		v.pushIDs(id)
		b, err := short.Exchange(v.ctx(), typ, nil, 1)
		v.ok(err)
		fatalIf(v, len(b.Leases) != 1, "%+v", b)
		if accepted {
			v.accept(b.Leases[0], 100*time.Millisecond)
		}
		v.eventually("reaped", func() bool { return v.exchange(nil, 0).Reaped == 1 })
		if j := v.get(id); !j.Unsure {
			v.Errorf("%+v", j)
		}
		var l []queue.Lease
		v.eventually("claimed", func() bool { l = v.claim(1); return len(l) == 1 })
		v.accept(l[0], time.Minute)
		if accepted {
			v.ok(v.q.Conclude(v.ctx(), typ, id, l[0].CallbackToken(), queue.Conclusion{Verdict: queue.Done}))
		} else {
			v.ok(v.q.Conclude(v.ctx(), typ, id, l[0].CallbackToken(), queue.Conclusion{Verdict: queue.Retry, Delay: time.Hour}))
		}
		if j := v.get(id); j.Unsure {
			v.Errorf("%+v", j)
		}
	}
	v.push(queue.Job{ID: "lost", Title: "anew"})
	if j := v.get("lost"); j.Unsure || j.Title != "anew" {
		v.Errorf("%+v", j)
	}
}
