package deetoo_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
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

func TestSchedulesOfTheTypesFile(t *testing.T) {
	ctx := context.Background()
	file := filepath.Join(t.TempDir(), "types.yaml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const types = "types: {work: {target: 'https://example.org/'}}\n"
	write(types + "schedules:\n  often: {type: work, every: 1h, start: 2030-01-01T00:00:00Z}\n  nightly: {type: work, cron: '0 3 * * *', job: {data: {n: 1}}}\n")
	d := deetoo.New(deetoo.WithOptions(deetoo.Options{DataDir: t.TempDir(), TypesFile: file, Logger: quiet()}))
	if err := d.Start(ctx); err != nil {
		t.Fatal(err)
	}
	defer d.Shutdown(ctx)
	s := d.Schedules()
	if all, err := s.List(ctx); err != nil || len(all) != 2 || string(all[0].Job) != `{"data":{"n":1}}` || all[1].Next.Format(time.RFC3339) != "2030-01-01T00:00:00Z" {
		t.Errorf("%+v, %v", all, err)
	}
	if _, err := s.SetPaused(ctx, "often", true); err != nil {
		t.Fatal(err)
	}
	if changed, err := d.Reload(ctx); err != nil || len(changed) != 0 {
		t.Errorf("the same file changes %v, %v", changed, err)
	}
	for want, bad := range map[string]string{
		`types.yaml:2: schedule "often": every must be`:          "schedules: {often: {type: work, every: 1ms}}\n",
		"schedule often: job.data is required":                   "schedules: {often: {type: work, every: 2h, job: {}}}\n",
		`schedule often: job type "wrok" not found`:              "schedules: {often: {type: wrok, every: 2h}}\n",
		"schedules must be a list of schedules":                  "schedules: 3\n",
		`schedule number 1: crom is not a known field`:           "schedules: [{name: nightly, type: work, crom: x}]\n",
		`types.yaml:4: schedule "a": name is given twice, first`: "schedules:\n- {name: a, type: work, every: 1s}\n- {name: a, type: work, every: 1s}\n",
	} {
		write("types: {work: {target: 'https://example.org/changed'}}\n" + bad)
		if _, err := d.Reload(ctx); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", bad, err)
		}
		if typ, err := d.Types().Get(ctx, "work"); err != nil || typ.Target != "https://example.org/" {
			t.Errorf("a file that is wrong changed %v, %v", typ, err)
		}
	}
	write(types + "schedules: [{name: often, type: work, every: 2h}]\n")
	if changed, err := d.Reload(ctx); err != nil || len(changed) != 1 {
		t.Errorf("changed %v, %v", changed, err)
	}
	if got, err := s.Get(ctx, "often"); err != nil || got.Every != 2*time.Hour || !got.Paused {
		t.Errorf("%+v, %v", got, err)
	}
}
