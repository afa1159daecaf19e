package dispatch

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/deetoo/deetoo/queue"
)

// Whoever asks is told of every attempt once, with how it ended and how long it took.
func TestAttempted(t *testing.T) {
	simulate(t, func(w *world) {
		w.newType("a", 1)
		y := newTally(func(_ context.Context, l *queue.Lease) Outcome {
			time.Sleep(300 * time.Millisecond)
			if l.Attempt == 1 {
				return Outcome{Verdict: Retry, Err: "no"}
			}
			return Outcome{Verdict: Done}
		})
		var mu sync.Mutex
		var told []string
		w.node(y, func(o *Options) {
			o.Attempted = func(typ, outcome string, took, waited time.Duration) {
				mu.Lock()
				defer mu.Unlock()
				told = append(told, fmt.Sprint(typ, " ", outcome))
				if took != 300*time.Millisecond || waited < 0 || waited > 2*time.Second {
					t.Errorf("%s: it took %s, after it had been due for %s", outcome, took, waited)
				}
			}
		})
		id := w.push(queue.Job{Type: "a", MaxAttempts: 2})[0]
		time.Sleep(time.Hour)
		w.expect("a", id, queue.Succeeded, "1 failed, 2 succeeded")
		mu.Lock()
		defer mu.Unlock()
		if !slices.Equal(told, []string{"a failed", "a succeeded"}) {
			t.Errorf("it was told of %q", told)
		}
		w.clean("a")
	})
}
