package webhook

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/deetoo/deetoo/dispatch"
	"github.com/deetoo/deetoo/queue"
	"github.com/deetoo/deetoo/registry"
)

func callbackLease(target string) *queue.Lease {
	return &queue.Lease{Job: queue.Job{
		Type: registry.CallbackType, ID: "01CALLBACK", Data: []byte(`{"id":"01JOB"}`), Attempt: 1,
		Parent: &queue.Parent{Type: "email", ID: "01JOB"}, Target: target,
	}}
}

func TestCallbackIsSignedWithTheSecretsOfTheJobsType(t *testing.T) {
	var got http.Header
	var body []byte
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		got = r.Header.Clone()
		body, _ = io.ReadAll(r.Body)
		w.WriteHeader(http.StatusAccepted)
	})
	email := testType("http://127.0.0.1:1/not-this-one")
	email.Headers = map[string]string{"Authorization": "Bearer of-the-target"}
	d := newTestDeliverer(t, Options{Types: typeMap{"email": email}, CallbackURL: "http://127.0.0.1:2"})
	if out := d.DeliverCallback(t.Context(), callbackLease(s.URL+"/hook?key=1")); out.Verdict != dispatch.Done {
		t.Fatalf("%+v", out)
	}
	if err := Verify(got, body, 0, testSecret); err != nil {
		t.Error(err)
	}
	if string(body) != `{"id":"01JOB"}` || got.Get("Authorization") != "" {
		t.Errorf("body %s, header %v", body, got)
	}
}

func TestCallbackAnswersConcernItAlone(t *testing.T) {
	status := http.StatusGone
	s := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "60")
		w.WriteHeader(status)
	})
	d := newTestDeliverer(t, Options{Types: typeMap{"email": testType(s.URL)}})
	if out := d.DeliverCallback(t.Context(), callbackLease(s.URL)); out.Verdict != dispatch.Dead || out.Status != http.StatusGone || !strings.Contains(out.Err, "410") {
		t.Errorf("%+v", out)
	}
	status = http.StatusServiceUnavailable
	if out := d.DeliverCallback(t.Context(), callbackLease(s.URL)); out.Verdict != dispatch.Retry || out.RetryAfter != 0 || out.Delay != time.Minute {
		t.Errorf("%+v", out)
	}
}

func TestCallbackThatCannotBeMade(t *testing.T) {
	d := newTestDeliverer(t, Options{})
	if out := d.DeliverCallback(t.Context(), callbackLease("http://127.0.0.1:1")); out.Verdict != dispatch.Retry || !strings.Contains(out.Err, "not registered") {
		t.Errorf("%+v", out)
	}
	none := callbackLease("")
	if out := d.DeliverCallback(t.Context(), none); out.Verdict != dispatch.Dead {
		t.Errorf("%+v", out)
	}
	none = callbackLease("http://127.0.0.1:1")
	none.Parent = nil
	if out := d.DeliverCallback(t.Context(), none); out.Verdict != dispatch.Dead {
		t.Errorf("%+v", out)
	}
	guarded, err := New(Options{Types: typeMap{"email": testType("http://127.0.0.1:1")}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(guarded.Close)
	if out := guarded.DeliverCallback(t.Context(), callbackLease("http://169.254.169.254/latest?key=hidden")); out.Verdict == dispatch.Done || strings.Contains(out.Err, "hidden") {
		t.Errorf("%+v", out)
	}
}
