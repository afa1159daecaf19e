package e2e

import (
	"strings"
	"testing"

	"github.com/deetoo/deetoo/internal/redistest"
)

func TestSelftest(t *testing.T) {
	t.Parallel()
	s := serve(t, inDir(t.TempDir()))
	if out := s.ok("selftest"); !strings.Contains(out, "delivered with a good signature, and succeeded") {
		t.Error(out)
	}
	if out := s.ok("selftest", "--answer=127.0.0.1"); !strings.Contains(out, "succeeded") {
		t.Error(out)
	}
	if out := s.ok("selftest", "--no-delivery"); !strings.Contains(out, "stored, shown and cancelled") {
		t.Error(out)
	}
	if out, stderr, code := s.command("selftest", "--target=http://127.0.0.1:1/", "--timeout=2s"); code != 1 || !strings.Contains(stderr, "took longer than 2s") || !strings.Contains(stderr, "refused") {
		t.Errorf("nobody answers: %d %s%s", code, out, stderr)
	}
	if types := string(s.call("GET", "/v1/types", nil).body); strings.Contains(types, "selftest") {
		t.Errorf("it left something: %s", types)
	}
}

// TestSelftestOfAGuardedDispatcher is one that may not call private addresses, as most may not.
func TestSelftestOfAGuardedDispatcher(t *testing.T) {
	t.Parallel()
	s := serve(t, append(inDir(t.TempDir()), "DEETOO_ALLOW_PRIVATE_TARGETS=false"))
	if out, stderr, code := s.command("selftest"); code != 1 || !strings.Contains(stderr, "--allow-private-targets") {
		t.Errorf("%d %s%s", code, out, stderr)
	}
	s.ok("selftest", "--no-delivery")
	if types := string(s.call("GET", "/v1/types", nil).body); strings.Contains(types, "selftest") {
		t.Errorf("it left something: %s", types)
	}
	if out, stderr, code := run(t, []string{"DEETOO_URL=" + s.url, "DEETOO_JWT_SECRET=another secret that is long enough"}, "selftest", "--no-delivery"); code != 1 || !strings.Contains(stderr, "401") {
		t.Errorf("with a token of another: %d %s%s", code, out, stderr)
	}
}

// TestRedisPasswordOfItsOwn has one that would be another in a URL, unescaped.
func TestRedisPasswordOfItsOwn(t *testing.T) {
	t.Parallel()
	redis := redistest.SingleServer(t)
	const password = "p@ss/:w%rd#?"
	if err := redis.Client().Do(t.Context(), "ACL", "SETUSER", "app", "on", ">"+password, "~*", "&*", "+@all").Err(); err != nil {
		t.Fatal(err)
	}
	url := "REDIS_URL=" + strings.Replace(redis.URL(), "redis://", "redis://app@", 1)
	s := serve(t, append(inDir(t.TempDir()), url, "DEETOO_REDIS_PASSWORD="+password))
	s.ok("selftest")
	s.stop()
	if out, stderr, code := run(t, []string{url, "DEETOO_REDIS_PASSWORD=" + password}, "fsck"); code != 0 {
		t.Errorf("fsck: %d %s%s", code, out, stderr)
	}
	if out, stderr, code := run(t, []string{url, "DEETOO_REDIS_PASSWORD=wrong-" + password}, "fsck"); code != 1 || strings.Contains(stderr, password) {
		t.Errorf("fsck with another password: %d %s%s", code, out, stderr)
	}
	if said := s.stdout.String() + s.stderr.String(); strings.Contains(said, password) {
		t.Errorf("the password is shown: %s", said)
	}
}
