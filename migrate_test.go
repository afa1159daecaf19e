package deetoo_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/deetoo/deetoo"
	"github.com/deetoo/deetoo/internal/redistest"
	"github.com/deetoo/deetoo/queue"
	"github.com/deetoo/deetoo/queue/embedded"
)

// fillStore makes an embedded store with jobs in every state and returns them
// as JSON, by ID.
func fillStore(t *testing.T, dir string) map[string]string {
	t.Helper()
	ctx := context.Background()
	d := deetoo.New(deetoo.WithDataDir(dir), deetoo.WithLogger(slog.New(slog.DiscardHandler)))
	hold := make(chan struct{})
	d.Can("work", 3, func(ctx context.Context, job *deetoo.Job) (any, error) {
		switch {
		case strings.HasPrefix(job.ID, "dead"):
			return nil, deetoo.Permanent(errors.New("no"))
		case strings.HasPrefix(job.ID, "hold"):
			select {
			case <-hold:
			case <-ctx.Done():
			}
			return nil, ctx.Err()
		}
		return "fine", nil
	})
	if err := d.Start(ctx); err != nil {
		t.Fatal(err)
	}
	big := json.RawMessage(`"` + strings.Repeat("x", 100_000) + `"`)
	var jobs []deetoo.Job
	for i := range 30 {
		jobs = append(jobs,
			deetoo.Job{Type: "work", ID: fmt.Sprintf("done-%d", i), Data: json.RawMessage(`{"n":1}`)},
			deetoo.Job{Type: "work", ID: fmt.Sprintf("dead-%d", i)},
			deetoo.Job{Type: "work", ID: fmt.Sprintf("later-%d", i), Delay: time.Hour, Data: big, Title: "Später"})
	}
	push := func(jobs ...deetoo.Job) {
		t.Helper()
		if _, err := d.Jobs().Push(ctx, jobs...); err != nil {
			t.Fatal(err)
		}
	}
	push(jobs...)
	for i := range 30 {
		finished(ctx, d, "work", fmt.Sprintf("done-%d", i))
		finished(ctx, d, "work", fmt.Sprintf("dead-%d", i))
	}
	if err := d.Drain(ctx); err != nil {
		t.Fatal(err)
	}
	push(deetoo.Job{Type: "work", ID: "wait-1"}, deetoo.Job{Type: "work", ID: "wait-2", Priority: queue.Critical}, deetoo.Job{Type: "work", ID: "called-off"})
	group := queue.Workflow{ID: "group", Jobs: []deetoo.Job{{Type: "work", Delay: time.Hour}}}
	if _, err := d.Jobs().Workflow(ctx, &group); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Jobs().Cancel(ctx, "work", "called-off"); err != nil {
		t.Fatal(err)
	}
	jobsNow := dump(t, ctx, d)
	if err := d.Shutdown(ctx); err != nil {
		t.Fatal(err)
	}
	return jobsNow
}

// dump reads all jobs of "work" in all states.
func dump(t *testing.T, ctx context.Context, d *deetoo.Deetoo) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, state := range queue.States() {
		for cursor := ""; ; {
			page, err := d.Jobs().List(ctx, "work", state, cursor, 7)
			if err != nil {
				t.Fatal(err)
			}
			for _, j := range page.Jobs {
				full, err := d.Jobs().Get(ctx, "work", j.ID)
				if err != nil {
					t.Fatal(err)
				}
				b, err := json.Marshal(full)
				if err != nil {
					t.Fatal(err)
				}
				out[j.ID] = string(b)
			}
			if cursor = page.Next; cursor == "" {
				break
			}
		}
	}
	return out
}

func TestMigrateMovesEverything(t *testing.T) {
	ctx := context.Background()
	dir := t.TempDir()
	before := fillStore(t, dir)
	server := redistest.SingleServer(t)

	moved, err := deetoo.Migrate(ctx, deetoo.MigrateOptions{DataDir: dir, RedisURL: server.URL(), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if moved.Types != 1 || moved.Keys < 10 {
		t.Errorf("moved %+v", moved)
	}

	// A dispatcher without the type's function looks at the copy, so nothing in it moves.
	d := deetoo.New(deetoo.WithOptions(deetoo.Options{RedisURL: server.URL(), DataDir: t.TempDir(), Logger: slog.New(slog.DiscardHandler)}))
	if err := d.Start(ctx); err != nil {
		t.Fatal(err)
	}
	defer d.Shutdown(ctx)
	after := dump(t, ctx, d)
	if len(after) != len(before) || len(after) != 94 {
		t.Fatalf("%d jobs before, %d after", len(before), len(after))
	}
	for id, job := range before {
		if after[id] != job {
			t.Errorf("job %s\n was %.300s\n  is %.300s", id, job, after[id])
		}
	}

	if w, err := d.Jobs().GetWorkflow(ctx, "group"); err != nil || w.State() != queue.WorkflowRunning || len(w.Jobs) != 1 {
		t.Errorf("workflow %+v, %v", w, err)
	}
	if ttl, err := server.Client().PTTL(ctx, "{deetoo:@workflow:group}:record").Result(); err != nil || ttl < 24*time.Hour {
		t.Errorf("the workflow is kept for %s, %v", ttl, err)
	}

	err = deetoo.New(deetoo.WithDataDir(dir), deetoo.WithLogger(slog.New(slog.DiscardHandler))).Start(ctx)
	if !errors.Is(err, embedded.ErrMigrated) {
		t.Errorf("the old store was started again: %v", err)
	}
}

func TestMigrateRefusesARedisInUse(t *testing.T) {
	ctx := context.Background()
	dir := t.TempDir()
	fillStore(t, dir)
	server := redistest.SingleServer(t)
	quiet := slog.New(slog.DiscardHandler)

	other := deetoo.New(deetoo.WithOptions(deetoo.Options{RedisURL: server.URL(), DataDir: t.TempDir(), Logger: quiet}))
	other.Can("other", 1, func(context.Context, *deetoo.Job) (any, error) { return nil, nil })
	if err := other.Start(ctx); err != nil {
		t.Fatal(err)
	}
	if err := other.Shutdown(ctx); err != nil {
		t.Fatal(err)
	}
	_, err := deetoo.Migrate(ctx, deetoo.MigrateOptions{DataDir: dir, RedisURL: server.URL(), Logger: quiet})
	if !errors.Is(err, deetoo.ErrNotEmpty) {
		t.Fatalf("migrated into a Redis in use: %v", err)
	}
	// Nothing was changed on either side.
	d := deetoo.New(deetoo.WithDataDir(dir), deetoo.WithLogger(quiet))
	if err := d.Start(ctx); err != nil {
		t.Fatal(err)
	}
	if err := d.Shutdown(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := deetoo.Migrate(ctx, deetoo.MigrateOptions{DataDir: dir, RedisURL: server.URL(), Prefix: "second", Logger: quiet}); err == nil {
		t.Error("a store under another prefix was said to be moved")
	}
}

func TestMigrateCutShortBeginsAnew(t *testing.T) {
	ctx := context.Background()
	dir := t.TempDir()
	before := fillStore(t, dir)
	server := redistest.SingleServer(t)
	quiet := slog.New(slog.DiscardHandler)
	client := server.Client()

	// What a first try left behind: its mark, and part of a copy.
	store, err := embedded.Open(ctx, embedded.Options{Dir: deetoo.EmbeddedDir(dir)})
	if err != nil {
		t.Fatal(err)
	}
	id := store.ID()
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	if err := client.Set(ctx, "{deetoo}:migrating", id, 0).Err(); err != nil {
		t.Fatal(err)
	}
	if err := client.RPush(ctx, "{deetoo:work}:waiting:3", "half", "a", "copy").Err(); err != nil {
		t.Fatal(err)
	}
	// Whoever worked on it would lose what he stores when the migration begins anew.
	early := deetoo.New(deetoo.WithOptions(deetoo.Options{RedisURL: server.URL(), DataDir: t.TempDir(), Logger: quiet}))
	if err := early.Start(ctx); !errors.Is(err, deetoo.ErrMigrating) {
		t.Errorf("started on part of a copy: %v", err)
	}
	if _, err := deetoo.Migrate(ctx, deetoo.MigrateOptions{DataDir: dir, RedisURL: server.URL(), Logger: quiet}); err != nil {
		t.Fatal(err)
	}
	d := deetoo.New(deetoo.WithOptions(deetoo.Options{RedisURL: server.URL(), DataDir: t.TempDir(), Logger: quiet}))
	if err := d.Start(ctx); err != nil {
		t.Fatal(err)
	}
	defer d.Shutdown(ctx)
	if after := dump(t, ctx, d); len(after) != len(before) {
		t.Errorf("%d jobs before, %d after", len(before), len(after))
	}
	if n := client.Exists(ctx, "{deetoo}:migrating").Val(); n != 0 {
		t.Error("the mark is still there")
	}
}
