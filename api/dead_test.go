package api

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/deetoo/deetoo/auth"
	"github.com/deetoo/deetoo/queue"
)

const deadPath = "/v1/types/email/dead"

// dies has a job fail for good.
func (w *world) dies(id, problem string) {
	w.Helper()
	w.put(emailJobs+"/"+id, fmt.Sprintf(`{"data":{"id":%q}}`, id)).want(201)
	w.settle(w.claim(id), queue.Bury, "dead", problem, nil)
}

// shownGroup is what clients may make of a group.
type shownGroup struct {
	Fingerprint, Failure, Example string
	Count, Status                 int
	FirstAt                       time.Time `json:"first_at"`
	LastAt                        time.Time `json:"last_at"`
	LastError                     string    `json:"last_error"`
}

func (w *world) groups(query string) (groups []shownGroup, next string) {
	w.Helper()
	var view struct {
		Groups     []shownGroup
		NextCursor string `json:"next_cursor"`
	}
	w.get(deadPath + "/groups" + query).want(200).into(&view)
	return view.Groups, view.NextCursor
}

// exported reads the lines of an export.
func (a *answer) exported() (ids []string) {
	a.Helper()
	for line := range strings.Lines(string(a.want(200).Body)) {
		var j struct {
			ID       string
			Data     struct{ ID string }
			Attempts []shownAttempt
			Error    string `json:"last_error"`
		}
		if err := json.Unmarshal([]byte(line), &j); err != nil || j.Data.ID != j.ID || len(j.Attempts) != 1 || j.Attempts[0].Error != j.Error {
			a.Errorf("%v in %s", err, line)
		}
		ids = append(ids, j.ID)
	}
	return ids
}

func TestDeadGroups(t *testing.T) {
	w := newWorld(t).email()
	if g, next := w.groups(""); len(g) != 0 || next != "" {
		t.Errorf("%v", g)
	}
	for i := range 3 {
		w.dies(fmt.Sprint("t", i), fmt.Sprintf("timeout after %ds", 10+i))
	}
	w.dies("b", "it broke")
	g, next := w.groups("?limit=1")
	if len(g) != 1 || next == "" || g[0].Count != 3 || g[0].Status != 500 || g[0].Failure != "timeout after #" || g[0].Example != "t2" || g[0].LastError != "timeout after 12s" || g[0].FirstAt.IsZero() || g[0].LastAt.Before(g[0].FirstAt) {
		t.Fatalf("%+v", g)
	}
	if g, next := w.groups("?limit=1&cursor=" + next); len(g) != 1 || next != "" || g[0].Failure != "it broke" {
		t.Errorf("%+v", g)
	}
	var view struct{ Jobs []shownJob }
	w.get(emailJobs + "?state=dead&fingerprint=" + g[0].Fingerprint).want(200).into(&view)
	if len(view.Jobs) != 3 || view.Jobs[0].LastError[:7] != "timeout" {
		t.Errorf("%+v", view)
	}
	for path, field := range map[string]string{
		emailJobs + "?fingerprint=" + g[0].Fingerprint: "fingerprint", emailJobs + "?state=dead&fingerprint=x": "fingerprint",
		deadPath + "/groups?limit=0": "limit", deadPath + "/groups?cursor=x": "cursor",
		deadPath + "/export?fingerprint=x": "fingerprint", deadPath + "/export?after=noon": "after", deadPath + "/export?before=-1": "before",
		deadPath + "/export?after=2&before=1": "before", deadPath + "/export?error=" + strings.Repeat("e", 257): "error",
	} {
		if p := w.do(call{method: "GET", path: path, odd: true}).wantProblem(400, "invalid"); p.Field != field {
			t.Errorf("%s: field %q", path, p.Field)
		}
	}
}

func TestDeadExport(t *testing.T) {
	w := newWorld(t).email()
	if got := w.get(deadPath + "/export").exported(); len(got) != 0 {
		t.Errorf("%v", got)
	}
	for i := range 3 {
		w.dies(fmt.Sprint("t", i), fmt.Sprintf("Timeout after %ds", 10+i))
		time.Sleep(2 * time.Millisecond)
	}
	w.dies("b", "it broke")
	g, _ := w.groups("")
	a := w.get(deadPath + "/export")
	if a.Header.Get("Content-Type") != mediaNDJSON {
		t.Errorf("Content-Type %s", a.Header.Get("Content-Type"))
	}
	middle := w.get(emailJobs + "/t2").object()["finished_at"].(string)
	for query, want := range map[string]string{
		"": "b t2 t1 t0", "?fingerprint=" + g[0].Fingerprint: "t2 t1 t0", "?error=" + url.QueryEscape("TIMEOUT after"): "t2 t1 t0",
		"?after=" + middle: "b t2", "?before=" + middle: "t1 t0", "?error=broke&before=" + middle: "",
	} {
		if got := strings.Join(w.get(deadPath+"/export"+query).exported(), " "); got != want {
			t.Errorf("%s: %s, want %s", query, got, want)
		}
	}
	other := token(t, auth.MintOptions{Scopes: []auth.Scope{auth.JobsRead}, JobTypes: []string{"sms"}})
	w.do(call{method: "GET", path: deadPath + "/export", token: other}).wantProblem(403, "type-out-of-reach")
}

// An export is longer than a page of it.
func TestDeadExportOfManyPages(t *testing.T) {
	w := newWorld(t).email()
	w.do(call{method: "PATCH", path: "/v1/types/email", body: `{"concurrency":2000}`, media: mediaMergePatch}).want(200)
	const n = 2*exportPage + 7
	jobs := make([]queue.Job, n)
	for i := range jobs {
		jobs[i] = queue.Job{Type: "email", ID: fmt.Sprint(i), Data: fmt.Appendf(nil, `{"id":"%d"}`, i)}
	}
	if _, err := w.queue.Push(t.Context(), jobs...); err != nil {
		t.Fatal(err)
	}
	for settled := 0; settled < n; {
		b, err := w.queue.Exchange(t.Context(), "email", nil, n)
		if err != nil || len(b.Leases) == 0 {
			t.Fatal(err)
		}
		var done []queue.Settlement
		for _, l := range b.Leases {
			done = append(done, queue.Settlement{ID: l.ID, Token: l.Token, Verdict: queue.Bury, Attempt: queue.Attempt{N: 1, Outcome: "dead", Error: "boom"}})
		}
		if _, err := w.queue.Exchange(t.Context(), "email", done, 0); err != nil {
			t.Fatal(err)
		}
		settled += len(done)
	}
	seen := map[string]bool{}
	for _, id := range w.get(deadPath + "/export").exported() {
		seen[id] = true
	}
	if len(seen) != n {
		t.Errorf("%d of %d exported", len(seen), n)
	}
}

// shownRedrive is what clients may make of a redrive.
type shownRedrive struct {
	ID, State, Reason, By string
	Count                 int
	Canaries              *struct{ Started, Succeeded int }
	Spec                  map[string]any
}

func (w *world) redrive(body string, status int) (r shownRedrive) {
	w.Helper()
	w.post(deadPath+"/redrive", body).want(status).into(&r)
	return r
}

func TestRedrive(t *testing.T) {
	w := newWorld(t).email()
	w.dies("old", "it broke")
	time.Sleep(2 * time.Millisecond)
	w.dies("new", "it broke")
	w.dies("other", "it burnt")
	g, _ := w.groups("")
	r := w.redrive(fmt.Sprintf(`{"fingerprint":%q,"canary":1,"patch":{"fixed":true},"rate":{"jobs":5,"period":"1m"}}`, g[0].Fingerprint), 202)
	if r.State != "canary" || r.Count != 1 || r.Canaries == nil || r.Canaries.Started != 1 || r.Canaries.Succeeded != 0 || r.By != "tester" || r.Spec["patch"].(map[string]any)["fixed"] != true || r.Spec["rate"].(map[string]any)["period"] != "1m" {
		t.Fatalf("%+v", r)
	}
	l := w.claim("old")
	if string(l.Data) != `{"id":"old","fixed":true}` {
		t.Errorf("data %s", l.Data)
	}
	w.settle(l, queue.Done, "succeeded", "", nil)
	if _, err := w.queue.StepRedrives(t.Context(), "email"); err != nil {
		t.Fatal(err)
	}
	var view struct{ Redrives []shownRedrive }
	w.get("/v1/types/email/redrives").want(200).into(&view)
	if len(view.Redrives) != 1 || view.Redrives[0].ID != r.ID || view.Redrives[0].Canaries.Succeeded != 1 || view.Redrives[0].State != "running" {
		t.Errorf("%+v", view)
	}
	var stopped shownRedrive
	w.delete("/v1/types/email/redrives/" + r.ID).want(200).into(&stopped)
	if stopped.State != "stopped" || stopped.Reason != "stopped by tester" {
		t.Errorf("%+v", stopped)
	}
	w.get("/v1/types/email/redrives/" + r.ID).want(200)
	w.put(emailJobs+"/vip", `{"data":{"id":"vip"},"tags":["vip"]}`).want(201)
	w.settle(w.claim("vip"), queue.Bury, "dead", "it rained", nil)
	if got := strings.Join(w.get(deadPath+"/export?tag=vip").exported(), " "); got != "vip" {
		t.Errorf("exported %s", got)
	}
	if r := w.redrive(`{"tag":"vip"}`, 200); r.Count != 1 || r.Spec["tag"] != "vip" {
		t.Errorf("%+v", r)
	}
	w.claim("vip")
	if r := w.redrive(`{"ids":["other","nobody"]}`, 200); r.State != "done" || r.Count != 1 {
		t.Errorf("%+v", r)
	}
	w.claim("other")
	if m := w.post(deadPath+"/purge?error=BROKE", "").want(200).object(); m["count"] != 1.0 {
		t.Errorf("%v", m)
	}
	for _, method := range []string{"GET", "DELETE"} {
		w.do(call{method: method, path: "/v1/types/email/redrives/nothing"}).wantProblem(404, "unknown-redrive")
	}
	for body, field := range map[string]string{
		`{"fingerprint":"x"}`: "fingerprint", `{"after":"noon"}`: "after", `{"ids":["a"],"error":"x"}`: "ids", `{"ids":["a b"]}`: "ids[0]", `{"patch":[]}`: "patch",
		`{"canary":101}`: "canary", `{"rate":{}}`: "rate.jobs", `{"rate":{"jobs":1,"period":"1us"}}`: "rate.period", `{"canaries":1}`: "canaries",
	} {
		if p := w.post(deadPath+"/redrive", body).wantProblem(400, "invalid"); p.Field != field {
			t.Errorf("%s: field %q", body, p.Field)
		}
	}
	for i := range queue.MaxRedriving {
		w.dies(fmt.Sprint("a", i), "x")
		w.dies(fmt.Sprint("b", i), "x")
	}
	for range queue.MaxRedriving {
		w.redrive(`{"rate":{"jobs":1,"period":"1h"}}`, 202)
	}
	w.post(deadPath+"/redrive", `{"rate":{"jobs":1,"period":"1h"}}`).wantProblem(409, "too-many-redrives")
}
