package api

import (
	"bytes"
	"regexp"
	"strings"
	"testing"
)

func TestHealthNeverAsksRedis(t *testing.T) {
	w := newWorld(t)
	w.get("/readyz").want(200)
	w.outage()
	if m := w.get("/healthz").want(200).object(); m["status"] != "ok" || m["version"] != "test" {
		t.Errorf("%v", m)
	}
	a := w.get("/readyz")
	a.wantProblem(503, "unavailable")
	if a.Header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	w.down.Store(nil)
	w.get("/readyz").want(200)
}

func TestContractIsServed(t *testing.T) {
	w := newWorld(t)
	if a := w.get("/openapi.yaml").want(200); !bytes.Equal(a.Body, spec.bytes) {
		t.Error("it is another one")
	}
}

// TestDocsNeedNothingElse holds the page against its policy: every address in
// it is one of ours, and nothing is inline.
func TestDocsNeedNothingElse(t *testing.T) {
	w := newWorld(t)
	for _, path := range []string{"/docs", "/docs/errors"} {
		a := w.get(path).want(200)
		if csp := a.Header.Get("Content-Security-Policy"); strings.Contains(csp, "script-src 'unsafe") || !strings.Contains(csp, "default-src 'none'") {
			t.Errorf("policy: %s", csp)
		}
		if regexp.MustCompile(`<script[^>]*>[^<]|<style|\son[a-z]+=|\sstyle=`).Match(a.Body) {
			t.Errorf("%s has something inline", path)
		}
		for _, m := range regexp.MustCompile(`(?:src|<link[^>]*href)="([^"]*)"`).FindAllStringSubmatch(string(a.Body), -1) {
			if address := m[1]; address != "data:," {
				if got := w.get(address).want(200); len(got.Body) == 0 || got.Header.Get("Content-Type") == "" {
					t.Errorf("%s is empty", address)
				}
			}
		}
	}
	if licence := w.get("/docs/LICENSE").want(200); !strings.Contains(string(licence.Body), "Apache License") {
		t.Error("the licence is missing")
	}
	for _, file := range []string{"nothing", "..%2Fapi.go", "%2Fetc%2Fpasswd", "swagger"} {
		w.get("/docs/"+file).wantProblem(404, "unknown-path")
	}
}

func TestUnknownPathsAndMethods(t *testing.T) {
	w := newWorld(t)
	for _, path := range []string{"/", "/v1", "/v2/types", "/V1/types", "/v1/types/email/jobs/a/b/c", "/favicon.ico", "/v1/types/email/jobs/a/Retry"} {
		w.get(path).wantProblem(404, "unknown-path")
	}
	a := w.do(call{method: "DELETE", path: "/v1/types"})
	a.wantProblem(405, "method-not-allowed")
	if allow := a.Header.Get("Allow"); !strings.Contains(allow, "GET") {
		t.Errorf("Allow: %s", allow)
	}
	w.do(call{method: "PATCH", path: "/healthz"}).wantProblem(405, "method-not-allowed")
}

func TestRequestIDs(t *testing.T) {
	w := newWorld(t)
	for given, kept := range map[string]bool{"abc-1.2_3": true, strings.Repeat("x", 64): true, strings.Repeat("x", 65): false, "a b": false, "<script>": false, "ümlaut": false} {
		a := w.do(call{method: "GET", path: "/v1/nothing", header: map[string]string{"X-Request-Id": given}})
		if got := a.Header.Get("X-Request-Id"); (got == given) != kept || a.problem().RequestID != got {
			t.Errorf("%q became %q", given, got)
		}
	}
}

func TestLogsTellNoSecrets(t *testing.T) {
	w := newWorld(t).email()
	w.do(call{method: "GET", path: "/v1/types?key=swordfish", token: "eyJhbGciOiJub25lIn0.e30.swordfish"}).want(401)
	w.do(call{method: "GET", path: "/v1/types?key=swordfish"}).want(400)
	if log := w.log.String(); strings.Contains(log, "swordfish") || !strings.Contains(log, "path=/v1/types") {
		t.Errorf("log: %s", log)
	}
}
