package api

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/deetoo/deetoo/queue"
)

const emailJobs = "/v1/types/email/jobs"

// shownJob and shownAttempt are what clients may make of the answers.
type shownJob struct {
	ID        string
	LastError string    `json:"last_error"`
	Enqueued  time.Time `json:"enqueued_at"`
}

type shownAttempt struct {
	N, Status      int
	Error, Excerpt string
	StartedAt      time.Time `json:"started_at"`
}

func TestJobIsShownWhole(t *testing.T) {
	w := newWorld(t).email()
	a := w.post(emailJobs, `{"id":"job-1","data":{"big":12345678901234567890,"html":"<b>&"},"title":"Mail","priority":"high","max_attempts":2,"timeout":"5s"}`).want(201)
	if a.Header.Get("Location") != "/v1/types/email/jobs/job-1" {
		t.Errorf("Location %s", a.Header.Get("Location"))
	}
	shown := w.get(a.Header.Get("Location")).want(200)
	m := shown.object()
	if !strings.Contains(string(shown.Body), `{"big":12345678901234567890,"html":"<b>&"}`) {
		t.Errorf("data is not as it was sent: %s", shown.Body)
	}
	if m["title"] != "Mail" || m["priority"] != "high" || m["max_attempts"] != 2.0 || m["timeout"] != "5s" || m["state"] != "waiting" || m["attempt"] != 0.0 {
		t.Errorf("%v", m)
	}
	if at, err := time.Parse(time.RFC3339, m["enqueued_at"].(string)); err != nil || time.Since(at).Abs() > time.Minute || len(m["enqueued_at"].(string)) != len("2030-01-01T00:00:00.000Z") {
		t.Errorf("enqueued_at %v", m["enqueued_at"])
	}
	lease := w.claim("job-1")
	if m := w.get(emailJobs + "/job-1").object(); m["state"] != "active" || m["attempt"] != 1.0 || m["started_at"] == nil {
		t.Errorf("running: %v", m)
	}
	w.settle(lease, queue.Retry, "failed", "it broke", nil)
	if m := w.get(emailJobs + "/job-1").object(); m["last_error"] != "it broke" {
		t.Errorf("failed: %v", m)
	}
	var history struct{ Attempts []shownAttempt }
	w.get(emailJobs + "/job-1/attempts").want(200).into(&history)
	if len(history.Attempts) != 1 || history.Attempts[0].Error != "it broke" || history.Attempts[0].Status != 500 || history.Attempts[0].Excerpt != "oops" {
		t.Errorf("%+v", history)
	}
	w.settle(w.claim("job-1"), queue.Done, "succeeded", "", []byte(`{"sent":true}`))
	if m := w.get(emailJobs + "/job-1").object(); m["state"] != "succeeded" || m["result"].(map[string]any)["sent"] != true || m["finished_at"] == nil {
		t.Errorf("done: %v", m)
	}
	w.do(call{method: "HEAD", path: emailJobs + "/job-1"}).want(200)
}

func TestResultThatIsNoJSONIsAString(t *testing.T) {
	w := newWorld(t).email()
	for result, want := range map[string]any{"OK": "OK", "a\xffb": "a�b", `"OK"`: "OK", "12": 12.0, "": nil} {
		w.put(emailJobs+"/r", `{"data":1}`)
		w.settle(w.claim("r"), queue.Done, "succeeded", "", []byte(result))
		if got := w.get(emailJobs + "/r").want(200).object()["result"]; got != want {
			t.Errorf("%q is shown as %v", result, got)
		}
	}
}

func TestAwkwardIDs(t *testing.T) {
	w := newWorld(t).email()
	for _, id := range []string{"a/b", "100%", "%2F", "what?", "a#b", "a&b=c+d", `"q"`, "{id}", "<i>", "a\\b", "~", "a;b", strings.Repeat("x", 255)} {
		path := emailJobs + "/" + url.PathEscape(id)
		a := w.put(path, `{"data":1}`).want(201)
		if a.object()["id"] != id || a.Header.Get("Location") != path {
			t.Errorf("%s: %s, Location %s", id, a.Body, a.Header.Get("Location"))
		}
		if m := w.get(path).want(200).object(); m["id"] != id {
			t.Errorf("%s is shown as %v", id, m["id"])
		}
		w.get(path + "/why").want(200)
		w.delete(path).want(200)
	}
	// Decoded once: this is the ID "%2F", not "/".
	w.put(emailJobs+"/%252F", `{"data":1}`).want(200)
	w.get(emailJobs + "/%2F").want(404)
}

func TestBadIDs(t *testing.T) {
	w := newWorld(t).email()
	for _, id := range []string{"%00", "%0A", "a%20b", "%C3%A9", "%FF", "%zz", "%", strings.Repeat("x", 256), strings.Repeat("x", 10<<10)} {
		for _, c := range []call{
			{method: "GET", path: "/" + id}, {method: "DELETE", path: "/" + id}, {method: "PUT", path: "/" + id, body: `{"data":1}`},
			{method: "POST", path: "/" + id + "/retry"}, {method: "GET", path: "/" + id + "/attempts"}, {method: "GET", path: "/" + id + "/why"},
		} {
			c.path = emailJobs + c.path
			if p := w.do(c).wantProblem(400, "invalid"); p.Field != "id" {
				t.Errorf("%s %.40s: field %q", c.method, c.path, p.Field)
			}
		}
	}
	if p := w.put(emailJobs+"/a", `{"id":"b","data":1}`).wantProblem(400, "invalid"); p.Field != "id" {
		t.Errorf("field %q", p.Field)
	}
	w.put(emailJobs+"/a", `{"id":"a","data":1}`).want(201)
}

func TestReplaceAndRun(t *testing.T) {
	w := newWorld(t).email()
	w.put(emailJobs+"/j", `{"data":1,"delay":"1h"}`).want(201)
	if m := w.put(emailJobs+"/j", `{"data":2}`).want(200).object(); m["replaced"] != true || m["state"] != "waiting" {
		t.Errorf("%v", m)
	}
	w.post(emailJobs, `{"id":"j","data":3}`).want(200)
	lease := w.claim("j")
	if string(lease.Data) != "3" {
		t.Errorf("data %s", lease.Data)
	}
	for _, a := range []*answer{
		w.put(emailJobs+"/j", `{"data":4}`), w.post(emailJobs, `{"id":"j","data":4}`), w.post(emailJobs+"/j/retry", ""), w.post(emailJobs+"/j/promote", ""),
		w.post("/api/v1/email", `{"id":"j","jobData":4}`), w.post("/api/v2/email", `[{"id":"j","jobData":4}]`),
		w.post("/api/v1/email/j", `{"jobData":4}`), w.put("/api/v1/email/j", `{"jobData":4}`), w.post("/api/v2/email/j", `{"jobData":4}`),
	} {
		if p := a.wantProblem(409, "job-running"); p.State != "active" {
			t.Errorf("state %q", p.State)
		}
	}
	if m := w.delete(emailJobs + "/j").want(202).object(); m["state"] != "active" || m["cancel_requested"] != true {
		t.Errorf("%v", m)
	}
	if m := w.get(emailJobs + "/j").object(); m["cancel_requested"] != true {
		t.Errorf("%v", m)
	}
	w.settle(lease, queue.Done, "succeeded", "", nil)
	for _, a := range []*answer{w.delete(emailJobs + "/j"), w.delete("/api/v1/email/j"), w.delete("/api/v2/email/j"), w.post(emailJobs+"/j/promote", "")} {
		if p := a.wantProblem(409, "job-state"); p.State != "succeeded" {
			t.Errorf("state %q", p.State)
		}
	}
	if m := w.post(emailJobs+"/j/retry", "").want(200).object(); m["state"] != "waiting" {
		t.Errorf("%v", m)
	}
	if m := w.delete(emailJobs + "/j").want(200).object(); m["state"] != "cancelled" || m["cancel_requested"] != false {
		t.Errorf("%v", m)
	}
	w.delete(emailJobs + "/j").want(200)
}

func TestPromoteAndWhy(t *testing.T) {
	w := newWorld(t).email()
	w.put(emailJobs+"/j", `{"data":1,"when":"2031-05-04T03:02:01.5Z"}`).want(201)
	if m := w.get(emailJobs + "/j/why").want(200).object(); m["state"] != "scheduled" || !strings.Contains(m["why"].(string), "2031-05-04 03:02:01.500") {
		t.Errorf("%v", m)
	}
	w.post(emailJobs+"/j/promote", "").want(200)
	w.do(call{method: "POST", path: emailJobs + "/j/promote", body: "{}", odd: true}).want(200)
	w.post(emailJobs+"/j/promote", `{"now":true}`).wantProblem(400, "invalid")
	w.post("/v1/types/email/pause", `{"reason":"lunch"}`).want(200)
	if m := w.get(emailJobs + "/j/why").object(); m["state"] != "waiting" || !strings.Contains(m["why"].(string), "lunch") {
		t.Errorf("%v", m)
	}
}

func TestListInPages(t *testing.T) {
	w := newWorld(t).email()
	var body strings.Builder
	for i := range 25 {
		fmt.Fprintf(&body, `{"id":"j%02d","data":%d}`+"\n", i, i)
	}
	w.do(call{method: "POST", path: emailJobs, body: body.String(), media: mediaNDJSON}).want(201)
	var got []string
	cursor := ""
	for page := 0; ; page++ {
		var view struct {
			Jobs       []shownJob
			NextCursor string `json:"next_cursor"`
		}
		w.get(emailJobs + "?limit=10&cursor=" + cursor).want(200).into(&view)
		for _, j := range view.Jobs {
			got = append(got, j.ID)
		}
		if cursor = view.NextCursor; cursor == "" {
			break
		}
		if page > 3 {
			t.Fatal("the pages do not end")
		}
	}
	if len(got) != 25 || got[0] != "j00" || got[24] != "j24" {
		t.Errorf("%v", got)
	}
	if a := w.get(emailJobs + "?state=dead").want(200); string(a.Body) != `{"jobs":[]}`+"\n" {
		t.Errorf("an empty list: %s", a.Body)
	}
	for query, field := range map[string]string{
		"state=wating": "state", "limit=0": "limit", "limit=1001": "limit", "limit=-1": "limit", "limit=ten": "limit", "limit=99999999999999999999": "limit",
		"cursor=nonsense": "cursor", "cursor=%00": "cursor", "status=dead": "status", "limit=1&limit=2": "limit",
	} {
		if p := w.get(emailJobs+"?"+query).wantProblem(400, "invalid"); p.Field != field {
			t.Errorf("%s: field %q", query, p.Field)
		}
	}
}

func TestJobsByTag(t *testing.T) {
	w := newWorld(t).email()
	for id, tags := range map[string]string{"a": `["vip","x"]`, "b": `["vi"]`, "c": `["vip"]`, "d": `[]`} {
		w.put(emailJobs+"/"+id, `{"data":1,"tags":`+tags+`}`).want(201)
	}
	list := func(query string) string {
		t.Helper()
		var ids []string
		for cursor, page := "", 0; page < 10; page++ {
			var view struct {
				Jobs       []shownJob
				NextCursor string `json:"next_cursor"`
			}
			w.get(emailJobs + "?" + query + "&cursor=" + cursor).want(200).into(&view)
			for _, j := range view.Jobs {
				ids = append(ids, j.ID)
			}
			if cursor = view.NextCursor; cursor == "" {
				slices.Sort(ids)
				return strings.Join(ids, " ")
			}
		}
		t.Fatal("the pages do not end")
		return ""
	}
	for query, want := range map[string]string{
		"tag=vip": "a c", "tag=vip&limit=1": "a c", "tag=vi": "b", "tag=VIP": "", "tag=": "a b c d", "state=scheduled&tag=vip": "",
	} {
		if got := list(query); got != want {
			t.Errorf("%s: %q, want %q", query, got, want)
		}
	}
	for range 4 {
		b, err := w.queue.Exchange(t.Context(), "email", nil, 1)
		if err != nil || len(b.Leases) != 1 {
			t.Fatal(b.Leases, err)
		}
		w.settle(&b.Leases[0], queue.Bury, "dead", "boom", nil)
	}
	var groups struct {
		Groups []struct{ Fingerprint string }
	}
	w.get("/v1/types/email/dead/groups").want(200).into(&groups)
	for query, want := range map[string]string{
		"tag=vip": "a c", "tag=vip&fingerprint=" + groups.Groups[0].Fingerprint: "a c", "tag=vip&fingerprint=0123456789abcdef": "",
	} {
		if got := list("state=dead&" + query); got != want {
			t.Errorf("dead, %s: %q, want %q", query, got, want)
		}
	}
	if p := w.get(emailJobs+"?tag="+strings.Repeat("t", 65)).wantProblem(400, "invalid"); p.Field != "tag" {
		t.Errorf("field %q", p.Field)
	}
}

func TestDeadJobs(t *testing.T) {
	w := newWorld(t).email()
	for _, id := range []string{"a", "b"} {
		w.put(emailJobs+"/"+id, `{"data":1}`)
		w.settle(w.claim(id), queue.Bury, "dead", "gone for good", nil)
	}
	if m := w.get("/v1/types/email/stats").want(200).object(); m["dead"] != 2.0 || m["concurrency"] != 3.0 {
		t.Errorf("%v", m)
	}
	var view struct{ Jobs []shownJob }
	w.get(emailJobs + "?state=dead").want(200).into(&view)
	if len(view.Jobs) != 2 || view.Jobs[0].LastError != "gone for good" {
		t.Errorf("%+v", view)
	}
	if m := w.post("/v1/types/email/dead/redrive", "").want(200).object(); m["count"] != 2.0 {
		t.Errorf("%v", m)
	}
	if m := w.post(emailJobs+"/purge?state=waiting", "").want(200).object(); m["count"] != 2.0 {
		t.Errorf("%v", m)
	}
	if m := w.post("/v1/types/email/dead/purge", "").want(200).object(); m["count"] != 0.0 {
		t.Errorf("%v", m)
	}
	for _, query := range []string{"", "?state=active", "?state=all"} {
		if p := w.post(emailJobs+"/purge"+query, "").wantProblem(400, "invalid"); p.Field != "state" {
			t.Errorf("%s: field %q", query, p.Field)
		}
	}
}

func TestWhyInAGroup(t *testing.T) {
	w := newWorld(t).email()
	w.do(call{method: "PATCH", path: "/v1/types/email", body: `{"rate":{"limit":2,"per":"1h","burst":2},"groups":{"concurrency":1,"rate":{"limit":1,"per":"1h"}}}`, media: mediaMergePatch}).want(200)
	for _, id := range []string{"a", "b", "c"} {
		w.put(emailJobs+"/"+id, `{"data":1,"group":"acme"}`).want(201)
	}
	type view struct {
		Reason, Why string
		Until       time.Time
		Ahead       struct{ Count int }
		Group       *struct {
			Name          string
			Active, Limit int
			LimitedUntil  time.Time `json:"limited_until"`
			GroupsBefore  *int      `json:"groups_before"`
		}
	}
	why := func(id string) (v view) {
		t.Helper()
		w.get(emailJobs + "/" + id + "/why").want(200).into(&v)
		return v
	}
	if v := why("b"); v.Group == nil || v.Group.Name != "acme" || v.Group.Active != 0 || v.Group.Limit != 1 || !v.Group.LimitedUntil.IsZero() || v.Group.GroupsBefore == nil || v.Ahead.Count != 1 {
		t.Errorf("at first: %+v", v)
	}
	l := w.claim("a")
	if v := why("c"); v.Group.Active != 1 || v.Ahead.Count != 1 || time.Until(v.Group.LimitedUntil) < 30*time.Minute {
		t.Errorf("its group is full: %+v", v)
	}
	w.settle(l, queue.Done, "", "", nil)
	w.put(emailJobs+"/plain", `{"data":1}`).want(201)
	w.claim("plain")
	if v := why("b"); v.Reason != "rate" || time.Until(v.Until) < 20*time.Minute || v.Group.Active != 0 {
		t.Errorf("the type's rate is used up: %+v", v)
	}
}

func TestWhyInFields(t *testing.T) {
	w := newWorld(t).email()
	why := func(id string) (v struct {
		State, Reason, Why, By string
		Since, Until           time.Time
		Ahead                  *struct {
			Count int
			Sure  string
		}
		Slots *struct {
			Taken, Limit int
			Oldest       *struct{ ID string }
		}
		Fingerprint string
		SameFailure int    `json:"same_failure"`
		LastError   string `json:"last_error"`
	}) {
		t.Helper()
		w.get(emailJobs + "/" + id + "/why").want(200).into(&v)
		return v
	}
	w.do(call{method: "PATCH", path: "/v1/types/email", body: `{"concurrency":1}`, media: mediaMergePatch}).want(200)
	for _, id := range []string{"a", "b", "c"} {
		w.put(emailJobs+"/"+id, `{"data":1}`).want(201)
	}
	if v := why("b"); v.Reason != "no_dispatcher" || v.Ahead == nil || v.Ahead.Count != 1 || v.Ahead.Sure != "exact" || v.Slots == nil || v.Slots.Limit != 1 || v.Slots.Oldest != nil {
		t.Errorf("nobody is there: %+v", v)
	}
	l := w.claim("a")
	if v := why("a"); v.State != "active" || v.Reason != "running" || v.By != w.queue.Consumer() || v.Since.IsZero() || !v.Until.After(v.Since) || v.Slots != nil {
		t.Errorf("it runs: %+v", v)
	}
	if v := why("c"); v.Reason != "no_slot" || v.Ahead.Count != 1 || v.Slots.Taken != 1 || v.Slots.Oldest.ID != "a" {
		t.Errorf("no slot: %+v", v)
	}
	w.settle(l, queue.Bury, "dead", "boom 1", nil)
	w.settle(w.claim("b"), queue.Bury, "dead", "boom 2", nil)
	if v := why("a"); v.Reason != "dead" || v.SameFailure != 2 || len(v.Fingerprint) != 16 || v.LastError != "boom 1" {
		t.Errorf("dead: %+v", v)
	}
	w.post("/v1/types/email/pause", `{"reason":"lunch"}`).want(200)
	if v := why("c"); v.Reason != "paused" || v.By != "lunch" || time.Since(v.Since).Abs() > time.Minute {
		t.Errorf("paused: %+v", v)
	}
	if m := w.get("/v1/types/email").object(); m["paused_at"] == nil {
		t.Errorf("%v", m)
	}
}
