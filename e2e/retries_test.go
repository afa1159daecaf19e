package e2e

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

// quick retries.
func quick(more spec) spec {
	s := spec{"retry": spec{"min_backoff": "10ms", "max_backoff": "20ms", "max_attempts": 3}, "concurrency": 5}
	for k, v := range more {
		s[k] = v
	}
	return s
}

// scripted answers a job's nth attempt with the nth status, and then with the last one.
func scripted(statuses ...int) func(http.ResponseWriter, delivery) {
	return func(w http.ResponseWriter, d delivery) {
		n := int(d.attempt[0] - '0')
		w.WriteHeader(statuses[min(n, len(statuses))-1])
		_, _ = w.Write([]byte("answer " + d.attempt))
	}
}

func TestTwoFailuresThenSuccess(t *testing.T) {
	t.Parallel()
	h := handle(t, scripted(500, 302, 200))
	s := serve(t, inDir(t.TempDir()))
	signed := s.register("work", h.url, quick(nil))
	id := s.push("work", spec{"data": spec{"n": 1}})
	j := s.becomes("work", id, "succeeded")
	if j.Attempt != 3 || string(j.Result) != `"answer 3"` {
		t.Errorf("%+v", j)
	}
	got := s.attempts("work", id)
	if len(got) != 3 {
		t.Fatalf("attempts: %+v", got)
	}
	for i, want := range []attempt{{N: 1, Status: 500, Outcome: "failed", Excerpt: "answer 1"}, {N: 2, Status: 302, Outcome: "failed", Excerpt: "answer 2"}, {N: 3, Status: 200, Outcome: "succeeded", Excerpt: "answer 3"}} {
		a := got[i]
		if a.N != want.N || a.Status != want.Status || a.Outcome != want.Outcome || a.Excerpt != want.Excerpt || a.Dispatcher == "" || (a.Error == "") == (a.Outcome == "failed") {
			t.Errorf("attempt %+v, want %+v", a, want)
		}
	}
	ids := map[string]bool{}
	for _, d := range h.deliveries() {
		d.verifies(t, signed)
		ids[d.header.Get("webhook-id")] = true
	}
	if len(ids) != 1 {
		t.Errorf("the webhook-id changed between attempts: %v", ids)
	}
}

func TestGoneEndpointPausesItsType(t *testing.T) {
	t.Parallel()
	h := handle(t, func(w http.ResponseWriter, d delivery) {
		if len(d.body) > 0 && d.body[0] == '1' {
			w.WriteHeader(http.StatusGone)
		}
	})
	s := serve(t, inDir(t.TempDir()))
	s.register("work", h.url, quick(nil))
	id := s.push("work", spec{"data": 1})
	var typ struct {
		Paused bool
		Reason string `json:"paused_reason"`
	}
	eventually(t, "the type is paused", func() bool {
		s.must("GET", "/v1/types/work", nil, &typ)
		return typ.Paused
	})
	if !strings.Contains(typ.Reason, "410") {
		t.Errorf("reason %q", typ.Reason)
	}
	if j := s.becomes("work", id, "waiting"); j.Attempt != 0 {
		t.Errorf("it cost an attempt: %+v", j)
	}
	s.push("work", spec{"id": id, "data": 2}) // replaced by one that the endpoint likes
	s.must("POST", "/v1/types/work/resume", nil, nil)
	s.becomes("work", id, "succeeded")
}

func TestRetryAfterIsHonoured(t *testing.T) {
	t.Parallel()
	h := handle(t, func(w http.ResponseWriter, d delivery) {
		if d.attempt == "1" {
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusTooManyRequests)
		}
	})
	s := serve(t, inDir(t.TempDir()))
	s.register("work", h.url, quick(nil))
	begun := time.Now()
	id := s.push("work", spec{"data": 1})
	s.becomes("work", id, "succeeded")
	if took := time.Since(begun); took < time.Second {
		t.Errorf("it came again after %s, not after the second that was asked for", took)
	}
	if n := len(h.deliveries()); n != 2 {
		t.Errorf("%d deliveries", n)
	}
}

func TestDeadLettersAndRedrive(t *testing.T) {
	t.Parallel()
	g := newGate()
	h := handle(t, func(w http.ResponseWriter, d delivery) {
		select {
		case <-g.ch:
		default:
			if d.id == "permanent" {
				w.Header().Set("deetoo-no-retry", "true")
			}
			w.WriteHeader(http.StatusUnprocessableEntity)
		}
	})
	s := serve(t, inDir(t.TempDir()))
	s.register("work", h.url, quick(nil))
	s.push("work", spec{"id": "permanent", "data": 1})
	s.push("work", spec{"id": "used-up", "data": 1})
	if j := s.becomes("work", "permanent", "dead"); j.Attempt != 1 || j.LastError == "" {
		t.Errorf("%+v", j)
	}
	if j := s.becomes("work", "used-up", "dead"); j.Attempt != 3 {
		t.Errorf("%+v", j)
	}
	g.open()
	var redriven struct{ Count int }
	s.must("POST", "/v1/types/work/dead/redrive", nil, &redriven)
	if redriven.Count != 2 {
		t.Errorf("%d redriven", redriven.Count)
	}
	s.becomes("work", "permanent", "succeeded")
	s.becomes("work", "used-up", "succeeded")
}

func TestTimeoutAbortsTheRequest(t *testing.T) {
	t.Parallel()
	g := newGate()
	t.Cleanup(g.open)
	h := handle(t, func(_ http.ResponseWriter, d delivery) { g.hold(d) })
	s := serve(t, inDir(t.TempDir()))
	s.register("work", h.url, quick(spec{"timeout": "150ms"}))
	id := s.push("work", spec{"data": 1, "max_attempts": 2})
	s.becomes("work", id, "dead")
	got := s.attempts("work", id)
	if len(got) != 2 || got[0].Status != 0 || !strings.Contains(got[0].Error, "time") {
		t.Errorf("%+v", got)
	}
	eventually(t, "the requests are aborted", func() bool { return h.running() == 0 })
}

func TestCancellingARunningJobAbortsItsRequest(t *testing.T) {
	t.Parallel()
	g := newGate()
	t.Cleanup(g.open)
	h := handle(t, func(_ http.ResponseWriter, d delivery) { g.hold(d) })
	s := serve(t, inDir(t.TempDir()))
	s.register("work", h.url, quick(spec{"timeout": "1h"}))
	id := s.push("work", spec{"data": 1})
	d := h.awaits(t, 1)
	// A job that runs cannot be replaced.
	if a := s.call("POST", "/v1/types/work/jobs", spec{"id": id, "data": 2}); a.status != 409 {
		t.Errorf("replace: %d %s", a.status, a.body)
	}
	if a := s.call("DELETE", "/v1/types/work/jobs/"+id, nil); a.status != 202 {
		t.Errorf("cancel: %d %s", a.status, a.body)
	}
	select {
	case <-d.abandoned:
	case <-time.After(patience):
		t.Fatal("the request goes on")
	}
	s.becomes("work", id, "cancelled")
	if n := len(h.deliveries()); n != 1 {
		t.Errorf("%d deliveries", n)
	}
}

// deetoo's producers need not change.
func TestDeetoosOwnPaths(t *testing.T) {
	t.Parallel()
	h := handle(t, nil)
	s := serve(t, inDir(t.TempDir()))
	s.register("email", h.url, nil)
	s.must("POST", "/api/v1/email/one", `{"jobData":{"title":"first","n":1}}`, nil)
	s.must("POST", "/api/v2/email", `[{"jobData":{"n":2},"id":"two"},{"jobData":{"n":3},"id":"three","when":1}]`, nil)
	for id, data := range map[string]string{"one": `{"title":"first","n":1}`, "two": `{"n":2}`, "three": `{"n":3}`} {
		s.becomes("email", id, "succeeded")
		for _, d := range h.deliveries() {
			if d.id == id && string(d.body) != data {
				t.Errorf("%s got %s", id, d.body)
			}
		}
	}
	if j := s.job("email", "one"); j.Title != "first" {
		t.Errorf("title %q", j.Title)
	}
}
