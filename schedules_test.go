package deetoo_test

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/deetoo/deetoo"
	"github.com/deetoo/deetoo/registry"
	"github.com/deetoo/deetoo/schedule"
)

// A Go function that runs every tenth of a second, with nothing but a folder.
func TestSchedulesOfAProgram(t *testing.T) {
	ctx := context.Background()
	ran := make(chan string, 100)
	d := deetoo.New(deetoo.WithDataDir(t.TempDir()), deetoo.WithLogger(quiet()))
	d.Can("poll", 1, func(_ context.Context, job *deetoo.Job) (any, error) {
		ran <- string(job.Data)
		return nil, nil
	})
	if _, err := d.Schedules().List(ctx); !errors.Is(err, deetoo.ErrNotRunning) {
		t.Errorf("before Start: %v", err)
	}
	if err := d.Start(ctx); err != nil {
		t.Fatal(err)
	}
	defer d.Shutdown(ctx)
	s := d.Schedules()
	spec := deetoo.ScheduleSpec{Name: "often", Type: "poll", Every: registry.Duration(100 * time.Millisecond), Job: json.RawMessage(`{"data":{"n":1}}`)}
	made, err := s.Put(ctx, spec)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := s.Put(ctx, spec); err != nil || again.Version != made.Version {
		t.Errorf("the same again: %+v, %v", again, err)
	}
	within(t, "the schedule", func() {
		for range 3 {
			if data := <-ran; data != `{"n":1}` {
				t.Errorf("data %s", data)
			}
		}
	})
	if next, err := s.Next(ctx, "often", 3); err != nil || len(next) != 3 || next[1].Sub(next[0]) != 100*time.Millisecond {
		t.Errorf("next %v, %v", next, err)
	}
	if _, err := s.SetPaused(ctx, "often", true); err != nil {
		t.Error(err)
	}
	if r, err := s.Run(ctx, "often"); err != nil || r.ID == "" {
		t.Errorf("run: %+v, %v", r, err)
	}
	if f, err := s.Firings(ctx, "often"); err != nil || len(f) < 3 {
		t.Errorf("firings: %+v, %v", f, err)
	}
	if got, err := s.Get(ctx, "often"); err != nil || !got.Paused || !got.Next.IsZero() {
		t.Errorf("%+v, %v", got, err)
	}
	if all, err := s.List(ctx); err != nil || len(all) != 1 {
		t.Errorf("%+v, %v", all, err)
	}
	if err := s.Delete(ctx, "often"); err != nil {
		t.Error(err)
	}
	if _, err := s.Get(ctx, "often"); !errors.Is(err, schedule.ErrNotFound) {
		t.Errorf("deleted: %v", err)
	}
}
