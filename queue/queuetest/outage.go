package queuetest

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/deetoo/deetoo/invalid"
	"github.com/deetoo/deetoo/queue"
)

func outageTests() map[string]func(*env) {
	return map[string]func(*env){
		"outage/a share of failures opens it":             outageShare,
		"outage/refused connections open it":              outageRefused,
		"outage/while open nothing runs but the canary":   outageCanary,
		"outage/a canary that succeeds closes it":         outageRamp,
		"outage/a ramp that fails opens it again":         outageRampFails,
		"outage/old attempts do not count in a ramp":      outageOldAttempts,
		"outage/a canary lost with its dispatcher":        outageCanaryLost,
		"outage/a canary that vanishes does not wedge it": outageCanaryGone,
		"outage/a callback before the answer counts":      outageCallback,
		"outage/opened and closed by hand":                outageForced,
		"outage/types without it are left alone":          outageOff,
		"outage/a batch is one delivery":                  outageBatch,
		"outage/a success is one, whatever it told":       outageDone,
		"outage/with every script sent twice":             outageRepeated,
	}
}

// outage configures a policy that has the hold open at the second failure of four, or at the second connection refused, and
// canaries go soon, so that no test waits for long.
func (v *env) outage(concurrency int, change ...func(*queue.OutagePolicy)) {
	v.Helper()
	p := queue.OutagePolicy{Share: 0.5, Of: 4, Refused: 2, CanaryMin: 20 * time.Millisecond, CanaryMax: 50 * time.Millisecond}
	for _, c := range change {
		c(&p)
	}
	v.ok(v.q.Configure(v.ctx(), typ, queue.Settings{Version: 1, Concurrency: concurrency, RetainCount: 1000, RetainAge: time.Hour, Outage: &p}))
}

func slowCanaries(p *queue.OutagePolicy) { p.CanaryMin, p.CanaryMax = time.Hour, 2*time.Hour }

// told makes a settlement that tells of the target.
func told(l queue.Lease, h queue.Health) queue.Settlement {
	s := end(l, queue.Retry)
	if h == queue.Answered {
		s = end(l, queue.Done)
	}
	s.Health, s.Took = h, time.Millisecond
	s.Delay = time.Hour
	return s
}

// canary waits until a canary is leased.
func (v *env) canary() queue.Lease {
	v.Helper()
	var b queue.Batch
	v.eventually("a canary goes", func() bool { b = v.exchange(nil, 10); return len(b.Leases) > 0 })
	if len(b.Leases) != 1 || b.Outage == nil || b.Outage.Canary != b.Leases[0].ID {
		v.Fatalf("%+v, %+v", b, b.Outage)
	}
	return b.Leases[0]
}

func outageShare(v *env) {
	v.outage(10, slowCanaries)
	v.pushIDs("a", "b", "c", "d", "e", "f", "g", "h")
	l := v.claim(7)
	// Whatever the target says of a job, it works; and 429 tells neither.
	refused := told(l[1], queue.Answered)
	refused.Verdict = queue.Bury
	b := v.exchange([]queue.Settlement{told(l[0], queue.Failing), refused, told(l[2], queue.Answered), told(l[3], queue.Busy)}, 0)
	if b.Outage != nil || b.Event != "" || b.InForce != 10 {
		v.Fatalf("%+v", b)
	}
	// The first failure is still one of the last four, and with it half of them failed.
	b = v.exchange([]queue.Settlement{told(l[4], queue.Overloaded), told(l[5], queue.Failing)}, 10)
	if b.Event != "opened" || len(b.Leases) != 0 || b.InForce != 0 {
		v.Fatalf("%+v", b)
	}
	o := v.stats().Outage
	if o == nil || !o.Open || o.Reason != "boom e" || o.Interval != time.Hour || o.Forced || o.Canary != "" || o.NextCanary.Sub(o.Since) != time.Hour {
		v.Fatalf("%+v", o)
	}
	// What opened it cost nothing, nor does what fails after; what succeeds is done.
	for _, id := range []string{"e", "f"} {
		h := v.attempts(id)
		if j := v.inState(id, queue.Waiting); j.Attempt != 0 || len(h) != 1 || h[0].Outcome != "held" || h[0].Error == "" {
			v.Errorf("%+v, %+v", j, h)
		}
	}
	v.settle(told(l[6], queue.Answered))
	v.inState("g", queue.Succeeded)
	v.inState("b", queue.Dead)
	v.inState("a", queue.Scheduled)
	if b := v.exchange(nil, 10); b.Waiting != 3 || len(b.Leases) != 0 || b.Next < 59*time.Minute || b.Next > time.Hour {
		v.Errorf("%+v", b)
	}
}

func outageRefused(v *env) {
	v.outage(10, slowCanaries, func(p *queue.OutagePolicy) { p.Of = 100 })
	v.pushIDs("a", "b", "c", "d")
	l := v.claim(4)
	b := v.exchange([]queue.Settlement{told(l[0], queue.Refused), told(l[1], queue.Answered), told(l[2], queue.Refused)}, 0)
	if b.Outage != nil {
		v.Fatalf("%+v", b.Outage)
	}
	if b = v.exchange([]queue.Settlement{told(l[3], queue.Refused)}, 0); b.Outage == nil || !b.Outage.Open {
		v.Fatalf("%+v", b)
	}
}

func outageCanary(v *env) {
	v.outage(10)
	v.pushIDs("a", "b", "c", "d", "e")
	l := v.claim(3)
	v.exchange([]queue.Settlement{told(l[0], queue.Failing), told(l[1], queue.Failing)}, 0)
	// One is still under way from before: it does not keep the canary back, but for the limit's sake.
	first := v.canary()
	if first.ID != "b" || first.Attempt != 1 {
		v.Fatalf("%+v", first)
	}
	if b := v.exchange(nil, 10); len(b.Leases) != 0 || b.Outage.Canary != "b" || !b.Outage.NextCanary.IsZero() {
		v.Fatalf("%+v, %+v", b, b.Outage)
	}
	failed := told(first, queue.Overloaded)
	failed.Hold = 300 * time.Millisecond // the target said when to come again
	v.settle(failed)
	o := v.stats().Outage
	if o.Interval != 40*time.Millisecond || o.Reason != "boom b" || o.NextCanary.IsZero() {
		v.Fatalf("%+v", o)
	}
	at := o.NextCanary
	v.settle(told(l[2], queue.Failing)) // is held, at the head
	second := v.canary()
	if second.ID != "c" || second.StartedAt.Before(at) {
		v.Fatalf("%s at %v, before %v", second.ID, second.StartedAt, at)
	}
	v.settle(told(second, queue.Refused))
	for _, id := range []string{"d", "e", "b"} { // each time another: the failed ones went to the end
		if l := v.canary(); l.ID != id {
			v.Fatalf("%s, want %s", l.ID, id)
		} else {
			v.settle(told(l, queue.Failing))
		}
	}
	if o := v.stats().Outage; o.Interval != 50*time.Millisecond {
		v.Errorf("%+v", o)
	}
	// Its many attempts as a canary cost nothing, and leave one line.
	if h := v.attempts("b"); len(h) != 1 || h[0].Outcome != "held" || v.inState("b", queue.Waiting).Attempt != 0 {
		v.Errorf("%+v", h)
	}
	// One that was called off told nothing, and the time between them stays.
	l = []queue.Lease{v.canary()}
	v.settle(end(l[0], queue.Release))
	if o := v.stats().Outage; !o.Open || o.Canary != "" || o.Interval != 50*time.Millisecond {
		v.Errorf("%+v", o)
	}
	l = []queue.Lease{v.canary()}
	_, err := v.q.Cancel(v.ctx(), typ, l[0].ID)
	v.ok(err)
	v.settle(told(l[0], queue.Failing))
	v.inState(l[0].ID, queue.Cancelled)
}

// opened opens the hold with two jobs that fail, and leaves n others waiting.
func (v *env) opened(n int) {
	v.Helper()
	v.pushIDs("x", "y")
	l := v.claim(2)
	b := v.exchange([]queue.Settlement{told(l[0], queue.Failing), told(l[1], queue.Failing)}, 0)
	if b.Outage == nil || !b.Outage.Open {
		v.Fatalf("%+v", b)
	}
	jobs := make([]queue.Job, n)
	for i := range jobs {
		jobs[i].ID = fmt.Sprint(i)
	}
	v.push(jobs...)
}

func outageRamp(v *env) {
	v.outage(5)
	v.opened(30)
	b := v.exchange([]queue.Settlement{told(v.canary(), queue.Answered)}, 10)
	if b.Event != "closed" || len(b.Leases) != 1 || b.InForce != 1 || b.Outage.Open || b.Outage.Ramp != 1 {
		v.Fatalf("%+v, %+v", b, b.Outage)
	}
	for _, want := range []int{2, 4} {
		if b = v.exchange([]queue.Settlement{told(b.Leases[0], queue.Answered)}, 0); v.stats().Outage.Ramp != want {
			v.Fatalf("%+v", v.stats().Outage)
		}
		// As many more succeed.
		if b = v.exchange(nil, 10); len(b.Leases) != want || b.InForce != want {
			v.Fatalf("%d claimed, want %d: %+v", len(b.Leases), want, b)
		}
		for _, l := range b.Leases[1:] {
			v.settle(told(l, queue.Answered))
		}
	}
	// An answer of 429 is not one that lets it rise, but it does not open it either.
	s := told(b.Leases[0], queue.Busy)
	if b = v.exchange([]queue.Settlement{s}, 1); b.Outage == nil || b.Outage.Ramp != 4 {
		v.Fatalf("%+v", b)
	}
	b = v.exchange([]queue.Settlement{told(b.Leases[0], queue.Answered)}, 10)
	if b.Event != "recovered" || b.Outage != nil || b.InForce != 5 || len(b.Leases) != 5 || v.stats().Outage != nil {
		v.Fatalf("%+v", b)
	}
}

func outageRampFails(v *env) {
	v.outage(8)
	v.opened(30)
	c := v.canary()
	v.settle(told(c, queue.Failing))
	was := v.stats().Outage.Interval
	b := v.exchange([]queue.Settlement{told(v.canary(), queue.Answered)}, 1)
	b = v.exchange([]queue.Settlement{told(b.Leases[0], queue.Failing)}, 10)
	if b.Event != "opened" || len(b.Leases) != 0 || b.Outage.Interval < was {
		v.Fatalf("%+v, %+v", b, b.Outage)
	}
	for range 2 { // once more, up to four at once
		b = v.exchange([]queue.Settlement{told(v.canary(), queue.Answered)}, 10)
		b = v.exchange([]queue.Settlement{told(b.Leases[0], queue.Answered)}, 10)
		b = v.exchange([]queue.Settlement{told(b.Leases[0], queue.Answered), told(b.Leases[1], queue.Answered)}, 10)
		if b.InForce != 4 || len(b.Leases) != 4 {
			v.Fatalf("%+v", b)
		}
		// There, one failure in four is an ordinary one, and costs an attempt.
		l := b.Leases
		if b = v.exchange([]queue.Settlement{told(l[0], queue.Failing)}, 0); b.Event != "" {
			v.Fatalf("%+v", b)
		}
		v.inState(l[0].ID, queue.Scheduled)
		if b = v.exchange([]queue.Settlement{told(l[1], queue.Answered), told(l[2], queue.Failing), told(l[3], queue.Answered)}, 0); b.Event != "opened" {
			v.Fatalf("%+v", b)
		}
		v.inState(l[2].ID, queue.Waiting)
	}
}

func outageOldAttempts(v *env) {
	v.outage(10)
	v.pushIDs("old1", "old2", "old3")
	old := v.claim(3)
	v.opened(20)
	b := v.exchange([]queue.Settlement{told(v.canary(), queue.Answered)}, 10)
	// Those from before take no place of the ramp's, and their failures are the outage's.
	if len(b.Leases) != 1 || b.InForce != 4 {
		v.Fatalf("%+v", b)
	}
	if b = v.exchange([]queue.Settlement{told(old[0], queue.Failing), told(old[1], queue.Refused)}, 10); len(b.Leases) != 0 || b.InForce != 2 || b.Outage.Open {
		v.Fatalf("%+v", b)
	}
	if j := v.inState("old1", queue.Waiting); j.Attempt != 0 {
		v.Errorf("%+v", j)
	}
	v.settle(told(old[2], queue.Answered))
	if b = v.exchange(nil, 10); b.InForce != 1 {
		v.Errorf("%+v", b)
	}
}

func outageCanaryLost(v *env) {
	v.outage(10)
	v.opened(3)
	short := v.open(queue.Options{Consumer: "short", Lease: 100 * time.Millisecond})
	var b queue.Batch
	v.eventually("a canary goes", func() bool {
		var err error
		b, err = short.Exchange(v.ctx(), typ, nil, 5)
		v.ok(err)
		return len(b.Leases) > 0
	})
	lost := b.Leases[0]
	if b = v.exchange(nil, 10); len(b.Leases) != 0 || b.Next > 100*time.Millisecond {
		v.Fatalf("%+v", b)
	}
	v.eventually("it is reaped", func() bool { return v.exchange(nil, 0).Reaped == 1 })
	if o := v.stats().Outage; !o.Open || o.Canary != "" || o.Interval != 40*time.Millisecond || !strings.Contains(o.Reason, "lost") {
		v.Errorf("%+v", o)
	}
	if j := v.inState(lost.ID, queue.Waiting); j.Lost != 1 || j.Attempt != 0 {
		v.Errorf("%+v", j)
	}
	// What it brings after all is stale, and changes nothing.
	next := v.canary()
	if b, err := short.Exchange(v.ctx(), typ, []queue.Settlement{told(lost, queue.Answered)}, 0); err != nil || len(b.Stale) != 1 || !b.Outage.Open {
		v.Errorf("%+v, %v", b, err)
	}
	v.settle(told(next, queue.Answered))
	if o := v.stats().Outage; o.Open {
		v.Errorf("%+v", o)
	}
}

func outageCanaryGone(v *env) {
	v.outage(10)
	v.opened(3)
	l := v.canary()
	v.ok(v.q.Conclude(v.ctx(), typ, l.ID, l.CallbackToken(), queue.Conclusion{Verdict: queue.Bury, Error: "no"}))
	if next := v.canary(); next.ID == l.ID {
		v.Error("a dead job is the canary")
	}
}

func outageCallback(v *env) {
	v.outage(10)
	v.opened(3)
	// Accepted with 202: the target works.
	b := v.exchange([]queue.Settlement{func(l queue.Lease) queue.Settlement {
		return queue.Settlement{ID: l.ID, Token: l.Token, Verdict: queue.Accept, Delay: time.Minute, Health: queue.Answered}
	}(v.canary())}, 10)
	if b.Event != "closed" || len(b.Leases) != 1 {
		v.Fatalf("%+v", b)
	}
	v.exchange([]queue.Settlement{told(b.Leases[0], queue.Failing)}, 0)
	l := v.canary()
	v.ok(v.q.Conclude(v.ctx(), typ, l.ID, l.CallbackToken(), queue.Conclusion{Verdict: queue.Done}))
	if o := v.stats().Outage; o == nil || o.Open {
		v.Errorf("%+v", o)
	}
}

func outageForced(v *env) {
	v.configure(10) // no policy: by hand it goes all the same
	v.pushIDs("a", "b", "c", "d")
	l := v.claim(2)
	o, err := v.q.Hold(v.ctx(), typ, "the database moves", 0)
	v.ok(err)
	if !o.Open || !o.Forced || o.Reason != "the database moves" || !o.Until.IsZero() || !o.NextCanary.IsZero() {
		v.Fatalf("%+v", o)
	}
	b := v.exchange([]queue.Settlement{told(l[0], queue.Failing), told(l[1], queue.Answered)}, 10)
	if len(b.Leases) != 0 || b.Event != "" || b.Next >= 0 || !b.Outage.Forced {
		v.Fatalf("%+v, %+v", b, b.Outage)
	}
	if j := v.inState("a", queue.Waiting); j.Attempt != 0 {
		v.Errorf("%+v", j)
	}
	o, err = v.q.Unhold(v.ctx(), typ)
	v.ok(err)
	if o == nil || o.Open || o.Ramp != 1 {
		v.Fatalf("%+v", o)
	}
	if l = v.claim(10); ids(l) != "a" {
		v.Fatalf("%s", ids(l))
	}
	o, err = v.q.Unhold(v.ctx(), typ)
	v.ok(err)
	if o != nil {
		v.Fatalf("%+v", o)
	}
	l = append(l, v.claim(10)...)
	if ids(l) != "a c d" {
		v.Fatalf("%s", ids(l))
	}
	// For a time: then a canary decides.
	v.pushIDs("e")
	o, err = v.q.Hold(v.ctx(), typ, "", 100*time.Millisecond)
	v.ok(err)
	if b = v.exchange(nil, 10); len(b.Leases) != 0 || b.Next > 100*time.Millisecond || b.Next < 0 || o.NextCanary != o.Until {
		v.Fatalf("%+v, %+v", b, o)
	}
	c := v.canary()
	if c.StartedAt.Before(o.Until) {
		v.Errorf("the canary went at %v, before %v", c.StartedAt, o.Until)
	}
	// Held again meanwhile: what the canary says does not count.
	_, err = v.q.Hold(v.ctx(), typ, "again", time.Hour)
	v.ok(err)
	if b = v.exchange([]queue.Settlement{told(c, queue.Answered)}, 10); len(b.Leases) != 0 || !b.Outage.Open || b.Outage.Reason != "again" {
		v.Errorf("%+v, %+v", b, b.Outage)
	}
	for range 2 {
		_, err = v.q.Unhold(v.ctx(), typ)
		v.ok(err)
	}
	var bad *invalid.Error
	if _, err = v.q.Hold(v.ctx(), typ, "", -1); !errors.As(err, &bad) || bad.Field != "for" {
		v.Errorf("%v", err)
	}
	if o, err = v.q.Unhold(v.ctx(), typ); o != nil || err != nil {
		v.Errorf("%+v, %v", o, err)
	}
}

func outageOff(v *env) {
	v.configure(100)
	for i := range 50 {
		v.pushIDs(fmt.Sprint(i))
	}
	var done []queue.Settlement
	for _, l := range v.claim(50) {
		done = append(done, told(l, queue.Refused))
	}
	if b := v.exchange(done, 0); b.Outage != nil || b.Event != "" || b.InForce != 100 {
		v.Errorf("%+v", b)
	}
	if s := v.stats(); s.Scheduled != 50 || s.Outage != nil || s.Adaptive != nil {
		v.Errorf("%+v", s)
	}
	// A policy that is taken away while the hold is open leaves nothing behind once it has closed.
	v.outage(100)
	v.ok(v.q.Configure(v.ctx(), typ, queue.Settings{Version: 2, Concurrency: 1, RetainCount: 1000, RetainAge: time.Hour, Outage: &queue.OutagePolicy{
		Share: 1, Of: 1, Refused: 1, CanaryMin: time.Millisecond, CanaryMax: time.Millisecond,
	}}))
	v.pushIDs("x", "y", "z")
	v.exchange([]queue.Settlement{told(v.claim(1)[0], queue.Failing)}, 0)
	v.ok(v.q.Configure(v.ctx(), typ, queue.Settings{Version: 3, Concurrency: 1, RetainCount: 1000, RetainAge: time.Hour}))
	b := v.exchange([]queue.Settlement{told(v.canary(), queue.Answered)}, 1)
	b = v.exchange([]queue.Settlement{told(b.Leases[0], queue.Answered)}, 1)
	if b.Event != "recovered" {
		v.Errorf("%+v", b)
	}
	if n, err := v.client.HExists(v.ctx(), "{"+v.prefix+":"+typ+"}:control", "held").Result(); n || err != nil {
		v.Errorf("its state is left: %v, %v", n, err)
	}
}

func outageBatch(v *env) {
	v.ok(v.q.Configure(v.ctx(), typ, queue.Settings{Version: 1, Concurrency: 8, RetainCount: 1000, RetainAge: time.Hour,
		Batch:  queue.BatchPolicy{Size: 5},
		Outage: &queue.OutagePolicy{Share: 1, Of: 100, Refused: 2, CanaryMin: 20 * time.Millisecond, CanaryMax: time.Minute},
	}))
	v.push(make([]queue.Job, 100)...)
	all := func(leases []queue.Lease, h queue.Health) []queue.Settlement {
		var out []queue.Settlement
		for _, l := range leases {
			out = append(out, told(l, h))
		}
		return out
	}
	l := v.claim(2)
	if b := v.exchange(all(l[:5], queue.Refused), 0); len(l) != 10 || b.Outage != nil {
		v.Fatalf("%d claimed, %+v", len(l), b.Outage)
	}
	if b := v.exchange(all(l[5:], queue.Refused), 0); b.Outage == nil || !b.Outage.Open {
		v.Fatal("two connections refused did not open it")
	}
	canary := func() []queue.Lease {
		v.Helper()
		var b queue.Batch
		v.eventually("a canary goes", func() bool { b = v.exchange(nil, 10); return len(b.Leases) > 0 })
		if len(b.Leases) != 5 {
			v.Fatalf("%d jobs in a canary", len(b.Leases))
		}
		return b.Leases
	}
	first := canary()
	v.exchange(all(first, queue.Failing), 0)
	if o := v.stats().Outage; o.Interval != 40*time.Millisecond {
		v.Errorf("%+v", o)
	}
	second := canary()
	for _, l := range second {
		for _, was := range first {
			if l.ID == was.ID {
				v.Error("a canary that failed is the next one, too")
			}
		}
	}
	b := v.exchange(all(second, queue.Answered), 8)
	if b.Event != "closed" || len(b.Leases) != 5 {
		v.Fatalf("%d claimed, %+v", len(b.Leases), b.Outage)
	}
	if b = v.exchange(all(b.Leases, queue.Answered), 8); b.InForce != 2 || len(b.Leases) != 10 {
		v.Errorf("%d claimed, %+v", len(b.Leases), b.Outage)
	}
}

func outageDone(v *env) {
	v.outage(10)
	v.opened(3)
	// It was done, its reconcile_url said so, though the answer was lost.
	l := v.canary()
	s := told(l, queue.Answered)
	s.Health = queue.Overloaded
	v.settle(s)
	v.inState(l.ID, queue.Succeeded)
	if o := v.stats().Outage; !o.Open || o.Interval != 40*time.Millisecond {
		v.Errorf("%+v", o)
	}
}

func outageRepeated(v *env) {
	r := &repeater{}
	r.on.Store(true)
	v.q = v.openOn(another(v, v.client, r), queue.Options{Consumer: "repeating"})
	v.outage(8)
	v.opened(10)
	c := v.canary()
	b := v.exchange([]queue.Settlement{told(c, queue.Failing)}, 0)
	if b.Outage.Interval != 40*time.Millisecond || b.Outage.Canary != "" {
		v.Fatalf("%+v", b.Outage)
	}
	b = v.exchange([]queue.Settlement{told(v.canary(), queue.Answered)}, 10)
	if len(b.Leases) != 1 || b.Outage.Ramp != 1 {
		v.Fatalf("%+v, %+v", b, b.Outage)
	}
	b = v.exchange([]queue.Settlement{told(b.Leases[0], queue.Answered)}, 10)
	if len(b.Leases) != 2 || b.Outage.Ramp != 2 {
		v.Fatalf("%+v, %+v", b, b.Outage)
	}
	o, err := v.q.Hold(v.ctx(), typ, "x", time.Hour)
	v.ok(err)
	if o.Until.Sub(o.Since) != time.Hour {
		v.Errorf("%+v", o)
	}
	if o, err = v.q.Unhold(v.ctx(), typ); err != nil || o == nil || o.Ramp != 1 {
		v.Errorf("closed twice: %+v, %v", o, err)
	}
}
