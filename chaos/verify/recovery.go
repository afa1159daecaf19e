package verify

import (
	"slices"
	"strings"
	"time"
)

// Recovery is how long it took to recover from faults of a kind.
type Recovery struct {
	What string
	Took []time.Duration // sorted
}

// At is a quantile of it, from 0 to 1.
func (r Recovery) At(q float64) time.Duration {
	if len(r.Took) == 0 {
		return 0
	}
	return r.Took[min(int(q*float64(len(r.Took))), len(r.Took)-1)].Round(time.Millisecond)
}

// Recoveries are all that can be told from the history; those that never happened are left out.
func (h *History) Recoveries() []Recovery {
	killed := Recovery{What: "from kill -9 of a dispatcher until its jobs run elsewhere"}
	back := Recovery{What: "from Redis being back until the first delivery"}
	byJob := h.byJob()
	for _, f := range h.Faults {
		switch {
		case f.Kind == "kill -9":
			for i := range h.Attempts {
				a := &h.Attempts[i]
				if a.By != f.Target || a.Status != 0 || a.Start.After(f.Begin) || a.End.Before(f.Begin) {
					continue
				}
				for _, again := range byJob[a.Job] {
					if again.Start.After(a.Start) {
						killed.Took = append(killed.Took, again.Start.Sub(f.Begin))
						break
					}
				}
			}
		case f.Target == "" && strings.Contains(f.Kind, "Redis") && !h.overlapped(f):
			for i := range h.Attempts {
				if h.Attempts[i].Start.After(f.End) {
					back.Took = append(back.Took, h.Attempts[i].Start.Sub(f.End))
					break
				}
			}
		}
	}
	var all []Recovery
	for _, r := range []Recovery{killed, back} {
		if slices.Sort(r.Took); len(r.Took) > 0 {
			all = append(all, r)
		}
	}
	return all
}

// overlapped reports whether another fault of Redis was under way when one ended.
func (h *History) overlapped(f Fault) bool {
	return slices.ContainsFunc(h.Faults, func(o Fault) bool {
		return o != f && o.Target == "" && o.Begin.Before(f.End) && o.End.After(f.End)
	})
}

// Unavailable is how long in all producers waited for any push to be accepted,
// where that was more than a second.
func (h *History) Unavailable() time.Duration {
	var accepted []time.Time
	for _, p := range h.Pushes {
		if p.Fate == Accepted {
			accepted = append(accepted, p.Answered)
		}
	}
	slices.SortFunc(accepted, time.Time.Compare)
	var sum time.Duration
	for i := 1; i < len(accepted); i++ {
		if gap := accepted[i].Sub(accepted[i-1]); gap > time.Second {
			sum += gap
		}
	}
	return sum
}
