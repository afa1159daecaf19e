package queue_test

import (
	"slices"
	"testing"
	"time"

	"github.com/deetoo/deetoo/queue"
	"github.com/deetoo/deetoo/queue/embedded"
)

// One damaged record must not stop the others, neither when it is claimed nor
// when its lease ends; fsck goes on reporting it.
func TestDamagedRecordDoesNotStopTheOthers(t *testing.T) {
	ctx := t.Context()
	now := time.Now()
	client, closeClient, err := embedded.Memory(func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	defer closeClient()
	q, err := queue.New(client, queue.Options{Embedded: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := q.Configure(ctx, "email", queue.Settings{Version: 1, Concurrency: 5, RetainCount: 10, RetainAge: time.Hour}); err != nil {
		t.Fatal(err)
	}
	if _, err := q.Push(ctx, queue.Job{Type: "email", ID: "bad"}, queue.Job{Type: "email", ID: "good"}); err != nil {
		t.Fatal(err)
	}
	if err := client.HSet(ctx, "{deetoo:email}:jobs", "bad", "garbage").Err(); err != nil {
		t.Fatal(err)
	}
	b, err := q.Exchange(ctx, "email", nil, 5)
	if err != nil || len(b.Leases) != 1 || b.Leases[0].ID != "good" || !slices.Equal(b.Damaged, []string{"bad"}) {
		t.Fatalf("claimed %+v, damaged %v, %v", b.Leases, b.Damaged, err)
	}
	now = now.Add(time.Minute) // both leases end
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
	now := time.Now()
	client, closeClient, err := embedded.Memory(func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	defer closeClient()
	q, err := queue.New(client, queue.Options{Embedded: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := q.Configure(ctx, "email", queue.Settings{Version: 1, Concurrency: 5, RetainCount: 10, RetainAge: time.Hour}); err != nil {
		t.Fatal(err)
	}
	damage := func(id string) {
		t.Helper()
		if err := client.HSet(ctx, "{deetoo:email}:jobs", id, "garbage").Err(); err != nil {
			t.Fatal(err)
		}
	}
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
	now = now.Add(2 * time.Second)
	b, err = q.Exchange(ctx, "email", []queue.Settlement{{ID: "running", Token: b.Leases[0].Token, Verdict: queue.Retry, Delay: time.Hour}}, 5)
	if err != nil || len(b.Leases) != 1 || b.Leases[0].ID != "good" || b.Active != 1 || !slices.Equal(b.Stale, []string{"running"}) {
		t.Fatalf("claimed %+v, stale %v, %d active, %v", b.Leases, b.Stale, b.Active, err)
	}
	problems, err := q.Fsck(ctx, "email")
	if err != nil || !slices.Contains(problems, "job bad has a damaged record") || !slices.Contains(problems, "job running has a damaged record") {
		t.Errorf("fsck: %q, %v", problems, err)
	}
}
