package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/deetoo/deetoo/internal/redistest"
)

// accepts answers 202 to everything.
func accepts(w http.ResponseWriter, _ delivery) { w.WriteHeader(http.StatusAccepted) }

// back calls back as the handler that got the delivery.
func (d delivery) back(t testing.TB, what, body string) (status int, answer map[string]any) {
	t.Helper()
	req, err := http.NewRequest("POST", d.header.Get("deetoo-callback-url")+what, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+d.header.Get("deetoo-callback-token"))
	req.Header.Set("Content-Type", "application/json")
	resp, err := (&http.Client{Timeout: patience}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusOK {
		if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
			t.Fatal(err)
		}
	}
	return resp.StatusCode, answer
}

// beats sends a heartbeat, which must be taken, and returns whether the job was cancelled.
func (d delivery) beats(t testing.TB) bool {
	t.Helper()
	status, answer := d.back(t, "/heartbeat", "")
	if status != 200 || answer["lease_expires_at"] == nil {
		t.Fatalf("heartbeat: %d %v", status, answer)
	}
	return answer["cancelled"] == true
}

// said is what the API shows of what a handler said.
type said struct {
	Accepted bool
	Progress struct {
		Number, Total float64
		Message       string
	}
	Log []struct{ Text string }
}

// long is a type whose handler has time enough.
func long() spec { return spec{"concurrency": 1, "callback_lease": "2m"} }

// A handler works on through the death of the dispatcher, and nobody else begins its job or takes its slot.
func TestAcceptedWorkOutlivesTheDispatcher(t *testing.T) {
	t.Parallel()
	for name, env := range map[string]func(*testing.T) []string{
		"embedded": func(t *testing.T) []string { return inDir(t.TempDir()) },
		"redis":    func(t *testing.T) []string { return onRedis(t, redistest.SingleServer(t).URL()) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			env := append(env(t), "DEETOO_LISTEN=127.0.0.1:"+freePort(t)) // to which it comes back: the handler holds it
			h := handle(t, accepts)
			s := serve(t, env, "--lease", "1s")
			s.register("video", h.url, long())
			s.push("video", spec{"id": "first", "data": 1})
			d := h.awaits(t, 1)
			s.push("video", spec{"id": "second", "data": 2})
			eventually(t, "the job is accepted", func() bool { var v said; s.must("GET", "/v1/types/video/jobs/first", nil, &v); return v.Accepted })
			if d.beats(t) {
				t.Error("it says that the job was cancelled")
			}
			if status, _ := d.back(t, "/progress", `{"number":1,"total":3,"message":"first act"}`); status != 200 {
				t.Fatalf("progress: %d", status)
			}
			s.kill()
			s = serve(t, env, "--lease", "1s")
			if status, _ := d.back(t, "/log", `{"message":"still here"}`); status != 200 {
				t.Fatalf("log after the restart: %d", status)
			}
			var v said
			s.must("GET", "/v1/types/video/jobs/first", nil, &v)
			if !v.Accepted || v.Progress.Total != 3 || v.Progress.Message != "first act" || len(v.Log) != 1 || v.Log[0].Text != "still here" {
				t.Errorf("%+v", v)
			}
			time.Sleep(2 * time.Second) // twice as long as the dispatcher's own lease
			d.beats(t)
			if n := len(h.deliveries()); n != 1 {
				t.Fatalf("%d deliveries while the slot was taken", n)
			}
			if status, _ := d.back(t, "/complete", `{"result":{"url":"x.mp4"}}`); status != 204 {
				t.Fatalf("complete: %d", status)
			}
			if j := s.becomes("video", "first", "succeeded"); string(j.Result) != `{"url":"x.mp4"}` || j.Attempt != 1 || j.Lost != 0 {
				t.Errorf("%+v", j)
			}
			if second := h.awaits(t, 2); second.id != "second" {
				t.Errorf("then %s was delivered", second.id)
			}
			for _, what := range []string{"/heartbeat", "/complete", "/fail"} {
				if status, _ := d.back(t, what, ""); status != 409 {
					t.Errorf("a late %s: %d", what, status)
				}
			}
			// Nor does an orderly end wait for it.
			begun := time.Now()
			s.signal(syscall.SIGTERM)
			if code := s.exit(); code != 0 || time.Since(begun) > 20*time.Second {
				t.Errorf("exit code %d after %s", code, time.Since(begun))
			}
			sound(t, env)
		})
	}
}

func TestAcceptedWorkFailsAndIsCancelled(t *testing.T) {
	t.Parallel()
	env := append(inDir(t.TempDir()), "DEETOO_PUBLIC_URL=http://localhost:1/base/")
	h := handle(t, accepts)
	s := serve(t, env)
	s.register("video", h.url, spec{"callback_lease": "1s", "retry": spec{"max_attempts": 2, "min_backoff": "1ms", "max_backoff": "1ms"}})
	s.register("sure", h.url, spec{"callback_lease": "1s", "completion": "sync"})

	// Silence is a failed attempt, and after the last the job is dead.
	s.push("video", spec{"id": "silent", "data": 1})
	j := s.becomes("video", "silent", "dead")
	if a := s.attempts("video", "silent"); j.Attempt != 2 || j.Lost != 0 || len(a) != 2 || a[0].Outcome != "failed" || a[1].Outcome != "dead" || !strings.Contains(j.LastError, "silent for 1 s") {
		t.Errorf("%+v, %+v", j, a)
	}
	first := h.deliveries()[0]
	if url := first.header.Get("deetoo-callback-url"); url != "http://localhost:1/base/v1/types/video/jobs/silent/callback" {
		t.Errorf("the callback URL is %s", url)
	}

	// To a type of old, 202 is done.
	s.push("sure", spec{"id": "done", "data": 1})
	s.becomes("sure", "done", "succeeded")

	at := func(d delivery) delivery { // where the test reaches it
		d.header.Set("deetoo-callback-url", strings.Replace(d.header.Get("deetoo-callback-url"), "http://localhost:1/base", s.url, 1))
		return d
	}
	next := func(id string) delivery {
		t.Helper()
		var d delivery
		eventually(t, id+" is delivered", func() bool {
			for _, d = range h.deliveries() {
				if d.id == id {
					return true
				}
			}
			return false
		})
		return at(d)
	}
	// With time enough for a slow machine. The dispatcher follows, as it follows every change.
	s.must("PATCH", "/v1/types/video", spec{"callback_lease": "1m"}, nil)
	s.push("video", spec{"id": "hopeless", "data": 1})
	if status, _ := next("hopeless").back(t, "/fail", `{"error":"no such film","retryable":false}`); status != 204 {
		t.Errorf("fail: %d", status)
	}
	if j := s.becomes("video", "hopeless", "dead"); j.LastError != "no such film" || j.Attempt != 1 {
		t.Errorf("%+v", j)
	}
	s.push("video", spec{"id": "unwanted", "data": 1})
	d := next("unwanted")
	eventually(t, "it is accepted", func() bool { var v said; s.must("GET", "/v1/types/video/jobs/unwanted", nil, &v); return v.Accepted })
	if a := s.call("DELETE", "/v1/types/video/jobs/unwanted", nil); a.status != 202 {
		t.Errorf("cancel: %d", a.status)
	}
	if !d.beats(t) {
		t.Error("the handler is not told that the job was cancelled")
	}
	if status, _ := d.back(t, "/fail", `{"error":"stopped"}`); status != 204 {
		t.Errorf("fail: %d", status)
	}
	s.becomes("video", "unwanted", "cancelled")
	if log := fmt.Sprint(s.stderr, s.stdout); strings.Contains(log, d.header.Get("deetoo-callback-token")) {
		t.Error("a token is in the log")
	}
	s.stop()
	sound(t, env)
}

// While a request is under way its handler may report, too; and a bad address is refused at the start.
func TestReportsDuringTheRequest(t *testing.T) {
	t.Parallel()
	env := inDir(t.TempDir())
	var s *server
	h := handle(t, func(w http.ResponseWriter, d delivery) {
		if status, _ := d.back(t, "/log", `{"lines":["one","two"]}`); status != 200 {
			t.Errorf("log: %d", status)
		}
		d.beats(t)
	})
	s = serve(t, env)
	s.register("email", h.url, nil)
	s.push("email", spec{"id": "x", "data": 1})
	s.becomes("email", "x", "succeeded")
	var v said
	s.must("GET", "/v1/types/email/jobs/x", nil, &v)
	if len(v.Log) != 2 || v.Log[1].Text != "two" || v.Accepted {
		t.Errorf("%+v", v)
	}
	if _, stderr, code := run(t, inDir(t.TempDir()), "serve", "--public-url", "ftp://x"); code == 0 || !strings.Contains(stderr, "public_url must be") {
		t.Errorf("%d %s", code, stderr)
	}
}
