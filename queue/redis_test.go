package queue_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/deetoo/deetoo/internal/redistest"
	"github.com/deetoo/deetoo/queue"
)

func open(t *testing.T, c redis.UniversalClient) *queue.Queue {
	t.Helper()
	q, err := queue.New(c, queue.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return q
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func healthy(t *testing.T, q *queue.Queue) {
	t.Helper()
	found, err := q.Fsck(t.Context(), "email")
	must(t, err)
	for _, f := range found {
		t.Error("fsck:", f)
	}
}

func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !cond(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within 10 s: %s", what)
		}
	}
}

func settings(n int) queue.Settings {
	return queue.Settings{Version: 1, Concurrency: n, RetainCount: 1000, RetainAge: time.Hour}
}

// A full Redis takes no new jobs, but those there are end and can be called off.
func TestRedisFull(t *testing.T) {
	t.Parallel()
	s := redistest.SingleServer(t)
	q, ctx := open(t, s.Client()), t.Context()
	must(t, q.Configure(ctx, "email", settings(10)))
	for _, id := range []string{"a", "b", "c", "d", "e", "f"} {
		_, err := q.Push(ctx, queue.Job{Type: "email", ID: id, Data: []byte(`"` + strings.Repeat("x", 5000) + `"`)})
		must(t, err)
	}
	b, err := q.Exchange(ctx, "email", nil, 4)
	must(t, err)
	must(t, s.Client().ConfigSet(ctx, "maxmemory", "1").Err())
	r, err := q.Push(ctx, queue.Job{Type: "email", ID: "new"}, queue.Job{Type: "email", ID: "e"}, queue.Job{Type: "other"})
	if !errors.Is(err, queue.ErrFull) || len(r) != 3 {
		t.Fatalf("push: %v, %v", r, err)
	}
	for _, r := range r {
		if !errors.Is(r.Err, queue.ErrFull) || r.ID == "" {
			t.Errorf("receipt %+v", r)
		}
	}
	if _, err := q.Get(ctx, "email", "new"); !errors.Is(err, queue.ErrNotFound) {
		t.Errorf("a refused job is there: %v", err)
	}
	done := make([]queue.Settlement, len(b.Leases))
	for i, verdict := range []queue.Verdict{queue.Done, queue.Retry, queue.Bury, queue.Release} {
		done[i] = queue.Settlement{ID: b.Leases[i].ID, Token: b.Leases[i].Token, Verdict: verdict, Result: []byte("result"),
			Attempt: queue.Attempt{N: 1, Outcome: "some"}, Delay: time.Hour}
	}
	b, err = q.Exchange(ctx, "email", done, 2)
	must(t, err)
	if len(b.Leases) != 2 || len(b.Stale) != 0 {
		t.Errorf("exchange: %+v", b)
	}
	kept, err := q.Renew(ctx, "email", []*queue.Lease{&b.Leases[0]})
	must(t, err)
	if kept[0] != queue.Kept {
		t.Errorf("renewal says %c", kept[0])
	}
	_, err = q.Cancel(ctx, "email", "f")
	must(t, err)
	_, err = q.List(ctx, "email", queue.Waiting, "", 10)
	must(t, err)
	must(t, q.Configure(ctx, "email", settings(11)))
	must(t, q.RetryNow(ctx, "email", "c"))
	healthy(t, q)
	must(t, s.Client().ConfigSet(ctx, "maxmemory", "0").Err())
	_, err = q.Push(ctx, queue.Job{Type: "email", ID: "new"})
	must(t, err)
	healthy(t, q)
}

// Redis forgets scripts when it restarts or is told to; they are sent again.
func TestScriptsForgotten(t *testing.T) {
	t.Parallel()
	s := redistest.SingleServer(t)
	q, ctx := open(t, s.Client()), t.Context()
	flush := func() { must(t, s.Client().ScriptFlush(ctx).Err()) }
	must(t, q.Configure(ctx, "email", settings(10)))
	flush()
	_, err := q.Push(ctx, queue.Job{Type: "email", ID: "a"})
	must(t, err)
	flush()
	b, err := q.Exchange(ctx, "email", nil, 1)
	must(t, err)
	flush()
	b, err = q.Exchange(ctx, "email", []queue.Settlement{{ID: "a", Token: b.Leases[0].Token, Verdict: queue.Done}}, 1)
	must(t, err)
	flush()
	if j, err := q.Get(ctx, "email", "a"); err != nil || j.State != queue.Succeeded || len(b.Stale) > 0 {
		t.Errorf("%+v, %v", j, err)
	}
	healthy(t, q)
}

// While Redis is away every call says so; when it is back all goes on, and
// listeners are told to look.
func TestRedisAway(t *testing.T) {
	t.Parallel()
	s := redistest.SingleServer(t, "--appendonly", "yes", "--appendfsync", "always")
	q := open(t, s.Client())
	ctx, cancel := context.WithCancel(t.Context())
	var mu sync.Mutex
	var looks, wakes int
	var up bool
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		q.Listen(ctx, func(e queue.Event) {
			mu.Lock()
			defer mu.Unlock()
			if e.Type == "" {
				looks++
			} else {
				wakes++
			}
		}, func(b bool) {
			mu.Lock()
			defer mu.Unlock()
			up = b
		})
	}()
	heard := func(f func() bool) func() bool {
		return func() bool { mu.Lock(); defer mu.Unlock(); return f() }
	}
	eventually(t, "listening", heard(func() bool { return up && looks == 1 }))
	must(t, q.Configure(ctx, "email", settings(10)))
	_, err := q.Push(ctx, queue.Job{Type: "email", ID: "a"}, queue.Job{Type: "email", ID: "b"})
	must(t, err)
	b, err := q.Exchange(ctx, "email", nil, 1)
	must(t, err)

	must(t, s.Kill())
	eventually(t, "noticed", heard(func() bool { return !up }))
	request := &queue.Request{Done: []queue.Settlement{{ID: "a", Token: b.Leases[0].Token, Verdict: queue.Done}}, Want: 1}
	jobs := []queue.Job{{Type: "email"}}
	for name, call := range map[string]func() error{
		"push":      func() error { _, err := q.Push(ctx, jobs...); return err },
		"exchange":  func() error { _, err := q.ExchangeRequest(ctx, "email", request); return err },
		"renew":     func() error { _, err := q.Renew(ctx, "email", []*queue.Lease{&b.Leases[0]}); return err },
		"get":       func() error { _, err := q.Get(ctx, "email", "a"); return err },
		"list":      func() error { _, err := q.List(ctx, "email", queue.Waiting, "", 1); return err },
		"stats":     func() error { _, err := q.Stats(ctx, "email"); return err },
		"cancel":    func() error { _, err := q.Cancel(ctx, "email", "a"); return err },
		"configure": func() error { return q.Configure(ctx, "email", settings(1)) },
		"destroy":   func() error { return q.Destroy(ctx, "email", true) },
		"purge":     func() error { _, err := q.Purge(ctx, "email", queue.Dead); return err },
		"redrive":   func() error { _, err := q.Redrive(ctx, "email"); return err },
		"types":     func() error { _, err := q.Types(ctx); return err },
		"version":   func() error { _, err := q.Version(ctx, "email"); return err },
		"fsck":      func() error { _, err := q.Fsck(ctx, "email"); return err },
		"ping":      func() error { return q.Ping(ctx) },
	} {
		if err := call(); !errors.Is(err, queue.ErrUnavailable) {
			t.Errorf("%s: %v", name, err)
		}
	}
	must(t, s.Start())
	eventually(t, "back", func() bool { return q.Ping(ctx) == nil })
	eventually(t, "told to look", heard(func() bool { return up && looks == 2 }))
	b, err = q.ExchangeRequest(ctx, "email", request)
	must(t, err)
	if len(b.Leases) != 1 || b.Leases[0].ID != "b" || len(b.Stale) != 0 {
		t.Errorf("%+v", b)
	}
	heardBefore := 0
	heard(func() bool { heardBefore = wakes; return true })()
	r, err := q.Push(ctx, jobs...)
	must(t, err)
	if r[0].ID != jobs[0].ID || r[0].ID == "" {
		t.Errorf("%+v", r)
	}
	eventually(t, "woken", heard(func() bool { return wakes > heardBefore }))
	healthy(t, q)
	cancel()
	<-ended
}

// A type lives on one shard; many types spread over all.
func TestClusterSpreadsTypes(t *testing.T) {
	t.Parallel()
	q, err := queue.New(clusterClient(t), queue.Options{Prefix: "spread"})
	must(t, err)
	var jobs []queue.Job
	for i := range 30 {
		jobs = append(jobs, queue.Job{Type: fmt.Sprint("type", i)})
	}
	_, err = q.Push(t.Context(), jobs...)
	must(t, err)
	types, err := q.Types(t.Context())
	must(t, err)
	if len(types) != 30 {
		t.Errorf("types %v", types)
	}
	for _, addr := range cluster(t).Addrs() {
		c := redis.NewClient(&redis.Options{Addr: addr})
		keys, err := c.Keys(t.Context(), "{spread:*}:jobs").Result()
		must(t, errors.Join(err, c.Close()))
		if len(keys) == 0 || len(keys) == 30 {
			t.Errorf("%d types on %s", len(keys), addr)
		}
	}
}
