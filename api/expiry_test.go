package api

import (
	"strings"
	"testing"
	"time"
)

func TestJobsExpire(t *testing.T) {
	w := newWorld(t).email()
	w.put(emailJobs+"/ttl", `{"data":1,"ttl":"1h"}`).want(201)
	var j struct {
		ExpiresAt  time.Time `json:"expires_at"`
		EnqueuedAt time.Time `json:"enqueued_at"`
		Error      string    `json:"last_error"`
	}
	w.get(emailJobs + "/ttl").want(200).into(&j)
	if j.ExpiresAt.Sub(j.EnqueuedAt) != time.Hour {
		t.Errorf("%+v", j)
	}
	w.put(emailJobs+"/at", `{"data":1,"expires_at":1893456000000}`).want(201)
	if got := w.get(emailJobs + "/at").want(200).object()["expires_at"]; got != "2030-01-01T00:00:00.000Z" {
		t.Error(got)
	}
	w.post("/v1/types/email/jobs/purge?state=waiting", "").want(200)

	w.put(emailJobs+"/late", `{"data":1,"expires_at":"2001-01-01T00:00:00Z"}`).want(201)
	if b, err := w.queue.Exchange(t.Context(), "email", nil, 1); err != nil || len(b.Leases) != 0 {
		t.Fatalf("%+v, %v", b, err)
	}
	w.get(emailJobs + "/late").want(200).into(&j)
	if !strings.Contains(j.Error, "expired") {
		t.Errorf("%+v", j)
	}
	if got := w.get(emailJobs + "/late").want(200).object()["state"]; got != "cancelled" {
		t.Error(got)
	}
	var a struct{ Attempts []struct{ Outcome string } }
	w.get(emailJobs + "/late/attempts").want(200).into(&a)
	if len(a.Attempts) != 1 || a.Attempts[0].Outcome != "expired" {
		t.Errorf("%+v", a)
	}
	if why := string(w.get(emailJobs + "/late/why").want(200).Body); !strings.Contains(why, "It expired at 2001-01-01") {
		t.Error(why)
	}

	for body, field := range map[string]string{
		`"ttl":"0s"`:                          "ttl",
		`"ttl":"1h","expires_at":1`:           "ttl",
		`"ttl":"1m","delay":"1h"`:             "ttl",
		`"ttl":"90000h"`:                      "ttl",
		`"expires_at":"soon"`:                 "expires_at",
		`"expires_at":-1`:                     "expires_at",
		`"expires_at":1000,"when":2000`:       "expires_at",
		`"expires_at":1000,"delay":"1h"`:      "expires_at",
		`"expires_at":"2300-01-01T00:00:00Z"`: "expires_at",
	} {
		if p := w.post(emailJobs, `{"data":1,`+body+`}`).wantProblem(400, "invalid"); p.Field != field {
			t.Errorf("%s: %+v", body, p)
		}
	}
}
