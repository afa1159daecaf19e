package queuetest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
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
}

// Model runs random steps on the queue and on a model of it, and compares
// their full state after each. The number of runs and steps is set by rapid's
// flags. Half of the steps are sent twice, as after a lost answer.
func Model(t *testing.T, e ModelEngine) {
	twice := &repeater{}
	client := another(t, e.Client, twice)
	rapid.Check(t, func(rt *rapid.T) {
		c := &check{T: rt, e: e, client: client, twice: twice, prefix: "m" + strings.ToLower(rand.Text()[:12])}
		lease := time.Hour
		if e.Clock != nil {
			lease = 10 * time.Second
		}
		var err error
		c.q, err = queue.New(client, queue.Options{Prefix: c.prefix, Embedded: e.Embedded, Consumer: "model", Lease: lease, MaxLost: 2})
		c.ok(err)
		c.m = newModel(c.time(0), lease.Milliseconds(), 2)
		c.configure()
		actions := map[string]func(*rapid.T){"": c.compare}
		for name, step := range map[string]func(){
			"push": c.push, "push 2": c.push, "push 3": c.push, "exchange": c.exchange, "exchange 2": c.exchange,
			"exchange 3": c.exchange, "exchange 4": c.exchange, "exchange 5": c.exchange, "renew": c.renew,
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
	q       *queue.Queue
	m       *model
	known   []queue.Settlement // id and token of every lease there was
	version int64
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
		s := c.lease()
		s.Verdict = rapid.SampledFrom([]queue.Verdict{queue.Done, queue.Retry, queue.Bury, queue.Release}).Draw(c.T, "verdict")
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
		case queue.Bury:
			s.Attempt.Outcome, s.Attempt.Error = "dead", "never"
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

// lease draws a lease, most often one in force.
func (c *check) lease() queue.Settlement {
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
		s := c.lease()
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

// compare holds the whole state against the model's.
func (c *check) compare(rt *rapid.T) {
	c.T = rt
	jobs := map[string]*queue.Job{}
	for _, id := range append(pool(), slices.Sorted(maps.Keys(c.m.jobs))...) {
		j, err := c.q.Get(ctx(), typ, id)
		if c.m.jobs[id] == nil {
			if !errors.Is(err, queue.ErrNotFound) {
				c.Fatalf("job %s: %+v, %v; want none", id, j, err)
			}
			continue
		}
		c.ok(err)
		jobs[id] = j
	}
	if c.e.Clock == nil {
		c.adopt(jobs)
	}
	for id, j := range jobs {
		var attempts []queue.Attempt
		if len(c.m.jobs[id].history) > 0 || rapid.IntRange(0, 3).Draw(rt, "look at history") == 0 {
			var err error
			attempts, err = c.q.Attempts(ctx(), typ, id)
			c.ok(err)
		}
		c.compareJob(c.m.jobs[id], j, attempts)
	}
	c.compareLeases()
	c.compareLists(jobs)
	c.compareStats()
	found, err := c.q.Fsck(ctx(), typ)
	c.ok(err)
	if len(found) > 0 {
		c.Fatalf("fsck: %s", strings.Join(found, "; "))
	}
}

func ms(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

// view is a job as Get shows it, from either side.
type view struct {
	ID, Title, Data, Result, LastError string
	State                              queue.State
	Priority                           queue.Priority
	Attempt, Lost, MaxAttempts         int
	Enqueued, RunAt, Started, Finished int64
	Cancelling                         bool
	History                            string
}

func (c *check) compareJob(m *modelJob, j *queue.Job, attempts []queue.Attempt) {
	got := view{j.ID, j.Title, string(j.Data), string(j.Result), j.LastError, j.State, j.Priority, j.Attempt, j.Lost, j.MaxAttempts,
		ms(j.EnqueuedAt), ms(j.RunAt), ms(j.StartedAt), ms(j.FinishedAt), j.CancelRequested, fmt.Sprintf("%+v", attempts)}
	want := m.view()
	if c.e.Clock == nil { // the model knows Redis's times only from the record
		got.Started, want.Started = 0, 0
		got.History, want.History = timeless(attempts), timeless(m.history)
	}
	if got != want {
		c.Fatalf("job %s is\n%+v, want\n%+v", m.id, got, want)
	}
}

func timeless(attempts []queue.Attempt) string {
	out := slices.Clone(attempts)
	for i := range out {
		out[i].StartedAt, out[i].Duration = 0, 0
	}
	return fmt.Sprintf("%+v", out)
}

func (m *modelJob) view() view {
	w := view{ID: m.id, Title: m.title, Data: m.data, Result: m.result, State: m.state, Priority: queue.Priority(2 - m.list),
		Attempt: m.failed, Lost: m.lost, MaxAttempts: m.maxAttempts, Enqueued: m.enqueued, RunAt: m.runAt, Finished: m.finished,
		Cancelling: m.cancelling, History: fmt.Sprintf("%+v", m.history)}
	if n := len(m.history); n > 0 {
		w.Started, w.LastError = m.history[n-1].StartedAt, m.history[n-1].Error
	}
	switch m.state {
	case queue.Scheduled:
		w.RunAt = m.due
	case queue.Active:
		w.Attempt++
		w.Started = m.started
	case queue.Succeeded:
		w.LastError = ""
	}
	if m.state.Terminal() && m.started > 0 {
		w.Started = m.started
	}
	return w
}

// adopt takes over the times that Redis's clock set.
func (c *check) adopt(jobs map[string]*queue.Job) {
	now := time.Now().UnixMilli()
	near := func(what, id string, was, is int64) int64 {
		if was != is && (is < c.m.now-1000 || is > now+1000) && (is < c.m.now+3600e3-1000 || is > now+3600e3+1000) {
			c.Fatalf("job %s: %s %d, want about %d", id, what, is, was)
		}
		return is
	}
	for id, j := range jobs {
		m := c.m.jobs[id]
		if j.State != m.state {
			continue // compareJob tells
		}
		m.enqueued = near("enqueued", id, m.enqueued, ms(j.EnqueuedAt))
		switch m.state {
		case queue.Scheduled:
			m.due = near("due", id, m.due, ms(j.RunAt))
			continue
		case queue.Succeeded, queue.Cancelled, queue.Dead:
			for i := range c.m.finished {
				if f := &c.m.finished[i]; f.id == id && f.ms == m.finished {
					f.ms = ms(j.FinishedAt)
				}
			}
			m.finished = near("finished", id, m.finished, ms(j.FinishedAt))
		case queue.Active:
			m.started = near("started", id, m.started, ms(j.StartedAt))
		}
		m.runAt = near("due", id, m.runAt, ms(j.RunAt))
	}
}

func (c *check) compareLeases() {
	got, err := c.client.ZRangeWithScores(ctx(), "{"+c.prefix+":"+typ+"}:active", 0, -1).Result()
	c.ok(err)
	ends := map[string]int64{}
	for _, z := range got {
		ends[z.Member.(string)] = int64(z.Score)
	}
	tokens, err := c.client.HGetAll(ctx(), "{"+c.prefix+":"+typ+"}:leases").Result()
	c.ok(err)
	active := c.m.in(queue.Active)
	if len(ends) != len(active) || len(tokens) != len(active) {
		c.Fatalf("%d leases, %d tokens, want %d", len(ends), len(tokens), len(active))
	}
	for _, j := range active {
		if c.e.Clock == nil {
			j.leaseEnd = ends[j.id]
		}
		if ends[j.id] != j.leaseEnd || !strings.HasPrefix(tokens[j.id], j.token+" ") {
			c.Fatalf("lease of %s: %q till %d, want %q till %d", j.id, tokens[j.id], ends[j.id], j.token, j.leaseEnd)
		}
	}
}

func (c *check) compareLists(jobs map[string]*queue.Job) {
	size := rapid.SampledFrom([]int{1, 3, 1000, 1000}).Draw(c.T, "page")
	for _, s := range queue.States() {
		var got []string
		listed := map[string]bool{}
		for cursor := ""; ; {
			p, err := c.q.List(ctx(), typ, s, cursor, size)
			c.ok(err)
			for _, j := range p.Jobs {
				// One whose left-over entry is on another page comes twice.
				if !listed[j.ID] {
					got = append(got, j.ID)
				}
				listed[j.ID] = true
				c.compareListed(&j, jobs[j.ID])
			}
			if cursor = p.Next; cursor == "" {
				break
			}
		}
		var want []string
		for _, j := range c.m.in(s) {
			want = append(want, j.id)
		}
		if !slices.Equal(got, want) {
			c.Fatalf("%s: listed %v, want %v", s, got, want)
		}
	}
}

// compareListed holds a listed job against the same from Get.
func (c *check) compareListed(got, want *queue.Job) {
	if want == nil {
		c.Fatalf("listed %s, which is not there", got.ID)
	}
	w := *want
	w.Result = nil
	if len(w.Data) > 4096 {
		w.Data = nil
	}
	if g, w := fmt.Sprintf("%+v", *got), fmt.Sprintf("%+v", w); g != w {
		c.Fatalf("listed\n%s, got\n%s", g, w)
	}
}

func (c *check) compareStats() {
	s, err := c.q.Stats(ctx(), typ)
	c.ok(err)
	got := fmt.Sprintf("waiting %d scheduled %d active %d dead %d finished %d limit %d paused %v by priority",
		s.Waiting, s.Scheduled, s.Active, s.Dead, s.Finished, s.Limit, s.Paused)
	m := c.m
	want := fmt.Sprintf("waiting %d scheduled %d active %d dead %d finished %d limit %d paused %v by priority",
		m.count(queue.Waiting), m.count(queue.Scheduled), m.count(queue.Active), m.count(queue.Dead), m.kept(), m.settings.Concurrency, m.settings.Paused)
	for i, p := range queue.Priorities() {
		got += fmt.Sprint(" ", s.ByPriority[p])
		want += fmt.Sprint(" ", len(m.lists[i]))
	}
	if c.e.Clock != nil {
		got += fmt.Sprintf(" hold %d oldest %d", s.Hold.Milliseconds(), s.Oldest.Milliseconds())
		want += fmt.Sprintf(" hold %d oldest %d", max(m.hold-m.now, 0), m.oldest())
	}
	if got != want {
		c.Fatalf("stats are %s, want %s", got, want)
	}
}

// oldest is how long the longest due of the jobs at the heads has waited.
func (m *model) oldest() int64 {
	out := int64(0)
	for p, list := range m.lists {
		for _, id := range list {
			if m.counts(id, p) {
				out = max(out, m.now-m.jobs[id].runAt)
				break
			}
		}
	}
	return out
}
