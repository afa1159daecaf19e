package dispatch

import (
	"testing"
	"time"

	"github.com/deetoo/deetoo/queue"
)

func TestExpiredJobsAreNotAttempted(t *testing.T) {
	simulate(t, func(w *world) {
		w.newType("a", 1)
		y := newTally(answer(Outcome{Status: 500, Err: "no"}))
		w.node(y)
		// Retries come after 1, 2 and 4 s: the last would be due at 7 s.
		id := w.push(queue.Job{Type: "a", TTL: 5 * time.Second})[0]
		time.Sleep(time.Minute)
		if j := w.get("a", id); !j.Expired || y.count(id) != 3 {
			t.Errorf("%+v, %d attempts", j, y.count(id))
		}
		w.expect("a", id, queue.Cancelled, "1 failed, 2 failed, 3 failed, 4 expired")
		w.clean("a")
	})
}

func TestExpiredJobsTakeNoSlot(t *testing.T) {
	simulate(t, func(w *world) {
		w.newType("a", 1)
		y := newTally(work(10 * time.Second))
		w.node(y)
		first := w.push(queue.Job{Type: "a"})[0]
		time.Sleep(time.Second)
		late := w.push(queue.Job{Type: "a", TTL: 5 * time.Second})[0]
		next := w.push(queue.Job{Type: "a", TTL: time.Hour})[0]
		time.Sleep(time.Minute)
		if len(y.times(first)) != 1 || len(y.times(late)) != 0 || len(y.times(next)) != 1 {
			t.Errorf("attempts: %v, %v, %v", y.times(first), y.times(late), y.times(next))
		}
		if gap := y.times(next)[0].Sub(y.times(first)[0]); gap > 11*time.Second {
			t.Errorf("the slot was free for %v", gap-10*time.Second)
		}
	})
}
