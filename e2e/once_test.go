package e2e

import (
	"encoding/json"
	"os/exec"
	"strings"
	"testing"
)

// A command that is repeated under its key pushes once, though the dispatcher
// is killed in between, and the job is long done.
func TestIdempotencyKeyOutlivesTheDispatcher(t *testing.T) {
	t.Parallel()
	h := handle(t, nil)
	dir := t.TempDir()
	s := serve(t, inDir(dir))
	s.register("work", h.url, nil)
	var receipt struct{ ID string }
	first := s.ok("push", "work", `{"n":1}`, "--idempotency-key=order 4711")
	if err := json.Unmarshal([]byte(first), &receipt); err != nil || receipt.ID == "" {
		t.Fatalf("%s: %v", first, err)
	}
	s.becomes("work", receipt.ID, "succeeded")
	s.kill()

	s = serve(t, inDir(dir))
	if again := s.ok("push", "work", `{"n":1}`, "--idempotency-key=order 4711"); again != first {
		t.Errorf("repeated: %s, first %s", again, first)
	}
	if _, stderr, code := s.command("push", "work", `{"n":2}`, "--idempotency-key=order 4711"); code != 1 || !strings.Contains(stderr, "422") {
		t.Errorf("another job under the key: %d %s", code, stderr)
	}
	batch := func() string {
		cmd := exec.Command(program(), "push", "work", "--batch", "--idempotency-key=batch")
		cmd.Env = environ("DEETOO_URL="+s.url, "DEETOO_TOKEN="+s.token)
		cmd.Stdin = strings.NewReader("{\"data\":1}\n{\"data\":2}\n")
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return string(out)
	}
	if one, two := batch(), batch(); one != two {
		t.Errorf("the batch again: %s, first %s", two, one)
	}
	s.allDone("work", 3)
	if n := len(h.deliveries()); n != 3 {
		t.Errorf("%d deliveries of 3 jobs", n)
	}
}
