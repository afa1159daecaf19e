package api

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/deetoo/deetoo/queue"
)

const jobCallback = emailJobs + "/job-1/callback"

// accepted brings job-1 to its handler, which has accepted it.
func (w *world) accepted() *queue.Lease {
	w.Helper()
	w.post(emailJobs, `{"id":"job-1","data":1}`).want(201)
	lease := w.claim("job-1")
	if b, err := w.queue.Exchange(context.Background(), "email", []queue.Settlement{{ID: "job-1", Token: lease.Token, Verdict: queue.Accept, Delay: time.Minute}}, 0); err != nil || len(b.Stale) > 0 {
		w.Fatal(b, err)
	}
	return lease
}

// back is a callback with the token of an attempt.
func (w *world) back(what string, l *queue.Lease, body string) *answer {
	w.Helper()
	return w.do(call{method: "POST", path: jobCallback + what, body: body, token: l.CallbackToken()})
}

// told fails the test unless the answer says that, and that the lease lasts about a minute.
func (a *answer) told(cancelled bool) {
	a.Helper()
	var v struct {
		Cancelled bool
		Until     time.Time `json:"lease_expires_at"`
	}
	a.want(200).into(&v)
	if left := time.Until(v.Until); v.Cancelled != cancelled || left < 30*time.Second || left > 90*time.Second {
		a.Errorf("%+v", v)
	}
}

func TestCallbacks(t *testing.T) {
	w := newWorld(t).email()
	l := w.accepted()
	w.back("/heartbeat", l, "").told(false)
	w.back("/heartbeat", l, `{}`).told(false)
	w.back("/progress", l, `{"number":1,"total":4,"message":"on <it>"}`).told(false)
	w.back("/heartbeat", l, `{"progress":{"number":2.5}}`).told(false)
	w.back("/log", l, `{"message":"one\ntwo"}`).told(false)
	w.back("/log", l, `{"lines":["three"]}`).told(false)
	var shown struct {
		Accepted bool
		Progress struct {
			Number, Total float64
			At            time.Time
		}
		Log []struct {
			Text string
			At   time.Time
		}
	}
	w.get(emailJobs + "/job-1").want(200).into(&shown)
	if !shown.Accepted || shown.Progress.Number != 2.5 || shown.Progress.Total != 0 || shown.Progress.At.IsZero() ||
		len(shown.Log) != 3 || shown.Log[1].Text != "two" || shown.Log[2].At.IsZero() {
		t.Errorf("%+v", shown)
	}
	if why := w.get(emailJobs + "/job-1/why").object()["why"]; !strings.Contains(fmt.Sprint(why), "handler has accepted it") {
		t.Errorf("why: %v", why)
	}
	w.delete(emailJobs + "/job-1").want(202)
	w.back("/heartbeat", l, "").told(true)
	w.back("/complete", l, `{"result":{"pages":10}}`).want(204)
	if m := w.get(emailJobs + "/job-1").object(); m["state"] != "succeeded" || fmt.Sprint(m["result"]) != "map[pages:10]" || m["accepted"] != nil {
		t.Errorf("%v", m)
	}
	before := string(w.get(emailJobs + "/job-1").Body)
	for _, what := range []string{"/heartbeat", "/progress", "/log", "/complete", "/fail"} {
		body := map[string]string{"/progress": `{"number":9}`, "/log": `{"message":"late"}`}[what]
		w.back(what, l, body).wantProblem(409, "attempt-ended")
	}
	if after := string(w.get(emailJobs + "/job-1").Body); after != before {
		t.Errorf("a late callback changed the job:\n%s\n%s", before, after)
	}
}

func TestCallbackFails(t *testing.T) {
	for body, want := range map[string]string{
		"": "scheduled the handler reported a failure, and no reason", `{"error":"on fire","retry_after":"90s"}`: "scheduled on fire",
		`{"error":"wrong data","retryable":false}`: "dead wrong data", `{"error":"on fire","retryable":true}`: "scheduled on fire",
	} {
		w := newWorld(t).email()
		l := w.accepted()
		w.back("/fail", l, body).want(204)
		m := w.get(emailJobs + "/job-1").object()
		if got := fmt.Sprint(m["state"], " ", m["last_error"]); got != want {
			t.Errorf("%s: %s, want %s", body, got, want)
		}
		if strings.Contains(body, "90s") {
			at, err := time.Parse(time.RFC3339, fmt.Sprint(m["run_at"]))
			if wait := time.Until(at); err != nil || wait < 60*time.Second || wait > 91*time.Second {
				t.Errorf("due in %v, %v", wait, err)
			}
		}
	}
}

func TestCallbackTokenAloneCounts(t *testing.T) {
	w := newWorld(t).email()
	l := w.accepted()
	beat := call{method: "POST", path: jobCallback + "/heartbeat"}
	// In its own header, too.
	beat.token, beat.header = "-", map[string]string{"Deetoo-Callback-Token": l.CallbackToken()}
	w.do(beat).told(false)
	beat.header = nil
	w.do(beat).wantProblem(401, "unauthenticated")
	// An admin's token opens nothing here, nor does the lease's own, nor that of another job or type.
	beat.token = ""
	w.do(beat).wantProblem(409, "attempt-ended")
	beat.token = l.Token
	w.do(beat).wantProblem(409, "attempt-ended")
	beat.token = l.CallbackToken()
	for _, path := range []string{emailJobs + "/job-2", "/v1/types/unknown/jobs/job-1", "/v1/types/a%7D:b/jobs/job-1"} {
		beat.path, beat.odd = path+"/callback/heartbeat", strings.Contains(path, "%")
		w.do(beat).wantProblem(409, "attempt-ended")
	}
	// And it opens nothing else.
	for _, r := range w.api.Routes() {
		if r.Scope != "" {
			c := sample(r)
			c.token = l.CallbackToken()
			w.do(c).wantProblem(401, "unauthenticated")
		}
	}
	if log := w.log.String(); strings.Contains(log, l.CallbackToken()) || strings.Contains(log, l.Token) {
		t.Error("a token is in the log")
	}
}

func TestCallbackRefusesWhatIsInvalid(t *testing.T) {
	w := newWorld(t).email()
	l := w.accepted()
	for _, c := range [][3]string{
		{"/progress", `{}`, "number"},
		{"/progress", `{"number":-1}`, "number"},
		{"/progress", `{"number":1,"total":-1}`, "total"},
		{"/heartbeat", `{"progress":{"number":-1}}`, "progress.number"},
		{"/heartbeat", `{"bogus":1}`, "bogus"},
		{"/log", `{}`, "message"},
		{"/log", `{"lines":"x"}`, "lines"},
		{"/fail", `{"retry_after":"soon"}`, "retry_after"},
		{"/fail", `{"retry_after":"-1s"}`, "retry_after"},
		{"/complete", `{"results":1}`, "results"},
		{"/complete", `{"result":"` + strings.Repeat("x", queue.MaxResultSize) + `"}`, "result"},
	} {
		if p := w.back(c[0], l, c[1]).wantProblem(400, "invalid"); p.Field != c[2] {
			t.Errorf("%s %.40s: field %q, want %s", c[0], c[1], p.Field, c[2])
		}
	}
	w.back("/complete", l, `{"result":null}`).want(204)
	if m := w.get(emailJobs + "/job-1").object(); m["state"] != "succeeded" || m["result"] != nil {
		t.Errorf("%v", m)
	}
}
