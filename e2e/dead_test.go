package e2e

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
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
