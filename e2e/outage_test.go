//go:build unix

package e2e

import (
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// absent is an address where nobody listens, and nobody else can, until it is started.
type absent struct {
	fd      int
	url     string
	started bool
}

func reserve(t testing.TB) *absent {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	syscall.CloseOnExec(fd)
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	addr, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	a := &absent{fd: fd, url: "http://127.0.0.1:" + strconv.Itoa(addr.(*syscall.SockaddrInet4).Port)}
	t.Cleanup(func() {
		if !a.started {
			_ = syscall.Close(fd)
		}
	})
	return a
}

// start has a handler listen there.
func (a *absent) start(t testing.TB, h http.Handler) {
	t.Helper()
	if err := syscall.Listen(a.fd, 128); err != nil {
		t.Fatal(err)
	}
	a.started = true
	f := os.NewFile(uintptr(a.fd), "listener")
	l, err := net.FileListener(f)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	s := &httptest.Server{Listener: l, Config: &http.Server{Handler: h}}
	s.Start()
	t.Cleanup(func() { s.CloseClientConnections(); s.Close() })
}

// flow is what a type's stats say of its flow control.
type flow struct {
	Dead, Finished, Waiting int
	Outage                  *struct {
		State, Reason, Interval string
		Forced                  bool
	}
	Adaptive *struct {
		Concurrency int
		Reason      string
	}
}

func (s *server) flow(typ string) (f flow) {
	s.t.Helper()
	s.must("GET", "/v1/types/"+typ+"/stats", nil, &f)
	return f
}

func TestOutage(t *testing.T) {
	t.Parallel()
	target := reserve(t)
	s := serve(t, inDir(t.TempDir()))
	s.register("work", target.url+"/?key=hidden", quick(spec{"outage": spec{"canary_min": "100ms", "canary_max": "400ms"}}))
	var ids []string
	for i := range 40 {
		ids = append(ids, s.push("work", spec{"data": i}))
	}
	eventually(t, "several canaries have failed", func() bool {
		o := s.flow("work").Outage
		return o != nil && o.State == "open" && o.Interval == "400ms" && strings.HasPrefix(o.Reason, "connection refused")
	})
	s.logs("the target is down")
	if f := s.flow("work"); f.Dead != 0 || f.Finished != 0 {
		t.Errorf("%+v", f)
	}
	if out := s.ok("jobs", "show", "work", ids[39]); strings.Contains(out, `"state": "dead"`) {
		t.Error(out)
	}
	target.start(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	attempts, held := 0, 0
	for _, id := range ids {
		attempts += s.becomes("work", id, "succeeded").Attempt
		for _, a := range s.attempts("work", id) {
			if a.Outcome == "held" {
				held++
			}
		}
	}
	// Two refused connections counted, and the third opened it.
	if attempts > len(ids)+2 || held == 0 {
		t.Errorf("%d attempts for %d jobs, %d held", attempts, len(ids), held)
	}
	s.logs("is well again")

	if out := s.ok("types", "hold", "work", "--reason", "lunch", "--for=1h"); !strings.Contains(out, `"state": "open"`) || !strings.Contains(out, "lunch") {
		t.Error(out)
	}
	id := s.push("work", spec{"data": 1})
	if f := s.flow("work"); f.Outage == nil || !f.Outage.Forced || f.Outage.Reason != "lunch" || f.Waiting != 1 {
		t.Errorf("%+v", f)
	}
	if out := s.ok("types", "unhold", "work"); !strings.Contains(out, `"state": "ramp"`) {
		t.Error(out)
	}
	s.becomes("work", id, "succeeded")
}

func TestAdaptiveConcurrency(t *testing.T) {
	t.Parallel()
	var running atomic.Int64
	h := handle(t, func(w http.ResponseWriter, _ delivery) {
		defer running.Add(-1)
		if running.Add(1) > 3 {
			w.WriteHeader(http.StatusTooManyRequests)
			return
		}
		time.Sleep(20 * time.Millisecond)
	})
	s := serve(t, inDir(t.TempDir()))
	s.register("work", h.url, spec{
		"concurrency": 50, "adaptive": spec{"tolerance": 0}, "retry": spec{"min_backoff": "10ms", "max_backoff": "100ms", "max_attempts": 100},
	})
	var ids []string
	for i := range 150 {
		ids = append(ids, s.push("work", spec{"data": i}))
	}
	for _, id := range ids {
		s.becomes("work", id, "succeeded")
	}
	f := s.flow("work")
	if f.Adaptive == nil || f.Adaptive.Concurrency < 1 || f.Adaptive.Concurrency > 12 || f.Adaptive.Reason == "" {
		t.Errorf("%+v", f.Adaptive)
	}
	if most := h.most(); most > 12 {
		t.Errorf("%d at once", most)
	}
}
