package verify

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// edge is where an attempt begins or ends.
type edge struct {
	at time.Time
	by int
}

// most is how many attempts there were at once, and when; ends go before starts.
func most(edges []edge) (n int, at time.Time) {
	slices.SortFunc(edges, func(a, b edge) int { return cmp.Or(a.at.Compare(b.at), a.by-b.by) })
	now := 0
	for _, e := range edges {
		if now += e.by; now > n {
			n, at = now, e.at
		}
	}
	return n, at
}

// noticing is how long a handler may take, on a busy machine, to see that a request was called off: its slot is free before.
const noticing = 250 * time.Millisecond

// Most is how many attempts of a type its handler saw at once; believed leaves
// out those whose dispatcher slept so long that its leases ended, or whose Redis
// has forgotten that they run: without a guarantee of the endpoint's own nobody can recall them.
func (h *History) Most(typ string, believed bool) (n int, at time.Time) {
	var edges []edge
	for _, a := range h.Attempts {
		if a.Type != typ {
			continue
		}
		end := a.End
		if believed {
			if a.Status == 0 {
				end = end.Add(-noticing)
			}
			for _, f := range h.Faults {
				outlived := f.Sleep && f.Target == a.By && f.End.Sub(f.Begin) > h.Lease/2 && !a.Start.After(f.End.Add(settling))
				forgotten := f.Forgets > 0 && !a.Start.After(f.End)
				if (outlived || forgotten) && f.Begin.Before(end) {
					end = f.Begin
				}
			}
		}
		if end.After(a.Start) {
			edges = append(edges, edge{a.Start, 1}, edge{end, -1})
		}
	}
	return most(edges)
}

func concurrency(h *History, f *Finding) {
	var seen []string
	for _, t := range h.Types {
		if t.Concurrency == 0 {
			continue
		}
		if n, at := h.Most(t.Name, true); n > t.Concurrency {
			f.broken("%d of %s at once at %s, the limit is %d", n, t.Name, clock(at), t.Concurrency)
		}
		n, _ := h.Most(t.Name, false)
		seen = append(seen, fmt.Sprintf("%s %d/%d", t.Name, n, t.Concurrency))
	}
	f.evidence("most/limit: %s", strings.Join(seen, ", "))
}

// rates follows GCRA over the starts as the store has them.
func rates(h *History, f *Finding) {
	looked := 0
	for _, t := range h.Types {
		if t.Interval == 0 {
			continue
		}
		var starts []time.Time
		for _, j := range h.Finals {
			if j.Type == t.Name {
				for _, r := range j.History {
					if !r.StartedAt.IsZero() {
						starts = append(starts, r.StartedAt)
					}
				}
			}
		}
		slices.SortFunc(starts, time.Time.Compare)
		looked += len(starts)
		var next time.Time // the theoretical arrival time
		for _, at := range starts {
			if next.Before(at) {
				next = at
			}
			// Starts are told in whole milliseconds.
			if early := next.Sub(at) - time.Duration(t.Burst-1)*t.Interval; early > 2*time.Millisecond && !h.forgets() {
				f.broken("%s: a start at %s, %s too early", t.Name, clock(at), early)
			}
			next = next.Add(t.Interval)
		}
	}
	f.evidence("%d starts", looked)
}

// What a dispatcher may use, whatever happens around it.
const (
	maxResident    = 256 << 20 // bytes
	maxDescriptors = 400
)

func bounded(h *History, f *Finding) {
	var memory int64
	files := 0
	for _, s := range h.Samples {
		memory, files = max(memory, s.Resident), max(files, s.Descriptors)
		if s.Resident > maxResident {
			f.broken("%s had %d MB at %s", s.By, s.Resident>>20, clock(s.At))
		}
		if s.Descriptors > maxDescriptors {
			f.broken("%s had %d descriptors at %s", s.By, s.Descriptors, clock(s.At))
		}
	}
	f.evidence("at most %d MB and %d descriptors a dispatcher", memory>>20, files)
	if len(h.Samples) == 0 {
		f.broken("nobody looked")
	}
}

// ticks wants a job of each tick of schedules that catch up with all.
func ticks(h *History, f *Finding) {
	fired, missing := 0, 0
	finals := h.finals()
	for _, t := range h.Types {
		if t.Every == 0 {
			continue
		}
		seen := map[time.Time]Job{}
		for j := range finals {
			if j.Type != t.Name {
				continue
			}
			_, text, _ := strings.Cut(j.ID, ":")
			tick, err := time.Parse(time.RFC3339Nano, text)
			switch other, twice := seen[tick]; {
			case err != nil:
				f.broken("%s has no tick in its ID", j)
				continue
			case twice:
				f.broken("%s and %s are of one tick", other, j)
			case tick.UnixNano()%int64(t.Every) != 0:
				f.broken("%s is of no tick", j)
			}
			seen[tick] = j
		}
		fired += len(seen)
		for tick := h.Since.Truncate(t.Every).Add(t.Every); tick.Before(h.Until); tick = tick.Add(t.Every) {
			if _, ok := seen[tick.UTC()]; ok {
				continue
			}
			if h.forgotten(tick) {
				missing++
				continue
			}
			f.broken("the tick of %s at %s was not fired", t.Name, clock(tick))
		}
	}
	f.evidence("%d fired, %d lost", fired, missing)
}
