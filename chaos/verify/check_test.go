package verify

import (
	"slices"
	"strings"
	"testing"
	"time"
)

var begun = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// at is so many milliseconds after the beginning.
func at(ms int) time.Time { return begun.Add(time.Duration(ms) * time.Millisecond) }

func attempt(typ, id string, n, start, end, status int) Attempt {
	return Attempt{Job: Job{typ, id}, N: n, Nonce: id + "-" + clock(at(start)), Start: at(start), End: at(end), Status: status, By: "d1"}
}

// sound is a history in which every promise was kept, with a little of everything.
func sound() *History {
	h := &History{
		Lease: 3 * time.Second,
		Types: []Type{
			{Name: "work", Concurrency: 2, MaxAttempts: 2},
			{Name: "rated", Concurrency: 9, MaxAttempts: 2, Burst: 2, Interval: 100 * time.Millisecond},
			{Name: "ticks", Concurrency: 9, MaxAttempts: 2, Every: 500 * time.Millisecond},
		},
		Faults: []Fault{
			{Kind: "kill -9", Target: "d1", Begin: at(20_000), End: at(20_000)},
			{Kind: "SIGTERM", Target: "d1", Begin: at(40_000), End: at(41_000), Harmless: true},
			{Kind: "SIGSTOP", Target: "d2", Begin: at(60_000), End: at(66_000), Sleep: true},
		},
		Quiet: at(90_000), Drained: at(100_000),
		Samples: []Sample{{By: "d1", At: at(1000), Resident: 30 << 20, Descriptors: 40}},
		Since:   at(0), Until: at(1400),
	}
	push := func(typ, id string, ms int) {
		h.Pushes = append(h.Pushes, Push{Job{typ, id}, at(ms), at(ms + 5), Accepted})
	}
	end := func(typ, id, state string, finished int, history ...Recorded) *Final {
		h.Finals = append(h.Finals, Final{Job: Job{typ, id}, State: state, Attempt: 1, FinishedAt: at(finished), History: history})
		return &h.Finals[len(h.Finals)-1]
	}
	run := func(a Attempt) string { h.Attempts = append(h.Attempts, a); return a.Nonce }

	push("work", "done", 1000)
	end("work", "done", "succeeded", 1111, Recorded{1, at(1010), "succeeded", 200}).Result = run(attempt("work", "done", 1, 1010, 1110, 200))

	push("work", "retried", 1000)
	run(attempt("work", "retried", 1, 1020, 1030, 500))
	nonce := run(attempt("work", "retried", 2, 2000, 2010, 200))
	end("work", "retried", "succeeded", 2011, Recorded{1, at(1020), "failed", 500}, Recorded{2, at(2000), "succeeded", 200}).Result = nonce

	push("work", "fatal", 3000)
	run(attempt("work", "fatal", 1, 3010, 3020, 500))
	run(attempt("work", "fatal", 2, 4000, 4010, 500))
	end("work", "fatal", "dead", 4011, Recorded{1, at(3010), "failed", 500}, Recorded{2, at(4000), "dead", 500})

	push("work", "called", 5000)
	h.Cancellations = append(h.Cancellations, Cancellation{Job{"work", "called"}, at(5010), at(5020), 200})
	end("work", "called", "cancelled", 5020)

	push("work", "stopped", 6000)
	run(attempt("work", "stopped", 1, 6010, 6050, 0))
	h.Cancellations = append(h.Cancellations, Cancellation{Job{"work", "stopped"}, at(6030), at(6040), 202})
	end("work", "stopped", "cancelled", 6051, Recorded{1, at(6010), "cancelled", 0})

	push("work", "orphan", 19_000)
	run(attempt("work", "orphan", 1, 19_010, 20_001, 0))
	again := attempt("work", "orphan", 1, 23_000, 23_100, 200)
	again.By = "d2"
	end("work", "orphan", "succeeded", 23_101, Recorded{1, at(19_010), "lost", 0}, Recorded{1, at(23_000), "succeeded", 200}).Result = run(again)

	push("work", "slept", 59_000)
	asleep := attempt("work", "slept", 1, 59_900, 65_000, 200)
	asleep.By = "d2"
	run(asleep)
	end("work", "slept", "succeeded", 64_001, Recorded{1, at(59_900), "lost", 0}, Recorded{1, at(63_100), "succeeded", 200}).Result =
		run(attempt("work", "slept", 1, 63_100, 64_000, 200))

	for i, ms := range []int{7000, 7000, 7100, 7201, 8000} {
		id := string(rune('a' + i))
		push("rated", id, 6900)
		end("rated", id, "succeeded", ms+11, Recorded{1, at(ms), "succeeded", 200}).Result = run(attempt("rated", id, 1, ms+1, ms+10, 200))
	}
	for _, ms := range []int{0, 500, 1000, 1500} {
		id := "ticks:" + at(ms).Format(time.RFC3339Nano)
		end("ticks", id, "succeeded", ms+11).Result = run(attempt("ticks", id, 1, ms+1, ms+10, 200))
	}
	slices.SortFunc(h.Attempts, func(a, b Attempt) int { return a.Start.Compare(b.Start) })
	return h
}

func (h *History) final(id string) *Final {
	return &h.Finals[slices.IndexFunc(h.Finals, func(f Final) bool { return f.ID == id })]
}

func (h *History) attempts(id string) []*Attempt {
	var all []*Attempt
	for i := range h.Attempts {
		if h.Attempts[i].ID == id {
			all = append(all, &h.Attempts[i])
		}
	}
	return all
}

func (h *History) drop(id string) {
	h.Finals = slices.DeleteFunc(h.Finals, func(f Final) bool { return f.ID == id })
}

func TestSoundHistory(t *testing.T) {
	for _, f := range sound().Verify() {
		if len(f.Broken) > 0 || f.Evidence == "" {
			t.Errorf("%s: evidence %q, broken %q", f.Name, f.Evidence, f.Broken)
		}
	}
}

func TestEveryCheckCanFail(t *testing.T) {
	failed := map[string]bool{}
	for _, c := range []struct {
		check, says string
		change      func(h *History)
	}{
		{"I1", "is not there", func(h *History) { h.drop("done") }},
		{"I1", "is there 2 times", func(h *History) { h.Finals = append(h.Finals, *h.final("done")) }},
		{"I1", "is waiting", func(h *History) { h.final("done").State = "waiting" }},
		{"I1", "nobody pushed it", func(h *History) { h.final("done").ID = "else" }},
		{"I1", "was refused, and is there", func(h *History) { h.Pushes[0].Fate = Refused }},
		{"I1", "was refused", func(h *History) { h.Pushes[0].Fate = Refused; h.drop("done") }},
		{"I2", "no handler said so", func(h *History) { h.attempts("done")[0].Status = 500 }},
		{"I2", "of no attempt that succeeded", func(h *History) { h.final("done").Result = "stale" }},
		{"I2", "is dead after 1 failures", func(h *History) { h.final("fatal").History = h.final("fatal").History[1:] }},
		{"I2", "nobody asked for it", func(h *History) { h.final("done").State = "cancelled" }},
		{"I2", "answered 500 2 times", func(h *History) { h.attempts("fatal")[0].Status = 200 }},
		{"I3", "met no fault", func(h *History) { h.Faults[0].Target = "d3" }},
		{"I3", "met no fault", func(h *History) { h.Faults[0].Harmless = true }},
		{"I3", "met no fault", func(h *History) { h.Faults[0].Begin, h.Faults[0].End = at(22_500), at(22_600) }},
		{"I3", "met no fault", func(h *History) { h.attempts("retried")[0].Status = 200 }},
		{"I3", "met no fault", func(h *History) { h.attempts("retried")[0].End = at(2001) }},
		{"I4", "3 of work at once", func(h *History) {
			h.attempts("retried")[0].End = at(1200)
			h.Attempts = append(h.Attempts, attempt("work", "more", 1, 1050, 1060, 200))
		}},
		{"I4", "3 of work at once", func(h *History) {
			h.attempts("retried")[0].End = at(1200)
			h.Attempts = append(h.Attempts, attempt("work", "more", 1, 1050, 1050+1+int(noticing/time.Millisecond), 0))
		}},
		{"I4", "of work at once", func(h *History) { h.Types[0].Concurrency, h.Faults[2].Sleep = 1, false }},
		{"I5", "after it had ended", func(h *History) { h.Attempts = append(h.Attempts, attempt("work", "done", 1, 4000, 4010, 200)) }},
		{"I5", "has ended 2 times", func(h *History) { f := h.final("done"); f.History = append(f.History, f.History[0]) }},
		{"I7", "not all is done", func(h *History) { h.Drained, h.Left = time.Time{}, "work: 1" }},
		{"I7", "until all was done", func(h *History) { h.Drained = at(190_000) }},
		{"I7", "fsck: orphan", func(h *History) { h.Fsck = []string{"orphan"} }},
		{"I8", "too early", func(h *History) {
			h.final("b").History[0].StartedAt = at(7050)
			h.final("c").History[0].StartedAt = at(7060)
		}},
		{"I8", "too early", func(h *History) { h.Types[1].Burst = 1 }},
		{"I9", "and began at", func(h *History) { h.Attempts = append(h.Attempts, attempt("work", "called", 1, 5500, 5510, 200)) }},
		{"I9", "and began at", func(h *History) {
			h.Attempts = append(h.Attempts, attempt("work", "stopped", 1, 6100, 6110, 200), attempt("work", "stopped", 1, 6200, 6210, 200))
		}},
		{"I9", "and began at", func(h *History) { h.Attempts = append(h.Attempts, attempt("work", "stopped", 1, 9100, 9110, 200)) }},
		{"I10", "MB at", func(h *History) { h.Samples[0].Resident = 1 << 30 }},
		{"I10", "descriptors at", func(h *History) { h.Samples[0].Descriptors = 5000 }},
		{"I10", "nobody looked", func(h *History) { h.Samples = nil }},
		{"I11", "was not fired", func(h *History) { h.drop("ticks:2026-03-01T12:00:00.5Z") }},
		{"I11", "of one tick", func(h *History) { h.final("ticks:2026-03-01T12:00:00.5Z").ID = "ticks:2026-03-01T12:00:01.000Z" }},
		{"I11", "is of no tick", func(h *History) { h.final("ticks:2026-03-01T12:00:01.5Z").ID = "ticks:2026-03-01T12:00:01.6Z" }},
		{"I11", "no tick in its ID", func(h *History) { h.final("ticks:2026-03-01T12:00:01.5Z").ID = "odd" }},
	} {
		h := sound()
		c.change(h)
		found := false
		for _, f := range h.Verify() {
			if f.Name == c.check {
				found = slices.ContainsFunc(f.Broken, func(s string) bool { return strings.Contains(s, c.says) })
				if !found {
					t.Errorf("%s does not say %q but %q", c.check, c.says, f.Broken)
				}
			}
		}
		failed[c.check] = failed[c.check] || found
	}
	for _, c := range Checks() {
		if !failed[c.Name] {
			t.Errorf("%s never fails", c.Name)
		}
	}
}

// A handler that works on for a moment, after its request was called off, is not counted.
func TestNoticing(t *testing.T) {
	h := sound()
	h.attempts("retried")[0].End = at(1100)
	h.attempts("stopped")[0].Start, h.attempts("stopped")[0].End = at(1050), at(1060)
	if got := broken(h); got != "" {
		t.Error(got)
	}
}

// What a Redis forgot with a crash is no breach, if it was not promised; what it
// had answered long before is.
func TestForgetting(t *testing.T) {
	crash := Fault{Kind: "kill -9 of Redis", Begin: at(1500), End: at(1800), Forgets: time.Second}
	h := sound()
	h.Faults = append(h.Faults, crash)
	h.drop("done")
	if got := broken(h); got != "" {
		t.Errorf("a job that was forgotten: %s", got)
	}
	h = sound()
	h.Faults = append(h.Faults, crash)
	h.attempts("retried")[0].Status = 200 // and settled, and run again
	h.final("retried").History = h.final("retried").History[1:]
	if got := broken(h); got != "" {
		t.Errorf("a settlement that was forgotten: %s", got)
	}
	h = sound()
	crash.Begin, crash.End = at(9000), at(9100)
	h.Faults = append(h.Faults, crash)
	h.drop("done")
	if got := broken(h); got != "I1" {
		t.Errorf("a job that was lost: %q", got)
	}
}

func broken(h *History) string {
	var names []string
	for _, f := range h.Verify() {
		if len(f.Broken) > 0 {
			names = append(names, f.Name)
		}
	}
	return strings.Join(names, " ")
}

func TestRecoveries(t *testing.T) {
	h := sound()
	h.Faults = append(h.Faults, Fault{Kind: "Redis away", Begin: at(6500), End: at(6990)})
	got := h.Recoveries()
	if len(got) != 2 || got[0].At(1) != 3*time.Second || got[1].At(0.5) != 11*time.Millisecond {
		t.Errorf("%+v", got)
	}
	if got := h.Unavailable(); got < 50*time.Second || got > time.Minute {
		t.Errorf("unavailable for %s", got)
	}
	if (Recovery{}).At(0.5) != 0 {
		t.Error("a quantile of nothing")
	}
}
