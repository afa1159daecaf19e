package queue_test

import (
	"slices"
	"testing"
	"time"

	"github.com/deetoo/deetoo/queue"
	"github.com/deetoo/deetoo/queue/embedded"
)

// damageable returns a queue of type "email" on a clock that the test sets,
// and a way to damage a job's record.
func damageable(t *testing.T) (q *queue.Queue, now *time.Time, damage func(id string)) {
	t.Helper()
	start := time.Now()
	now = &start
	client, closeClient, err := embedded.Memory(func() time.Time { return *now })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = closeClient() })
	q, err = queue.New(client, queue.Options{Embedded: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := q.Configure(t.Context(), "email", queue.Settings{Version: 1, Concurrency: 5, RetainCount: 10, RetainAge: time.Hour}); err != nil {
		t.Fatal(err)
	}
	return q, now, func(id string) {
		t.Helper()
		if err := client.HSet(t.Context(), "{deetoo:email}:jobs", id, "garbage").Err(); err != nil {
			t.Fatal(err)
		}
	}
}

// One damaged record must not stop the others, neither when it is claimed nor
// when its lease ends; fsck goes on reporting it.
func TestDamagedRecordDoesNotStopTheOthers(t *testing.T) {
	ctx := t.Context()
	q, now, damage := damageable(t)
	if _, err := q.Push(ctx, queue.Job{Type: "email", ID: "bad"}, queue.Job{Type: "email", ID: "good"}); err != nil {
		t.Fatal(err)
	}
	damage("bad")
	b, err := q.Exchange(ctx, "email", nil, 5)
	if err != nil || len(b.Leases) != 1 || b.Leases[0].ID != "good" || !slices.Equal(b.Damaged, []string{"bad"}) {
		t.Fatalf("claimed %+v, damaged %v, %v", b.Leases, b.Damaged, err)
	}
	*now = now.Add(time.Minute) // both leases end
	b, err = q.Exchange(ctx, "email", nil, 5)
	if err != nil || b.Reaped != 2 || len(b.Leases) != 1 || b.Leases[0].ID != "good" || b.Leases[0].Lost != 1 {
		t.Fatalf("after the leases: %+v, %v", b, err)
	}
	problems, err := q.Fsck(ctx, "email")
	if err != nil || !slices.Contains(problems, "job bad has a damaged record") {
		t.Errorf("fsck: %q, %v", problems, err)
	}
}

// Nor when it becomes due, or when its attempt ends.
func TestRecordDamagedOnTheWayDoesNotStopTheOthers(t *testing.T) {
	ctx := t.Context()
	q, now, damage := damageable(t)
	later := func(id string) queue.Job { return queue.Job{Type: "email", ID: id, Delay: time.Second} }
	if _, err := q.Push(ctx, later("bad"), later("good"), queue.Job{Type: "email", ID: "running"}); err != nil {
		t.Fatal(err)
	}
	b, err := q.Exchange(ctx, "email", nil, 5)
	if err != nil || len(b.Leases) != 1 {
		t.Fatalf("claimed %+v, %v", b.Leases, err)
	}
	damage("bad")
	damage("running")
	*now = now.Add(2 * time.Second)
	b, err = q.Exchange(ctx, "email", []queue.Settlement{{ID: "running", Token: b.Leases[0].Token, Verdict: queue.Retry, Delay: time.Hour}}, 5)
	if err != nil || len(b.Leases) != 1 || b.Leases[0].ID != "good" || b.Active != 1 || !slices.Equal(b.Stale, []string{"running"}) {
		t.Fatalf("claimed %+v, stale %v, %d active, %v", b.Leases, b.Stale, b.Active, err)
	}
	problems, err := q.Fsck(ctx, "email")
	if err != nil || !slices.Contains(problems, "job bad has a damaged record") || !slices.Contains(problems, "job running has a damaged record") {
		t.Errorf("fsck: %q, %v", problems, err)
	}
}
