package dispatch

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/deetoo/deetoo/queue"
)

// A snoozed job waits as long as its answer says, costs no attempt, and keeps
// nobody else waiting.
func TestSnooze(t *testing.T) {
	simulate(t, func(w *world) {
		w.newType("a", 1)
		var attempts atomic.Int64
		y := newTally(func(_ context.Context, l *queue.Lease) Outcome {
			if l.ID == "other" {
				return Outcome{Verdict: Done}
			}
			if l.Attempt != 1 {
				t.Errorf("attempt %d: it cost one", l.Attempt)
			}
			switch attempts.Add(1) {
			case 1:
				return Outcome{Verdict: Snooze, Status: 409, Delay: time.Minute}
			case 2:
				return Outcome{Verdict: Snooze, Status: 429, RetryAfter: 2 * time.Minute}
			case 3:
				return Outcome{Verdict: Snooze, Status: 409}
			}
			return Outcome{Verdict: Done}
		})
		w.node(y)
		id := w.push(queue.Job{Type: "a", MaxAttempts: 1})[0]
		time.Sleep(time.Second)
		w.push(queue.Job{Type: "a", ID: "other"})
		time.Sleep(time.Second)
		if y.count("other") != 1 {
			t.Error("a snoozed job kept its slot")
		}
		time.Sleep(10 * time.Minute)
		w.expect("a", id, queue.Succeeded, "1 snoozed, 1 snoozed, 1 snoozed, 1 succeeded")
		for i, want := range []time.Duration{time.Minute, 2 * time.Minute, 30 * time.Second} {
			if got := gaps(y.times(id))[i]; got < want-time.Millisecond || got > want+time.Second {
				t.Errorf("gap %d: %v, want %v", i, got, want)
			}
		}
		w.clean("a")
	})
}

// Nothing is put off for ever: after MaxSnooze it costs attempts.
func TestSnoozeEnds(t *testing.T) {
	simulate(t, func(w *world) {
		w.newType("a", 1)
		y := newTally(func(context.Context, *queue.Lease) Outcome {
			return Outcome{Verdict: Snooze, Status: 409, Err: "not yet", Delay: 24 * time.Hour}
		})
		w.node(y, func(o *Options) { o.Poll = time.Hour }) // or it would poll ten days by the second
		id := w.push(queue.Job{Type: "a", MaxAttempts: 2})[0]
		time.Sleep(MaxSnooze - time.Hour)
		if j := w.get("a", id); j.State != queue.Scheduled || j.Attempt != 0 {
			t.Errorf("%+v", j)
		}
		time.Sleep(72 * time.Hour)
		if j := w.get("a", id); j.State != queue.Dead || j.Attempt != 2 || j.LastError != "not yet" {
			t.Errorf("%+v", j)
		}
		w.clean("a")
	})
}
