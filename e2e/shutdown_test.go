package e2e

import (
	"net/http"
	"strings"
	"syscall"
	"testing"
)

// busy is a dispatcher with three jobs held at a handler and three waiting.
func busy(t *testing.T, env []string, args ...string) (*server, *handler, *gate) {
	t.Helper()
	g := newGate()
	t.Cleanup(g.open)
	h := handle(t, func(_ http.ResponseWriter, d delivery) { g.hold(d) })
	s := serve(t, env, args...)
	settings := keepAll()
	settings["concurrency"] = 3
	settings["retry"] = spec{"min_backoff": "10ms", "max_backoff": "20ms"}
	s.register("work", h.url, settings)
	s.batch("work", "j", 6)
	h.awaits(t, 3)
	return s, h, g
}

func TestSIGTERMWaitsForRunningJobs(t *testing.T) {
	t.Parallel()
	env := inDir(t.TempDir())
	s, h, g := busy(t, env)
	s.signal(syscall.SIGTERM)
	eventually(t, "/readyz says 503", func() bool { return s.status("GET", "/readyz") == 503 })
	if got := s.status("GET", "/healthz"); got != 200 {
		t.Errorf("/healthz while draining: %d", got)
	}
	// Jobs are taken until the end: whoever pushes here loses nothing.
	s.push("work", spec{"id": "late", "data": 1})
	if len(h.deliveries()) != 3 || !s.running() {
		t.Errorf("%d deliveries, running: %v", len(h.deliveries()), s.running())
	}
	g.open()
	if code := s.exit(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if n := len(h.deliveries()); n != 3 {
		t.Errorf("%d jobs were begun, three of them while draining", n)
	}
	s = serve(t, env)
	s.allDone("work", 7)
	for id, n := range h.times() {
		if n != 1 {
			t.Errorf("job %s was delivered %d times", id, n)
		}
	}
}

func TestDrainTimeoutReleases(t *testing.T) {
	t.Parallel()
	env := inDir(t.TempDir())
	s, h, g := busy(t, env, "--drain-timeout", "300ms")
	s.signal(syscall.SIGTERM)
	if code := s.exit(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	eventually(t, "the requests are abandoned", func() bool { return h.running() == 0 })
	g.open()
	s = serve(t, env)
	s.allDone("work", 6)
	for _, d := range h.deliveries() {
		if d.attempt != "1" {
			t.Errorf("job %s came again as attempt %s: its release has cost one", d.id, d.attempt)
		}
	}
	if j := s.job("work", "j0"); j.Attempt != 1 || j.Lost != 0 {
		t.Errorf("%+v", j)
	}
	s.stop()
	sound(t, env)
}

func TestDrainTimeoutFails(t *testing.T) {
	t.Parallel()
	env := inDir(t.TempDir())
	s, h, g := busy(t, env, "--drain-timeout=300ms", "--on-shutdown-timeout=fail")
	s.signal(syscall.SIGTERM)
	if code := s.exit(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	g.open()
	s = serve(t, env)
	s.allDone("work", 6)
	first := map[string]bool{}
	for _, d := range h.deliveries()[:3] {
		first[d.id] = true
	}
	for id := range first {
		if got := s.attempts("work", id); len(got) != 2 || got[0].Outcome != "failed" || got[1].N != 2 || got[1].Outcome != "succeeded" || !strings.Contains(got[0].Error, "shut down") {
			t.Errorf("attempts of %s: %+v", id, got)
		}
	}
}

func TestNoDrainAtAll(t *testing.T) {
	t.Parallel()
	env := inDir(t.TempDir())
	s, _, g := busy(t, env, "--drain-timeout=0")
	s.signal(syscall.SIGTERM)
	if code := s.exit(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	g.open()
	serve(t, env).allDone("work", 6)
}

func TestSecondSignalQuitsAtOnce(t *testing.T) {
	t.Parallel()
	env := inDir(t.TempDir())
	s, h, g := busy(t, env, "--lease", "1s")
	s.signal(syscall.SIGTERM)
	eventually(t, "/readyz says 503", func() bool { return s.status("GET", "/readyz") == 503 })
	s.signal(syscall.SIGINT)
	if code := s.exit(); code != 1 {
		t.Errorf("exit code %d", code)
	}
	s.logs("second signal")
	eventually(t, "the requests are abandoned", func() bool { return h.running() == 0 })
	g.open()
	s = serve(t, env, "--lease", "1s")
	s.allDone("work", 6) // those that ran come back when their leases end
	s.stop()
	sound(t, env)
}

// Nobody is made to wait by a Redis that never came.
func TestSIGTERMWithoutRedis(t *testing.T) {
	t.Parallel()
	s := begin(t, onRedis(t, "redis://127.0.0.1:1"))
	s.signal(syscall.SIGHUP) // has nothing to say, and must not end it
	s.logs("SIGHUP is for the types file")
	s.stop()
	if strings.Contains(s.stderr.String(), "level=ERROR") {
		t.Error("an error was logged")
	}
}

func TestUnansweringHandlerHoldsUpNoStop(t *testing.T) {
	t.Parallel()
	s, _, _ := busy(t, inDir(t.TempDir()), "--drain-timeout=100ms")
	// Idle connections of clients that keep them open must not either.
	if got := s.status("GET", "/healthz"); got != 200 {
		t.Fatal(got)
	}
	s.stop()
}
