package e2e

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"
	"testing"
)

// command runs a command of the program against a server and returns its output.
func (s *server) command(args ...string) (stdout, stderr string, code int) {
	s.t.Helper()
	return run(s.t, []string{"DEETOO_URL=" + s.url, "DEETOO_TOKEN=" + s.token}, args...)
}

// ok runs a command that must succeed.
func (s *server) ok(args ...string) string {
	s.t.Helper()
	out, stderr, code := s.command(args...)
	if code != 0 {
		s.t.Fatalf("%v: %d %s%s", args, code, out, stderr)
	}
	return out
}

func TestCommandLine(t *testing.T) {
	t.Parallel()
	h := handle(t, scripted(500))
	s := serve(t, inDir(t.TempDir()))
	out := s.ok("types", "put", "work", "--target", h.url+"/secret-path?key=hidden", "--concurrency=2")
	if !strings.Contains(out, "whsec_") {
		t.Errorf("the new type's secret is not shown: %s", out)
	}
	if out := s.ok("types", "list"); !strings.Contains(out, "work") || strings.Contains(out, "key=hidden") || strings.Contains(out, "whsec_") {
		t.Errorf("types list: %s", out)
	}
	if out := s.ok("types", "show", "work"); !strings.Contains(out, `"concurrency": 2`) || strings.Contains(out, "whsec_") {
		t.Errorf("types show: %s", out)
	}
	s.ok("types", "pause", "work")

	var receipt struct{ ID, State string }
	if err := json.Unmarshal([]byte(s.ok("push", "work", `{"n":1}`, "--id=one", "--priority=high")), &receipt); err != nil || receipt.ID != "one" || receipt.State != "waiting" {
		t.Errorf("push: %+v %v", receipt, err)
	}
	s.ok("push", "work", `{"n":2}`, "--id=later", "--delay=1h")
	s.ok("push", "work", "3", "--id=then", "--when=2030-01-01T00:00:00Z")
	s.ok("push", "work", "4", "--id=millis", "--when=1893456000000")
	if out := s.ok("jobs", "list", "work", "--state=scheduled"); !strings.Contains(out, "later") || strings.Contains(out, "one") || strings.Count(out, "2030-01-01T00:00:00.000Z") != 2 {
		t.Errorf("jobs list: %s", out)
	}
	if out := s.ok("jobs", "list", "work", "--state=scheduled", "--limit=2"); !strings.Contains(out, "--cursor") {
		t.Errorf("the list does not say how to go on: %s", out)
	}
	s.ok("push", "work", "4", "--id=marked", "--delay=1h", "--tag=import")
	if out := s.ok("jobs", "list", "work", "--state=scheduled", "--tag=import"); !strings.Contains(out, "marked") || strings.Contains(out, "later") {
		t.Errorf("jobs list by tag: %s", out)
	}
	s.ok("jobs", "cancel", "work", "marked")
	const odd = "order-4/7%2F?x=1#%"
	s.ok("push", "work", "5", "--delay=1h", "--id", odd)
	if out := s.ok("jobs", "show", "work", odd); !strings.Contains(out, odd) {
		t.Errorf("jobs show: %s", out)
	}
	s.ok("jobs", "cancel", "work", odd)
	s.ok("jobs", "cancel", "work", "then")
	s.ok("jobs", "promote", "work", "later")
	if out := s.ok("jobs", "show", "work", "later"); !strings.Contains(out, `"waiting"`) {
		t.Errorf("jobs show: %s", out)
	}
	s.ok("types", "resume", "work")
	h.awaits(t, 2)
	s.must("PATCH", "/v1/types/work", spec{"retry": spec{"max_attempts": 1}}, nil)
	s.ok("push", "work", "5", "--id=doomed")
	s.becomes("work", "doomed", "dead")
	if out := s.ok("jobs", "list", "work", "--state=dead"); !strings.Contains(out, "doomed") || !strings.Contains(out, "500") {
		t.Errorf("dead jobs: %s", out)
	}
	s.ok("jobs", "retry", "work", "doomed")
	s.becomes("work", "doomed", "dead")
	s.ok("jobs", "redrive", "work")
	s.becomes("work", "doomed", "dead")
	s.ok("types", "pause", "work")
	s.ok("jobs", "purge", "work")
	if _, stderr, code := s.command("jobs", "show", "work", "doomed"); code != 1 || !strings.Contains(stderr, "no such job (404)") {
		t.Errorf("a purged job: %d %s", code, stderr)
	}
	if _, stderr, code := s.command("types", "delete", "work"); code != 1 || !strings.Contains(stderr, "still has jobs") {
		t.Errorf("types delete: %d %s", code, stderr)
	}
	s.ok("types", "delete", "work", "--force")
	if _, stderr, code := s.command("push", "wrk", "1"); code != 1 || !strings.Contains(stderr, "404") {
		t.Errorf("an unknown type: %d %s", code, stderr)
	}
}

// On the dispatcher's own machine no token is needed: its key is there.
func TestCommandLineMakesItsOwnToken(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := begin(t, []string{"DEETOO_DATA_DIR=" + dir, "DEETOO_JWT_ISSUER=us", "DEETOO_JWT_AUDIENCE=deetoo"})
	env := []string{"DEETOO_DATA_DIR=" + dir, "DEETOO_URL=" + s.url, "DEETOO_JWT_ISSUER=us", "DEETOO_JWT_AUDIENCE=deetoo"}
	if out, stderr, code := run(t, env, "types", "list"); code != 0 || !strings.HasPrefix(out, "NAME") {
		t.Errorf("%d %s%s", code, out, stderr)
	}
	elsewhere := []string{"DEETOO_DATA_DIR=" + t.TempDir(), "DEETOO_URL=" + s.url}
	if _, stderr, code := run(t, elsewhere, "types", "list"); code != 2 || !strings.Contains(stderr, "a token is needed") {
		t.Errorf("%d %s", code, stderr)
	}
}

func TestCommandLineBatch(t *testing.T) {
	t.Parallel()
	s := serve(t, inDir(t.TempDir()))
	s.register("work", "http://127.0.0.1:1", spec{"paused": true})
	push := func(lines string) (string, int) {
		t.Helper()
		cmd := exec.Command(program(), "push", "work", "--batch")
		cmd.Env = environ("DEETOO_URL="+s.url, "DEETOO_TOKEN="+s.token)
		cmd.Stdin = strings.NewReader(lines)
		out, err := cmd.CombinedOutput()
		if _, exited := err.(*exec.ExitError); err != nil && !exited {
			t.Fatal(err)
		}
		return string(out), cmd.ProcessState.ExitCode()
	}
	var lines strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&lines, "{\"id\":\"j%d\",\"data\":%d}\n", i, i)
	}
	if out, code := push(lines.String()); code != 0 || !strings.Contains(out, `"accepted": 1000`) {
		t.Errorf("%d %.300s", code, out)
	}
	if got := s.stats("work").Waiting; got != 1000 {
		t.Errorf("%d waiting", got)
	}
	// What was rejected is a failure, though the others are in.
	if out, code := push("{\"data\":1}\n{\"data\":1,\"priority\":\"urgent\"}\n"); code != 1 || !strings.Contains(out, "1 of 2 jobs were rejected") {
		t.Errorf("%d %s", code, out)
	}
	if got := s.stats("work").Waiting; got != 1001 {
		t.Errorf("%d waiting", got)
	}
}

func TestHealthcheck(t *testing.T) {
	t.Parallel()
	s := serve(t, inDir(t.TempDir()))
	listen := "DEETOO_LISTEN=" + strings.TrimPrefix(s.url, "http://")
	for _, args := range [][]string{{"healthcheck"}, {"healthcheck", "--ready"}} {
		if out, stderr, code := run(t, []string{listen}, args...); code != 0 || out != "ok\n" {
			t.Errorf("%v: %d %s%s", args, code, out, stderr)
		}
	}
	_, port, _ := strings.Cut(strings.TrimPrefix(s.url, "http://"), ":")
	for _, env := range []string{"PORT=" + port, "DEETOO_LISTEN=:" + port, "DEETOO_LISTEN=0.0.0.0:" + port, "DEETOO_LISTEN=localhost:" + port} {
		if _, stderr, code := run(t, []string{env}, "healthcheck"); code != 0 {
			t.Errorf("%s: %d %s", env, code, stderr)
		}
	}
	s.stop()
	if _, stderr, code := run(t, []string{listen}, "healthcheck"); code != 1 || stderr == "" {
		t.Errorf("of one that ended: %d %q", code, stderr)
	}
}
