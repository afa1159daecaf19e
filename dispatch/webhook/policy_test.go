package webhook

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/deetoo/deetoo/dispatch"
	"github.com/deetoo/deetoo/registry"
)

// rows decodes an answer policy as a person writes it.
func rows(t testing.TB, policy string) []registry.Answer {
	t.Helper()
	spec, err := registry.DecodeSpec("email", []byte(`{"target":"http://x.test/","answers":`+policy+`}`))
	if err != nil {
		t.Fatal(err)
	}
	typ, err := spec.Type(nil)
	if err != nil {
		t.Fatal(err)
	}
	return typ.Answers
}

func TestAnswerPolicy(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	const (
		busy   = `{"json":{"field":"error.code","equals":"busy"},"then":"snooze","after":"10s"}`
		number = `{"json":{"field":"errors.1.code","equals":9007199254740993},"then":"dead"}`
	)
	long := `{"error":{"code":"busy"},"pad":"` + strings.Repeat("x", 64<<10) + `"}`
	for name, tc := range map[string]struct {
		policy  string
		status  int
		header  []string
		body    string
		want    dispatch.Outcome // Status and Excerpt aside
		row     int
		nothing bool // no row fits
	}{
		"done":                     {policy: `[{"status":409,"then":"done"}]`, status: 409, body: "there already", want: dispatch.Outcome{Verdict: dispatch.Done, Result: []byte("there already")}},
		"the first that fits":      {policy: `[{"status":"400-404","then":"dead"},{"status":"400-499","then":"snooze","after":"1s"},{"status":409,"then":"done"}]`, status: 409, row: 1, want: dispatch.Outcome{Verdict: dispatch.Snooze, Delay: time.Second, Err: "HTTP 409 Conflict: snooze by answers[1] of the type"}},
		"none that fits":           {policy: `[{"status":"400-404","then":"dead"}]`, status: 409, nothing: true, want: dispatch.Outcome{Err: "HTTP 409 Conflict"}},
		"before 202":               {policy: `[{"status":202,"then":"done"}]`, status: 202, want: dispatch.Outcome{Verdict: dispatch.Done}},
		"before 2xx":               {policy: `[{"status":200,"json":{"field":"ok","equals":false},"then":"retry","after":"5m"}]`, status: 200, body: `{"ok":false}`, want: dispatch.Outcome{Delay: 5 * time.Minute, Err: "HTTP 200 OK: retry by answers[0] of the type"}},
		"a 2xx that is fine":       {policy: `[{"status":200,"json":{"field":"ok","equals":false},"then":"retry"}]`, status: 200, body: `{"ok":true}`, nothing: true, want: dispatch.Outcome{Verdict: dispatch.Done, Result: []byte(`{"ok":true}`)}},
		"before 410":               {policy: `[{"status":410,"then":"dead"}]`, status: 410, want: dispatch.Outcome{Verdict: dispatch.Dead, Err: "HTTP 410 Gone: dead by answers[0] of the type"}},
		"before deetoo-no-retry":   {policy: `[{"status":500,"then":"retry"}]`, status: 500, header: []string{"deetoo-no-retry", "true"}, want: dispatch.Outcome{Err: "HTTP 500 Internal Server Error: retry by answers[0] of the type"}},
		"pause":                    {policy: `[{"status":401,"then":"pause"}]`, status: 401, want: dispatch.Outcome{Verdict: dispatch.Pause, Err: "HTTP 401 Unauthorized: pause by answers[0] of the type"}},
		"a header":                 {policy: `[{"header":{"name":"x-state","equals":"later"},"then":"snooze"}]`, status: 500, header: []string{"X-State", "now", "X-State", "later"}, want: dispatch.Outcome{Verdict: dispatch.Snooze, Delay: 30 * time.Second, Err: "HTTP 500 Internal Server Error: snooze by answers[0] of the type"}},
		"another header":           {policy: `[{"header":{"name":"x-state","equals":"later"},"then":"snooze"}]`, status: 500, header: []string{"X-State", "Later"}, nothing: true, want: dispatch.Outcome{Err: "HTTP 500 Internal Server Error"}},
		"all conditions":           {policy: `[{"status":500,"header":{"name":"a","equals":"1"},"json":{"field":"b","equals":2},"then":"dead"}]`, status: 500, header: []string{"A", "1"}, body: `{"b":3}`, nothing: true, want: dispatch.Outcome{Err: "HTTP 500 Internal Server Error"}},
		"a field":                  {policy: `[` + busy + `]`, status: 400, body: ` {"error":{"code":"busy"}} `, want: dispatch.Outcome{Verdict: dispatch.Snooze, Delay: 10 * time.Second, Err: "HTTP 400 Bad Request: snooze by answers[0] of the type"}},
		"no such field":            {policy: `[` + busy + `]`, status: 400, body: `{"error":"code"}`, nothing: true, want: dispatch.Outcome{Err: "HTTP 400 Bad Request"}},
		"not JSON":                 {policy: `[` + busy + `]`, status: 400, body: `{"error":{"code":"busy"}} or so`, nothing: true, want: dispatch.Outcome{Err: "HTTP 400 Bad Request"}},
		"no body":                  {policy: `[` + busy + `]`, status: 400, nothing: true, want: dispatch.Outcome{Err: "HTTP 400 Bad Request"}},
		"too long a body":          {policy: `[` + busy + `]`, status: 400, body: long, nothing: true, want: dispatch.Outcome{Err: "HTTP 400 Bad Request"}},
		"a large number":           {policy: `[` + number + `]`, status: 400, body: `{"errors":[0,{"code":9007199254740993}]}`, want: dispatch.Outcome{Verdict: dispatch.Dead, Err: "HTTP 400 Bad Request: dead by answers[0] of the type"}},
		"its neighbour":            {policy: `[` + number + `]`, status: 400, body: `{"errors":[0,{"code":9007199254740992}]}`, nothing: true, want: dispatch.Outcome{Err: "HTTP 400 Bad Request"}},
		"beyond the elements":      {policy: `[` + number + `]`, status: 400, body: `{"errors":[0]}`, nothing: true, want: dispatch.Outcome{Err: "HTTP 400 Bad Request"}},
		"a number otherwise":       {policy: `[{"json":{"field":"a","equals":1},"then":"dead"}]`, status: 400, body: `{"a":1.0}`, want: dispatch.Outcome{Verdict: dispatch.Dead, Err: "HTTP 400 Bad Request: dead by answers[0] of the type"}},
		"a number is no string":    {policy: `[{"json":{"field":"a","equals":1},"then":"dead"}]`, status: 400, body: `{"a":"1"}`, nothing: true, want: dispatch.Outcome{Err: "HTTP 400 Bad Request"}},
		"null":                     {policy: `[{"json":{"field":"a","equals":null},"then":"dead"}]`, status: 400, body: `{"a":null}`, want: dispatch.Outcome{Verdict: dispatch.Dead, Err: "HTTP 400 Bad Request: dead by answers[0] of the type"}},
		"null is there":            {policy: `[{"json":{"field":"a","equals":null},"then":"dead"}]`, status: 400, body: `{}`, nothing: true, want: dispatch.Outcome{Err: "HTTP 400 Bad Request"}},
		"an object":                {policy: `[{"json":{"field":"a","equals":null},"then":"dead"}]`, status: 400, body: `{"a":{}}`, nothing: true, want: dispatch.Outcome{Err: "HTTP 400 Bad Request"}},
		"the answer's time":        {policy: `[{"status":409,"then":"snooze"}]`, status: 409, header: []string{"retry-after", "90s"}, want: dispatch.Outcome{Verdict: dispatch.Snooze, Delay: 90 * time.Second, Err: "HTTP 409 Conflict: snooze by answers[0] of the type"}},
		"capped":                   {policy: `[{"status":409,"then":"retry"}]`, status: 409, header: []string{"retry-after", "5h"}, want: dispatch.Outcome{Delay: 2 * time.Hour, Err: "HTTP 409 Conflict: retry by answers[0] of the type"}},
		"at once is not at once":   {policy: `[{"status":409,"then":"snooze"}]`, status: 409, header: []string{"retry-after", "0"}, want: dispatch.Outcome{Verdict: dispatch.Snooze, Delay: 30 * time.Second, Err: "HTTP 409 Conflict: snooze by answers[0] of the type"}},
		"the row's time":           {policy: `[{"status":429,"then":"snooze","after":"1m"}]`, status: 429, header: []string{"retry-after", "5"}, want: dispatch.Outcome{Verdict: dispatch.Snooze, Delay: time.Minute, Err: "HTTP 429 Too Many Requests: snooze by answers[0] of the type"}},
		"429 slows the type down":  {policy: `[{"status":429,"then":"snooze"}]`, status: 429, header: []string{"retry-after", "5"}, want: dispatch.Outcome{Verdict: dispatch.Snooze, RetryAfter: 5 * time.Second, Err: "HTTP 429 Too Many Requests: snooze by answers[0] of the type"}},
		"a reset, without policy":  {status: 429, header: []string{"x-ratelimit-remaining", "0", "x-ratelimit-reset", formatInt(now.Unix() + 60)}, nothing: true, want: dispatch.Outcome{RetryAfter: time.Minute, Err: "HTTP 429 Too Many Requests"}},
		"a reset alone":            {status: 503, header: []string{"X-RateLimit-Reset", "60"}, nothing: true, want: dispatch.Outcome{RetryAfter: time.Minute, Err: "HTTP 503 Service Unavailable"}},
		"a reset far from needed":  {status: 503, header: []string{"x-ratelimit-remaining", "4000", "x-ratelimit-reset", "60"}, nothing: true, want: dispatch.Outcome{Err: "HTTP 503 Service Unavailable"}},
		"retry-after before reset": {status: 429, header: []string{"retry-after", "7", "x-ratelimit-reset", "60"}, nothing: true, want: dispatch.Outcome{RetryAfter: 7 * time.Second, Err: "HTTP 429 Too Many Requests"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				for i := 0; i < len(tc.header); i += 2 {
					w.Header().Add(tc.header[i], tc.header[i+1])
				}
				w.WriteHeader(tc.status)
				_, _ = io.WriteString(w, tc.body)
			})
			typ := testType(s.URL)
			typ.MaxRetryAfter = 2 * time.Hour
			typ.Completion = registry.Callback
			if tc.policy != "" {
				typ.Answers = rows(t, tc.policy)
			}
			d := newTestDeliverer(t, Options{CallbackURL: "http://deetoo.test", Now: func() time.Time { return now }})
			out, said := d.Send(context.Background(), typ, testLease())
			if out.Verdict != tc.want.Verdict || out.Status != tc.status || out.Err != tc.want.Err || out.Delay != tc.want.Delay || out.RetryAfter != tc.want.RetryAfter || string(out.Result) != string(tc.want.Result) {
				t.Errorf("got %+v", out)
			}
			if tc.nothing != (said.Row == nil) || said.Row != nil && *said.Row != tc.row {
				t.Errorf("row %v", said.Row)
			}
		})
	}
}

// A row cannot make a success of an answer that broke off.
func TestAnswerPolicyOfABrokenBody(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		w.WriteHeader(http.StatusConflict)
		_, _ = io.WriteString(w, `{"a":1}`)
	})
	typ := testType(s.URL)
	typ.Answers = rows(t, `[{"json":{"field":"a","equals":1},"then":"dead"},{"status":409,"then":"done"}]`)
	out, _ := newTestDeliverer(t, Options{}).Send(context.Background(), typ, testLease())
	if out.Verdict != dispatch.Retry || !strings.Contains(out.Err, "after 7 bytes of the answer") || out.Result != nil {
		t.Errorf("%+v", out)
	}
}
