package e2e

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
)

// A unique key is held while its job runs, and free when it is done: by command line, and after a crash.
func TestUniqueKey(t *testing.T) {
	t.Parallel()
	g := newGate()
	h := handle(t, func(w http.ResponseWriter, d delivery) { g.hold(d) })
	t.Cleanup(g.open)
	dir := t.TempDir()
	s := serve(t, inDir(dir))
	s.register("work", h.url, nil)
	type receipt struct {
		ID                  string
		Replaced, Duplicate bool
	}
	push := func(args ...string) (r receipt) {
		t.Helper()
		if err := json.Unmarshal([]byte(s.ok(append([]string{"push", "work"}, args...)...)), &r); err != nil {
			t.Fatal(err)
		}
		return r
	}
	first := push(`{"n":1}`, "--unique-key=sync", "--delay=1h")
	if r := push(`{"n":2}`, "--unique-key=sync", "--on-conflict=debounce", "--delay=2h", "--debounce-max=90m"); r.ID != first.ID || !r.Replaced {
		t.Errorf("debounced: %+v", r)
	}
	if r := push(`{"n":3}`, "--unique-key=sync", "--on-conflict=replace"); r.ID != first.ID || !r.Replaced {
		t.Errorf("replaced: %+v", r)
	}
	if d := h.awaits(t, 1); string(d.body) != `{"n":3}` {
		t.Errorf("delivered %s", d.body)
	}
	if _, stderr, code := s.command("push", "work", "4", "--unique-key=sync"); code != 1 || !strings.Contains(stderr, first.ID) || !strings.Contains(stderr, "409") {
		t.Errorf("while it runs: %d %s", code, stderr)
	}
	s.kill()
	s = serve(t, inDir(dir))
	if r := push("5", "--unique-key=sync", "--on-conflict=ignore"); r.ID != first.ID || !r.Duplicate {
		t.Errorf("after the crash: %+v", r)
	}
	g.open()
	s.becomes("work", first.ID, "succeeded")
	if r := push("6", "--unique-key=sync", "--unique-for=1h"); r.ID == first.ID || r.Duplicate {
		t.Errorf("when it is done: %+v", r)
	}
}
