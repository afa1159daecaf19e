package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/deetoo/deetoo/internal/redistest"
)

// Jobs that fail in two ways are two groups, by the API and on the command line, and each can be exported.
func TestDeadLetters(t *testing.T) {
	t.Parallel()
	h := handle(t, func(w http.ResponseWriter, d delivery) {
		if strings.HasPrefix(d.id, "a") {
			w.WriteHeader(422)
			fmt.Fprint(w, "no such order")
			return
		}
		w.WriteHeader(500)
	})
	env := inDir(t.TempDir())
	s := serve(t, env)
	s.register("work", h.url, spec{"retry": spec{"max_attempts": 1}})
	s.batch("work", "a", 3)
	s.batch("work", "b", 1)
	eventually(t, "all are dead", func() bool { return s.stats("work").Dead == 4 })
	var view struct {
		Groups []struct {
			Fingerprint, Failure, Example string
			Count, Status                 int
		}
	}
	s.must("GET", "/v1/types/work/dead/groups", nil, &view)
	if len(view.Groups) != 2 || view.Groups[0].Count != 3 || view.Groups[0].Status != 422 || view.Groups[1].Status != 500 || view.Groups[0].Example[0] != 'a' {
		t.Fatalf("%+v", view)
	}
	print := view.Groups[0].Fingerprint
	if out := s.ok("dead", "groups", "work"); !strings.Contains(out, print) || !strings.Contains(out, view.Groups[0].Failure) {
		t.Errorf("dead groups: %s", out)
	}
	if out := s.ok("dead", "list", "work", "--fingerprint", print); !strings.Contains(out, "a0") || strings.Contains(out, "b0") {
		t.Errorf("dead list: %s", out)
	}
	if out := s.ok("dead", "export", "work", "--fingerprint", print); strings.Count(out, "\n") != 3 || !strings.Contains(out, `"data":{"n":2}`) || !strings.Contains(out, `"attempts":[{`) {
		t.Errorf("dead export: %s", out)
	}
	file := filepath.Join(t.TempDir(), "dead.ndjson")
	s.ok("dead", "export", "work", "--error", "internal SERVER", "-o", file)
	all, err := os.ReadFile(file)
	if err != nil || strings.Count(string(all), "\n") != 1 {
		t.Errorf("%v: %s", err, all)
	}
	if _, stderr, code := s.command("dead", "export", "work", "--after", "noon"); code != 1 || !strings.Contains(stderr, "after must be") {
		t.Errorf("%d %s", code, stderr)
	}
	if _, stderr, code := s.command("dead", "export", "wrk"); code != 1 || !strings.Contains(stderr, "404") {
		t.Errorf("%d %s", code, stderr)
	}
	s.stop()
	if out, stderr, code := run(t, env, "fsck"); code != 0 {
		t.Errorf("fsck: %d %s%s", code, out, stderr)
	}
}

// redrive as the API shows it.
type redrive struct {
	ID, State, Reason string
	Count             int
}

// A redrive waits for its canary, in whichever process that runs, and goes on though the process that began it was killed.
func TestRedriveWithCanaryOutlivesItsProcess(t *testing.T) {
	t.Parallel()
	var mended atomic.Bool
	h := handle(t, func(w http.ResponseWriter, d delivery) {
		if !mended.Load() || !strings.Contains(string(d.body), `"fixed":true`) {
			w.WriteHeader(422)
		}
	})
	redisURL := redistest.SingleServer(t).URL()
	first := serve(t, onRedis(t, redisURL), "--lease", "1s")
	first.register("work", h.url, spec{"retry": spec{"max_attempts": 1}, "retention": spec{"count": 0}})
	first.batch("work", "j", 20)
	eventually(t, "all are dead", func() bool { return first.stats("work").Dead == 20 })
	var r redrive
	// What is not mended yet dies again, and the rest is not touched.
	first.must("POST", "/v1/types/work/dead/redrive", spec{"canary": 2}, &r)
	eventually(t, "the redrive has stopped", func() bool {
		first.must("GET", "/v1/types/work/redrives/"+r.ID, nil, &r)
		return r.State == "stopped"
	})
	if !strings.Contains(r.Reason, "died again: HTTP 422") || r.Count != 2 {
		t.Errorf("%+v", r)
	}
	eventually(t, "the canaries are dead", func() bool { return first.stats("work").Dead == 20 })
	mended.Store(true)
	first.must("POST", "/v1/types/work/dead/redrive", spec{"canary": 2, "patch": spec{"fixed": true}, "rate": spec{"jobs": 10, "period": "1s"}}, &r)
	if r.State != "canary" {
		t.Fatalf("%+v", r)
	}
	first.kill()
	second := serve(t, onRedis(t, redisURL), "--lease", "1s")
	eventually(t, "the redrive is done", func() bool {
		second.must("GET", "/v1/types/work/redrives/"+r.ID, nil, &r)
		return r.State == "done"
	})
	if r.Count != 20 {
		t.Errorf("%+v", r)
	}
	second.allDone("work", 0)
	if out := second.ok("dead", "redrives", "work"); !strings.Contains(out, r.ID) || strings.Count(out, `"state"`) != 2 {
		t.Errorf("dead redrives: %s", out)
	}
}

func TestRedriveOnTheCommandLine(t *testing.T) {
	t.Parallel()
	h := handle(t, func(w http.ResponseWriter, _ delivery) { w.WriteHeader(422) })
	s := serve(t, inDir(t.TempDir()))
	s.register("work", h.url, spec{"retry": spec{"max_attempts": 1}})
	s.batch("work", "j", 3)
	eventually(t, "all are dead", func() bool { return s.stats("work").Dead == 3 })
	s.ok("types", "pause", "work")
	if out := s.ok("dead", "redrive", "work", "j1", "nobody", "--patch", `{"x":1}`); !strings.Contains(out, `"count": 1`) || !strings.Contains(out, `"done"`) {
		t.Errorf("dead redrive: %s", out)
	}
	var r redrive
	if err := json.Unmarshal([]byte(s.ok("dead", "redrive", "work", "--error", "unprocessable", "--rate", "1", "--period", "1h")), &r); err != nil || r.State != "running" || r.Count != 1 {
		t.Errorf("%+v, %v", r, err)
	}
	if out := s.ok("dead", "stop", "work", r.ID); !strings.Contains(out, `"stopped"`) || !strings.Contains(out, "stopped by e2e") {
		t.Errorf("dead stop: %s", out)
	}
	if out := s.ok("dead", "redrives", "work", r.ID); !strings.Contains(out, `"count": 1`) {
		t.Errorf("dead redrives: %s", out)
	}
	if out := s.ok("dead", "purge", "work", "--error", "nothing"); !strings.Contains(out, `"count": 0`) {
		t.Errorf("dead purge: %s", out)
	}
	if out := s.ok("dead", "purge", "work"); !strings.Contains(out, `"count": 1`) {
		t.Errorf("dead purge: %s", out)
	}
	if _, stderr, code := s.command("dead", "redrive", "work", "--patch", "{"); code != 2 || !strings.Contains(stderr, "--patch must be JSON") {
		t.Errorf("%d %s", code, stderr)
	}
}
