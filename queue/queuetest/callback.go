package queuetest

import (
	"fmt"
	"strings"
	"time"

	"github.com/deetoo/deetoo/queue"
)

func callbackTests() map[string]func(*env) {
	return map[string]func(*env){
		"callback/a handler holds the lease":             callbackHolds,
		"callback/silence is a failed attempt":           callbackSilence,
		"callback/the type's retry policy":               callbackPolicy,
		"callback/concluded once":                        callbackOnce,
		"callback/cancelled":                             callbackCancelled,
		"callback/while the request is under way":        callbackSync,
		"callback/progress and log, bounded, by attempt": callbackReport,
		"callback/tokens open one attempt alone":         callbackTokens,
		"callback/what is not valid":                     callbackInvalid,
	}
}

// policy puts the type in force with a retry policy.
func (v *env) policy(version int64, p queue.RetryPolicy) {
	v.Helper()
	v.ok(v.q.Configure(v.ctx(), typ, queue.Settings{Version: version, Concurrency: 5, RetainCount: 1000, RetainAge: time.Hour, Retry: p}))
}

// accept hands a lease to the handler.
func (v *env) accept(l queue.Lease, lease time.Duration) {
	v.Helper()
	v.settle(queue.Settlement{ID: l.ID, Token: l.Token, Verdict: queue.Accept, Delay: lease})
}

func (v *env) report(l queue.Lease, r queue.Report) queue.Answer {
	v.Helper()
	a, err := v.q.Report(v.ctx(), typ, l.ID, l.CallbackToken(), r)
	v.ok(err)
	return a
}

func callbackHolds(v *env) {
	v.configure(1)
	v.pushIDs("a", "b")
	short := v.open(queue.Options{Consumer: "short", Lease: time.Second})
	b, err := short.Exchange(v.ctx(), typ, nil, 1)
	v.ok(err)
	l := b.Leases[0]
	v.accept(l, time.Minute)
	v.accept(l, time.Minute) // repeated, as after a lost answer
	if j := v.inState("a", queue.Active); !j.Accepted || j.Attempt != 1 || len(v.attempts("a")) != 0 {
		v.Errorf("%+v", j)
	}
	if j := v.all(queue.Active, 5); len(j) != 1 || !j[0].Accepted {
		v.Errorf("listed %+v", j)
	}
	// A renewal that comes late must not shorten it; and the dispatcher's own lease is long over.
	if got, err := short.Renew(v.ctx(), typ, []*queue.Lease{&l}); err != nil || got[0] != queue.Lost {
		v.Errorf("renewed: %c, %v", got, err)
	}
	time.Sleep(1200 * time.Millisecond)
	if b := v.exchange(nil, 5); len(b.Leases) != 0 || b.Reaped != 0 || b.Active != 1 || b.Waiting != 1 {
		v.Fatalf("the slot was given away: %+v", b)
	}
	if a := v.report(l, queue.Report{}); a.Cancelled || a.Left != time.Minute || a.Until.IsZero() {
		v.Errorf("%+v", a)
	}
	v.ok(v.q.Conclude(v.ctx(), typ, "a", l.CallbackToken(), queue.Conclusion{Verdict: queue.Done, Result: []byte(`{"ok":true}`)}))
	if j := v.inState("a", queue.Succeeded); string(j.Result) != `{"ok":true}` || j.Attempt != 1 || j.Accepted || j.StartedAt.IsZero() || j.FinishedAt.IsZero() {
		v.Errorf("%+v", j)
	}
	if h := v.attempts("a"); len(h) != 1 || h[0].Outcome != "succeeded" || h[0].Status != 202 || h[0].Duration < 300 {
		v.Errorf("%+v", h)
	}
	v.claimOne("b") // there is room again
}

func callbackSilence(v *env) {
	v.policy(1, queue.RetryPolicy{MaxAttempts: 2, MinBackoff: time.Millisecond, MaxBackoff: time.Millisecond, NoJitter: true})
	v.pushIDs("x")
	for n := 1; n <= 2; n++ {
		var l []queue.Lease
		v.eventually("claimed", func() bool { l = v.claim(1); return len(l) == 1 })
		fatalIf(v, l[0].Attempt != n || l[0].Lost != 0, "%+v", l[0])
		v.accept(l[0], 2*time.Second)
		if n == 1 { // each call extends it
			for range 5 {
				time.Sleep(500 * time.Millisecond)
				v.report(l[0], queue.Report{})
				fatalIf(v, v.exchange(nil, 0).Reaped != 0, "reaped though it reported")
			}
		}
		v.eventually("reaped", func() bool { return v.exchange(nil, 0).Reaped == 1 })
		_, err := v.q.Report(v.ctx(), typ, "x", l[0].CallbackToken(), queue.Report{Log: "late"})
		v.is(err, queue.ErrEnded)
		v.is(v.q.Conclude(v.ctx(), typ, "x", l[0].CallbackToken(), queue.Conclusion{Verdict: queue.Done}), queue.ErrEnded)
		h := v.attempts("x")
		want := map[int]string{1: "failed", 2: "dead"}[n]
		if len(h) != n || h[n-1].Outcome != want || h[n-1].N != n || !strings.Contains(h[n-1].Error, "silent for 2 s") || h[n-1].Dispatcher != "first" || h[n-1].Status != 202 {
			v.Fatalf("%+v", h)
		}
	}
	if j := v.inState("x", queue.Dead); j.Attempt != 2 || j.Lost != 0 || j.LastError == "" || len(j.Log) != 0 {
		v.Errorf("%+v", j)
	}
}

func callbackPolicy(v *env) {
	v.policy(1, queue.RetryPolicy{MaxAttempts: 4, MinBackoff: time.Hour, MaxBackoff: 3 * time.Hour, NoJitter: true})
	wait := func(c queue.Conclusion) time.Duration {
		v.Helper()
		l := v.claimOne("x")
		v.accept(l, time.Minute)
		c.Verdict, c.Error = queue.Retry, "it broke"
		before := time.Now()
		v.ok(v.q.Conclude(v.ctx(), typ, "x", l.CallbackToken(), c))
		j := v.inState("x", queue.Scheduled)
		if j.LastError != "it broke" {
			v.Errorf("%+v", j)
		}
		v.ok(v.q.Promote(v.ctx(), typ, "x"))
		return j.RunAt.Sub(before).Round(time.Minute)
	}
	v.push(queue.Job{ID: "x"})
	if a, b, c := wait(queue.Conclusion{}), wait(queue.Conclusion{Delay: 5 * time.Minute}), wait(queue.Conclusion{}); a != time.Hour || b != 5*time.Minute || c != 3*time.Hour {
		v.Errorf("waits %v, %v, %v; want 1h, 5m as asked for, 3h capped", a, b, c)
	}
	l := v.claimOne("x")
	v.ok(v.q.Conclude(v.ctx(), typ, "x", l.CallbackToken(), queue.Conclusion{Verdict: queue.Retry, Error: "last"}))
	v.inState("x", queue.Dead)
	// A job's own limit counts, and what cannot succeed is dead at once.
	v.push(queue.Job{ID: "own", MaxAttempts: 1}, queue.Job{ID: "permanent"})
	for _, l := range v.claim(2) {
		verdict := map[string]queue.Verdict{"own": queue.Retry, "permanent": queue.Bury}[l.ID]
		v.ok(v.q.Conclude(v.ctx(), typ, l.ID, l.CallbackToken(), queue.Conclusion{Verdict: verdict}))
		v.inState(l.ID, queue.Dead)
	}
	// With jitter the waits spread over all of the time.
	v.policy(2, queue.RetryPolicy{MaxAttempts: 99, MinBackoff: time.Hour, MaxBackoff: time.Hour})
	var early, late int
	for i := range 40 {
		id := fmt.Sprint("j", i)
		v.pushIDs(id)
		l, before := v.claimOne(id), time.Now()
		v.ok(v.q.Conclude(v.ctx(), typ, id, l.CallbackToken(), queue.Conclusion{Verdict: queue.Retry}))
		switch d := v.inState(id, queue.Scheduled).RunAt.Sub(before); {
		case d < -time.Second || d > time.Hour+time.Second:
			v.Errorf("waits %v", d)
		case d < 30*time.Minute:
			early++
		default:
			late++
		}
		_, err := v.q.Cancel(v.ctx(), typ, id) // or it may be due while the others are looked at
		v.ok(err)
	}
	if early == 0 || late == 0 { // by chance once in 2^39
		v.Errorf("%d early, %d late", early, late)
	}
}

func callbackOnce(v *env) {
	v.configure(5)
	for _, verdict := range []queue.Verdict{queue.Done, queue.Retry, queue.Bury} {
		id := fmt.Sprintf("%c", verdict)
		v.pushIDs(id)
		l := v.claimOne(id)
		v.accept(l, time.Minute)
		v.ok(v.q.Conclude(v.ctx(), typ, id, l.CallbackToken(), queue.Conclusion{Verdict: verdict, Delay: time.Hour}))
		before := fmt.Sprintf("%+v", v.get(id))
		for _, again := range []queue.Verdict{queue.Done, queue.Retry, queue.Bury} {
			v.is(v.q.Conclude(v.ctx(), typ, id, l.CallbackToken(), queue.Conclusion{Verdict: again}), queue.ErrEnded)
		}
		_, err := v.q.Report(v.ctx(), typ, id, l.CallbackToken(), queue.Report{Log: "late"})
		v.is(err, queue.ErrEnded)
		// Nor does a hand-over that comes after it, as when the handler is faster than the 202.
		if b := v.exchange([]queue.Settlement{{ID: id, Token: l.Token, Verdict: queue.Accept, Delay: time.Minute}}, 0); len(b.Stale) != 1 {
			v.Errorf("%+v", b)
		}
		if after := fmt.Sprintf("%+v", v.get(id)); after != before {
			v.Errorf("was\n%s, is\n%s", before, after)
		}
	}
}

func callbackCancelled(v *env) {
	v.policy(1, queue.RetryPolicy{MaxAttempts: 5, MinBackoff: time.Hour, MaxBackoff: time.Hour})
	v.pushIDs("fails", "silent", "succeeds", "before")
	for _, l := range v.claim(4) {
		if l.ID == "before" { // cancelled while its 202 was on the way
			_, err := v.q.Cancel(v.ctx(), typ, l.ID)
			v.ok(err)
		}
		v.accept(l, 300*time.Millisecond)
		if a := v.report(l, queue.Report{}); a.Cancelled != (l.ID == "before") {
			v.Errorf("%s: %+v", l.ID, a)
		}
		if s, err := v.q.Cancel(v.ctx(), typ, l.ID); s != queue.Active || err != nil {
			v.Errorf("%s, %v", s, err)
		}
		if a := v.report(l, queue.Report{}); !a.Cancelled || !v.inState(l.ID, queue.Active).CancelRequested || !v.get(l.ID).Accepted {
			v.Errorf("%s: %+v", l.ID, a)
		}
		switch l.ID {
		case "fails", "before":
			v.ok(v.q.Conclude(v.ctx(), typ, l.ID, l.CallbackToken(), queue.Conclusion{Verdict: queue.Retry, Error: "stopped"}))
			if h := v.attempts(l.ID); v.inState(l.ID, queue.Cancelled).LastError != "stopped" || len(h) != 1 || h[0].Outcome != "cancelled" {
				v.Errorf("%+v", h)
			}
		case "succeeds":
			v.ok(v.q.Conclude(v.ctx(), typ, l.ID, l.CallbackToken(), queue.Conclusion{Verdict: queue.Done}))
			v.inState(l.ID, queue.Succeeded)
		}
	}
	v.eventually("the silent one is cancelled", func() bool {
		v.exchange(nil, 0)
		return v.get("silent").State == queue.Cancelled
	})
}

func callbackSync(v *env) {
	v.configure(1)
	v.pushIDs("a", "b")
	l := v.claimOne("a")
	a := v.report(l, queue.Report{Progress: &queue.Progress{Number: 1, Total: 2}, Log: "begun"})
	if a.Left <= 9*time.Minute || a.Left > 10*time.Minute { // that of the dispatcher, which extends it itself
		v.Errorf("%+v", a)
	}
	if j := v.inState("a", queue.Active); j.Accepted || j.Progress == nil || len(j.Log) != 1 {
		v.Errorf("%+v", j)
	}
	if got, err := v.q.Renew(v.ctx(), typ, []*queue.Lease{&l}); err != nil || got[0] != queue.Kept {
		v.Errorf("renewed: %c, %v", got, err)
	}
	// Concluded before the answer came: what the lane then brings is stale.
	v.ok(v.q.Conclude(v.ctx(), typ, "a", l.CallbackToken(), queue.Conclusion{Verdict: queue.Done}))
	if b := v.exchange([]queue.Settlement{end(l, queue.Bury)}, 1); len(b.Stale) != 1 || ids(b.Leases) != "b" {
		v.Errorf("%+v", b)
	}
	v.inState("a", queue.Succeeded)
}

func callbackReport(v *env) {
	v.configure(1)
	v.pushIDs("x")
	l := v.claimOne("x")
	v.accept(l, time.Minute)
	v.report(l, queue.Report{Progress: &queue.Progress{Number: 1.5, Total: 3, Message: strings.Repeat("é", 600)}})
	j := v.get("x")
	if p := j.Progress; p == nil || p.Number != 1.5 || p.Total != 3 || p.Message != strings.Repeat("é", 512) || p.At.IsZero() || j.Log != nil {
		v.Fatalf("%+v", p)
	}
	v.report(l, queue.Report{Log: "one\r\n\ntwo " + strings.Repeat("x", 2000) + "\n"})
	if j = v.get("x"); len(j.Log) != 2 || j.Log[0].Text != "one" || len(j.Log[1].Text) != queue.MaxLogLine || j.Log[0].At.IsZero() || j.Progress.Number != 1.5 {
		v.Fatalf("%+v", j.Log)
	}
	for i := range 110 {
		v.report(l, queue.Report{Log: fmt.Sprintf("line %d", i)})
	}
	v.report(l, queue.Report{Log: strings.Repeat("many\n", 40)})
	if j = v.get("x"); len(j.Log) != 100 || j.Log[0].Text != "line 50" || j.Log[99].Text != "many" {
		v.Fatalf("%d lines from %+v", len(j.Log), j.Log[0])
	}
	// Kept when it failed, out of sight while the next attempt runs, and replaced by what that says.
	v.ok(v.q.Conclude(v.ctx(), typ, "x", l.CallbackToken(), queue.Conclusion{Verdict: queue.Retry, Delay: time.Hour}))
	if j = v.inState("x", queue.Scheduled); len(j.Log) != 100 || j.Progress == nil {
		v.Errorf("%+v", j)
	}
	v.ok(v.q.Promote(v.ctx(), typ, "x"))
	l = v.claimOne("x")
	if j = v.get("x"); j.Log != nil || j.Progress != nil {
		v.Errorf("%+v", j)
	}
	v.report(l, queue.Report{Log: "again"})
	if j = v.get("x"); len(j.Log) != 1 || j.Progress != nil {
		v.Errorf("%+v", j)
	}
	v.settle(end(l, queue.Done))
	if j = v.inState("x", queue.Succeeded); len(j.Log) != 1 {
		v.Errorf("%+v", j)
	}
	v.pushIDs("x") // replaced: nothing of the old one is left
	if j = v.inState("x", queue.Waiting); j.Log != nil {
		v.Errorf("%+v", j)
	}
	l = v.claimOne("x")
	v.report(l, queue.Report{Log: "third"})
	v.settle(end(l, queue.Done))
	v.ok(v.q.Remove(v.ctx(), typ, "x")) // fsck finds what that left
}

func callbackTokens(v *env) {
	v.configure(5)
	v.pushIDs("a", "b")
	l := v.claim(2)
	for _, wrong := range []string{"", l[0].Token, l[1].CallbackToken(), strings.ToUpper(l[0].CallbackToken())} {
		_, err := v.q.Report(v.ctx(), typ, "a", wrong, queue.Report{Log: "forged"})
		v.is(err, queue.ErrEnded)
		v.is(v.q.Conclude(v.ctx(), typ, "a", wrong, queue.Conclusion{Verdict: queue.Done}), queue.ErrEnded)
	}
	v.is(v.q.Conclude(v.ctx(), typ, "nobody", l[0].CallbackToken(), queue.Conclusion{Verdict: queue.Done}), queue.ErrEnded)
	v.is(v.q.Conclude(v.ctx(), "another", "a", l[0].CallbackToken(), queue.Conclusion{Verdict: queue.Done}), queue.ErrEnded)
	// Nor is it good for what a dispatcher does.
	s := end(l[0], queue.Done)
	s.Token = l[0].CallbackToken()
	if b := v.exchange([]queue.Settlement{s}, 0); len(b.Stale) != 1 {
		v.Errorf("%+v", b)
	}
	if j := v.inState("a", queue.Active); j.Log != nil {
		v.Errorf("%+v", j)
	}
}

func callbackInvalid(v *env) {
	v.configure(1)
	v.pushIDs("x")
	l := v.claimOne("x")
	_, err := v.q.Report(v.ctx(), typ, "x", l.CallbackToken(), queue.Report{Progress: &queue.Progress{Number: -1}})
	fatalIf(v, err == nil || !strings.Contains(err.Error(), "number"), "%v", err)
	for _, c := range []queue.Conclusion{{}, {Verdict: queue.Release}, {Verdict: queue.Done, Result: make([]byte, queue.MaxResultSize+1)}} {
		fatalIf(v, v.q.Conclude(v.ctx(), typ, "x", l.CallbackToken(), c) == nil, "concluded with %c", c.Verdict)
	}
	if j := v.inState("x", queue.Active); j.Progress != nil {
		v.Errorf("%+v", j)
	}
}
