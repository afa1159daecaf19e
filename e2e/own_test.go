package e2e

import (
	"strings"
	"testing"
)

// A job goes to its own target, with its own headers, where its type allows it.
func TestJobWithItsOwnTarget(t *testing.T) {
	t.Parallel()
	typical, other := handle(t, nil), handle(t, nil)
	s := serve(t, inDir(t.TempDir()))
	secret := s.register("work", typical.url, spec{"headers": spec{"X-Tenant": "none"}, "allow_targets": []string{other.url + "/own"}})
	s.ok("push", "work", `{"n":1}`, "--id=own", "--target="+other.url+"/own/a?key=hidden", "--header=X-Tenant=a=b;c", "--tag=import, all", "--tag=42")
	d := other.awaits(t, 1)
	if d.header.Get("X-Tenant") != "a=b;c" {
		t.Errorf("%v", d.header)
	}
	d.verifies(t, secret)
	s.becomes("work", "own", "succeeded")
	out := s.ok("jobs", "show", "work", "own")
	if !strings.Contains(out, `"import, all"`) || !strings.Contains(out, "/own/a") || strings.Contains(out, "hidden") {
		t.Errorf("shown: %s", out)
	}
	s.ok("push", "work", `{"n":2}`, "--id=typical")
	typical.awaits(t, 1)
	if _, stderr, code := s.command("push", "work", "3", "--target="+other.url+"/elsewhere?key=hidden"); code != 1 || !strings.Contains(stderr, "allow_targets") || strings.Contains(stderr, "hidden") {
		t.Errorf("%d %s", code, stderr)
	}
	if logs := s.stderr.String() + s.stdout.String(); strings.Contains(logs, "hidden") {
		t.Errorf("logged: %s", logs)
	}
}
