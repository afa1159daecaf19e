package e2e

import (
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/deetoo/deetoo/internal/redistest"
)

// Nothing secret reaches standard output or a log, however much is logged and
// whatever goes wrong.
func TestLogsHoldNoSecrets(t *testing.T) {
	t.Parallel()
	redis := redistest.SingleServer(t)
	err := redis.Client().Do(t.Context(), "ACL", "SETUSER", "app", "on", ">canary-redis-password", "~*", "&*", "+@all").Err()
	if err != nil {
		t.Fatal(err)
	}
	h := handle(t, func(w http.ResponseWriter, d delivery) {
		switch {
		case d.id == "redirected":
			w.Header().Set("Location", "http://127.0.0.1:1/?canary-location")
			w.WriteHeader(302)
		case d.id == "slow":
			<-d.abandoned
		case d.id == "broken":
			panic(http.ErrAbortHandler)
		default:
			scripted(500, 429, 200)(w, d)
		}
	})
	u, err := url.Parse(h.url)
	if err != nil {
		t.Fatal(err)
	}
	u.RawQuery = "key=canary-target-query"
	file := filepath.Join(t.TempDir(), "types.yaml")
	if err := os.WriteFile(file, []byte("types: {filed: {target: '"+u.String()+"', headers: {x-key: canary-filed-header}}}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	env := []string{
		"REDIS_URL=redis://app:canary-redis-password@" + redis.Addr(), "DEETOO_DATA_DIR=" + t.TempDir(),
		"DEETOO_JWT_SECRET=" + secret, "DEETOO_TYPES=" + file,
	}
	s := serve(t, env, "--log-level=debug", "--log-format=json", "--drain-timeout=100ms")
	settings := quick(spec{"headers": spec{"x-api-key": "canary-header"}, "timeout": "300ms", "description": "plain"})
	signed := s.register("work", u.String(), settings)
	job := func(id string) spec {
		return spec{"id": id, "data": spec{"password": "canary-data"}, "title": "title"}
	}
	for _, id := range []string{"fine", "redirected", "slow", "broken"} {
		s.push("work", job(id))
	}
	s.becomes("work", "fine", "succeeded")
	for _, id := range []string{"redirected", "slow", "broken"} {
		s.becomes("work", id, "dead")
	}
	if d := h.awaits(t, 1); d.header.Get("X-Api-Key") != "canary-header" {
		t.Errorf("the secrets were not sent to the handler: %v", d.header)
	}
	// What goes wrong is where secrets slip out.
	s.with("canary-bad-token", "GET", "/v1/types", nil)
	s.call("GET", "/v1/types?token=canary-query", nil)
	s.call("POST", "/v1/types/work/jobs", `{"data":{"canary-malformed":}`)
	s.call("PUT", "/v1/types/work", spec{"target": "http://user:canary-userinfo@[::bad/", "secret": "whsec_canary-secret"})
	s.call("PUT", "/v1/types/work", spec{"target": "http://user:canary-userinfo@127.0.0.1/"})
	s.call("PUT", "/v1/types/work", spec{"target": u.String(), "secret": "whsec_canary-secret"})
	s.call("POST", "/v1/types/work/test", spec{"data": "canary-test"})
	s.register("away", "http://127.0.0.1:1/?canary-away", quick(nil))
	s.push("away", job("x"))
	s.becomes("away", "x", "dead")
	for _, path := range []string{"/v1/types/away/jobs/x", "/v1/types/away/jobs/x/attempts", "/v1/types/away/jobs/x/why"} {
		if a := s.call("GET", path, nil); strings.Contains(string(a.body), "canary-away") {
			t.Errorf("%s shows the target's secrets: %s", path, a.body)
		}
	}
	if err := redis.Stop(); err != nil {
		t.Fatal(err)
	}
	s.call("POST", "/v1/types/work/jobs", job("late"))
	if err := redis.Start(); err != nil {
		t.Fatal(err)
	}
	s.stop()

	out := s.stdout.String() + s.stderr.String()
	if !strings.Contains(out, `"level":"DEBUG"`) || !strings.Contains(out, `"msg":"attempt"`) {
		t.Error("the log is not at debug: this test proves nothing")
	}
	key, _ := strings.CutPrefix(signed, "whsec_")
	for _, canary := range []string{"canary", s.token, secret, key} {
		if at := strings.Index(out, canary); at >= 0 {
			t.Errorf("%.12s… was printed: %q", canary, out[max(0, at-300):min(len(out), at+60)])
		}
	}

	// Nor when the start fails.
	for _, bad := range []string{"redis://:canary-redis-password@127.0.0.1:port", "redis+sentinel://:canary-redis-password@127.0.0.1", "redis://:canary-redis-password@127.0.0.1/?canary=1"} {
		_, stderr, code := run(t, append(inDir(t.TempDir()), "REDIS_URL="+bad, "DEETOO_LISTEN=127.0.0.1:0"), "serve")
		if code == 0 || strings.Contains(stderr, "canary-redis-password") {
			t.Errorf("%d %s", code, stderr)
		}
	}
}
