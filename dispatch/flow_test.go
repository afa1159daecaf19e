package dispatch

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/deetoo/deetoo/queue"
	"github.com/deetoo/deetoo/registry"
)

// all returns when attempts of any job began, in order.
func (y *tally) all() []time.Time {
	y.mu.Lock()
	defer y.mu.Unlock()
	var out []time.Time
	for _, at := range y.starts {
		out = append(out, at...)
	}
	slices.SortFunc(out, time.Time.Compare)
	return out
}

// However many dispatchers, within any time t no more attempts start than burst
// + t·limit/per; and while jobs wait, no fewer: lanes sleep exactly until the next may start.
func TestRateHoldsAcrossDispatchers(t *testing.T) {
	for _, nodes := range []int{1, 4} {
		t.Run(fmt.Sprint(nodes), func(t *testing.T) {
			simulate(t, func(w *world) {
				const limit, burst, n = 20, 4, 100
				w.newType("a", 50, func(t *registry.Type) { t.Rate = registry.Rate{Limit: limit, Per: time.Second, Burst: burst} })
				y := newTally(work(300 * time.Millisecond))
				for range nodes {
					w.node(y)
				}
				w.push(jobs("a", n)...)
				begin := time.Now()
				w.until("all succeed", time.Minute, func() bool { return w.stats("a").Finished == n })
				starts := y.all()
				for i := range starts {
					for j := i; j < len(starts); j++ {
						// Redis gave them out up to a moment before they began.
						span := starts[j].Sub(starts[i]) + 2*time.Millisecond
						if float64(j-i+1) > burst+span.Seconds()*limit {
							t.Fatalf("%d attempts started within %v", j-i+1, span)
						}
					}
				}
				if took := starts[len(starts)-1].Sub(begin); len(starts) != n || took > 5200*time.Millisecond {
					t.Errorf("%d attempts at %d a second, in %v", len(starts), limit, took)
				}
				calls := 0
				for _, node := range w.nodes {
					calls += node.link.calls()
				}
				if most := (3*n + 100) * nodes; calls > most {
					t.Errorf("%d calls for %d jobs", calls, n)
				}
				w.clean("a")
			})
		})
	}
}

// A type that is out of its rate changes its mind at once when told to.
func TestRateChangesLive(t *testing.T) {
	simulate(t, func(w *world) {
		w.newType("a", 5, func(t *registry.Type) { t.Rate = registry.Rate{Limit: 1, Per: 24 * time.Hour} })
		y := newTally(work(time.Second))
		w.node(y)
		w.push(jobs("a", 10)...)
		time.Sleep(time.Hour)
		if n := len(y.all()); n != 1 {
			t.Fatalf("%d attempts, want 1", n)
		}
		typ := w.typ("a")
		typ.Rate = registry.Rate{}
		w.set(&typ)
		w.until("all succeed", 10*time.Second, func() bool { return w.stats("a").Finished == 10 })
		w.clean("a")
	})
}

// One tenant with very many jobs delays nobody: among 1,000 groups, a
// newcomer's first job starts after at most one job of each other.
func TestNewcomerWaitsOneRound(t *testing.T) {
	simulate(t, func(w *world) {
		const groups, slots = 1000, 40
		w.newType("a", slots)
		var mu sync.Mutex
		var order []string
		y := newTally(func(ctx context.Context, l *queue.Lease) Outcome {
			mu.Lock()
			order = append(order, l.Group)
			mu.Unlock()
			return work(time.Second)(ctx, l)
		})
		w.node(y)
		w.node(y)
		flood := jobs("a", 5000)
		for i := range flood {
			flood[i].Group = "whale"
		}
		for i := range 2 * (groups - 1) {
			flood = append(flood, queue.Job{Type: "a", Group: fmt.Sprint("g", i%(groups-1))})
		}
		w.push(flood...)
		time.Sleep(5500 * time.Millisecond)
		mu.Lock()
		before := len(order)
		mu.Unlock()
		w.push(queue.Job{Type: "a", ID: "first", Group: "newcomer"})
		w.until("the newcomer starts", time.Minute, func() bool { return y.count("first") == 1 })
		mu.Lock()
		defer mu.Unlock()
		at := slices.Index(order, "newcomer")
		if at-before > groups+slots { // those handed out before it came may begin after
			t.Errorf("%d jobs started before the newcomer's", at-before)
		}
		count := map[string]int{}
		for _, g := range order[before:at] {
			if count[g]++; count[g] > 2 {
				t.Fatalf("group %s had %d turns meanwhile", g, count[g])
			}
		}
	})
}

// Limits of groups hold across dispatchers, and a group at its limit is in nobody's way.
func TestGroupLimits(t *testing.T) {
	simulate(t, func(w *world) {
		w.newType("a", 10, func(t *registry.Type) {
			t.Groups = registry.Groups{Concurrency: 2, Rate: registry.Rate{Limit: 4, Per: time.Second, Burst: 2}}
		})
		var mu sync.Mutex
		now, most, starts := map[string]int{}, map[string]int{}, map[string][]time.Time{}
		y := newTally(func(ctx context.Context, l *queue.Lease) Outcome {
			mu.Lock()
			now[l.Group]++
			most[l.Group] = max(most[l.Group], now[l.Group])
			starts[l.Group] = append(starts[l.Group], time.Now())
			mu.Unlock()
			defer func() { mu.Lock(); now[l.Group]--; mu.Unlock() }()
			if l.Attempt == 1 && l.ID[25]%4 == 0 {
				return Outcome{Err: "once"}
			}
			return work(400*time.Millisecond)(ctx, l)
		})
		w.node(y)
		w.node(y)
		var all []queue.Job
		for i := range 100 {
			all = append(all, queue.Job{Type: "a", Group: "whale"}, queue.Job{Type: "a", Group: fmt.Sprint("g", i%5)})
		}
		w.push(all...)
		w.until("the small ones are done", 15*time.Second, func() bool {
			groups, err := w.q.Groups(bg, "a", "", 0)
			return err == nil && len(groups.Groups) == 1
		})
		w.until("all succeed", time.Minute, func() bool { return w.stats("a").Finished == len(all) })
		for group, at := range starts {
			if most[group] > 2 {
				t.Errorf("%d jobs of %s ran at once", most[group], group)
			}
			for i := range at {
				for j := i; j < len(at); j++ {
					if span := at[j].Sub(at[i]) + 2*time.Millisecond; float64(j-i+1) > 2+4*span.Seconds() {
						t.Fatalf("%d jobs of %s started within %v", j-i+1, group, span)
					}
				}
			}
		}
		w.clean("a")
	})
}
