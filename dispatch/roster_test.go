package dispatch

import (
	"fmt"
	"testing"
	"time"

	"github.com/deetoo/deetoo/queue"
)

// Many types that have jobs at the same moment take turns, and slow handlers of some hold up nobody for long.
func TestManyTypesTakeTurns(t *testing.T) {
	simulate(t, func(w *world) {
		const types, each = 150, 10
		y := newTally(work(time.Minute))
		for i := range types {
			w.newType(fmt.Sprintf("t%d", i), each)
			w.push(jobs(fmt.Sprintf("t%d", i), each)...)
		}
		n := w.node(y)
		time.Sleep(500 * time.Millisecond)
		if got := n.Running(); got < maxYoung || got >= types*each {
			t.Errorf("%d attempts under way at first", got)
		}
		time.Sleep(3 * time.Second)
		if got := n.Running(); got != types*each {
			t.Errorf("%d attempts under way, want all %d", got, types*each)
		}
		time.Sleep(2 * time.Minute)
		n.mu.Lock()
		for _, l := range n.lanes {
			if l.claimed != 0 || l.inflight != nil || l.place != asleep {
				t.Errorf("%s: place %d, claimed %d, %d in flight", l.name, l.place, l.claimed, len(l.inflight))
			}
		}
		n.mu.Unlock()
		if n.roster.young != 0 || n.roster.rising != 0 {
			t.Errorf("%d young, %d rising at the end", n.roster.young, n.roster.rising)
		}
	})
}

// Lanes whose calls hang do not hold up the others, which may be on another Redis.
func TestLanesThatHangHoldNobodyUp(t *testing.T) {
	simulate(t, func(w *world) {
		y := newTally(work(time.Millisecond))
		n := w.node(y)
		hung := 0
		n.link.set(func(op string) fault {
			if hung++; op == "exchange" && hung <= 5*maxRising {
				return silent
			}
			return fine
		})
		var ids []string
		for i := range 6 * maxRising {
			name := fmt.Sprintf("t%d", i)
			w.newType(name, 1)
			ids = append(ids, w.push(queue.Job{Type: name})...)
		}
		time.Sleep(10 * wavePatience)
		ran := 0
		for _, id := range ids {
			ran += y.count(id)
		}
		if ran != maxRising {
			t.Errorf("%d ran beside those that hang, want %d", ran, maxRising)
		}
		time.Sleep(time.Minute)
		for _, id := range ids {
			if y.count(id) != 1 {
				t.Errorf("%s ran %d times", id, y.count(id))
			}
		}
	})
}
