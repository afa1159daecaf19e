package queuetest

import (
	"errors"
	"fmt"

	"pgregory.net/rapid"

	"github.com/deetoo/deetoo/queue"
)

// silent is the error of an attempt whose handler fell silent.
func silent(leaseMs int64) string {
	return fmt.Sprintf("accepted with 202, then silent for %d s: the lease ended. If 202 means done at this endpoint, set the type's completion to sync", leaseMs/1000)
}

// fail ends an attempt by the type's policy, which has no jitter here; delay in ms, 0: the policy's.
func (m *model) fail(j *modelJob, why string, permanent bool, delay int64, dispatcher string) {
	j.failed++
	j.unsure = false
	policy := m.settings.Retry
	if policy.MaxAttempts == 0 {
		policy = queue.RetryPolicy{MaxAttempts: 12}
	}
	most := policy.MaxAttempts
	if j.maxAttempts > 0 {
		most = j.maxAttempts
	}
	outcome, state := "failed", queue.Scheduled
	switch {
	case j.cancelling:
		outcome, state = "cancelled", queue.Cancelled
	case permanent || j.failed >= most:
		outcome, state = "dead", queue.Dead
	}
	m.remember(j, m.concluded(j, outcome, why, dispatcher))
	started := j.started
	if state != queue.Scheduled {
		m.end(j, state, started)
		return
	}
	if delay == 0 {
		delay = min(policy.MinBackoff.Milliseconds()<<(j.failed-1), policy.MaxBackoff.Milliseconds())
	}
	j.token, j.cancelling, j.handed = "", false, 0
	j.state, j.due = queue.Scheduled, m.now+delay
}

// concluded is the history of an attempt that no lane settled.
func (m *model) concluded(j *modelJob, outcome, why, dispatcher string) queue.Attempt {
	a := queue.Attempt{N: j.failed, StartedAt: j.started, Duration: m.now - j.started, Outcome: outcome, Error: why, Dispatcher: dispatcher}
	if j.handed > 0 {
		a.Status = 202
	}
	return a
}

// holder returns the job that a lease still holds, nil if none.
func (m *model) holder(s queue.Settlement) *modelJob {
	if j := m.jobs[s.ID]; j != nil && j.state == queue.Active && j.token == s.Token {
		return j
	}
	return nil
}

func callbackToken(token string) string { return (&queue.Lease{Token: token}).CallbackToken() }

func (c *check) report() {
	if len(c.known) == 0 {
		return
	}
	s := c.drawLease()
	var r queue.Report
	var lines []string
	if rapid.Bool().Draw(c.T, "progress") {
		r.Progress = &queue.Progress{Number: float64(rapid.IntRange(0, 5).Draw(c.T, "number")), Total: 5, Message: "halfway"}
	}
	for range rapid.SampledFrom([]int{0, 0, 1, 3, 60}).Draw(c.T, "lines") {
		lines = append(lines, fmt.Sprintf("line %d", rapid.IntRange(0, 99).Draw(c.T, "line")))
		r.Log += lines[len(lines)-1] + "\n"
	}
	got, err := c.q.Report(ctx(), typ, s.ID, callbackToken(s.Token), r)
	j := c.m.holder(s)
	if j == nil {
		if !errors.Is(err, queue.ErrEnded) {
			c.Fatalf("a late report: %v", err)
		}
		return
	}
	c.ok(err)
	if j.handed > 0 {
		j.leaseEnd = c.m.now + j.handed
	}
	if got.Cancelled != j.cancelling || c.e.Clock != nil && got.Left.Milliseconds() != j.leaseEnd-c.m.now {
		c.Fatalf("answer %+v, want cancelled %v, left %d ms", got, j.cancelling, j.leaseEnd-c.m.now)
	}
	if r.Progress == nil && lines == nil {
		return
	}
	if j.report == nil || j.report.token != s.Token {
		j.report = &modelReport{token: s.Token}
	}
	if r.Progress != nil {
		j.report.progress = fmt.Sprint(r.Progress.Number, r.Progress.Total, r.Progress.Message)
	}
	j.report.log = append(j.report.log, lines...)
	j.report.log = j.report.log[max(0, len(j.report.log)-queue.MaxLogLines):]
}

func (c *check) conclude() {
	if len(c.known) == 0 {
		return
	}
	s := c.drawLease()
	end := queue.Conclusion{Verdict: rapid.SampledFrom([]queue.Verdict{queue.Done, queue.Retry, queue.Bury}).Draw(c.T, "verdict")}
	if end.Verdict == queue.Done {
		end.Result = []byte(rapid.SampledFrom([]string{"", "result"}).Draw(c.T, "result"))
	} else {
		end.Error = "no\n\"good\""
		end.Delay = c.delay()
	}
	err := c.q.Conclude(ctx(), typ, s.ID, callbackToken(s.Token), end)
	j := c.m.holder(s)
	if j == nil {
		if !errors.Is(err, queue.ErrEnded) {
			c.Fatalf("a late conclusion: %v", err)
		}
		return
	}
	c.ok(err)
	if end.Verdict != queue.Done {
		c.m.fail(j, end.Error, end.Verdict == queue.Bury, end.Delay.Milliseconds(), c.q.Consumer())
	} else {
		j.failed++
		j.unsure = false
		a := c.m.concluded(j, "succeeded", "", c.q.Consumer())
		if j.failed == 1 && j.lost == 0 {
			a.Dispatcher = "" // it has no line of its own
		}
		c.m.remember(j, a)
		j.result = string(end.Result)
		c.m.end(j, queue.Succeeded, j.started)
	}
	c.m.retain()
}
