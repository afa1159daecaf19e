package api

import (
	"context"
	"strings"
	"testing"

	"github.com/deetoo/deetoo/auth"
	"github.com/deetoo/deetoo/queue"
)

func TestWorkflowLifecycle(t *testing.T) {
	w := newWorld(t).email()
	body := `{"id":"w/1","jobs":[{"type":"email","data":{"n":1},"title":"first"},{"type":"email","id":"mine","data":2,"delay":"1h"}],"on_complete":{"type":"email","data":7},"callback_url":"https://example.org/hook?key=1"}`
	made := w.post("/v1/workflows", body).want(201)
	if made.Header.Get("Location") != "/v1/workflows/w%2F1" {
		t.Errorf("at %q", made.Header.Get("Location"))
	}
	m := made.object()
	if m["state"] != "running" || m["total"] != 2.0 || m["pending"] != 2.0 || m["callback_url"] != "https://example.org/hook?…" || m["on_complete"].(map[string]any)["id"] != "w/1-complete" {
		t.Errorf("%v", m)
	}
	if again := w.post("/v1/workflows", body).want(200); string(again.Body) != string(made.Body) {
		t.Errorf("%s, then %s", made.Body, again.Body)
	}
	w.post("/v1/workflows", `{"id":"w/1","jobs":[{"type":"email"}]}`).wantProblem(409, "workflow-exists")
	if job := w.get("/v1/types/email/jobs/mine").want(200).object(); job["workflow"] != "w/1" || job["state"] != "scheduled" {
		t.Errorf("%v", job)
	}
	l := w.claim("w/1-0")
	w.settle(l, queue.Done, "succeeded", "", []byte("3"))
	endings, _, err := w.queue.TakeEndings(context.Background(), "email", 1e9)
	if err != nil || len(endings) != 1 {
		t.Fatalf("%v, %v", endings, err)
	}
	if _, err := w.queue.WorkflowJobEnded(context.Background(), &endings[0], queue.WorkflowDetail{Result: endings[0].Job.Result}); err != nil {
		t.Fatal(err)
	}
	m = w.get("/v1/workflows/w%2F1").want(200).object()
	if first := m["jobs"].([]any)[0].(map[string]any); m["succeeded"] != 1.0 || m["pending"] != 1.0 || first["state"] != "succeeded" || first["result"] != 3.0 {
		t.Errorf("%v", m)
	}
	w.get("/v1/workflows/other").wantProblem(404, "unknown-workflow")
	w.get("/v1/workflows/"+strings.Repeat("x", 256)).wantProblem(400, "invalid")
	// A token that does not reach the type knows nothing of it.
	sms := token(t, auth.MintOptions{JobTypes: []string{"sms"}})
	w.do(call{method: "GET", path: "/v1/workflows/w%2F1", token: sms}).wantProblem(404, "unknown-workflow")
	w.do(call{method: "POST", path: "/v1/workflows", body: body, token: sms}).wantProblem(403, "type-out-of-reach")
}

func TestWorkflowUnderAKey(t *testing.T) {
	w := newWorld(t).email()
	push := func(body string) *answer {
		t.Helper()
		return w.do(call{method: "POST", path: "/v1/workflows", body: body, header: map[string]string{"Idempotency-Key": "k1", "Traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}})
	}
	first := push(`{"jobs":[{"type":"email"}]}`).want(201).object()
	if again := push(`{"jobs":[{"type":"email"}]}`).want(200).object(); again["id"] != first["id"] || again["id"] == "" {
		t.Errorf("%v, then %v", first, again)
	}
	push(`{"jobs":[{"type":"email"},{"type":"email"}]}`).wantProblem(422, "idempotency-key-reused")
	if m := w.post("/v1/workflows", `{"jobs":[{"type":"email"}]}`).want(201).object(); m["id"] == first["id"] {
		t.Errorf("%v", m)
	}
}

func TestWorkflowInvalid(t *testing.T) {
	w := newWorld(t).email()
	for body, field := range map[string]string{
		`[]`: "", `{"jobs":[]}`: "jobs", `{"jobs":[{"data":1}]}`: "jobs[0].type",
		`{"jobs":[{"type":"email"},{"type":"email","unique_key":"k"}]}`:                             "jobs[1].unique_key",
		`{"jobs":[{"type":"email","max_attempts":0}]}`:                                              "jobs[0].max_attempts",
		`{"jobs":[{"type":"deetoo.callback"}]}`:                                                     "jobs[0].type",
		`{"id":"","jobs":[{"type":"email"}]}`:                                                       "id",
		`{"jobs":[{"type":"email"}],"on_failure":{"type":"email","when":5}}`:                        "on_failure.when",
		`{"jobs":[{"type":"email"}],"on_complete":{"type":"deetoo.callback"}}`:                      "on_complete.type",
		`{"jobs":[{"type":"email"}],"on_complete":{"type":"email","callback_url":"ftp://example"}}`: "on_complete.callback_url",
		`{"jobs":[{"type":"email","on_success":{"type":"deetoo.callback"}}]}`:                       "jobs[0].on_success.type",
	} {
		if p := w.post("/v1/workflows", body).wantProblem(400, "invalid"); p.Field != field {
			t.Errorf("%s: %+v", body, p)
		}
	}
	w.post("/v1/workflows", `{"jobs":[{"type":"email"},{"type":"emial"}]}`).wantProblem(404, "unknown-type")
	w.post("/v1/workflows", `{"jobs":[{"type":"email"}],"on_success":{"type":"emial"}}`).wantProblem(404, "unknown-type")
	if p := w.post("/v1/workflows", `{"jobs":[{"type":"email"},{"type":"email","data":"`+strings.Repeat("x", 1<<20)+`"}]}`).wantProblem(413, "too-large"); p.Field != "jobs[1].data" {
		t.Errorf("%+v", p)
	}
	w.do(call{method: "POST", path: "/v1/workflows", body: `{}`, media: "text/plain"}).wantProblem(415, "unsupported-media-type")
	if m := w.get("/v1/types/email/stats").want(200).object(); m["waiting"] != 0.0 {
		t.Errorf("%v", m)
	}
}
