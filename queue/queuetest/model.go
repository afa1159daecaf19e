package queuetest

import (
	"cmp"
	"slices"

	"github.com/deetoo/deetoo/queue"
)

// model is what one type's queue must be, in plain Go: no Redis, no scripts.
// Times are ms.
type model struct {
	now  int64
	jobs map[string]*modelJob
	// lists are the waiting lists, critical first. An entry stays behind when
	// its job leaves from the middle, and counts again if the job comes back.
	lists    [5][]string
	finished []finish
	settings queue.Settings
	version  int64 // -1: not configured
	hold     int64
	turn     int
	lease    int64
	maxLost  int
}

type finish struct {
	id string
	ms int64
}

type modelJob struct {
	id, title, data string
	list            int // 0 critical to 4 lowest
	state           queue.State
	failed, lost    int
	enqueued, runAt int64
	due             int64 // of a scheduled job
	started         int64 // of the attempt running, or the one that ended the job
	finished        int64
	leaseEnd        int64
	token           string
	cancelling      bool
	result          string
	history         []queue.Attempt
	handed          int64 // how long each call of its handler extends the lease; 0: a dispatcher holds it
	report          *modelReport
	maxAttempts     int
	unsure          bool
}

// modelReport is what the handler of an attempt said.
type modelReport struct {
	token    string // of the lease
	progress string
	log      []string
}

func newModel(now, lease int64, maxLost int) *model {
	m := &model{now: now, lease: lease, maxLost: maxLost}
	m.destroy()
	return m
}

func (m *model) destroy() {
	m.jobs, m.lists, m.finished = map[string]*modelJob{}, [5][]string{}, nil
	m.settings, m.version = queue.Settings{RetainCount: 1000, RetainAge: 24 * 3600e9}, -1
	m.hold, m.turn = 0, 0
}

// in returns the jobs in a state, in the order List promises.
func (m *model) in(s queue.State) []*modelJob {
	var out []*modelJob
	switch s {
	case queue.Waiting:
		seen := map[string]bool{}
		for p, list := range m.lists {
			for _, id := range list {
				if m.counts(id, p) && !seen[id] {
					seen[id] = true
					out = append(out, m.jobs[id])
				}
			}
		}
		return out
	case queue.Succeeded, queue.Cancelled:
		seen := map[string]bool{}
		for _, f := range slices.Backward(m.finished) {
			if j := m.jobs[f.id]; m.stands(f) && !seen[f.id] && j.state == s {
				seen[f.id] = true
				out = append(out, j)
			}
		}
		return out
	}
	at := func(j *modelJob) int64 {
		return map[queue.State]int64{queue.Scheduled: j.due, queue.Active: j.leaseEnd, queue.Dead: -j.finished}[s]
	}
	for _, j := range m.jobs {
		if j.state == s {
			out = append(out, j)
		}
	}
	slices.SortFunc(out, func(a, b *modelJob) int {
		byID := cmp.Compare(a.id, b.id)
		if s == queue.Dead {
			byID = -byID
		}
		return cmp.Or(cmp.Compare(at(a), at(b)), byID)
	})
	return out
}

// counts says whether an entry of a waiting list stands for a job.
func (m *model) counts(id string, p int) bool {
	j := m.jobs[id]
	return j != nil && j.state == queue.Waiting && j.list == p
}

// stands says the same of an entry of the finished list.
func (m *model) stands(f finish) bool {
	j := m.jobs[f.id]
	return j != nil && (j.state == queue.Succeeded || j.state == queue.Cancelled) && j.finished == f.ms
}

func (m *model) count(s queue.State) int {
	n := 0
	for _, j := range m.jobs {
		if j.state == s {
			n++
		}
	}
	return n
}

func (m *model) kept() int { return m.count(queue.Succeeded) + m.count(queue.Cancelled) }

func (m *model) wait(j *modelJob) {
	j.state = queue.Waiting
	m.lists[j.list] = append(m.lists[j.list], j.id)
}

func (m *model) waitFirst(j *modelJob) {
	j.state = queue.Waiting
	m.lists[j.list] = slices.Insert(m.lists[j.list], 0, j.id)
}

func (m *model) end(j *modelJob, s queue.State, started int64) {
	j.state, j.started, j.finished = s, started, m.now
	j.token, j.cancelling, j.handed = "", false, 0
	if s != queue.Dead {
		m.finished = append(m.finished, finish{j.id, m.now})
	}
}

func (m *model) retain() {
	for m.kept() > m.settings.RetainCount {
		m.dropOldest()
	}
	for len(m.finished) > 0 && m.finished[0].ms <= m.now-m.settings.RetainAge.Milliseconds() {
		m.dropOldest()
	}
}

// dropOldest deletes the finished list's first entry and its job; reports whether that was one.
func (m *model) dropOldest() bool {
	f := m.finished[0]
	m.finished = m.finished[1:]
	stood := m.stands(f)
	if stood {
		delete(m.jobs, f.id)
	}
	return stood
}

// push returns the receipt; of RunAt only as ms.
func (m *model) push(j queue.Job) (state queue.State, runAt int64, replaced bool, err error) {
	wait := max(j.Delay.Milliseconds(), 0)
	if !j.RunAt.IsZero() {
		wait = max(j.RunAt.UnixMilli()-m.now, 0)
	}
	old := m.jobs[j.ID]
	if old != nil && old.state == queue.Active {
		return "", 0, false, queue.ErrActive
	}
	data := string(j.Data)
	if data == "" {
		data = "null"
	}
	fresh := &modelJob{id: j.ID, title: j.Title, data: data, list: 2 - int(j.Priority),
		enqueued: m.now, runAt: m.now + wait, maxAttempts: j.MaxAttempts}
	m.jobs[j.ID] = fresh
	switch {
	case wait > 0:
		fresh.state, fresh.due = queue.Scheduled, m.now+wait
	case old != nil && old.state == queue.Waiting && old.list == fresh.list:
		fresh.state = queue.Waiting // it keeps its place
	default:
		m.wait(fresh)
	}
	return fresh.state, fresh.runAt, old != nil, nil
}

// cancel returns the state before, "" if there is no such job.
func (m *model) cancel(id string) queue.State {
	j := m.jobs[id]
	if j == nil {
		return ""
	}
	was := j.state
	switch was {
	case queue.Active:
		j.cancelling = true
	case queue.Waiting, queue.Scheduled:
		m.end(j, queue.Cancelled, 0)
		m.retain()
	}
	return was
}

// requeue returns the state before, "" if there is no such job.
func (m *model) requeue(id string, retry bool) queue.State {
	j := m.jobs[id]
	if j == nil {
		return ""
	}
	was := j.state
	if was == queue.Scheduled || retry && was.Terminal() {
		if was.Terminal() {
			j.failed, j.lost, j.result, j.finished, j.started = 0, 0, "", 0, 0
		}
		m.wait(j)
	}
	return was
}

func (m *model) redrive() int {
	dead := m.in(queue.Dead)
	for _, j := range slices.Backward(dead) {
		m.requeue(j.id, true)
	}
	return len(dead)
}

func (m *model) purge(s queue.State) int {
	n := 0
	switch s {
	case queue.Succeeded, queue.Cancelled:
		for len(m.finished) > 0 {
			if m.dropOldest() {
				n++
			}
		}
		return n
	case queue.Waiting:
		m.lists = [5][]string{}
	}
	for id, j := range m.jobs {
		if j.state == s {
			delete(m.jobs, id)
			n++
		}
	}
	return n
}

func (m *model) remove(id string) queue.State {
	j := m.jobs[id]
	if j == nil {
		return ""
	}
	if j.state.Terminal() {
		delete(m.jobs, id)
	}
	return j.state
}

func (m *model) configure(s queue.Settings) {
	if m.version > s.Version {
		return
	}
	newer := m.version < s.Version
	m.settings, m.version = s, s.Version
	if newer {
		m.retain()
	}
}

// renew returns what became of a lease.
func (m *model) renew(id, token string) queue.Renewal {
	j := m.jobs[id]
	if j == nil || j.state != queue.Active || j.token != token {
		return queue.Lost
	}
	if j.handed > 0 {
		return queue.Lost
	}
	j.leaseEnd = m.now + m.lease
	if j.cancelling {
		return queue.CancelRequested
	}
	return queue.Kept
}
