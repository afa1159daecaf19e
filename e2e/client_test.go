package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/deetoo/deetoo/auth"
)

// adminToken is good for a dispatcher whose key is secret.
func adminToken(t testing.TB) string {
	t.Helper()
	token, err := auth.Mint([]byte(secret), auth.MintOptions{Subject: "e2e", Scopes: []auth.Scope{auth.Admin}, TTL: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// answer of a dispatcher.
type answer struct {
	status int
	header http.Header
	body   []byte
	err    error
}

// call sends a request as curl does: the content type is curl's default unless
// the body is a value to be written as JSON.
func (s *server) call(method, path string, body any) answer {
	var contentType string
	var raw []byte
	switch b := body.(type) {
	case nil:
	case string:
		raw, contentType = []byte(b), "application/x-www-form-urlencoded"
	default:
		var err error
		if raw, err = json.Marshal(b); err != nil {
			return answer{err: err}
		}
		contentType = "application/json"
	}
	req, err := http.NewRequest(method, s.url+path, bytes.NewReader(raw))
	if err != nil {
		return answer{err: err}
	}
	if s.token != "" {
		req.Header.Set("Authorization", "Bearer "+s.token)
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	resp, err := (&http.Client{Timeout: patience}).Do(req)
	if err != nil {
		return answer{err: err}
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header, got, err}
}

// status is that of the answer, 0 if there was none.
func (s *server) status(method, path string) int { return s.call(method, path, nil).status }

// must sends a request that has to succeed, and decodes the answer into out, if that is not nil.
func (s *server) must(method, path string, body, out any) {
	s.t.Helper()
	a := s.call(method, path, body)
	if a.err != nil || a.status >= 300 {
		s.t.Fatalf("%s %s: %d %s %v", method, path, a.status, a.body, a.err)
	}
	if out != nil {
		if err := json.Unmarshal(a.body, out); err != nil {
			s.t.Fatalf("%s %s: %s: %v", method, path, a.body, err)
		}
	}
}

// spec is a type's settings, or a job.
type spec map[string]any

// register registers a type and returns its secret.
func (s *server) register(name, target string, more spec) string {
	s.t.Helper()
	body := spec{"target": target}
	for k, v := range more {
		body[k] = v
	}
	var typ struct{ Secret string }
	s.must("PUT", "/v1/types/"+name, body, &typ)
	return typ.Secret
}

// push pushes a job and returns its ID.
func (s *server) push(typ string, job spec) string {
	s.t.Helper()
	var receipt struct{ ID string }
	s.must("POST", "/v1/types/"+typ+"/jobs", job, &receipt)
	return receipt.ID
}

// job as the API shows it.
type job struct {
	ID, State string
	Attempt   int
	Lost      int
	LastError string `json:"last_error"`
	Result    json.RawMessage
	Title     string
}

func (s *server) job(typ, id string) job {
	s.t.Helper()
	var j job
	s.must("GET", "/v1/types/"+typ+"/jobs/"+id, nil, &j)
	return j
}

// becomes waits until a job is in a state, and returns it.
func (s *server) becomes(typ, id, state string) job {
	s.t.Helper()
	var j job
	eventually(s.t, fmt.Sprintf("job %s is %s", id, state), func() bool {
		j = s.job(typ, id)
		return j.State == state
	})
	return j
}

// attempt as the API shows it.
type attempt struct {
	N, Status               int
	Outcome, Error, Excerpt string
	Dispatcher              string
}

func (s *server) attempts(typ, id string) []attempt {
	s.t.Helper()
	var a struct{ Attempts []attempt }
	s.must("GET", "/v1/types/"+typ+"/jobs/"+id+"/attempts", nil, &a)
	return a.Attempts
}

// stats of a type.
type stats struct{ Waiting, Scheduled, Active, Dead, Finished, Concurrency int }

func (s *server) stats(typ string) stats {
	s.t.Helper()
	var st stats
	s.must("GET", "/v1/types/"+typ+"/stats", nil, &st)
	return st
}

// allDone waits until nothing of a type is left to do and n jobs are finished.
func (s *server) allDone(typ string, n int) {
	s.t.Helper()
	var st stats
	defer func() {
		if s.t.Failed() {
			s.t.Logf("type %s: %+v", typ, st)
		}
	}()
	eventually(s.t, fmt.Sprintf("%d jobs of %s are finished, and nothing is left", n, typ), func() bool {
		st = s.stats(typ)
		return st.Waiting+st.Scheduled+st.Active+st.Dead == 0 && st.Finished == n
	})
}

// batch pushes n jobs with the IDs <prefix>0, <prefix>1 …
func (s *server) batch(typ, prefix string, n int) {
	s.t.Helper()
	jobs := make([]spec, n)
	for i := range jobs {
		jobs[i] = spec{"id": fmt.Sprint(prefix, i), "data": spec{"n": i}}
	}
	var got struct{ Accepted int }
	s.must("POST", "/v1/types/"+typ+"/jobs", jobs, &got)
	if got.Accepted != n {
		s.t.Fatalf("%d of %d jobs accepted", got.Accepted, n)
	}
}
