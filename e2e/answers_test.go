package e2e

import (
	"io"
	"net/http"
	"sync/atomic"
	"testing"
	"time"
)

// The built program reads answers as the type says, through a restart of the program.
func TestAnswerPolicy(t *testing.T) {
	t.Parallel()
	env := inDir(t.TempDir())
	var asked atomic.Int64
	h := handle(t, func(w http.ResponseWriter, d delivery) {
		switch d.id {
		case "there":
			w.WriteHeader(http.StatusConflict)
			_, _ = io.WriteString(w, `"already"`)
		case "busy":
			if asked.Add(1) == 1 {
				w.WriteHeader(http.StatusInternalServerError)
				_, _ = io.WriteString(w, `{"error":{"code":"busy"}}`)
			}
		case "never":
			w.Header().Set("X-Account", "closed")
			w.WriteHeader(http.StatusInternalServerError)
		}
	})
	s := serve(t, env)
	s.register("email", h.url, spec{"retry": spec{"max_attempts": 1}, "answers": []spec{
		{"status": 409, "then": "done"},
		{"status": "500-599", "json": spec{"field": "error.code", "equals": "busy"}, "then": "snooze", "after": "1s"},
		{"header": spec{"name": "x-account", "equals": "closed"}, "then": "dead"},
	}})
	s.stop()
	s = serve(t, env)
	begun := time.Now()
	for _, id := range []string{"there", "busy", "never"} {
		s.push("email", spec{"id": id, "data": 1})
	}
	if j := s.becomes("email", "there", "succeeded"); string(j.Result) != `"already"` {
		t.Errorf("%+v", j)
	}
	s.becomes("email", "never", "dead")
	if j := s.becomes("email", "busy", "succeeded"); j.Attempt != 1 || time.Since(begun) < time.Second {
		t.Errorf("%+v after %s", j, time.Since(begun))
	}
	var trial struct {
		Verdict string
		Row     *int
	}
	s.must("POST", "/v1/types/email/test", nil, &trial)
	if trial.Verdict != "done" || trial.Row != nil {
		t.Errorf("%+v", trial)
	}
}
