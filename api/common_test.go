package api

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/deetoo/deetoo/auth"
)

// sample is a good request for a route, about the type email and the job job-1.
func sample(r Route) call {
	path := strings.NewReplacer("{type}", "email", "{id}", "job-1", "{name}", "nightly", "{file}", "errors", "{secret}", "ffffffff", "{redrive}", "redrive-1").Replace(r.Path)
	c := call{method: r.Method, path: path}
	switch r.OperationID {
	case "putType":
		c.body = `{"target":"https://example.org/email"}`
	case "patchType":
		c.body, c.media = `{"concurrency":5}`, mediaMergePatch
	case "putSchedule":
		c.body = `{"type":"email","cron":"0 3 * * *"}`
	case "patchSchedule":
		c.body, c.media = `{"cron":"0 4 * * *"}`, mediaMergePatch
	case "pushJobs", "putJob":
		c.body = `{"data":{"n":1}}`
	case "createWorkflow":
		c.body = `{"jobs":[{"type":"email","data":1}]}`
	case "pauseType":
		c.body = `{"reason":"lunch"}`
	case "holdType":
		c.body = `{"reason":"lunch","for":"1h"}`
	case "addSecret":
		c.body = `{"kind":"hmac"}`
	case "testType":
		c.body = `{"data":1}`
	case "callbackHeartbeat":
		c.body = `{"progress":{"number":1}}`
	case "callbackProgress":
		c.body = `{"number":1}`
	case "callbackLog":
		c.body = `{"message":"x"}`
	case "callbackComplete":
		c.body = `{"result":1}`
	case "callbackFail":
		c.body = `{"error":"x"}`
	case "redriveDead":
		c.body = `{"canary":1}`
	case "purgeJobs":
		c.path += "?state=dead"
	}
	if strings.HasPrefix(r.OperationID, "deetoo") && r.Method != "DELETE" {
		c.body = `{"jobData":{"n":1}}`
	}
	return c
}

// everyOperation runs a test on each operation that documents the status.
func everyOperation(t *testing.T, status string, test func(t *testing.T, w *world, r Route, c call)) {
	w := newWorld(t).email()
	n := 0
	for _, r := range w.api.Routes() {
		op := spec.doc.Paths.Value(r.Path).GetOperation(r.Method)
		if op.Responses.Value(status) == nil {
			continue
		}
		n++
		t.Run(r.OperationID, func(t *testing.T) {
			outer := w.TB
			w.TB = t
			defer func() { w.TB = outer }()
			test(t, w, r, sample(r))
		})
	}
	if n < 3 {
		t.Fatalf("only %d operations document %s", n, status)
	}
}

func TestNoToken(t *testing.T) {
	everyOperation(t, "401", func(t *testing.T, w *world, r Route, c call) {
		c.token = "-"
		a := w.do(c)
		a.wantProblem(401, "unauthenticated")
		if got := a.Header.Get("WWW-Authenticate"); got != `Bearer realm="deetoo"` {
			t.Errorf("WWW-Authenticate: %s", got)
		}
	})
}

func TestMissingScopeIsNamed(t *testing.T) {
	everyOperation(t, "403", func(t *testing.T, w *world, r Route, c call) {
		var others []auth.Scope
		for _, s := range auth.Scopes() {
			if s != r.Scope && s != auth.Admin {
				others = append(others, s)
			}
		}
		c.token = token(t, auth.MintOptions{Scopes: others})
		a := w.do(c)
		p := a.wantProblem(403, "missing-scope")
		if p.Scope != string(r.Scope) || !strings.Contains(a.Header.Get("WWW-Authenticate"), `scope="`+string(r.Scope)+`"`) {
			t.Errorf("scope %q, WWW-Authenticate %q; want %s", p.Scope, a.Header.Get("WWW-Authenticate"), r.Scope)
		}
	})
}

func TestTypeOutOfReach(t *testing.T) {
	everyOperation(t, "403", func(t *testing.T, w *world, r Route, c call) {
		if !strings.Contains(r.Path, "{type}") {
			return // covered by TestLimitedTokenSeesOnlyItsTypes
		}
		c.token = token(t, auth.MintOptions{JobTypes: []string{"shop.*"}})
		if p := w.do(c).wantProblem(403, "type-out-of-reach"); p.JobType != "email" {
			t.Errorf("job_type is %q", p.JobType)
		}
	})
}

func TestOneScopeIsEnough(t *testing.T) {
	everyOperation(t, "403", func(t *testing.T, w *world, r Route, c call) {
		scopes := []auth.Scope{r.Scope}
		if r.Scope == auth.SchedulesWrite { // which pushes jobs
			scopes = append(scopes, auth.JobsWrite)
		}
		c.token = token(t, auth.MintOptions{Scopes: scopes})
		if a := w.do(c); a.Status == 403 {
			t.Errorf("%s is not enough: %s", r.Scope, a.Body)
		}
		w.put("/v1/types/email", `{"target":"https://example.org/email"}`) // deleteType took it
	})
}

func TestUnknownTypeIsNamedWithTheNearest(t *testing.T) {
	everyOperation(t, "404", func(t *testing.T, w *world, r Route, c call) {
		if !strings.Contains(r.Path, "{type}") {
			return
		}
		c.path = strings.Replace(c.path, "email", "emial", 1)
		if p := w.do(c).wantProblem(404, "unknown-type"); len(p.Nearest) != 1 || p.Nearest[0] != "email" || p.JobType != "emial" {
			t.Errorf("nearest %v, job_type %q", p.Nearest, p.JobType)
		}
		// Whom the token does not reach, it does not learn of.
		c.token = token(t, auth.MintOptions{JobTypes: []string{"em*"}})
		if p := w.do(c).wantProblem(404, "unknown-type"); len(p.Nearest) != 1 {
			t.Errorf("nearest %v", p.Nearest)
		}
		c.token = token(t, auth.MintOptions{JobTypes: []string{"emi*"}})
		if p := w.do(c).wantProblem(404, "unknown-type"); len(p.Nearest) != 0 {
			t.Errorf("nearest %v", p.Nearest)
		}
	})
}

func TestUnknownJob(t *testing.T) {
	w := newWorld(t).email()
	for _, r := range w.api.Routes() {
		if strings.Contains(r.Path, "{id}") && r.OperationID != "getWorkflow" && (r.Method == "DELETE" || strings.HasPrefix(r.Path, "/v1") && r.Method != "PUT" && r.Scope != "") {
			w.do(sample(r)).wantProblem(404, "unknown-job")
		}
	}
}

func TestUnknownQueryParameterIsNamed(t *testing.T) {
	everyOperation(t, "400", func(t *testing.T, w *world, r Route, c call) {
		c.path, _, _ = strings.Cut(c.path, "?")
		c.path += "?bogus=1"
		if p := w.do(c).wantProblem(400, "invalid"); p.Field != "bogus" {
			t.Errorf("field %q", p.Field)
		}
	})
}

func TestTooLargeABody(t *testing.T) {
	everyOperation(t, "413", func(t *testing.T, w *world, r Route, c call) {
		size := 2 << 20
		if strings.Contains(r.OperationID, "Schedule") || strings.Contains(r.OperationID, "Type") && r.OperationID != "testType" || r.OperationID == "addSecret" || r.OperationID == "redriveDead" {
			size = maxSettingsBody
		}
		c.body = strings.Replace(c.body, "{", `{"x":"`+strings.Repeat("x", size)+`",`, 1)
		if r.OperationID == "createWorkflow" { // as large as a batch may be, but its jobs may not
			c.body = `{"jobs":[{"type":"email","data":"` + strings.Repeat("x", 1<<20) + `"}]}`
		}
		w.do(c).wantProblem(413, "too-large")
	})
}

func TestWrongMedia(t *testing.T) {
	everyOperation(t, "415", func(t *testing.T, w *world, r Route, c call) {
		good := c.media
		for _, media := range []string{"text/csv", "multipart/form-data; boundary=x", "application/json; charset=utf-16", "nonsense;;", "text/html"} {
			c.media = media
			w.do(c).wantProblem(415, "unsupported-media-type")
		}
		c.media = good
		for _, encoding := range []string{"gzip", "br", "deflate, gzip"} {
			c.header = map[string]string{"Content-Encoding": encoding}
			w.do(c).wantProblem(415, "unsupported-media-type")
		}
	})
}

type brokenVerifier struct{ panics bool }

func (b brokenVerifier) Verify(context.Context, string) (*auth.Identity, error) {
	if b.panics {
		panic("the password is swordfish")
	}
	return nil, errors.New("the password is swordfish")
}

func TestOurMistakesSayNothing(t *testing.T) {
	for name, broken := range map[string]Verifier{"error": brokenVerifier{}, "panic": brokenVerifier{panics: true}} {
		t.Run(name, func(t *testing.T) {
			everyOperation(t, "500", func(t *testing.T, w *world, r Route, c call) {
				good := w.verifier
				w.verifier = broken
				a := w.do(c)
				w.verifier = good
				p := a.wantProblem(500, "internal")
				if p.Detail != "" || strings.Contains(string(a.Body), "swordfish") {
					t.Errorf("it tells: %s", a.Body)
				}
				if log := w.log.String(); !strings.Contains(log, p.RequestID) || name == "panic" && strings.Contains(log, "swordfish") {
					t.Errorf("log: %s", log)
				}
			})
		})
	}
}

type noKeys struct{}

func (noKeys) Verify(context.Context, string) (*auth.Identity, error) {
	return nil, auth.ErrKeysUnavailable
}

func TestKeysAway(t *testing.T) {
	everyOperation(t, "503", func(t *testing.T, w *world, r Route, c call) {
		if r.Scope == "" {
			return
		}
		good := w.verifier
		w.verifier = noKeys{}
		a := w.do(c)
		w.verifier = good
		a.wantProblem(503, "keys-unavailable")
		if a.Header.Get("Retry-After") == "" || a.Header.Get("WWW-Authenticate") != "" {
			t.Errorf("headers: %v", a.Header)
		}
	})
}

func TestRedisAway(t *testing.T) {
	everyOperation(t, "503", func(t *testing.T, w *world, r Route, c call) {
		if r.OperationID == "listTypes" || r.OperationID == "testType" {
			return // they know the types by heart
		}
		w.outage()
		a := w.do(c)
		w.down.Store(nil)
		a.wantProblem(503, "unavailable")
		if a.Header.Get("Retry-After") == "" || strings.Contains(string(a.Body), "10.1.2.3") {
			t.Errorf("Retry-After %q, %s", a.Header.Get("Retry-After"), a.Body)
		}
		if a := w.do(c); a.Status == 503 {
			t.Errorf("it has not recovered: %s", a.Body)
		}
		w.put("/v1/types/email", `{"target":"https://example.org/email"}`)
	})
}
