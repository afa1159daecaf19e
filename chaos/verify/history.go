// Package verify tells whether DeeToo kept its promises, from what producers
// and handlers saw, the faults that were made, and what is stored at the end.
package verify

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Job names a job.
type Job struct{ Type, ID string }

// String is type/id.
func (j Job) String() string { return j.Type + "/" + j.ID }

// Push is what a producer knows of a job.
type Push struct {
	Job
	Offered, Answered time.Time
	// Fate is Accepted, Refused or Abandoned.
	Fate Kind
}

// Cancellation is what a producer knows of one.
type Cancellation struct {
	Job
	Asked, Answered time.Time
	// Status that it was answered with; 0: it never was.
	Status int
}

// Attempt is what a handler knows of one.
type Attempt struct {
	Job
	// N counts from 1; an attempt that stands for a lost one has its number.
	N          int
	Nonce      string
	Start, End time.Time
	// Status is what the handler answered; 0: the request was called off.
	Status int
	// By is the dispatcher that made it.
	By string
}

func (a *Attempt) succeeded() bool { return a.Status/100 == 2 }
func (a *Attempt) failed() bool    { return a.Status >= 300 }

// Fault is something done to dispatchers or their Redis.
type Fault struct {
	Kind string
	// Target is the dispatcher that alone suffers; empty: all do.
	Target     string
	Begin, End time.Time
	// Harmless faults may not make any job run twice.
	Harmless bool
	// Forgets is how much of what Redis had answered may be lost with it.
	Forgets time.Duration
	// Sleep says that Target slept through it, its requests still open.
	Sleep bool
}

// String is the kind and its target.
func (f Fault) String() string {
	if f.Target == "" {
		return f.Kind
	}
	return f.Kind + " of " + f.Target
}

// Recorded is a line of a job's history in the store.
type Recorded struct {
	N         int       `json:"n"`
	StartedAt time.Time `json:"started_at"`
	Outcome   string    `json:"outcome"`
	Status    int       `json:"status"`
}

// Final is a job in the store at the end.
type Final struct {
	Job
	State      string
	Attempt    int
	Lost       int
	FinishedAt time.Time
	// Result that the store has; handlers answer with their attempt's nonce.
	Result  string
	History []Recorded
}

// Type is what was promised of a job type.
type Type struct {
	Name        string
	Concurrency int
	MaxAttempts int
	// Rate of starts, if there is one: Burst at once, then one each Interval.
	Burst    int
	Interval time.Duration
	// Every is how often a schedule pushes a job of the type; 0: none does. IDs end with their tick.
	Every time.Duration
}

// Sample is what a dispatcher used at a time.
type Sample struct {
	By          string
	At          time.Time
	Resident    int64 // bytes
	Descriptors int
}

// History is all that is known of a run.
type History struct {
	Lease time.Duration
	Types []Type
	// Pushes, Cancellations and Attempts are from the ledgers; see Read.
	Pushes        []Push
	Cancellations []Cancellation
	Attempts      []Attempt
	Faults        []Fault
	// Quiet is when the last fault had ended, Drained when nothing was left to do; zero if something was.
	Quiet, Drained time.Time
	// Left says what was left to do, if anything.
	Left string
	// Finals are the jobs in the store, and Fsck what is wrong with it.
	Finals []Final
	Fsck   []string
	// Samples of the dispatchers, and Rest those after the run.
	Samples, Rest []Sample
	// Schedules ran from Since until Until.
	Since, Until time.Time
}

// Read takes the events of ledgers into the history.
func (h *History) Read(events []Event) error {
	pushes, cancels, attempts := map[Job]*Push{}, map[Job]*Cancellation{}, map[string]*Attempt{}
	for _, e := range events {
		j := Job{e.Type, e.ID}
		switch e.Kind {
		case Offered:
			if pushes[j] != nil {
				return fmt.Errorf("%s was offered twice", j)
			}
			pushes[j] = &Push{Job: j, Offered: e.At, Fate: Abandoned}
		case Accepted, Refused, Abandoned:
			p := pushes[j]
			if p == nil {
				return fmt.Errorf("%s was %s and never offered", j, e.Kind)
			}
			p.Answered, p.Fate = e.At, e.Kind
		case Cancel:
			cancels[j] = &Cancellation{Job: j, Asked: e.At}
		case Cancelled:
			c := cancels[j]
			if c == nil {
				return fmt.Errorf("%s was cancelled and never asked to be", j)
			}
			c.Answered, c.Status = e.At, e.Status
		case Started:
			if attempts[e.Nonce] != nil {
				return fmt.Errorf("attempt %s began twice", e.Nonce)
			}
			attempts[e.Nonce] = &Attempt{Job: j, N: e.Attempt, Nonce: e.Nonce, Start: e.At, By: e.By}
		case Ended:
			a := attempts[e.Nonce]
			if a == nil {
				return fmt.Errorf("attempt %s ended and never began", e.Nonce)
			}
			a.End, a.Status = e.At, e.Status
		default:
			return fmt.Errorf("unknown event %q", e.Kind)
		}
	}
	for _, p := range pushes {
		h.Pushes = append(h.Pushes, *p)
	}
	for _, c := range cancels {
		h.Cancellations = append(h.Cancellations, *c)
	}
	for _, a := range attempts {
		if a.End.IsZero() {
			return fmt.Errorf("attempt %s of %s never ended", a.Nonce, a.Job)
		}
		h.Attempts = append(h.Attempts, *a)
	}
	slices.SortFunc(h.Pushes, func(a, b Push) int { return a.Offered.Compare(b.Offered) })
	slices.SortFunc(h.Cancellations, func(a, b Cancellation) int { return a.Asked.Compare(b.Asked) })
	slices.SortFunc(h.Attempts, func(a, b Attempt) int {
		return cmp.Or(a.Start.Compare(b.Start), strings.Compare(a.Nonce, b.Nonce))
	})
	return nil
}

// byJob are the attempts of each job, in the order of their starts.
func (h *History) byJob() map[Job][]*Attempt {
	all := map[Job][]*Attempt{}
	for i := range h.Attempts {
		a := &h.Attempts[i]
		all[a.Job] = append(all[a.Job], a)
	}
	return all
}

// forgotten reports whether what was answered at a time may have been lost.
func (h *History) forgotten(at time.Time) bool {
	return slices.ContainsFunc(h.Faults, func(f Fault) bool {
		return f.Forgets > 0 && !at.Before(f.Begin.Add(-f.Forgets)) && !at.After(f.End)
	})
}

// forgets reports whether anything may have been lost at all.
func (h *History) forgets() bool {
	return slices.ContainsFunc(h.Faults, func(f Fault) bool { return f.Forgets > 0 })
}

func (h *History) finals() map[Job]*Final {
	all := map[Job]*Final{}
	for i := range h.Finals {
		all[h.Finals[i].Job] = &h.Finals[i]
	}
	return all
}
