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
