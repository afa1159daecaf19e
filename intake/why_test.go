package intake

import (
	"strings"
	"testing"
	"time"

	"github.com/deetoo/deetoo/queue"
	"github.com/deetoo/deetoo/registry"
)

func TestWhy(t *testing.T) {
	noon := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	ago := func(d time.Duration) time.Time { return noon.Add(-d) }
	attempts := func(outcome string, n int) []queue.Attempt {
		return []queue.Attempt{{N: n, Outcome: outcome, StartedAt: ago(time.Minute).UnixMilli(), Duration: 1000}}
	}
	full := queue.Stats{Active: 12, Limit: 12}
	for _, c := range []struct {
		name   string
		c      queue.Circumstances
		typ    registry.Type
		nobody bool
		reason string
		text   string
		more   func(w *Why) bool
	}{
		{name: "paused", c: queue.Circumstances{Job: &queue.Job{State: queue.Waiting}, Stats: queue.Stats{Paused: true, Limit: 5}, Ahead: 3, Sure: queue.Exact},
			typ: registry.Type{PausedReason: "paused by leia", PausedAt: ago(time.Hour)}, reason: "paused",
			text: "Its type is paused since 2026-03-01 11:00:00 UTC: paused by leia. It waits behind 3 others.",
			more: func(w *Why) bool { return w.Since.Equal(ago(time.Hour)) && w.By == "paused by leia" }},
		{name: "hold", c: queue.Circumstances{Job: &queue.Job{State: queue.Waiting}, Slots: 1, Stats: queue.Stats{Active: 1, Limit: 5, Hold: 90 * time.Second}, Ahead: 0, Sure: queue.Exact, Oldest: "job-1", OldestSince: ago(41 * time.Second)},
			reason: "hold", text: "The endpoint asked to be called less: one job at a time for another 1 min 30 s, the oldest, job job-1, for 41 s. It is the next.",
			more: func(w *Why) bool { return w.Until.Equal(noon.Add(90 * time.Second)) }},
		{name: "no slot", c: queue.Circumstances{Job: &queue.Job{State: queue.Waiting}, Stats: full, Slots: 12, Ahead: 1, Sure: queue.About, Oldest: "job-1", OldestSince: ago(41 * time.Second)},
			reason: "no_slot", text: "There is no free slot: 12 of 12 are taken, the oldest, job job-1, for 41 s. It waits behind about 1 other.",
			more: func(w *Why) bool {
				return w.Active == 12 && w.Limit == 12 && w.Oldest == "job-1" && w.Expected.IsZero() && w.Ahead == 1
			}},
		{name: "no slot, at a pace", c: queue.Circumstances{Job: &queue.Job{State: queue.Waiting}, Stats: full, Slots: 12, Ahead: 99, Sure: queue.Exact, Pace: 0.5},
			reason: "no_slot", text: "There is no free slot: 12 of 12 are taken. It waits behind 99 others. At the present pace it starts in about 3 min 20 s.",
			more: func(w *Why) bool { return w.Expected.Equal(noon.Add(200 * time.Second)) }},
		{name: "far behind", c: queue.Circumstances{Job: &queue.Job{State: queue.Waiting}, Stats: full, Slots: 12, Ahead: 10000, Sure: queue.AtLeast, Pace: 100},
			reason: "no_slot", text: "There is no free slot: 12 of 12 are taken. It waits behind at least 10000 others. At the present pace it starts in at least 1 min 40 s."},
		{name: "down", c: queue.Circumstances{Job: &queue.Job{State: queue.Waiting}, Stats: queue.Stats{Limit: 5, Outage: &queue.Outage{Open: true, Since: ago(time.Minute), Reason: "connection refused", NextCanary: noon.Add(8 * time.Second)}}, Ahead: 2, Sure: queue.Exact},
			reason: "outage", text: "The type's target is down since 2026-03-01 11:59:00 UTC (connection refused): its jobs wait at no cost. One job is tried in 8 s. It waits behind 2 others.",
			more: func(w *Why) bool {
				return w.LastError == "connection refused" && w.Since.Equal(ago(time.Minute)) && w.Until.Equal(noon.Add(8*time.Second))
			}},
		{name: "down, one is tried", c: queue.Circumstances{Job: &queue.Job{State: queue.Waiting}, Stats: queue.Stats{Limit: 5, Active: 1, Outage: &queue.Outage{Open: true, Since: ago(time.Minute), Canary: "job-1"}}},
			reason: "outage", text: "The type's target is down since 2026-03-01 11:59:00 UTC: its jobs wait at no cost. Job job-1 is being tried now."},
		{name: "held by hand", c: queue.Circumstances{Job: &queue.Job{State: queue.Waiting}, Stats: queue.Stats{Limit: 5, Outage: &queue.Outage{Open: true, Forced: true, Since: ago(time.Minute), Reason: "lunch"}}},
			reason: "outage", text: "The type is held since 2026-03-01 11:59:00 UTC (lunch). It goes on when somebody lifts that."},
		{name: "ramping up", c: queue.Circumstances{Job: &queue.Job{State: queue.Waiting}, Stats: queue.Stats{Limit: 5, Active: 2, Outage: &queue.Outage{Ramp: 2}}, Slots: 2},
			reason: "no_slot", text: "There is no free slot: 2 of 2 are taken. Its target was down, so that the type's 5 slots are taken up again step by step.",
			more: func(w *Why) bool { return w.Limit == 2 && w.Active == 2 }},
		{name: "adaptive", c: queue.Circumstances{Job: &queue.Job{State: queue.Waiting}, Stats: queue.Stats{Limit: 20, Active: 7, Adaptive: &queue.Adaptive{Limit: 7, Reason: "answers come late"}}, Slots: 7},
			reason: "no_slot", text: "There is no free slot: 7 of 7 are taken. Of the type's 20 slots so many are in use at present, because answers come late."},
		{name: "batches take a slot each", c: queue.Circumstances{Job: &queue.Job{State: queue.Waiting}, Stats: queue.Stats{Limit: 3, Active: 30, Waiting: 50}, Slots: 2, BatchSize: 10},
			reason: "next", text: "It is about to be taken: 1 of 3 slots are free."},
		{name: "gathering", c: queue.Circumstances{Job: &queue.Job{State: queue.Waiting}, Stats: queue.Stats{Limit: 3, Waiting: 4}, BatchSize: 10, Gather: noon.Add(700 * time.Millisecond), Sure: queue.Exact},
			reason: "batch", text: "It waits for company: 4 of the 10 jobs of a batch are there, and they go in 700 ms at the latest.",
			more: func(w *Why) bool { return w.Expected.Equal(noon.Add(700 * time.Millisecond)) }},
		{name: "rate", c: queue.Circumstances{Job: &queue.Job{State: queue.Waiting}, Stats: queue.Stats{Limit: 5, Limited: 1200 * time.Millisecond}, Ahead: 3, Sure: queue.Exact, Pace: 2},
			reason: "rate", text: "Its type's rate is used up: the next job may start in 1 s. It waits behind 3 others. At the present pace it starts in about 2 s.",
			more: func(w *Why) bool { return w.Until.Equal(noon.Add(1200*time.Millisecond)) && w.Turn == nil }},
		{name: "no slot, in a group", c: queue.Circumstances{Job: &queue.Job{State: queue.Waiting, Group: "acme"}, Stats: full, Slots: 12, Ahead: 2, Sure: queue.Exact, Pace: 0.5, Turn: &queue.Turn{Active: 1, Limit: 1, Before: 1}},
			reason: "no_slot", text: "There is no free slot: 12 of 12 are taken. It waits behind 2 others of its group. About 1 other group is served before it.",
			more: func(w *Why) bool { return w.Expected.IsZero() && w.Turn.Before == 1 }},
		{name: "its group is full", c: queue.Circumstances{Job: &queue.Job{State: queue.Waiting, Group: "acme"}, Stats: queue.Stats{Limit: 5, Active: 2}, Slots: 2, Sure: queue.Exact, Turn: &queue.Turn{Active: 2, Limit: 2, Before: 1, Until: noon.Add(time.Minute)}},
			reason: "group_limit", text: "Its group acme runs as many jobs as it may: 2 of 2. It is the next of its group. About 1 other group is served before it.",
			more: func(w *Why) bool { return w.Until.IsZero() && w.Turn.Active == 2 && w.Turn.Limit == 2 }},
		{name: "its group's rate", c: queue.Circumstances{Job: &queue.Job{State: queue.Waiting, Group: "acme"}, Stats: queue.Stats{Limit: 5}, Ahead: 1, Sure: queue.About, Turn: &queue.Turn{Limit: 2, Until: noon.Add(12 * time.Second)}},
			reason: "group_limit", text: "The rate of its group acme is used up: its next job may start in 12 s. It waits behind about 1 other of its group.",
			more: func(w *Why) bool { return w.Until.Equal(noon.Add(12 * time.Second)) }},
		{name: "its group's rate was used up", c: queue.Circumstances{Job: &queue.Job{State: queue.Waiting, Group: "acme"}, Stats: queue.Stats{Limit: 5}, Sure: queue.Exact, Turn: &queue.Turn{Until: noon}},
			reason: "next", text: "It is about to be taken: 5 of 5 slots are free. It is the next of its group."},
		{name: "its group's turn", c: queue.Circumstances{Job: &queue.Job{State: queue.Waiting, Group: "acme"}, Stats: queue.Stats{Limit: 5}, Ahead: 7, Sure: queue.Exact, Turn: &queue.Turn{Before: 3}},
			reason: "group_turn", text: "It waits for the turn of its group acme: 5 of 5 slots are free. It waits behind 7 others of its group. About 3 other groups are served before it."},
		{name: "nobody there", c: queue.Circumstances{Job: &queue.Job{State: queue.Waiting}, Stats: queue.Stats{Limit: 5}, Sure: queue.Exact}, nobody: true,
			reason: "no_dispatcher", text: "No dispatcher is there to take it. It is the next."},
		{name: "next", c: queue.Circumstances{Job: &queue.Job{State: queue.Waiting}, Stats: queue.Stats{Active: 2, Limit: 5}, Slots: 2, Sure: queue.Exact},
			reason: "next", text: "It is about to be taken: 3 of 5 slots are free. It is the next."},
		{name: "a function's", c: queue.Circumstances{Job: &queue.Job{State: queue.Waiting}, Stats: queue.Stats{Limit: 5}, Sure: queue.Exact}, typ: registry.Type{Target: registry.LocalTarget},
			reason: "next", text: "It is about to be taken: 5 of 5 slots are free. It is the next. Only a program that has a function for its type can."},

		{name: "scheduled", c: queue.Circumstances{Job: &queue.Job{State: queue.Scheduled, RunAt: noon.Add(90 * time.Minute)}},
			reason: "scheduled", text: "It is due at 2026-03-01 13:30:00.000 UTC, in 1 h 30 min.", more: func(w *Why) bool { return w.Until.Equal(noon.Add(90 * time.Minute)) }},
		{name: "scheduled by a paused type", c: queue.Circumstances{Job: &queue.Job{State: queue.Scheduled, RunAt: noon.Add(300 * time.Millisecond)}, Stats: queue.Stats{Paused: true}},
			reason: "scheduled", text: "It is due at 2026-03-01 12:00:00.300 UTC, in 300 ms. Its type is paused."},
		{name: "retry", c: queue.Circumstances{Job: &queue.Job{State: queue.Scheduled, RunAt: noon.Add(41 * time.Second), Attempt: 3, LastError: "boom"}, Attempts: attempts("failed", 3)},
			typ: registry.Type{Retry: registry.Retry{MaxAttempts: 12}}, reason: "retry",
			text: "Attempt 3 of 12 failed (boom); the next is due at 2026-03-01 12:00:41.000 UTC, in 41 s.",
			more: func(w *Why) bool { return w.LastError == "boom" && w.Since.Equal(ago(59*time.Second)) }},
		{name: "snoozed", c: queue.Circumstances{Job: &queue.Job{State: queue.Scheduled, RunAt: noon.Add(3 * 24 * time.Hour), Lost: 1, MaxAttempts: 2}, Attempts: attempts("snoozed", 1)},
			reason: "retry", text: "Its last attempt was snoozed; the next is due at 2026-03-04 12:00:00.000 UTC, in 3 days 0 h."},

		{name: "running", c: queue.Circumstances{Job: &queue.Job{State: queue.Active, StartedAt: ago(2 * time.Second), Attempt: 1, MaxAttempts: 3}, Dispatcher: "d1", LeaseEnds: noon.Add(13 * time.Second)},
			reason: "running", text: "It is running for 2 s: attempt 1 of 3, by dispatcher d1.",
			more: func(w *Why) bool {
				return w.By == "d1" && w.Until.Equal(noon.Add(13*time.Second)) && w.Since.Equal(ago(2*time.Second))
			}},
		{name: "accepted", c: queue.Circumstances{Job: &queue.Job{State: queue.Active, StartedAt: ago(2 * time.Second), Attempt: 1, MaxAttempts: 3, Accepted: true,
			Progress: &queue.Progress{Number: 3, Total: 10, Message: "cutting"}, CancelRequested: true}, LeaseEnds: noon.Add(time.Minute)},
			reason: "cancelling", text: "Its handler has accepted it and works on it for 2 s: attempt 1 of 3. If it is silent, that has failed in 1 min 0 s. Progress: 3 of 10 (cutting). It is being cancelled."},

		{name: "succeeded", c: queue.Circumstances{Job: &queue.Job{State: queue.Succeeded, FinishedAt: noon, Attempt: 1}}, reason: "succeeded", text: "It has succeeded at 2026-03-01 12:00:00.000 UTC."},
		{name: "at last", c: queue.Circumstances{Job: &queue.Job{State: queue.Succeeded, FinishedAt: noon, Attempt: 4}}, reason: "succeeded", text: "It has succeeded at its attempt 4, at 2026-03-01 12:00:00.000 UTC."},
		{name: "cancelled", c: queue.Circumstances{Job: &queue.Job{State: queue.Cancelled, FinishedAt: noon}}, reason: "cancelled", text: "It was cancelled at 2026-03-01 12:00:00.000 UTC."},
		{name: "expired", c: queue.Circumstances{Job: &queue.Job{State: queue.Cancelled, FinishedAt: noon, Expired: true, ExpiresAt: ago(time.Minute)}}, reason: "expired",
			text: "It expired at 2026-03-01 11:59:00.000 UTC, before it could start."},
		{name: "may expire", c: queue.Circumstances{Job: &queue.Job{State: queue.Waiting, ExpiresAt: noon.Add(time.Minute)}, Stats: queue.Stats{Limit: 5}, Sure: queue.Exact}, reason: "next",
			text: "It is about to be taken: 5 of 5 slots are free. It is the next. If it has not begun in 1 min 0 s, it expires."},
		{name: "dead", c: queue.Circumstances{Job: &queue.Job{State: queue.Dead, FinishedAt: noon, Attempt: 12, LastError: "boom."}, Fingerprint: "0123456789abcdef", SameFailure: 41},
			reason: "dead", text: "It is dead after 12 failed attempts, since 2026-03-01 12:00:00.000 UTC: boom. 40 more of its type died of the same.",
			more: func(w *Why) bool { return w.Fingerprint == "0123456789abcdef" && w.SameFailure == 41 }},
		{name: "dead at once", c: queue.Circumstances{Job: &queue.Job{State: queue.Dead, FinishedAt: noon, Attempt: 1}, Fingerprint: "other", SameFailure: 3},
			reason: "dead", text: "It is dead after its first attempt, since 2026-03-01 12:00:00.000 UTC."},
		{name: "dead without any", c: queue.Circumstances{Job: &queue.Job{State: queue.Dead, FinishedAt: noon, Lost: 5, LastError: "gone"}, SameFailure: 1},
			reason: "dead", text: "It is dead after 5 lost dispatchers, since 2026-03-01 12:00:00.000 UTC: gone."},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.c.At = noon
			w, err := explain(&scene{&c.c, &c.typ, func() (int, error) {
				if c.nobody {
					return 0, nil
				}
				return 2, nil
			}})
			if err != nil {
				t.Fatal(err)
			}
			if w.Reason != c.reason || w.Text != c.text {
				t.Errorf("%s: %s\nwant %s: %s", w.Reason, w.Text, c.reason, c.text)
			}
			if c.more != nil && !c.more(w) {
				t.Errorf("%+v", w)
			}
			if strings.Contains(w.Text, "  ") || !strings.HasSuffix(w.Text, ".") {
				t.Errorf("it is no text for people: %q", w.Text)
			}
		})
	}
}
