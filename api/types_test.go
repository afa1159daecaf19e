package api

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/deetoo/deetoo/auth"
	"github.com/deetoo/deetoo/dispatch"
	"github.com/deetoo/deetoo/dispatch/webhook"
)

func TestTypeLifecycle(t *testing.T) {
	w := newWorld(t)
	created := w.put("/v1/types/email", `{"target":"https://example.org/email","concurrency":12,"headers":{"x-api-key":"3f6c"}}`).want(201)
	first := created.object()
	if !strings.HasPrefix(first["secret"].(string), "whsec_") || first["concurrency"] != 12.0 || first["timeout"] != "30s" {
		t.Errorf("created: %s", created.Body)
	}
	if h := first["headers"].(map[string]any); h["x-api-key"] != "[redacted]" {
		t.Errorf("headers: %v", h)
	}
	got := w.get("/v1/types/email").want(200)
	if _, shown := got.object()["secret"]; shown {
		t.Error("the secret is shown twice")
	}
	if got.Header.Get("Etag") != created.Header.Get("Etag") || got.Header.Get("Etag") == "" {
		t.Errorf("ETags %q and %q", got.Header.Get("Etag"), created.Header.Get("Etag"))
	}
	// What was read can be sent back, and changes nothing.
	same := w.put("/v1/types/email", string(got.Body)).want(200)
	if same.Header.Get("Etag") != got.Header.Get("Etag") {
		t.Errorf("putting back what was read changed it: %s", same.Body)
	}
	w.do(call{method: "PATCH", path: "/v1/types/email", body: `{"concurrency":20,"description":"Mails"}`, media: mediaMergePatch}).want(200)
	if m := w.get("/v1/types/email").object(); m["concurrency"] != 20.0 || m["description"] != "Mails" {
		t.Errorf("patched: %v", m)
	}
	if s, err := w.queue.Stats(t.Context(), "email"); err != nil || s.Limit != 20 {
		t.Errorf("in force: %+v, %v", s, err)
	}
	if m := w.post("/v1/types/email/pause", `{"reason":"lunch"}`).want(200).object(); m["paused"] != true || m["paused_reason"] != "lunch" {
		t.Errorf("paused: %v", m)
	}
	if m := w.post("/v1/types/email/resume", "").want(200).object(); m["paused"] != false || m["paused_reason"] != "" {
		t.Errorf("resumed: %v", m)
	}
	if m := w.post("/v1/types/email/pause", "").want(200).object(); m["paused_reason"] != "paused by tester" {
		t.Errorf("paused without a reason: %v", m)
	}
	w.delete("/v1/types/email").want(204)
	w.get("/v1/types/email").wantProblem(404, "unknown-type")
}

func TestSecretOfTheCallerIsNotShown(t *testing.T) {
	w := newWorld(t)
	secret := "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
	a := w.put("/v1/types/email", `{"target":"https://example.org/","secret":"`+secret+`"}`).want(201)
	if strings.Contains(string(a.Body), secret) || strings.Contains(w.log.String(), secret) {
		t.Error("it is")
	}
}

// A target's query may hold a key: only those who may set it see it whole, so
// that what they read can be sent back.
func TestQueryOfATargetIsForThoseWhoMaySetIt(t *testing.T) {
	w := newWorld(t)
	const target = "https://example.org/hook?key=swordfish"
	w.put("/v1/types/email", `{"target":"`+target+`"}`).want(201)
	for _, path := range []string{"/v1/types", "/v1/types/email"} {
		reader := w.do(call{method: "GET", path: path, token: token(t, auth.MintOptions{Scopes: []auth.Scope{auth.TypesRead}})}).want(200)
		if body := string(reader.Body); strings.Contains(body, "swordfish") || !strings.Contains(body, "https://example.org/hook") {
			t.Errorf("a reader of %s sees %s", path, body)
		}
		if body := string(w.get(path).want(200).Body); !strings.Contains(body, target) {
			t.Errorf("a writer of %s sees %s", path, body)
		}
	}
}

func TestConditions(t *testing.T) {
	w := newWorld(t).email()
	const path, body = "/v1/types/email", `{"target":"https://example.org/"}`
	tag := w.get(path).Header.Get("Etag")
	with := func(method, body, name, value string) *answer {
		t.Helper()
		return w.do(call{method: method, path: path, body: body, header: map[string]string{name: value}})
	}
	for _, stale := range []string{`"999999"`, `"0"`, `"-1"`, `"x"`, `""`, `"99999999999999999999"`} {
		for method, body := range map[string]string{"PUT": body, "PATCH": `{"paused":true}`, "DELETE": ""} {
			p := with(method, body, "If-Match", stale).wantProblem(412, "version-mismatch")
			if etag(p.Version) != tag {
				t.Errorf("version %d, ETag %s", p.Version, tag)
			}
		}
	}
	for _, bad := range []string{`42`, `W/"42"`, `"1", "2"`, `*`, `"`} {
		if p := with("PATCH", `{"paused":true}`, "If-Match", bad).wantProblem(400, "invalid"); p.Field != "If-Match" {
			t.Errorf("%s: field %q", bad, p.Field)
		}
	}
	with("PUT", body, "If-None-Match", "*").wantProblem(412, "version-mismatch")
	with("PUT", body, "If-None-Match", tag).wantProblem(400, "invalid")
	w.do(call{method: "PUT", path: path, body: body, header: map[string]string{"If-None-Match": "*", "If-Match": tag}}).wantProblem(400, "invalid")
	with("PATCH", `{"paused":true}`, "If-Match", tag).want(200)
	with("PATCH", `{"paused":false}`, "If-Match", tag).wantProblem(412, "version-mismatch")
	if p := w.do(call{method: "PUT", path: "/v1/types/new", body: body, header: map[string]string{"If-Match": tag}}).wantProblem(412, "version-mismatch"); p.Version != 0 {
		t.Errorf("version %d of a type that is not", p.Version)
	}
	w.do(call{method: "PUT", path: "/v1/types/new", body: body, header: map[string]string{"If-None-Match": "*"}}).want(201)
}

func TestDeleteRefusesWhileThereAreJobs(t *testing.T) {
	w := newWorld(t).email()
	w.post("/v1/types/email/jobs", `{"data":1,"delay":"1h"}`).want(201)
	if p := w.delete("/v1/types/email").wantProblem(409, "type-not-empty"); !strings.Contains(p.Detail, "1 scheduled") {
		t.Errorf("detail: %s", p.Detail)
	}
	w.delete("/v1/types/email?force=false").wantProblem(409, "type-not-empty")
	w.delete("/v1/types/email?force=perhaps").wantProblem(400, "invalid")
	w.delete("/v1/types/email?force=true&force=true").wantProblem(400, "invalid")
	w.delete("/v1/types/email?force=true").want(204)
}

func TestLimitedTokenSeesOnlyItsTypes(t *testing.T) {
	w := newWorld(t).email()
	for _, name := range []string{"shop.order", "shop.mail", "bank"} {
		w.put("/v1/types/"+name, `{"target":"https://example.org/"}`).want(201)
	}
	limited := token(t, auth.MintOptions{JobTypes: []string{"shop.*"}})
	for _, path := range []string{"/v1/types", "/v1/stats"} {
		a := w.do(call{method: "GET", path: path, token: limited}).want(200)
		if got := string(a.Body); strings.Contains(got, "email") || strings.Contains(got, "bank") || !strings.Contains(got, "shop.mail") || !strings.Contains(got, "shop.order") {
			t.Errorf("%s: %s", path, got)
		}
		if all := w.get(path).want(200); strings.Count(string(all.Body), "shop.") != 2 || !strings.Contains(string(all.Body), "bank") {
			t.Errorf("%s without a limit: %s", path, all.Body)
		}
	}
	w.do(call{method: "PUT", path: "/v1/types/bank2", body: `{"target":"https://example.org/"}`, token: limited}).wantProblem(403, "type-out-of-reach")
	w.do(call{method: "PUT", path: "/v1/types/shop.new", body: `{"target":"https://example.org/"}`, token: limited}).want(201)
}

func TestBadTypesNameTheField(t *testing.T) {
	w := newWorld(t)
	for body, field := range map[string]string{
		`{}`:                             "target",
		`{"target":"ftp://x.org"}`:       "target",
		`{"target":"https://u:p@x.org"}`: "target",
		`{"target":"https://x.org","concurrency":0}`:                                   "concurrency",
		`{"target":"https://x.org","concurrency":1e300}`:                               "concurrency",
		`{"target":"https://x.org","concurrency":"12"}`:                                "concurrency",
		`{"target":"https://x.org","timeout":30}`:                                      "timeout",
		`{"target":"https://x.org","timeout":"-1s"}`:                                   "timeout",
		`{"target":"https://x.org","retry":{"max_attempts":0}}`:                        "retry.max_attempts",
		`{"target":"https://x.org","retry":{"max_atempts":3}}`:                         "retry.max_atempts",
		`{"target":"https://x.org","colour":"red"}`:                                    "colour",
		`{"target":"https://x.org","headers":{"webhook-id":"1"}}`:                      "headers.webhook-id",
		`{"target":"https://x.org","headers":{"x":"a\r\nb"}}`:                          "headers.x",
		`{"target":"https://x.org","secret":"short"}`:                                  "secret",
		`{"target":"https://x.org","name":"other"}`:                                    "name",
		`{"target":"https://x.org","target":"https://y.org"}`:                          "target",
		`{"target":"https://x.org","retention":{"count":-1}}`:                          "retention.count",
		`{"target":"https://x.org","description":"` + strings.Repeat("x", 2000) + `"}`: "description",
		`null`: "", `[]`: "", `"x"`: "", ``: "", `{`: "",
	} {
		c := call{method: "PUT", path: "/v1/types/email", body: body}
		if p := w.do(c).wantProblem(400, "invalid"); p.Field != field || p.Rule == "" {
			t.Errorf("%s: field %q, rule %q; want %q", body, p.Field, p.Rule, field)
		}
	}
	for _, name := range []string{"%7Bemail%7D", "em*il", "em%0Ail", "em%00il", "e%20mail", "%2F", "%25", "-email", strings.Repeat("x", 65), strings.Repeat("x", 10<<10), "%C3%A9mail"} {
		if p := w.put("/v1/types/"+name, `{"target":"https://x.org"}`).wantProblem(400, "invalid"); p.Field != "name" {
			t.Errorf("%.20s: field %q", name, p.Field)
		}
		w.do(call{method: "GET", path: "/v1/types/" + name, odd: true}).wantProblem(404, "unknown-type")
		w.do(call{method: "POST", path: "/v1/types/" + name + "/jobs", body: `{"data":1}`, odd: true}).wantProblem(404, "unknown-type")
		w.do(call{method: "DELETE", path: "/v1/types/" + name, odd: true}).wantProblem(404, "unknown-type")
	}
	w.get("/v1/types/%zz").wantProblem(400, "invalid")
}

func TestTestDelivery(t *testing.T) {
	w := newWorld(t).email()
	w.sender.out = dispatch.Outcome{Verdict: dispatch.Done, Status: 200}
	w.sender.said = webhook.Exchange{
		Request:  webhook.Request{Method: "POST", URL: "https://example.org/email", Header: http.Header{"X-A": {"1", "2"}}},
		Response: &webhook.Response{Status: 200, Header: http.Header{"Content-Type": {"text/plain"}}, Excerpt: "hello"},
		Duration: 12 * time.Millisecond,
	}
	m := w.post("/v1/types/email/test", `{"data":{"to":"leia"}}`).want(200).object()
	request, response := m["request"].(map[string]any), m["response"].(map[string]any)
	if m["verdict"] != "done" || m["duration_ms"] != 12.0 || request["body"] != `{"to":"leia"}` || response["excerpt"] != "hello" || request["headers"].(map[string]any)["X-A"] != "1, 2" {
		t.Errorf("%v", m)
	}
	l := w.sender.lease
	if l.Type != "email" || !strings.HasPrefix(l.ID, "test-") || l.Token == "" || l.Attempt != 1 || l.Timeout != 20*time.Second || w.sender.typ.Name != "email" {
		t.Errorf("sent: %+v", l)
	}
	for verdict, name := range map[dispatch.Verdict]string{dispatch.Retry: "retry", dispatch.Dead: "dead", dispatch.Pause: "pause", dispatch.Release: "release", dispatch.Snooze: "snooze"} {
		w.sender.out, w.sender.said = dispatch.Outcome{Verdict: verdict, Err: "refused"}, webhook.Exchange{}
		if m := w.post("/v1/types/email/test", "").want(200).object(); m["verdict"] != name || m["error"] != "refused" || m["response"] != nil || m["row"] != nil {
			t.Errorf("%v", m)
		}
	}
	row := 0
	w.sender.said = webhook.Exchange{Row: &row}
	if m := w.post("/v1/types/email/test", "").want(200).object(); m["row"] != 0.0 {
		t.Errorf("%v", m)
	}
	if p := w.post("/v1/types/email/test", `{"date":1}`).wantProblem(400, "invalid"); p.Field != "date" {
		t.Errorf("field %q", p.Field)
	}
	p := w.post("/v1/types/email/test", `{"data":"`+strings.Repeat("x", 1<<20)+`"}`).wantProblem(413, "too-large")
	if p.Field != "data" {
		t.Errorf("field %q", p.Field)
	}
	if s, err := w.queue.Stats(t.Context(), "email"); err != nil || s.Waiting+s.Scheduled+s.Active+s.Finished != 0 {
		t.Errorf("a job was stored: %+v, %v", s, err)
	}
}
