package api

import (
	"fmt"
	"strings"
	"testing"
)

func TestJobsOwnHeadersTargetAndTags(t *testing.T) {
	w := newWorld(t)
	w.put("/v1/types/email", `{"target":"https://example.org/email","allow_targets":["https://*.example.org/hooks"]}`).want(201)
	if got := fmt.Sprint(w.get("/v1/types/email").want(200).object()["allow_targets"]); got != "[https://*.example.org/hooks]" {
		t.Error(got)
	}
	w.put(emailJobs+"/a", `{"data":1,"headers":{"X-Tenant":"42","Authorization":"Bearer hidden"},"target":"https://eu.example.org/hooks/a?key=hidden","tags":["import","42"]}`).want(201)
	for _, path := range []string{emailJobs + "/a", emailJobs + "?state=waiting"} {
		body := string(w.get(path).want(200).Body)
		for _, want := range []string{`"X-Tenant":"42"`, `"tags":["import","42"]`, "https://eu.example.org/hooks/a"} {
			if !strings.Contains(body, want) {
				t.Errorf("%s is not in %s", want, body)
			}
		}
		if strings.Contains(body, "hidden") {
			t.Errorf("a secret is shown: %s", body)
		}
	}
	l := w.claim("a")
	if l.Target != "https://eu.example.org/hooks/a?key=hidden" || l.Headers["Authorization"] != "Bearer hidden" || len(l.Tags) != 2 {
		t.Errorf("%+v", l.Job)
	}
	many := make([]string, 17)
	for i := range many {
		many[i] = fmt.Sprintf(`"X-%d":"1"`, i)
	}
	for body, field := range map[string]string{
		`"target":"https://evil.test/?key=hidden"`:         "target",
		`"target":"https://eu.example.org/hooks/../admin"`: "target",
		`"target":""`:       "target",
		`"target":"local:"`: "target",
		`"target":"https://user:pass@eu.example.org/hooks"`:     "target",
		`"headers":{"Webhook-Id":"1"}`:                          "headers.Webhook-Id",
		`"headers":{"Host":"evil.test"}`:                        "headers.Host",
		`"headers":{"X-A":"a\r\nX-B: b"}`:                       "headers.X-A",
		`"headers":{` + strings.Join(many, ",") + `}`:           "headers",
		`"headers":{"X-A":"` + strings.Repeat("a", 4096) + `"}`: "headers",
		`"tags":["a","a"]`:                                      "tags",
		`"tags":[""]`:                                           "tags",
		`"tags":["` + strings.Repeat("a", 65) + `"]`:            "tags",
		`"tags":[1,2,3]`:                                        "tags[0]",
	} {
		p := w.do(call{method: "POST", path: emailJobs, body: `{"data":1,` + body + `}`, odd: true}).wantProblem(400, "invalid")
		if p.Field != field || strings.Contains(p.Detail, "hidden") {
			t.Errorf("%s: %+v", body, p)
		}
	}
	// What the type does not allow is refused; and so in a batch, and under a key the answer stays.
	w.put("/v1/types/other", `{"target":"https://example.org/other"}`).want(201)
	if p := w.post("/v1/types/other/jobs", `{"data":1,"target":"https://eu.example.org/hooks"}`).wantProblem(400, "invalid"); !strings.Contains(p.Rule, "allow_targets") {
		t.Errorf("%+v", p)
	}
	push := func() *answer {
		return w.keyed("POST", "/v1/types/other/jobs", "k", "", `[{"data":1},{"data":1,"target":"https://eu.example.org/hooks"}]`).want(207)
	}
	first := push()
	w.put("/v1/types/other", `{"target":"https://example.org/other","allow_targets":["https://eu.example.org"]}`).want(200)
	if again := push(); string(again.Body) != string(first.Body) || again.Header.Get("Idempotent-Replayed") != "true" {
		t.Errorf("%s, first %s", again.Body, first.Body)
	}
	w.post("/v1/types/other/jobs", `{"data":1,"target":"https://eu.example.org/hooks"}`).want(201)
}
