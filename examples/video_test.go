package examples_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/deetoo/deetoo"
	"github.com/deetoo/deetoo/queue"
	"github.com/deetoo/deetoo/registry"
)

// TestLongWork runs the handlers that accept their jobs against a dispatcher:
// they heartbeat, report, complete, fail, and stop when a job is cancelled.
func TestLongWork(t *testing.T) {
	for name, prepare := range map[string]func(*testing.T) []string{
		"python": func(*testing.T) []string { return []string{"python3", "python/video_handler.py"} },
		"go": func(t *testing.T) []string {
			program := filepath.Join(t.TempDir(), "video")
			if out, err := exec.Command("go", "build", "-o", program, "./go/video").CombinedOutput(); err != nil {
				t.Fatalf("go build: %v\n%s", err, out)
			}
			return []string{program}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			args := append([]string{"BEAT=0.3", "STEP=0.05"}, prepare(t)...)
			secret := registry.NewSecret()
			p := start(t, func(string) *exec.Cmd { return exec.Command("env", args...) }, secret)
			testLongWork(t, p, secret)
		})
	}
}

func testLongWork(t *testing.T, p *process, secret string) {
	ctx := context.Background()
	file := filepath.Join(t.TempDir(), "types.yaml")
	types := fmt.Sprintf("types:\n- name: video\n  target: http://%s/video\n  secret: %s\n  callback_lease: 30s\n", p.addr, secret)
	if err := os.WriteFile(file, []byte(types), 0o600); err != nil {
		t.Fatal(err)
	}
	d := deetoo.New(deetoo.WithOptions(deetoo.Options{
		DataDir: t.TempDir(), Listen: "127.0.0.1:0", AllowPrivateTargets: true, TypesFile: file, Logger: slog.New(slog.DiscardHandler),
	}))
	if err := d.Start(ctx); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := d.Shutdown(ctx); err != nil {
			t.Error(err)
		}
	}()
	push := func(id, data string) {
		t.Helper()
		if r, err := d.Jobs().Push(ctx, deetoo.Job{Type: "video", ID: id, Data: json.RawMessage(data)}); err != nil || r[0].Err != nil {
			t.Fatal(r, err)
		}
	}
	until := func(id, what string, ok func(*deetoo.Job) bool) *deetoo.Job {
		t.Helper()
		for end := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
			j, err := d.Jobs().Get(ctx, "video", id)
			if err != nil {
				t.Fatal(err)
			}
			if ok(j) {
				return j
			}
			if time.Now().After(end) {
				t.Fatalf("%s is not %s: %+v\n%s", id, what, j, p.output)
			}
		}
	}
	in := func(s queue.State) func(*deetoo.Job) bool { return func(j *deetoo.Job) bool { return j.State == s } }

	push("short", `{"frames":5}`)
	push("endless", `{"frames":1000000}`)
	push("nonsense", `{"frames":"many"}`)
	j := until("short", "done", in(queue.Succeeded))
	var result struct{ Frames int }
	if err := json.Unmarshal(j.Result, &result); err != nil || result.Frames != 5 || j.Progress == nil || j.Progress.Number != 5 || j.Progress.Total != 5 ||
		len(j.Log) != 1 || j.Log[0].Text != "rendered 5 frames" {
		t.Errorf("%s %+v %+v %v", j.Result, j.Progress, j.Log, err)
	}
	p.waitFor(t, "video job short complete")
	until("nonsense", "dead", in(queue.Dead))

	until("endless", "under way", func(j *deetoo.Job) bool { return j.Accepted && j.Progress != nil && j.Progress.Number > 2 })
	if _, err := d.Jobs().Cancel(ctx, "video", "endless"); err != nil {
		t.Fatal(err)
	}
	until("endless", "cancelled", in(queue.Cancelled))
	p.waitFor(t, "video job endless fail")
	if a, err := d.Jobs().Attempts(ctx, "video", "endless"); err != nil || len(a) != 1 || a[0].Error != "stopped, because the job was cancelled" {
		t.Errorf("%+v %v", a, err)
	}
}
