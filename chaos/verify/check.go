package verify

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Check is one promise, and how to tell whether it was kept.
type Check struct {
	Name, Promise string
	run           func(h *History, f *Finding)
}

// Finding is what a Check found.
type Finding struct {
	Check
	// Evidence says how much was looked at.
	Evidence string
	// Broken says where the promise was not kept.
	Broken []string
}

func (f *Finding) broken(format string, args ...any) {
	f.Broken = append(f.Broken, fmt.Sprintf(format, args...))
}

func (f *Finding) evidence(format string, args ...any) { f.Evidence = fmt.Sprintf(format, args...) }

// Checks are all there are, in the order of their names. I6, order, is not
// among them: jobs of a type start in no promised order, as they run side by side.
func Checks() []Check {
	return []Check{
		{"I1", "every accepted job ended, once", endedOnce},
		{"I2", "succeeded means that a handler said so", saidSo},
		{"I3", "a job ran again only if a fault met its attempt", repeats},
		{"I4", "never more at once than the limit", concurrency},
		{"I5", "what has ended stays ended", staysEnded},
		{"I7", "all is done and sound after the faults", drained},
		{"I8", "rates hold", rates},
		{"I9", "a cancelled job starts no more", cancelled},
		{"I10", "memory and connections stay bounded", bounded},
		{"I11", "schedules fire once a tick", ticks},
	}
}

// Verify runs all checks.
func (h *History) Verify() []Finding {
	var all []Finding
	for _, c := range Checks() {
		f := Finding{Check: c}
		c.run(h, &f)
		all = append(all, f)
	}
	return all
}

func terminal(state string) bool {
	return state == "succeeded" || state == "dead" || state == "cancelled"
}

func endedOnce(h *History, f *Finding) {
	stored := map[Job]int{}
	for _, j := range h.Finals {
		stored[j.Job]++
		if !terminal(j.State) {
			f.broken("%s is %s", j.Job, j.State)
		}
	}
	known := map[Job]bool{}
	accepted, lost := 0, 0
	for _, p := range h.Pushes {
		known[p.Job] = true
		switch n := stored[p.Job]; {
		case p.Fate == Refused && n > 0:
			f.broken("%s was refused, and is there", p.Job)
		case p.Fate == Refused:
			f.broken("%s was refused", p.Job) // nothing that is pushed is wrong
		case p.Fate == Accepted && n == 0 && h.forgotten(p.Answered):
			lost++
		case p.Fate == Accepted && n == 0:
			f.broken("%s was accepted at %s, and is not there", p.Job, clock(p.Answered))
		case n > 1:
			f.broken("%s is there %d times", p.Job, n)
		}
		if p.Fate == Accepted {
			accepted++
		}
	}
	for j := range stored {
		if !known[j] && h.typ(j.Type).Every == 0 {
			f.broken("%s is there, and nobody pushed it", j)
		}
	}
	f.evidence("%d accepted, %d lost", accepted, lost)
}

func saidSo(h *History, f *Finding) {
	said := map[Job]map[string]bool{}
	answers := map[Job]map[int]int{}
	for _, a := range h.Attempts {
		if a.succeeded() {
			if said[a.Job] == nil {
				said[a.Job] = map[string]bool{}
			}
			said[a.Job][a.Nonce] = true
		}
		if answers[a.Job] == nil {
			answers[a.Job] = map[int]int{}
		}
		answers[a.Job][a.Status]++
	}
	asked := map[Job]bool{}
	for _, c := range h.Cancellations {
		asked[c.Job] = true
	}
	states := map[string]int{}
	for _, j := range h.Finals {
		states[j.State]++
		failures := 0
		recorded := map[int]int{}
		for _, r := range j.History {
			if r.Outcome == "failed" || r.Outcome == "dead" {
				failures++
			}
			if r.Status >= 300 {
				recorded[r.Status]++
			}
		}
		for status, n := range recorded {
			if n > answers[j.Job][status] {
				f.broken("%s is said to have been answered %d %d times, and was %d times", j.Job, status, n, answers[j.Job][status])
			}
		}
		switch {
		case j.State == "succeeded" && len(said[j.Job]) == 0:
			f.broken("%s has succeeded, and no handler said so", j.Job)
		case j.State == "succeeded" && !said[j.Job][j.Result]:
			f.broken("%s has the result %q, which is of no attempt that succeeded", j.Job, j.Result)
		case j.State == "dead" && failures < h.typ(j.Type).MaxAttempts && j.Lost < maxLost:
			f.broken("%s is dead after %d failures and %d lost dispatchers", j.Job, failures, j.Lost)
		case j.State == "cancelled" && !asked[j.Job]:
			f.broken("%s is cancelled, and nobody asked for it", j.Job)
		}
	}
	f.evidence("%d succeeded, %d dead, %d cancelled", states["succeeded"], states["dead"], states["cancelled"])
}

// maxLost is how many dispatchers a job may lose before it is dead.
const maxLost = 5

// settling is how long after its handler's answer an attempt may still wait to
// be settled, or before its handler heard of it have been claimed, on a busy machine.
const settling = 2 * time.Second

// met reports whether a fault may have kept an attempt from being settled.
func (f Fault) met(a *Attempt) bool {
	if f.Harmless || f.Target != "" && f.Target != a.By {
		return false
	}
	return !a.Start.Add(-settling).After(f.End) && !a.End.Add(settling+f.Forgets).Before(f.Begin)
}

// Repeat is an attempt at a job whose attempt before had not failed.
type Repeat struct {
	Before, Again *Attempt
	// Fault that explains it, an index into the faults; -1: none does.
	Fault int
}

// Repeats finds them all.
func (h *History) Repeats() []Repeat {
	var all []Repeat
	for _, attempts := range h.byJob() {
		for i := 1; i < len(attempts); i++ {
			before, again := attempts[i-1], attempts[i]
			if before.failed() && !again.Start.Before(before.End) {
				continue // as it should
			}
			r := Repeat{before, again, -1}
			for k, fault := range h.Faults {
				if fault.met(before) {
					r.Fault = k
					break
				}
			}
			all = append(all, r)
		}
	}
	slices.SortFunc(all, func(a, b Repeat) int { return a.Again.Start.Compare(b.Again.Start) })
	return all
}

// InFlight counts the attempts that a fault met.
func (h *History) InFlight(f Fault) int {
	n := 0
	for i := range h.Attempts {
		if f.met(&h.Attempts[i]) {
			n++
		}
	}
	return n
}

func repeats(h *History, f *Finding) {
	all := h.Repeats()
	per := make([]int, len(h.Faults))
	for _, r := range all {
		if r.Fault < 0 {
			f.broken("%s began again at %s by %s; the attempt before, %s–%s by %s, was answered %d and met no fault",
				r.Again.Job, clock(r.Again.Start), r.Again.By, clock(r.Before.Start), clock(r.Before.End), r.Before.By, r.Before.Status)
			continue
		}
		per[r.Fault]++
	}
	most := 0
	for k, n := range per {
		most = max(most, n)
		if in := h.InFlight(h.Faults[k]); n > in {
			f.broken("%s at %s made %d jobs run again, and met %d attempts", h.Faults[k], clock(h.Faults[k].Begin), n, in)
		}
	}
	f.evidence("%d attempts, %d again, at most %d by one of %d faults", len(h.Attempts), len(all), most, len(h.Faults))
}

func staysEnded(h *History, f *Finding) {
	byJob, looked := h.byJob(), 0
	for _, j := range h.Finals {
		if !terminal(j.State) {
			continue
		}
		looked++
		ends := 0
		for _, r := range j.History {
			if r.Outcome == "succeeded" || r.Outcome == "dead" {
				ends++
			}
		}
		if ends > 1 {
			f.broken("%s has ended %d times", j.Job, ends)
		}
		for _, a := range byJob[j.Job] {
			// What a sleeping dispatcher had claimed before, it sends when it wakes.
			if late := a.Start.Sub(j.FinishedAt); late > settling && !h.asleep(a, j.FinishedAt) {
				f.broken("%s began at %s, %s after it had ended", j.Job, clock(a.Start), late.Round(time.Millisecond))
			}
		}
	}
	f.evidence("%d jobs", looked)
}

// asleep reports whether the dispatcher of an attempt slept at a time and until it made the attempt.
func (h *History) asleep(a *Attempt, at time.Time) bool {
	return slices.ContainsFunc(h.Faults, func(f Fault) bool {
		return f.Sleep && f.Target == a.By && !f.Begin.After(at) && !a.Start.After(f.End.Add(settling))
	})
}

// drainTime is how long after the faults and three leases the backlog may take.
const drainTime = time.Minute

func drained(h *History, f *Finding) {
	if h.Drained.IsZero() {
		f.broken("not all is done: %s", h.Left)
	} else if took := h.Drained.Sub(h.Quiet); took > 3*h.Lease+drainTime {
		f.broken("it took %s until all was done", took.Round(time.Second))
	} else {
		f.evidence("%s after the last fault", took.Round(100*time.Millisecond))
	}
	for _, line := range h.Fsck {
		f.broken("fsck: %s", line)
	}
}

func cancelled(h *History, f *Finding) {
	byJob, looked := h.byJob(), 0
	for _, c := range h.Cancellations {
		if c.Status/100 != 2 || h.forgotten(c.Answered) {
			continue
		}
		looked++
		var after []*Attempt
		for _, a := range byJob[c.Job] {
			if a.Start.After(c.Answered) && !h.asleep(a, c.Answered) {
				after = append(after, a)
			}
		}
		// The attempt that is running then may be on its way to its handler.
		if c.Status == 202 && len(after) > 0 && after[0].Start.Sub(c.Answered) < settling {
			after = after[1:]
		}
		if len(after) > 0 {
			f.broken("%s was cancelled at %s (%d), and began at %s", c.Job, clock(c.Answered), c.Status, clock(after[0].Start))
		}
	}
	f.evidence("%d cancelled", looked)
}

func (h *History) typ(name string) Type {
	for _, t := range h.Types {
		if t.Name == name {
			return t
		}
	}
	return Type{}
}

func clock(t time.Time) string { return t.UTC().Format("15:04:05.000") }

// Table writes findings as lines of a Markdown table.
func Table(findings []Finding) string {
	var b strings.Builder
	b.WriteString("| | promise | kept | evidence |\n| --- | --- | --- | --- |\n")
	for _, f := range findings {
		kept := "yes"
		if len(f.Broken) > 0 {
			kept = fmt.Sprintf("**no**, %d times", len(f.Broken))
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", f.Name, f.Promise, kept, f.Evidence)
	}
	return b.String()
}
