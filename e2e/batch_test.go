package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/deetoo/deetoo/internal/redistest"
)

// item is a job of a batch as its handler sees it.
type item struct {
	ID            string
	Attempt       int
	Data          json.RawMessage
	CallbackURL   string `json:"callback_url"`
	CallbackToken string `json:"callback_token"`
}

func (d delivery) items(t testing.TB) []item {
	t.Helper()
	var items []item
	if err := json.Unmarshal(d.body, &items); err != nil || fmt.Sprint(len(items)) != d.header.Get("deetoo-batch-size") {
		t.Errorf("%v: %s of %s", err, d.body, d.header.Get("deetoo-batch-size"))
	}
	return items
}

// Two dispatchers, jobs by the hundred, a handler that answers for each: every job ends as its own answer says,
// no more requests at once than the type allows, and all signed.
func TestBatches(t *testing.T) {
	t.Parallel()
	env := onRedis(t, redistest.SingleServer(t).URL())
	h := handle(t, func(w http.ResponseWriter, d delivery) {
		time.Sleep(20 * time.Millisecond) // so that they overlap
		var answers []map[string]any
		for _, i := range d.items(t) {
			a := map[string]any{"id": i.ID, "result": i.Data}
			switch {
			case strings.HasSuffix(i.ID, "7") && i.Attempt == 1:
				a = map[string]any{"id": i.ID, "status": 500, "error": "not yet"}
			case strings.HasSuffix(i.ID, "9"):
				a = map[string]any{"id": i.ID, "status": 422, "error": "never", "no_retry": true}
			}
			answers = append(answers, a)
		}
		_ = json.NewEncoder(w).Encode(answers)
	})
	first, second := serve(t, env), serve(t, env)
	secret := first.register("orders", h.url, quick(spec{"concurrency": 3, "paused": true, "batch": spec{"size": 20, "wait": "100ms"}}))
	var wg sync.WaitGroup
	for n, s := range []*server{first, second} {
		wg.Go(func() {
			for i := range 100 {
				s.push("orders", spec{"id": fmt.Sprintf("%d-%02d", n, i), "data": i})
			}
		})
	}
	wg.Wait()
	first.must("POST", "/v1/types/orders/resume", nil, nil)
	eventually(t, "every job has ended", func() bool {
		s := first.stats("orders")
		return s.Waiting == 0 && s.Scheduled == 0 && s.Active == 0
	})
	for n := range 2 {
		for i := range 100 {
			id := fmt.Sprintf("%d-%02d", n, i)
			j := second.job("orders", id)
			state, attempt := "succeeded", 1
			switch i % 10 {
			case 7:
				attempt = 2
			case 9:
				state = "dead"
			}
			if j.State != state || j.Attempt != attempt || state == "succeeded" && string(j.Result) != fmt.Sprint(i) {
				t.Errorf("%s: %+v", id, j)
			}
		}
	}
	most := 0
	for _, d := range h.deliveries() {
		d.verifies(t, secret)
		most = max(most, len(d.items(t)))
	}
	if h.most() > 3 || most != 20 || len(h.deliveries()) > 60 {
		t.Errorf("%d requests, %d at once, of %d jobs at most", len(h.deliveries()), h.most(), most)
	}
	sound(t, env)
}

// A handler that accepts a batch calls back for each of its jobs; the slot is taken until the last is concluded. A
// dispatcher that is killed changes nothing of it.
func TestAcceptedBatch(t *testing.T) {
	t.Parallel()
	env := append(inDir(t.TempDir()), "DEETOO_LISTEN=127.0.0.1:"+freePort(t))
	h := handle(t, func(w http.ResponseWriter, d delivery) {
		w.WriteHeader(http.StatusAccepted)
		_, _ = io.WriteString(w, `[{"id":"a"},{"id":"b"},{"id":"c","status":200}]`)
	})
	s := serve(t, env, "--lease", "1s")
	s.register("orders", h.url, spec{"concurrency": 1, "callback_lease": "2m", "batch": spec{"size": 3, "wait": "10s"}})
	for _, id := range []string{"a", "b", "c", "d", "e", "f"} {
		s.push("orders", spec{"id": id, "data": nil})
	}
	items := h.awaits(t, 1).items(t)
	s.becomes("orders", "c", "succeeded")
	eventually(t, "the others are accepted", func() bool {
		var a, b said
		s.must("GET", "/v1/types/orders/jobs/a", nil, &a)
		s.must("GET", "/v1/types/orders/jobs/b", nil, &b)
		return a.Accepted && b.Accepted
	})
	s.kill()
	s = serve(t, env, "--lease", "1s")
	call := func(i item, what string) {
		t.Helper()
		d := delivery{header: http.Header{"Deetoo-Callback-Url": {i.CallbackURL}, "Deetoo-Callback-Token": {i.CallbackToken}}}
		if status, _ := d.back(t, what, ""); status != 204 {
			t.Errorf("%s of %s: %d", what, i.ID, status)
		}
	}
	call(items[0], "/complete")
	s.becomes("orders", "a", "succeeded")
	if n := len(h.deliveries()); n != 1 {
		t.Errorf("%d requests while a job of the first held the slot", n)
	}
	call(items[1], "/complete")
	s.becomes("orders", "b", "succeeded")
	if d := h.awaits(t, 2); len(d.items(t)) != 3 {
		t.Errorf("then came %s", d.body)
	}
}

// What a test delivery shows is a batch of one; the setting can be changed, and taken away.
func TestBatchSetting(t *testing.T) {
	t.Parallel()
	h := handle(t, nil)
	s := serve(t, inDir(t.TempDir()))
	s.register("orders", h.url, spec{"batch": spec{"size": 5}})
	var trial struct {
		Verdict string
		Request struct{ Body string }
	}
	if s.must("POST", "/v1/types/orders/test", spec{"data": 1}, &trial); trial.Verdict != "done" || !strings.HasPrefix(trial.Request.Body, `[{"id":"test-`) || !strings.HasSuffix(trial.Request.Body, `"data":1}]`) {
		t.Errorf("%+v", trial)
	}
	for _, bad := range []spec{{"batch": spec{"size": 0}}, {"format": "cloudevents-binary"}, {"target": "local:"}, {"batch": spec{"wait": "1m"}}} {
		if a := s.call("PATCH", "/v1/types/orders", bad); a.status != 400 {
			t.Errorf("%v: %d %s", bad, a.status, a.body)
		}
	}
	s.must("PATCH", "/v1/types/orders", spec{"batch": nil}, nil)
	s.becomes("orders", s.push("orders", spec{"data": 2}), "succeeded")
	if d := h.awaits(t, 2); string(d.body) != "2" || d.header.Get("deetoo-batch-size") != "" {
		t.Errorf("%s", d.body)
	}
}

// The example in Python, given its jobs by the program itself.
func TestExampleBatchHandler(t *testing.T) {
	t.Parallel()
	s := serve(t, inDir(t.TempDir()))
	port := freePort(t)
	secret := s.register("orders", "http://127.0.0.1:"+port+"/orders", quick(spec{"concurrency": 2, "batch": spec{"size": 10, "wait": "200ms"}}))
	p := example(t, port, secret, "python3", "examples/python/batch_handler.py")
	for i := range 25 {
		s.push("orders", spec{"id": fmt.Sprint(i), "data": spec{"amount": 2, "fail": i == 3}})
	}
	s.push("orders", spec{"id": "bad", "data": "nothing"})
	for i := range 25 {
		if j := s.becomes("orders", fmt.Sprint(i), "succeeded"); strings.ReplaceAll(string(j.Result), " ", "") != `{"booked":2}` || (j.Attempt == 2) != (i == 3) {
			t.Errorf("%d: %+v", i, j)
		}
	}
	s.becomes("orders", "bad", "dead")
	eventually(t, "all are booked", func() bool { return strings.Contains(p.stdout.String(), "in all 25 of 50.0") })
}
