package e2e

import (
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

// delivery is one request a handler got.
type delivery struct {
	id      string // of the job
	attempt string
	header  http.Header
	body    []byte
	// abandoned is closed when the dispatcher goes away before it has its answer.
	abandoned <-chan struct{}
}

// handler is a plain HTTP endpoint that remembers what it gets.
type handler struct {
	url string

	mu       sync.Mutex
	got      []delivery
	now, max int // requests at once
}

// handle starts an endpoint; respond answers each request, nil: with 200.
func handle(t testing.TB, respond func(w http.ResponseWriter, d delivery)) *handler {
	t.Helper()
	h := &handler{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // the dispatcher was killed
		}
		d := delivery{
			id: r.Header.Get("deetoo-job-id"), attempt: r.Header.Get("deetoo-attempt"),
			header: r.Header.Clone(), body: body, abandoned: r.Context().Done(),
		}
		h.enter(d)
		defer h.leave()
		if respond != nil {
			respond(w, d)
		}
	}))
	t.Cleanup(func() { s.CloseClientConnections(); s.Close() })
	h.url = s.URL
	return h
}

func (h *handler) enter(d delivery) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.got = append(h.got, d)
	h.now++
	h.max = max(h.max, h.now)
}

func (h *handler) leave() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.now--
}

// deliveries so far.
func (h *handler) deliveries() []delivery {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]delivery(nil), h.got...)
}

// most is how many requests there were at once at most.
func (h *handler) most() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.max
}

// running is how many requests are being answered.
func (h *handler) running() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.now
}

// times counts the deliveries of each job.
func (h *handler) times() map[string]int {
	n := map[string]int{}
	for _, d := range h.deliveries() {
		n[d.id]++
	}
	return n
}

// awaits waits for the nth delivery, counted from 1.
func (h *handler) awaits(t testing.TB, n int) delivery {
	t.Helper()
	eventually(t, "a job is delivered", func() bool { return len(h.deliveries()) >= n })
	return h.deliveries()[n-1]
}

// verifies checks the delivery's signature with the library of Standard Webhooks.
func (d delivery) verifies(t testing.TB, secret string) {
	t.Helper()
	hook, err := standardwebhooks.NewWebhook(secret)
	if err != nil {
		t.Fatal(err)
	}
	if err := hook.Verify(d.body, d.header); err != nil {
		t.Errorf("signature of %s: %v", d.id, err)
	}
}

// gate holds requests until it is opened.
type gate struct {
	ch   chan struct{}
	once sync.Once
}

func newGate() *gate { return &gate{ch: make(chan struct{})} }

func (g *gate) open() { g.once.Do(func() { close(g.ch) }) }

// hold waits until the gate opens or the dispatcher goes away; it reports which.
func (g *gate) hold(d delivery) (opened bool) {
	select {
	case <-g.ch:
		return true
	case <-d.abandoned:
		return false
	}
}
