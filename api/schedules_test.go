package api

import (
	"strings"
	"testing"
	"time"

	"github.com/deetoo/deetoo/auth"
	"github.com/deetoo/deetoo/queue"
)

// nightly makes that schedule, of the type email.
func (w *world) nightly() *world {
	w.Helper()
	w.put("/v1/schedules/nightly", `{"type":"email","cron":"0 3 * * *","timezone":"Europe/Berlin","job":{"data":{"to":"leia"},"priority":"high"}}`).want(201)
	return w
}

func TestScheduleLifecycle(t *testing.T) {
	w := newWorld(t).email()
	if got := w.get("/v1/schedules").want(200); string(got.Body) != "{\"schedules\":[]}\n" {
		t.Errorf("none: %s", got.Body)
	}
	w.nightly()
	got := w.get("/v1/schedules/nightly").want(200)
	m := got.object()
	next, err := time.Parse(time.RFC3339, m["next_at"].(string))
	berlin, _ := time.LoadLocation("Europe/Berlin")
	if err != nil || next.In(berlin).Format("15:04:05") != "03:00:00" || time.Until(next) > 25*time.Hour || time.Until(next) < -time.Minute {
		t.Errorf("next_at %s, %v", next, err)
	}
	if m["overlap"] != "queue" || m["catch_up"] != "last" || m["paused"] != false || m["type"] != "email" {
		t.Errorf("got %s", got.Body)
	}
	// What was read can be sent back, and changes nothing.
	if same := w.put("/v1/schedules/nightly", string(got.Body)).want(200); same.Header.Get("Etag") != got.Header.Get("Etag") {
		t.Errorf("putting back what was read changed it: %s", same.Body)
	}
	patched := w.do(call{method: "PATCH", path: "/v1/schedules/nightly", body: `{"job":{"data":{"to":"luke"}},"overlap":"skip"}`, media: mediaMergePatch}).want(200).object()
	if job := patched["job"].(map[string]any); patched["overlap"] != "skip" || job["priority"] != "high" || job["data"].(map[string]any)["to"] != "luke" || patched["next_at"] != m["next_at"] {
		t.Errorf("patched: %v", patched)
	}
	if m := w.post("/v1/schedules/nightly/pause", "").want(200).object(); m["paused"] != true || m["next_at"] != nil {
		t.Errorf("paused: %v", m)
	}
	// A pause stays unless it is mentioned.
	if m := w.put("/v1/schedules/nightly", `{"type":"email","cron":"0 3 * * *"}`).want(200).object(); m["paused"] != true || m["timezone"] != "UTC" {
		t.Errorf("put while paused: %v", m)
	}
	if m := w.post("/v1/schedules/nightly/resume", "").want(200).object(); m["paused"] != false || m["next_at"] == nil {
		t.Errorf("resumed: %v", m)
	}
	if m := w.get("/v1/schedules").want(200).object(); len(m["schedules"].([]any)) != 1 {
		t.Errorf("list: %v", m)
	}
	w.delete("/v1/schedules/nightly").want(204)
	w.get("/v1/schedules/nightly").wantProblem(404, "unknown-schedule")
}

func TestUnknownSchedule(t *testing.T) {
	w := newWorld(t).email()
	for _, r := range w.api.Routes() {
		if strings.Contains(r.Path, "{name}") && r.Method != "PUT" {
			w.do(sample(r)).wantProblem(404, "unknown-schedule")
		}
	}
	w.nightly()
	// So is one of a type that the token does not reach.
	for _, r := range w.api.Routes() {
		if strings.Contains(r.Path, "{name}") {
			c := sample(r)
			c.body = strings.Replace(c.body, "email", "shop.cart", 1)
			c.token = token(t, auth.MintOptions{JobTypes: []string{"shop.*"}})
			w.do(c).wantProblem(404, "unknown-schedule")
		}
	}
	list := w.do(call{method: "GET", path: "/v1/schedules", token: token(t, auth.MintOptions{JobTypes: []string{"shop.*"}})}).want(200)
	if strings.Contains(string(list.Body), "nightly") {
		t.Errorf("a token sees schedules beyond its types: %s", list.Body)
	}
	w.put("/v1/schedules/other", `{"type":"emial","every":"1h"}`).wantProblem(404, "unknown-type")
}

// Who may not push jobs may not have them pushed.
func TestChangesOfASchedulePushJobs(t *testing.T) {
	w := newWorld(t).email().nightly()
	for _, r := range w.api.Routes() {
		if r.Scope == auth.SchedulesWrite {
			c := sample(r)
			c.token = token(t, auth.MintOptions{Scopes: []auth.Scope{auth.SchedulesRead, auth.SchedulesWrite, auth.JobsRead}})
			if p := w.do(c).wantProblem(403, "missing-scope"); p.Scope != "jobs:write" {
				t.Errorf("%s: scope %q", r.OperationID, p.Scope)
			}
		}
	}
	// Nor may they follow such a job.
	c := call{method: "PUT", path: "/v1/schedules/mine", body: `{"type":"email","every":"1h","job":{"data":1,"on_success":{"type":"letter"}}}`}
	w.do(c).wantProblem(404, "unknown-type")
	w.put("/v1/types/letter", `{"target":"https://example.org/letter"}`).want(201)
	w.do(c).want(201)
	c.token = token(t, auth.MintOptions{JobTypes: []string{"email"}})
	if p := w.do(c).wantProblem(403, "type-out-of-reach"); p.JobType != "letter" {
		t.Errorf("job_type %q", p.JobType)
	}
	c = call{method: "PUT", path: "/v1/schedules/other", body: `{"type":"email","every":"1h"}`, token: token(t, auth.MintOptions{JobTypes: []string{"shop.*"}})}
	w.do(c).wantProblem(403, "type-out-of-reach")
}

func TestBadSchedules(t *testing.T) {
	w := newWorld(t).email()
	for body, field := range map[string]string{
		`{"type":"email"}`:                                               "cron",
		`{"type":"email","cron":"61 * * * *"}`:                           "cron",
		`{"type":"email","cron":"* * * * *","timezone":"Moon"}`:          "timezone",
		`{"type":"email","every":"1ms"}`:                                 "every",
		`{"type":"email","every":"1s","job":{}}`:                         "job.data",
		`{"type":"email","every":"1s","job":{"data":1,"id":"x"}}`:        "job.id",
		`{"type":"email","every":"1s","job":{"data":1,"when":null}}`:     "job.when",
		`{"type":"email","every":"1s","job":{"data":1,"delay":"1s"}}`:    "job.delay",
		`{"type":"email","every":"1s","job":{"data":1,"expires_at":1}}`:  "job.expires_at",
		`{"type":"email","every":"1s","job":{"data":1,"priority":"x"}}`:  "job.priority",
		`{"type":"email","every":"1s","job":{"data":1,"prioritty":"x"}}`: "job.prioritty",
	} {
		if p := w.put("/v1/schedules/nightly", body).wantProblem(400, "invalid"); p.Field != field {
			t.Errorf("%s: field %q, rule %s", body, p.Field, p.Rule)
		}
	}
	w.put("/v1/schedules/-x", `{"type":"email","every":"1s"}`).wantProblem(400, "invalid")
	w.nightly()
	for path, field := range map[string]string{"/next?n=0": "n", "/next?n=101": "n", "/next?n=x": "n"} {
		if p := w.get("/v1/schedules/nightly"+path).wantProblem(400, "invalid"); p.Field != field {
			t.Errorf("%s: field %q", path, p.Field)
		}
	}
}

func TestScheduleConditions(t *testing.T) {
	w := newWorld(t).email().nightly()
	const path = "/v1/schedules/nightly"
	tag := w.get(path).Header.Get("Etag")
	bodies := map[string]string{"PUT": `{"type":"email","every":"1h"}`, "PATCH": `{"description":"x"}`, "DELETE": ""}
	for method, body := range bodies {
		p := w.do(call{method: method, path: path, body: body, header: map[string]string{"If-Match": `"99999"`}}).wantProblem(412, "version-mismatch")
		if etag(p.Version) != tag {
			t.Errorf("%s: version %d, ETag %s", method, p.Version, tag)
		}
	}
	w.do(call{method: "PUT", path: path, body: bodies["PUT"], header: map[string]string{"If-None-Match": "*"}}).wantProblem(412, "version-mismatch")
	w.do(call{method: "PUT", path: path, body: bodies["PUT"], header: map[string]string{"If-None-Match": "*", "If-Match": tag}}).wantProblem(400, "invalid")
	w.do(call{method: "PATCH", path: path, body: bodies["PATCH"], header: map[string]string{"If-Match": tag}}).want(200)
	w.do(call{method: "DELETE", path: path, header: map[string]string{"If-Match": tag}}).wantProblem(412, "version-mismatch")
}

func TestRunNow(t *testing.T) {
	w := newWorld(t).email().nightly()
	w.post("/v1/schedules/nightly/pause", "").want(200)
	receipt := w.post("/v1/schedules/nightly/run", "").want(201).object()
	id := receipt["id"].(string)
	j, err := w.queue.Get(t.Context(), "email", id)
	if err != nil || j.State != queue.Waiting || j.Priority != queue.High || string(j.Data) != `{"to":"leia"}` {
		t.Errorf("job %+v, %v", j, err)
	}
	firings := w.get("/v1/schedules/nightly/firings").want(200).object()["firings"].([]any)
	if f := firings[0].(map[string]any); len(firings) != 1 || f["job"] != id || f["manual"] != true || f["outcome"] != "fired" {
		t.Errorf("firings: %v", firings)
	}
	w.post("/v1/schedules/nightly/run", `{"now":true}`).wantProblem(400, "invalid")
}

func TestNextTicks(t *testing.T) {
	w := newWorld(t).email().nightly()
	for query, want := range map[string]int{"": 10, "?n=1": 1, "?n=100": 100} {
		if got := w.get("/v1/schedules/nightly/next" + query).want(200).object()["next"].([]any); len(got) != want {
			t.Errorf("%s: %d ticks", query, len(got))
		}
	}
	w.put("/v1/schedules/over", `{"type":"email","every":"1h","end":"2020-01-01T00:00:00Z"}`).want(201)
	if got := w.get("/v1/schedules/over/next").want(200); string(got.Body) != "{\"next\":[]}\n" {
		t.Errorf("after the end: %s", got.Body)
	}
}

// A type that schedules push to is not deleted by accident.
func TestATypeWithSchedulesStays(t *testing.T) {
	w := newWorld(t).email().nightly()
	if p := w.delete("/v1/types/email").wantProblem(409, "type-not-empty"); !strings.Contains(p.Detail, "nightly") {
		t.Errorf("detail: %s", p.Detail)
	}
	w.delete("/v1/types/email?force=true").want(204)
	w.get("/v1/schedules/nightly").want(200)
	w.post("/v1/schedules/nightly/run", "").wantProblem(404, "unknown-type")
}
