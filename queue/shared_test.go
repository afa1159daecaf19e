package queue

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/deetoo/deetoo/queue/embedded"
)

// gate holds pushes back until it is opened, and counts them.
type gate struct {
	mu     sync.Mutex
	calls  []int // how many jobs each had
	opened chan struct{}
	fail   error
}

func (g *gate) DialHook(next redis.DialHook) redis.DialHook { return next }

func (g *gate) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (g *gate) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		args := cmd.Args()
		// name, sha, number of keys, keys, four arguments, jobs
		if !strings.HasPrefix(cmd.Name(), "eval") || !strings.Contains(fmt.Sprint(args[2+keyCount+1]), "request:push:") {
			return next(ctx, cmd)
		}
		g.mu.Lock()
		g.calls = append(g.calls, (len(args)-3-(keyCount+1)-4)/argsPerJob)
		fail := g.fail
		g.mu.Unlock()
		select {
		case <-g.opened:
		case <-ctx.Done():
			cmd.SetErr(ctx.Err())
			return ctx.Err()
		}
		if fail != nil {
			cmd.SetErr(fail)
			return fail
		}
		return next(ctx, cmd)
	}
}

// gated runs a test on a queue whose pushes wait for the gate.
func gated(t *testing.T, test func(t *testing.T, q *Queue, g *gate)) {
	synctest.Test(t, func(t *testing.T) {
		client, end, err := embedded.Memory(nil)
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := end(); err != nil {
				t.Error(err)
			}
		}()
		q, err := New(client, Options{Embedded: true})
		if err != nil {
			t.Fatal(err)
		}
		// The scripts are loaded, so that each push is one call.
		for _, id := range []string{"", "given"} {
			if _, err := q.Push(t.Context(), Job{Type: "warm", ID: id}); err != nil {
				t.Fatal(err)
			}
		}
		g := &gate{opened: make(chan struct{})}
		client.AddHook(g)
		test(t, q, g)
		if len(q.shared.types) != 0 {
			t.Errorf("calls are still thought to be under way: %v", q.shared.types)
		}
	})
}

func TestPushesShareRoundTrips(t *testing.T) {
	gated(t, func(t *testing.T, q *Queue, g *gate) {
		const n = 1200
		var wg sync.WaitGroup
		for i := range n {
			wg.Go(func() {
				id := fmt.Sprintf("job-%d", i)
				r, err := q.Push(t.Context(), Job{Type: "email", ID: id, Data: []byte(fmt.Sprint(i)), Delay: time.Duration(i) * time.Hour})
				if err != nil || len(r) != 1 || r[0].ID != id || r[0].Err != nil || time.Until(r[0].RunAt).Round(time.Hour) != time.Duration(i)*time.Hour {
					t.Errorf("job %d got %+v, %v", i, r, err)
				}
			})
		}
		synctest.Wait()
		close(g.opened)
		wg.Wait()
		synctest.Wait()
		total, most := 0, 0
		for _, jobs := range g.calls {
			total, most = total+jobs, max(most, jobs)
		}
		if total != n || len(g.calls) != sharedCalls+3 || most != chunkSize {
			t.Errorf("%d jobs went in calls of %v", n, g.calls)
		}
		for i := range n {
			j, err := q.Get(t.Context(), "email", fmt.Sprintf("job-%d", i))
			if err != nil || string(j.Data) != fmt.Sprint(i) {
				t.Fatalf("job %d is %+v, %v", i, j, err)
			}
		}
	})
}

func TestSharedPushKeepsReceiptsApart(t *testing.T) {
	gated(t, func(t *testing.T, q *Queue, g *gate) {
		ctx := t.Context()
		if err := q.Configure(ctx, "email", Settings{Version: 1, Concurrency: 1, RetainCount: 10, RetainAge: time.Hour}); err != nil {
			t.Fatal(err)
		}
		close(g.opened)
		if _, err := q.Push(ctx, Job{Type: "email", ID: "running"}); err != nil {
			t.Fatal(err)
		}
		if b, err := q.Exchange(ctx, "email", nil, 1); err != nil || len(b.Leases) != 1 {
			t.Fatal(b, err)
		}
		if _, err := q.Push(ctx, Job{Type: "email", ID: "there"}); err != nil {
			t.Fatal(err)
		}
		g.opened = make(chan struct{})
		var wg sync.WaitGroup
		for range sharedCalls { // these go alone
			wg.Go(func() { _, _ = q.Push(ctx, Job{Type: "email"}) })
		}
		synctest.Wait()
		receipts := map[string]Receipt{}
		for _, id := range []string{"running", "there", "new"} {
			wg.Go(func() {
				r, err := q.Push(ctx, Job{Type: "email", ID: id})
				if err != nil {
					t.Error(id, err)
					return
				}
				g.mu.Lock()
				defer g.mu.Unlock()
				receipts[id] = r[0]
			})
		}
		synctest.Wait()
		close(g.opened)
		wg.Wait()
		synctest.Wait()
		if last := g.calls[len(g.calls)-1]; last != 3 {
			t.Errorf("the three went in calls of %v", g.calls)
		}
		if !errors.Is(receipts["running"].Err, ErrActive) || !receipts["there"].Replaced || receipts["new"].Replaced || receipts["new"].State != Waiting {
			t.Errorf("receipts: %+v", receipts)
		}
	})
}

// A caller that gives up gets its error at once and takes nobody along.
func TestSharedPushSurvivesACaller(t *testing.T) {
	gated(t, func(t *testing.T, q *Queue, g *gate) {
		var wg sync.WaitGroup
		for range sharedCalls {
			wg.Go(func() {
				if _, err := q.Push(t.Context(), Job{Type: "email"}); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		wg.Go(func() {
			r, err := q.Push(short, Job{Type: "email", ID: "short"})
			if !errors.Is(err, ErrUnavailable) || len(r) != 1 || r[0].ID != "short" || !errors.Is(r[0].Err, ErrUnavailable) {
				t.Errorf("who gave up got %+v, %v", r, err)
			}
		})
		long, cancelLong := context.WithTimeout(t.Context(), time.Minute)
		defer cancelLong()
		wg.Go(func() {
			if _, err := q.Push(long, Job{Type: "email", ID: "long"}); err != nil {
				t.Error(err)
			}
		})
		time.Sleep(2 * time.Second)
		close(g.opened)
		wg.Wait()
		synctest.Wait()
		if _, err := q.Get(t.Context(), "email", "short"); !errors.Is(err, ErrNotFound) {
			t.Errorf("the job given up before its call: %v", err)
		}
		if _, err := q.Get(t.Context(), "email", "long"); err != nil {
			t.Error(err)
		}
	})
}

// When a shared call fails, all in it hear so; the next ones go on.
func TestSharedPushFails(t *testing.T) {
	gated(t, func(t *testing.T, q *Queue, g *gate) {
		var wg sync.WaitGroup
		push := func(want error) {
			wg.Go(func() {
				if r, err := q.Push(t.Context(), Job{Type: "email"}); !errors.Is(err, want) || len(r) != 1 || !errors.Is(r[0].Err, want) || r[0].ID == "" {
					t.Errorf("got %+v, %v; want %v", r, err, want)
				}
			})
		}
		for range sharedCalls {
			push(nil)
		}
		synctest.Wait()
		g.mu.Lock()
		g.fail = context.DeadlineExceeded
		g.mu.Unlock()
		for range 5 {
			push(ErrUnavailable)
		}
		synctest.Wait()
		close(g.opened)
		wg.Wait()
		synctest.Wait()
		g.mu.Lock()
		g.fail = nil
		g.mu.Unlock()
		push(nil)
		wg.Wait()
		synctest.Wait()
	})
}

func TestSharedPushLeavesLargeJobsAlone(t *testing.T) {
	gated(t, func(t *testing.T, q *Queue, g *gate) {
		var wg sync.WaitGroup
		large := []byte(`"` + strings.Repeat("x", blobSize) + `"`)
		for range 2 * sharedCalls {
			wg.Go(func() {
				if _, err := q.Push(t.Context(), Job{Type: "email", Data: large}); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		if len(g.calls) != 2*sharedCalls {
			t.Errorf("calls under way: %v", g.calls)
		}
		close(g.opened)
		wg.Wait()
	})
}
