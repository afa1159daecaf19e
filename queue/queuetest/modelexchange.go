package queuetest

import (
	"slices"

	"github.com/deetoo/deetoo/queue"
)

// exchange returns the settlements that were stale, the jobs claimed in order,
// and how many were reaped and promoted.
func (m *model) exchange(done []queue.Settlement, want int, dispatcher string) (stale []string, taken []*modelJob, reaped, promoted int) {
	settled := map[string]bool{}
	for _, s := range done {
		j := m.jobs[s.ID]
		if j == nil || j.state != queue.Active || j.token != s.Token || settled[s.ID] {
			stale = append(stale, s.ID)
			continue
		}
		settled[s.ID] = true
		if s.Verdict == queue.Accept {
			j.handed, j.leaseEnd = s.Delay.Milliseconds(), m.now+s.Delay.Milliseconds()
			continue
		}
		m.settle(j, s, dispatcher)
	}
	reaped = m.reap(dispatcher)
	for _, j := range m.in(queue.Scheduled) {
		if j.due <= m.now {
			m.wait(j)
			promoted++
		}
	}
	limit := m.settings.Concurrency
	if m.hold > m.now {
		limit = min(limit, 1)
	}
	if n := min(want, limit-m.count(queue.Active)); n > 0 && !m.settings.Paused {
		taken = m.claim(n)
	}
	m.retain()
	return stale, taken, reaped, promoted
}

func (m *model) settle(j *modelJob, s queue.Settlement, dispatcher string) {
	started := j.started
	j.unsure = s.Unsure
	cancelled := j.cancelling && s.Verdict != queue.Done
	if s.Verdict != queue.Release && s.Verdict != queue.Snooze {
		j.failed++
	}
	if s.Attempt.Outcome != "" {
		a := s.Attempt
		a.Dispatcher = dispatcher
		m.remember(j, a)
	}
	if s.Hold > 0 {
		m.hold = max(m.hold, m.now+s.Hold.Milliseconds())
	}
	j.token, j.cancelling, j.handed = "", false, 0
	switch {
	case cancelled:
		m.end(j, queue.Cancelled, started)
	case s.Verdict == queue.Done:
		j.result = string(s.Result)
		m.end(j, queue.Succeeded, started)
	case s.Verdict == queue.Bury:
		m.end(j, queue.Dead, started)
	case s.Verdict == queue.Retry || s.Verdict == queue.Snooze:
		j.state, j.due = queue.Scheduled, m.now+s.Delay.Milliseconds()
	default:
		m.waitFirst(j)
	}
}

func (m *model) remember(j *modelJob, a queue.Attempt) {
	j.history = append(j.history, a)
	j.history = slices.Clone(j.history[max(0, len(j.history)-25):])
}

func (m *model) reap(dispatcher string) int {
	n := 0
	for _, j := range m.in(queue.Active) {
		if j.leaseEnd > m.now {
			break
		}
		n++
		if j.handed > 0 {
			m.fail(j, silent(j.handed), false, 0, dispatcher)
			j.unsure = true
			continue
		}
		j.lost++
		j.unsure = true
		m.remember(j, queue.Attempt{N: j.failed + 1, StartedAt: j.started, Duration: m.now - j.started, Outcome: "lost",
			Error: "its dispatcher vanished: the lease ended", Dispatcher: dispatcher})
		started, cancelled := j.started, j.cancelling
		j.token, j.cancelling, j.handed = "", false, 0
		switch {
		case cancelled:
			m.end(j, queue.Cancelled, started)
		case j.lost >= m.maxLost:
			m.end(j, queue.Dead, started)
		default:
			m.waitFirst(j)
		}
	}
	return n
}

// claim takes n jobs: the most urgent first, but every eighth slot begins at
// one of the other lists in turn.
func (m *model) claim(n int) []*modelJob {
	var taken []*modelJob
	for len(taken) < n {
		get := m.shares(n - len(taken))
		if get == [5]int{} {
			break
		}
		for p, k := range get {
			for range k {
				id := m.lists[p][0]
				m.lists[p] = m.lists[p][1:]
				if m.counts(id, p) {
					j := m.jobs[id]
					j.state, j.started, j.leaseEnd = queue.Active, m.now, m.now+m.lease
					taken = append(taken, j)
				}
			}
		}
	}
	m.turn %= 32
	return taken
}

func (m *model) shares(n int) (get [5]int) {
	filled, only := 0, 0
	for p, list := range m.lists {
		if len(list) > 0 {
			filled, only = filled+1, p
		}
	}
	if filled <= 1 {
		get[only] = min(n, len(m.lists[only]))
		return get
	}
	for range n {
		first := 0
		if m.turn%8 == 7 {
			first = 1 + m.turn/8%4
		}
		found := -1
		for i := range 5 {
			if p := (first + i) % 5; len(m.lists[p]) > get[p] {
				found = p
				break
			}
		}
		if found < 0 {
			break
		}
		get[found]++
		m.turn++
	}
	return get
}
