package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// explained is what the API says of why a job is not running.
type explained struct {
	State, Reason, Why, By string
	Ahead                  struct{ Count int }
	Slots                  struct {
		Taken, Limit int
		Oldest       struct{ ID string }
	}
	SameFailure int `json:"same_failure"`
}

func (s *server) why(typ, id string) (e explained) {
	s.t.Helper()
	s.must("GET", "/v1/types/"+typ+"/jobs/"+id+"/why", nil, &e)
	return e
}

// One job after another is asked why it does not run, and each has its own reason.
func TestWhy(t *testing.T) {
	t.Parallel()
	g := newGate()
	h := handle(t, func(w http.ResponseWriter, d delivery) {
		switch {
		case strings.HasPrefix(d.id, "bad"):
			w.WriteHeader(422)
		case strings.HasPrefix(d.id, "again"):
			w.WriteHeader(500)
		default:
			g.hold(d)
		}
	})
	defer g.open()
	s := serve(t, inDir(t.TempDir()))
	s.register("work", h.url, spec{"concurrency": 2, "retry": spec{"max_attempts": 3, "min_backoff": "1h", "max_backoff": "1h", "jitter": false}})
	s.push("work", spec{"id": "again", "data": 1})
	s.becomes("work", "again", "scheduled")
	s.push("work", spec{"id": "bad-1", "data": 1, "max_attempts": 1})
	s.push("work", spec{"id": "bad-2", "data": 1, "max_attempts": 1})
	s.becomes("work", "bad-1", "dead")
	s.becomes("work", "bad-2", "dead")
	s.push("work", spec{"id": "first", "data": 1})
	s.becomes("work", "first", "active")
	s.push("work", spec{"id": "second", "data": 1})
	s.becomes("work", "second", "active")
	for i := range 3 {
		s.push("work", spec{"id": fmt.Sprint("w", i), "data": 1})
	}
	s.push("work", spec{"id": "later", "data": 1, "delay": "1h"})

	if e := s.why("work", "w2"); e.Reason != "no_slot" || e.Ahead.Count != 2 || e.Slots.Taken != 2 || e.Slots.Limit != 2 || e.Slots.Oldest.ID != "first" ||
		!strings.Contains(e.Why, "no free slot: 2 of 2 are taken, the oldest, job first, for") || !strings.Contains(e.Why, "behind 2 others") {
		t.Errorf("%+v", e)
	}
	if e := s.why("work", "first"); e.Reason != "running" || !strings.Contains(e.Why, "attempt 1 of 3, by dispatcher "+e.By) || e.By == "" {
		t.Errorf("%+v", e)
	}
	if e := s.why("work", "again"); e.Reason != "retry" || !strings.Contains(e.Why, "Attempt 1 of 3 failed (HTTP 500") {
		t.Errorf("%+v", e)
	}
	if e := s.why("work", "later"); e.Reason != "scheduled" || !strings.Contains(e.Why, "It is due at ") {
		t.Errorf("%+v", e)
	}
	if e := s.why("work", "bad-1"); e.Reason != "dead" || e.SameFailure != 2 || !strings.Contains(e.Why, "1 more of its type died of the same") {
		t.Errorf("%+v", e)
	}
	s.must("POST", "/v1/types/work/pause", spec{"reason": "lunch"}, nil)
	if e := s.why("work", "w0"); e.Reason != "paused" || e.By != "lunch" || !strings.Contains(e.Why, ": lunch.") {
		t.Errorf("%+v", e)
	}
	if out := s.ok("jobs", "show", "work", "w0"); !strings.Contains(out, `"reason": "paused"`) {
		t.Errorf("jobs show: %s", out)
	}
	g.open()
	s.must("POST", "/v1/types/work/resume", nil, nil)
	s.becomes("work", "w2", "succeeded")
	if e := s.why("work", "w2"); e.Reason != "succeeded" {
		t.Errorf("%+v", e)
	}
}
