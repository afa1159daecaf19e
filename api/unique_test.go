package api

import (
	"strings"
	"testing"
	"time"

	"github.com/deetoo/deetoo/queue"
)

func TestUniqueJobs(t *testing.T) {
	w := newWorld(t).email()
	type receipt struct {
		ID, State           string
		Replaced, Duplicate bool
		RunAt               time.Time `json:"run_at"`
	}
	push := func(status int, body string) (r receipt) {
		t.Helper()
		w.post(emailJobs, body).want(status).into(&r)
		return r
	}
	first := push(201, `{"data":1,"unique_key":"k","delay":"1h"}`)
	p := w.post(emailJobs, `{"data":2,"unique_key":"k"}`).wantProblem(409, "duplicate-job")
	if p.JobID != first.ID || p.State != "scheduled" || !strings.Contains(p.Detail, first.ID) {
		t.Errorf("%+v", p)
	}
	if r := push(200, `{"data":2,"unique_key":"k","on_conflict":"ignore"}`); r.ID != first.ID || !r.Duplicate || r.State != "scheduled" || !r.RunAt.Equal(first.RunAt) {
		t.Errorf("ignored: %+v, first %+v", r, first)
	}
	if r := push(200, `{"data":3,"unique_key":"k","on_conflict":"debounce","delay":"2h","debounce_max":"90m"}`); r.ID != first.ID || !r.Replaced || r.RunAt.Sub(first.RunAt) > 31*time.Minute {
		t.Errorf("debounced: %+v, first %+v", r, first)
	}
	if r := push(200, `{"data":4,"unique_key":"k","on_conflict":"replace"}`); r.ID != first.ID || !r.Replaced || r.State != "waiting" {
		t.Errorf("replaced: %+v", r)
	}
	if j := w.get(emailJobs + "/" + first.ID).want(200).object(); j["data"] != 4.0 || j["unique_key"] != "k" {
		t.Errorf("%v", j)
	}
	l := w.claim(first.ID)
	w.post(emailJobs, `{"data":5,"unique_key":"k","on_conflict":"replace"}`).wantProblem(409, "duplicate-job")
	w.settle(l, queue.Done, "succeeded", "", nil)
	push(201, `{"data":5,"unique_key":"k","unique_for":"1h"}`)

	// One whose job is deleted within its window.
	b, a := w.pushBatch(mediaNDJSON, `{"data":1,"id":"a","unique_key":"b"}`+"\n"+`{"data":2,"unique_key":"b"}`+"\n"+`{"data":3,"unique_key":"b","on_conflict":"ignore"}`)
	a.want(207)
	if e := b.Results[1].Error; e == nil || e.Status != 409 || e.JobID != "a" || b.Results[2].ID != "a" || b.Accepted != 2 {
		t.Errorf("%s", a.Body)
	}
	gone := push(201, `{"data":1,"unique_key":"gone","unique_for":"1h"}`)
	w.post("/v1/types/email/jobs/purge?state=waiting", "").want(200)
	if r := push(200, `{"data":1,"unique_key":"gone","on_conflict":"ignore"}`); r.ID != gone.ID || !r.Duplicate || r.State != "" {
		t.Errorf("%+v", r)
	}
}

func TestBadUniqueJobs(t *testing.T) {
	w := newWorld(t).email()
	for body, field := range map[string]string{
		`"unique_key":""`: "unique_key",
		`"unique_key":"` + strings.Repeat("k", 256) + `"`:                          "unique_key",
		`"unique_key":"a\nb"`:                                                      "unique_key",
		`"unique_for":"1h"`:                                                        "unique_for",
		`"unique_key":"k","unique_for":"0s"`:                                       "unique_for",
		`"unique_key":"k","unique_for":"9000h"`:                                    "unique_for",
		`"on_conflict":"ignore"`:                                                   "on_conflict",
		`"unique_key":"k","on_conflict":"merge"`:                                   "on_conflict",
		`"debounce_max":"1h"`:                                                      "debounce_max",
		`"unique_key":"k","debounce_max":"1h"`:                                     "debounce_max",
		`"unique_key":"k","on_conflict":"debounce"`:                                "delay",
		`"unique_key":"k","on_conflict":"debounce","when":1`:                       "delay",
		`"unique_key":"k","on_conflict":"debounce","delay":"1s","unique_for":"1h"`: "unique_for",
	} {
		if p := w.post(emailJobs, `{"data":1,`+body+`}`).wantProblem(400, "invalid"); p.Field != field {
			t.Errorf("%s: %+v", body, p)
		}
	}
	if n := w.stored(); n != 0 {
		t.Errorf("%d jobs are stored", n)
	}
}
