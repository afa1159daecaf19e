package e2e

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

// bank remembers the payments it has begun and made, by job ID.
type bank struct {
	url string

	mu     sync.Mutex
	paid   map[string]int
	asked  map[string]int
	closed bool // answers no questions
}

// opens a bank at which questions are asked, each signed with the secret that is told later.
func opens(t testing.TB, secret func() string) *bank {
	t.Helper()
	b := &bank{paid: map[string]int{}, asked: map[string]int{}}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id := r.URL.Query().Get("id")
		hook, err := standardwebhooks.NewWebhook(secret())
		if err == nil {
			err = hook.Verify(nil, r.Header)
		}
		if err != nil || r.URL.Query().Get("type") != "pay" || r.URL.Query().Get("key") != "k1" {
			t.Errorf("asked %s: %v", r.URL, err)
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		b.asked[id]++
		switch {
		case b.closed:
			w.WriteHeader(http.StatusInternalServerError)
		case b.paid[id] > 0:
			_ = json.NewEncoder(w).Encode(map[string]any{"state": "done", "result": "paid before"})
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	t.Cleanup(s.Close)
	b.url = s.URL + "/status?key=k1"
	return b
}

func (b *bank) pay(id string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.paid[id]++
}

func (b *bank) payments(id string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.paid[id]
}

func (b *bank) questions(id string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.asked[id]
}

func (b *bank) close(yes bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = yes
}

// Nothing is paid twice: not when the answer is lost, not when the dispatcher is killed, not when
// nobody answers the question.
func TestReconcileBeforeRetry(t *testing.T) {
	t.Parallel()
	var secret string
	var mu sync.Mutex
	b := opens(t, func() string { mu.Lock(); defer mu.Unlock(); return secret })
	h := handle(t, func(w http.ResponseWriter, d delivery) {
		switch d.id {
		case "lost", "asked-in-vain":
			b.pay(d.id)
			panic(http.ErrAbortHandler) // the connection breaks
		case "killed":
			b.pay(d.id)
			<-d.abandoned
		case "never-arrived":
			if d.attempt == "1" {
				panic(http.ErrAbortHandler)
			}
			b.pay(d.id)
		}
	})
	env := inDir(t.TempDir())
	s := serve(t, env, "--lease", "1s")
	mu.Lock()
	secret = s.register("pay", h.url, spec{"reconcile_url": b.url, "concurrency": 4, "retry": spec{"max_attempts": 2, "min_backoff": "1ms", "max_backoff": "1ms"}})
	mu.Unlock()
	s.push("pay", spec{"id": "lost", "data": 1})
	s.push("pay", spec{"id": "never-arrived", "data": 1})
	if j := s.becomes("pay", "lost", "succeeded"); string(j.Result) != `"paid before"` || j.Attempt != 1 {
		t.Errorf("%+v", j)
	}
	if j := s.becomes("pay", "never-arrived", "succeeded"); j.Attempt != 2 {
		t.Errorf("%+v", j)
	}
	s.push("pay", spec{"id": "killed", "data": 1})
	eventually(t, "it is being paid", func() bool { return b.payments("killed") == 1 })
	s.kill()
	s = serve(t, env, "--lease", "1s")
	if j := s.becomes("pay", "killed", "succeeded"); string(j.Result) != `"paid before"` || j.Lost != 1 {
		t.Errorf("%+v", j)
	}

	b.close(true)
	s.push("pay", spec{"id": "asked-in-vain", "data": 1})
	s.becomes("pay", "asked-in-vain", "dead")
	var shown struct{ Unsure bool }
	if s.must("GET", "/v1/types/pay/jobs/asked-in-vain", nil, &shown); !shown.Unsure || b.questions("asked-in-vain") != 2 {
		t.Errorf("%+v, asked %d times", shown, b.questions("asked-in-vain"))
	}
	b.close(false)
	s.must("POST", "/v1/types/pay/jobs/asked-in-vain/retry", nil, nil)
	s.becomes("pay", "asked-in-vain", "succeeded")
	for _, id := range []string{"lost", "never-arrived", "killed", "asked-in-vain"} {
		if b.payments(id) != 1 {
			t.Errorf("%s was paid %d times", id, b.payments(id))
		}
	}
}
