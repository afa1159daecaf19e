package queuetest

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"pgregory.net/rapid"

	"github.com/deetoo/deetoo/queue"
)

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
	Cancelling, Accepted, Unsure       bool
	Progress, Log                      string
	History                            string
}

func (c *check) compareJob(m *modelJob, j *queue.Job, attempts []queue.Attempt) {
	got := view{j.ID, j.Title, string(j.Data), string(j.Result), j.LastError, j.State, j.Priority, j.Attempt, j.Lost, j.MaxAttempts,
		ms(j.EnqueuedAt), ms(j.RunAt), ms(j.StartedAt), ms(j.FinishedAt), j.CancelRequested, j.Accepted, j.Unsure, "", "", fmt.Sprintf("%+v", attempts)}
	if j.Progress != nil {
		got.Progress = fmt.Sprint(j.Progress.Number, j.Progress.Total, j.Progress.Message)
	}
	for _, line := range j.Log {
		got.Log += line.Text + "\n"
	}
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
		Cancelling: m.cancelling, Accepted: m.handed > 0, Unsure: m.unsure, History: fmt.Sprintf("%+v", m.history)}
	if r := m.report; r != nil && (m.state != queue.Active || r.token == m.token) {
		w.Progress, w.Log = r.progress, strings.Join(append(r.log, ""), "\n")
	}
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
	w.Result, w.Progress, w.Log = nil, nil, nil
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
