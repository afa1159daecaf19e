package queuetest

import (
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"pgregory.net/rapid"

	"github.com/deetoo/deetoo/queue"
)

// ModelEngine is a Redis to compare with the model.
type ModelEngine struct {
	Client   redis.UniversalClient
	Embedded bool
	// Clock moves the engine's clock, which must not move otherwise, and
	// returns the time. Nil: a clock that cannot be moved; steps that need
	// time to pass are left out, and times are taken over from Redis.
	Clock func(forward time.Duration) time.Time
	// Restart ends the engine, starts it again on what it has stored, and
	// returns a client. Nil: no run has restarts.
	Restart func() redis.UniversalClient
}

// Model runs random steps on the queue and on a model of it, and compares
// their full state after each. The number of runs and steps is set by rapid's
// flags. Half of the steps are sent twice, as after a lost answer.
func Model(t *testing.T, e ModelEngine) {
	twice := &repeater{}
	client := another(t, e.Client, twice)
	rapid.Check(t, func(rt *rapid.T) {
		c := &check{T: rt, e: e, twice: twice, prefix: "m" + strings.ToLower(rand.Text()[:12]), lease: time.Hour}
		if e.Clock != nil {
			c.lease = 10 * time.Second
		}
		c.use(client)
		c.m = newModel(c.time(0), c.lease.Milliseconds(), 2)
		c.configure()
		actions := map[string]func(*rapid.T){"": c.compare}
		for name, step := range map[string]func(){
			"push": c.push, "push 2": c.push, "push 3": c.push, "exchange": c.exchange, "exchange 2": c.exchange,
			"exchange 3": c.exchange, "exchange 4": c.exchange, "exchange 5": c.exchange, "renew": c.renew,
			"report": c.report, "report 2": c.report, "conclude": c.conclude,
			"cancel": c.cancel, "cancel 2": c.cancel, "promote": c.promote, "retry": c.retry, "retry 2": c.retry, "remove": c.remove,
			"redrive": c.redrive, "purge": c.purge, "configure": c.configure, "destroy": c.destroy,
		} {
			actions[name] = func(rt *rapid.T) {
				c.T = rt
				c.m.now = c.time(0)
				twice.on.Store(rapid.Bool().Draw(rt, "twice"))
				step()
				twice.on.Store(false)
			}
		}
		if e.Clock != nil {
			actions["wait"] = func(rt *rapid.T) {
				c.m.now = c.time(rapid.SampledFrom([]time.Duration{1e6, 999e6, 1e9, 10e9, 61e9}).Draw(rt, "for"))
			}
		}
		if e.Restart != nil {
			actions["restart"] = func(rt *rapid.T) {
				c.T = rt
				client = another(t, e.Restart(), twice)
				c.use(client)
			}
		}
		rt.Repeat(actions)
	})
}

// check is one random run.
type check struct {
	*rapid.T
	e       ModelEngine
	client  redis.UniversalClient
	twice   *repeater
	prefix  string
	lease   time.Duration
	q       *queue.Queue
	m       *model
	known   []queue.Settlement // id and token of every lease there was
	version int64
}

// use makes the queue of the run on a client.
func (c *check) use(client redis.UniversalClient) {
	q, err := queue.New(client, queue.Options{Prefix: c.prefix, Embedded: c.e.Embedded, Consumer: "model", Lease: c.lease, MaxLost: 2})
	c.ok(err)
	c.q, c.client = q, client
}

func (c *check) time(forward time.Duration) int64 {
	if c.e.Clock != nil {
		return c.e.Clock(forward).UnixMilli()
	}
	return time.Now().UnixMilli()
}

func (c *check) ok(err error) {
	c.Helper()
	if err != nil {
		c.Fatal(err)
	}
}

func ctx() context.Context { return context.Background() }

// pool are the IDs of which steps choose: few, so that jobs meet each other.
func pool() []string { return []string{"a", "b", "c", "d"} }

func (c *check) id() string {
	return rapid.SampledFrom(pool()).Draw(c.T, "id")
}

// delays are those whose end the engine's clock may reach, or never will.
func (c *check) delay() time.Duration {
	if c.e.Clock != nil {
		return rapid.SampledFrom([]time.Duration{0, 0, 1e6, 1e9, 60e9}).Draw(c.T, "delay")
	}
	return rapid.SampledFrom([]time.Duration{0, 0, time.Hour}).Draw(c.T, "delay")
}

func (c *check) push() {
	jobs := make([]queue.Job, rapid.IntRange(1, 3).Draw(c.T, "jobs"))
	for i := range jobs {
		jobs[i] = queue.Job{Type: typ, ID: c.id(), Delay: c.delay(),
			Priority: rapid.SampledFrom([]queue.Priority{0, 0, 0, 0, queue.Critical, queue.High, queue.Low, queue.Lowest}).Draw(c.T, "priority")}
		switch rapid.IntRange(0, 4).Draw(c.T, "kind") {
		case 0:
			jobs[i].ID = ""
		case 1:
			jobs[i].Data = []byte(`"` + strings.Repeat("x", 5000) + `"`)
		case 2:
			jobs[i].RunAt = time.UnixMilli(1) // long past
		case 3:
			jobs[i].Title, jobs[i].MaxAttempts = "title", 7
		}
	}
	got, err := c.q.Push(ctx(), jobs...)
	c.ok(err)
	for i, r := range got {
		jobs[i].ID = r.ID
		state, runAt, replaced, err := c.m.push(jobs[i])
		if r.State != state || r.Replaced != replaced || !errors.Is(r.Err, err) {
			c.Fatalf("receipt %d is %+v; want %s, replaced %v, %v", i, r, state, replaced, err)
		}
		if c.e.Clock != nil && err == nil && r.RunAt.UnixMilli() != runAt {
			c.Fatalf("receipt %d: due %d, want %d", i, r.RunAt.UnixMilli(), runAt)
		}
	}
}

func (c *check) exchange() {
	if c.e.Clock != nil {
		// No two attempts of a job begin in the same millisecond.
		c.m.now = c.time(time.Millisecond)
	}
	var done []queue.Settlement
	for range rapid.IntRange(0, 3).Draw(c.T, "settlements") {
		if len(c.known) == 0 {
			break
		}
		s := c.drawLease()
		s.Verdict = rapid.SampledFrom([]queue.Verdict{queue.Done, queue.Retry, queue.Bury, queue.Release, queue.Accept, queue.Snooze}).Draw(c.T, "verdict")
		s.Unsure = s.Verdict != queue.Accept && rapid.Bool().Draw(c.T, "unsure")
		s.Attempt = queue.Attempt{StartedAt: 1, Outcome: "released"}
		if j := c.m.jobs[s.ID]; j != nil {
			s.Attempt.N, s.Attempt.StartedAt, s.Attempt.Duration = j.failed+1, j.started, c.m.now-j.started
		}
		switch s.Verdict {
		case queue.Done:
			s.Attempt.Outcome, s.Attempt.Status = "succeeded", 200
			s.Result = []byte(rapid.SampledFrom([]string{"", "result", strings.Repeat("r", 9000)}).Draw(c.T, "result"))
		case queue.Retry:
			s.Attempt.Outcome, s.Attempt.Status, s.Attempt.Error, s.Delay = "failed", 500, "no", c.delay()
		case queue.Snooze:
			s.Attempt.Outcome, s.Attempt.Status, s.Delay = "snoozed", 409, c.delay()
		case queue.Bury:
			s.Attempt.Outcome, s.Attempt.Error = "dead", "never"
		case queue.Accept:
			s.Attempt = queue.Attempt{}
			if s.Delay = time.Hour; c.e.Clock != nil {
				s.Delay = 5 * time.Second
			}
		case queue.Release:
			if rapid.Bool().Draw(c.T, "silent") {
				s.Attempt.Outcome = ""
			}
		}
		if rapid.IntRange(0, 9).Draw(c.T, "hold") == 0 {
			s.Hold = time.Hour
			if c.e.Clock != nil {
				s.Hold = 20 * time.Second
			}
		}
		done = append(done, s)
	}
	want := rapid.IntRange(0, 4).Draw(c.T, "want")
	b, err := c.q.Exchange(ctx(), typ, done, want)
	c.ok(err)
	stale, taken, reaped, promoted := c.m.exchange(done, want, c.q.Consumer())
	// A first success is kept without a line of its own: nobody notes who ran it.
	for _, s := range done {
		if j := c.m.jobs[s.ID]; j != nil && s.Verdict == queue.Done && j.state == queue.Succeeded && j.failed == 1 && j.lost == 0 {
			j.history[len(j.history)-1].Dispatcher = ""
		}
	}
	if !slices.Equal(b.Stale, stale) {
		c.Fatalf("stale %v, want %v", b.Stale, stale)
	}
	if !c.twice.on.Load() && (b.Reaped != reaped || b.Promoted != promoted) {
		c.Fatalf("reaped %d, promoted %d; want %d, %d", b.Reaped, b.Promoted, reaped, promoted)
	}
	var want2, got []string
	for _, j := range taken {
		want2 = append(want2, j.id)
	}
	for _, l := range b.Leases {
		got = append(got, l.ID)
	}
	if !slices.Equal(got, want2) {
		c.Fatalf("claimed %v, want %v", got, want2)
	}
	for i, l := range b.Leases {
		j := taken[i]
		if l.Token == "" || slices.ContainsFunc(c.known, func(s queue.Settlement) bool { return s.Token == l.Token }) {
			c.Fatalf("token %q of %s is not new", l.Token, l.ID)
		}
		if string(l.Data) != j.data || l.Title != j.title || l.Attempt != j.failed+1 || l.Lost != j.lost || l.State != queue.Active {
			c.Fatalf("lease of %s is %+v, want %+v", l.ID, l, j)
		}
		j.token = l.Token
		c.known = append(c.known, queue.Settlement{ID: l.ID, Token: l.Token})
	}
	if b.Active != c.m.count(queue.Active) || b.Waiting != c.m.count(queue.Waiting) || b.Limit != c.m.settings.Concurrency || b.Paused != c.m.settings.Paused {
		c.Fatalf("batch %+v", b)
	}
	c.next(b)
}

// next checks that the time until the next look is not too late.
func (c *check) next(b queue.Batch) {
	if c.e.Clock == nil {
		return
	}
	first := int64(-1)
	for _, j := range c.m.jobs {
		at := map[queue.State]int64{queue.Scheduled: j.due, queue.Active: j.leaseEnd}[j.state]
		if at > 0 && (first < 0 || at < first) {
			first = at
		}
	}
	if first >= 0 && (b.Next < 0 || b.Next.Milliseconds() > first-c.m.now) {
		c.Fatalf("next look in %v, but something is to do in %d ms", b.Next, first-c.m.now)
	}
}

// drawLease draws a lease, most often one in force.
func (c *check) drawLease() queue.Settlement {
	var live []queue.Settlement
	for _, s := range c.known {
		if j := c.m.jobs[s.ID]; j != nil && j.token == s.Token {
			live = append(live, s)
		}
	}
	if len(live) > 0 && rapid.IntRange(0, 5).Draw(c.T, "live") > 0 {
		return rapid.SampledFrom(live).Draw(c.T, "lease")
	}
	return rapid.SampledFrom(c.known).Draw(c.T, "old lease")
}

func (c *check) renew() {
	var leases []*queue.Lease
	var want []queue.Renewal
	for range rapid.IntRange(1, 3).Draw(c.T, "leases") {
		if len(c.known) == 0 {
			return
		}
		s := c.drawLease()
		leases = append(leases, &queue.Lease{Job: queue.Job{ID: s.ID}, Token: s.Token})
		want = append(want, c.m.renew(s.ID, s.Token))
	}
	got, err := c.q.Renew(ctx(), typ, leases)
	c.ok(err)
	if !slices.Equal(got, want) {
		c.Fatalf("renewals %q, want %q", got, want)
	}
}

// answer compares an error with what the state before allows.
func (c *check) answer(err error, was queue.State, allowed ...queue.State) {
	c.Helper()
	var want error
	switch {
	case was == "":
		want = queue.ErrNotFound
	case slices.Contains(allowed, was):
	case was == queue.Active:
		want = queue.ErrActive
	default:
		want = queue.ErrConflict
	}
	if !errors.Is(err, want) || want == nil && err != nil {
		c.Fatalf("error %v of a job that is %q, want %v", err, was, want)
	}
}

func (c *check) cancel() {
	id := c.id()
	got, err := c.q.Cancel(ctx(), typ, id)
	was := c.m.cancel(id)
	c.answer(err, was, queue.Waiting, queue.Scheduled, queue.Active, queue.Cancelled)
	want := map[queue.State]queue.State{queue.Active: queue.Active, queue.Waiting: queue.Cancelled,
		queue.Scheduled: queue.Cancelled, queue.Cancelled: queue.Cancelled}[was]
	if err == nil && got != want {
		c.Fatalf("cancelled a job that was %s: %s", was, got)
	}
}

func (c *check) promote() {
	id := c.id()
	c.answer(c.q.Promote(ctx(), typ, id), c.m.requeue(id, false), queue.Scheduled, queue.Waiting)
}

func (c *check) retry() {
	id := c.id()
	c.answer(c.q.RetryNow(ctx(), typ, id), c.m.requeue(id, true),
		queue.Scheduled, queue.Waiting, queue.Dead, queue.Succeeded, queue.Cancelled)
}

func (c *check) remove() {
	id := c.id()
	c.answer(c.q.Remove(ctx(), typ, id), c.m.remove(id), queue.Dead, queue.Succeeded, queue.Cancelled)
}

func (c *check) redrive() {
	got, err := c.q.Redrive(ctx(), typ)
	c.ok(err)
	if want := c.m.redrive(); got != want {
		c.Fatalf("redrove %d, want %d", got, want)
	}
}

func (c *check) purge() {
	if rapid.Bool().Draw(c.T, "really") {
		return
	}
	s := rapid.SampledFrom([]queue.State{queue.Waiting, queue.Scheduled, queue.Succeeded, queue.Dead}).Draw(c.T, "state")
	got, err := c.q.Purge(ctx(), typ, s)
	c.ok(err)
	if want := c.m.purge(s); got != want {
		c.Fatalf("purged %d %s, want %d", got, s, want)
	}
}

func (c *check) configure() {
	c.version += int64(rapid.IntRange(-1, 2).Draw(c.T, "version"))
	s := queue.Settings{
		Version: max(c.version, 0), Concurrency: rapid.SampledFrom([]int{0, 1, 2, 5, 5, 5}).Draw(c.T, "concurrency"),
		Paused:      rapid.IntRange(0, 7).Draw(c.T, "paused") == 0,
		RetainCount: rapid.SampledFrom([]int{0, 1, 3, 1000, 1000, 1000, 1000}).Draw(c.T, "keep"),
		RetainAge:   rapid.SampledFrom([]time.Duration{0, 20 * time.Second, time.Hour, time.Hour, time.Hour, time.Hour}).Draw(c.T, "age"),
	}
	// Without jitter, which the model could not foresee.
	s.Retry = queue.RetryPolicy{MaxAttempts: 3, MinBackoff: time.Hour, MaxBackoff: time.Hour, NoJitter: true}
	if c.e.Clock != nil {
		s.Retry.MinBackoff, s.Retry.MaxBackoff = 600*time.Millisecond, time.Second
	}
	if c.e.Clock == nil && s.RetainAge > 0 {
		s.RetainAge = time.Hour
	}
	c.ok(c.q.Configure(ctx(), typ, s))
	c.m.configure(s)
}

func (c *check) destroy() {
	if rapid.IntRange(0, 4).Draw(c.T, "really") > 0 {
		return
	}
	force := rapid.Bool().Draw(c.T, "force")
	err := c.q.Destroy(ctx(), typ, force)
	left := c.m.count(queue.Waiting) + c.m.count(queue.Scheduled) + c.m.count(queue.Active) + c.m.count(queue.Dead)
	if !force && left > 0 {
		if !errors.Is(err, queue.ErrNotEmpty) {
			c.Fatalf("destroyed with %d jobs left: %v", left, err)
		}
		return
	}
	c.ok(err)
	c.m.destroy()
	c.version = 0
	if rapid.IntRange(0, 3).Draw(c.T, "stay unconfigured") > 0 {
		c.configure()
	}
}
