package intake

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/deetoo/deetoo/auth"
	"github.com/deetoo/deetoo/queue"
	"github.com/deetoo/deetoo/registry"
	"github.com/deetoo/deetoo/schedule"
)

func TestATickBecomesOneJob(t *testing.T) {
	w := newWorld(t, nil)
	ctx := t.Context()
	if _, _, err := w.store.Put(ctx, registry.New("email", "https://example.org/"), registry.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	jobs := w.Ticks()
	due := time.Now().Add(time.Hour).Truncate(time.Millisecond)
	for range 3 {
		if err := jobs.PushOnce(ctx, "schedule:a:1:2", "email", "a:1", []byte(`{"data":{"x":1},"priority":"low","max_attempts":3}`), due); err != nil {
			t.Fatal(err)
		}
	}
	j, err := w.queue.Get(ctx, "email", "a:1")
	if err != nil || j.State != queue.Scheduled || !j.RunAt.Equal(due) || j.Priority != queue.Low || j.MaxAttempts != 3 || string(j.Data) != `{"x":1}` {
		t.Errorf("%+v, %v", j, err)
	}
	if finished, err := jobs.Finished(ctx, "email", "a:1"); finished || err != nil {
		t.Errorf("finished %v, %v", finished, err)
	}
	for range 2 {
		if err := jobs.Withdraw(ctx, "email", "a:1"); err != nil {
			t.Fatal(err)
		}
	}
	if j, err := w.queue.Get(ctx, "email", "a:1"); err != nil || j.State != queue.Cancelled {
		t.Errorf("withdrawn: %+v, %v", j, err)
	}
	if finished, err := jobs.Finished(ctx, "email", "a:1"); !finished || err != nil {
		t.Errorf("finished %v, %v", finished, err)
	}
	// It is no new job, even after the old one is gone.
	if err := w.queue.Remove(ctx, "email", "a:1"); err != nil {
		t.Fatal(err)
	}
	if err := jobs.PushOnce(ctx, "schedule:a:1:2", "email", "a:1", []byte(`{"data":2}`), due); err != nil {
		t.Fatal(err)
	}
	if _, err := w.queue.Get(ctx, "email", "a:1"); !errors.Is(err, queue.ErrNotFound) {
		t.Errorf("it came again: %v", err)
	}
	if err := jobs.Withdraw(ctx, "email", "a:1"); err != nil {
		t.Errorf("withdraw of what is gone: %v", err)
	}
	if finished, err := jobs.Finished(ctx, "email", "a:1"); !finished || err != nil {
		t.Errorf("what is gone is finished: %v, %v", finished, err)
	}
}

// A running job is left alone.
func TestWithdrawOfARunningJob(t *testing.T) {
	w := newWorld(t, nil)
	ctx := t.Context()
	if err := w.Intake.Apply(ctx, &registry.Type{Name: "email", Version: 1, Concurrency: 1}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.queue.Push(ctx, queue.Job{Type: "email", ID: "a"}); err != nil {
		t.Fatal(err)
	}
	b, err := w.queue.Exchange(ctx, "email", nil, 1)
	if err != nil || len(b.Leases) != 1 {
		t.Fatal(b, err)
	}
	if err := w.Ticks().Withdraw(ctx, "email", "a"); err != nil {
		t.Fatal(err)
	}
	if j, err := w.queue.Get(ctx, "email", "a"); err != nil || j.State != queue.Active || j.CancelRequested {
		t.Errorf("%+v, %v", j, err)
	}
}

func TestRefusedTicks(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.MaxJobSize = 10 })
	ctx := t.Context()
	push := func(typ, job string) error {
		return w.Ticks().PushOnce(ctx, "k", typ, "a", []byte(job), time.Now())
	}
	if err := push("none", `{"data":1}`); !errors.Is(err, schedule.ErrRefused) {
		t.Errorf("unknown type: %v", err)
	}
	if _, _, err := w.store.Put(ctx, registry.New("email", "https://example.org/"), registry.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, job := range []string{`{"data":"0123456789"}`, `{"data":1,"sizzle":2}`, `{}`} {
		if err := push("email", job); !errors.Is(err, schedule.ErrRefused) {
			t.Errorf("%s: %v", job, err)
		}
	}
	other := queue.Job{Type: "email", ID: "other", Unique: &queue.Unique{Key: "u"}}
	if _, err := w.queue.Push(ctx, other); err != nil {
		t.Fatal(err)
	}
	for policy, job := range map[string]string{"reject": `{"data":1,"unique_key":"u"}`, "ignore": `{"data":1,"unique_key":"u","on_conflict":"ignore"}`} {
		if err := w.Ticks().PushOnce(ctx, policy, "email", policy, []byte(job), time.Now()); !errors.Is(err, schedule.ErrRefused) || !strings.Contains(err.Error(), "unique key") {
			t.Errorf("%s: %v", policy, err)
		}
	}
	w.redis.Close()
	if err := push("email", `{"data":1}`); err == nil || errors.Is(err, schedule.ErrRefused) {
		t.Errorf("redis away: %v", err)
	}
}

func TestPutScheduleByTheProgram(t *testing.T) {
	w := newWorld(t, nil)
	ctx := t.Context()
	if _, _, err := w.store.Put(ctx, registry.New("email", "https://example.org/"), registry.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	spec := schedule.Spec{Name: "a", Type: "email", Cron: "@hourly"}
	first, created, err := w.PutScheduleSpec(ctx, auth.System(), spec, schedule.PutOptions{})
	if err != nil || !created {
		t.Fatal(created, err)
	}
	if _, err := w.PauseSchedule(ctx, auth.System(), "a", true); err != nil {
		t.Fatal(err)
	}
	again, created, err := w.PutScheduleSpec(ctx, auth.System(), spec, schedule.PutOptions{})
	if err != nil || created || !again.Paused || again.Version != first.Version+1 {
		t.Errorf("a start resumed what somebody paused: %+v, %v", again, err)
	}
}
