package dispatch

import (
	"testing"
	"time"

	"github.com/deetoo/deetoo/queue"
)

// What is said of a waiting job's turn comes true: at the pace jobs end, it starts about then.
func TestPaceTellsWhenAJobStarts(t *testing.T) {
	simulate(t, func(w *world) {
		y := newTally(work(2 * time.Second))
		w.newType("email", 4)
		w.node(y)
		w.push(jobs("email", 60)...)
		last := w.push(queue.Job{Type: "email", ID: "last"})[0]
		var c *queue.Circumstances
		w.until("there is a pace", time.Minute, func() bool {
			var err error
			if c, err = w.q.Circumstances(bg, "email", last); err != nil {
				t.Fatal(err)
			}
			return c.Pace > 0 && c.Ahead < 30
		})
		expected := c.At.Add(time.Duration(float64(c.Ahead+1) / c.Pace * float64(time.Second)))
		w.until("it runs", 2*time.Minute, func() bool { return y.count(last) == 1 })
		if off := y.times(last)[0].Sub(expected); off.Abs() > 5*time.Second {
			t.Errorf("behind %d at %.2f a second: off by %s", c.Ahead, c.Pace, off)
		}
		if n, err := w.q.Listeners(bg); n != 1 || err != nil {
			t.Errorf("%d dispatchers listen, %v", n, err)
		}
		w.nodes[0].silence()
		w.until("nobody listens", time.Minute, func() bool { // the connection may end a moment later
			n, err := w.q.Listeners(bg)
			return n == 0 && err == nil
		})
	})
}
