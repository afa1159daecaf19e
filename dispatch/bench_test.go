package dispatch

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/deetoo/deetoo/internal/redistest"
	"github.com/deetoo/deetoo/queue"
	"github.com/deetoo/deetoo/registry"
)

// calls returns how often scripts were called.
func calls(b *testing.B, c redis.UniversalClient) int {
	b.Helper()
	info, err := c.Info(bg, "commandstats").Result()
	if err != nil {
		b.Fatal(err)
	}
	n := 0
	for _, m := range regexp.MustCompile(`cmdstat_eval(?:sha)?:calls=(\d+)`).FindAllStringSubmatch(info, -1) {
		k, err := strconv.Atoi(m[1])
		if err != nil {
			b.Fatal(err)
		}
		n += k
	}
	return n
}

// BenchmarkLane measures a lane on a real Redis, with jobs that are there
// already, by concurrency and by how long an attempt takes.
func BenchmarkLane(b *testing.B) {
	client := redistest.Single(b)
	for _, bc := range []struct {
		concurrency int
		took        time.Duration
	}{{1, 0}, {4, 0}, {64, 0}, {64, 10 * time.Millisecond}, {1000, 10 * time.Millisecond}} {
		b.Run(fmt.Sprintf("concurrency=%d/took=%s", bc.concurrency, bc.took), func(b *testing.B) {
			q, err := queue.New(client, queue.Options{Prefix: fmt.Sprintf("bench%d", time.Now().UnixNano())})
			if err != nil {
				b.Fatal(err)
			}
			if err := q.Configure(bg, "a", queue.Settings{Version: 1, Concurrency: bc.concurrency, RetainCount: 1000, RetainAge: time.Hour}); err != nil {
				b.Fatal(err)
			}
			batch := make([]queue.Job, 0, 1000)
			for i := range b.N {
				if batch = append(batch, queue.Job{Type: "a", Data: []byte(`{"to":"leia@example.org"}`)}); len(batch) == cap(batch) || i == b.N-1 {
					if _, err := q.Push(bg, batch...); err != nil {
						b.Fatal(err)
					}
					batch = batch[:0]
				}
			}
			var left atomic.Int64
			left.Store(int64(b.N))
			done := make(chan struct{})
			d, err := New(Options{
				Queue: q, Pause: func(context.Context, string, string) error { return nil },
				Deliverer: DelivererFunc(func(context.Context, *queue.Lease) Outcome {
					if bc.took > 0 {
						time.Sleep(bc.took)
					}
					if left.Add(-1) == 0 {
						close(done)
					}
					return Outcome{Verdict: Done, Status: 200}
				}),
			})
			if err != nil {
				b.Fatal(err)
			}
			typ := registry.New("a", "http://x.test/")
			typ.Concurrency = bc.concurrency
			before := calls(b, client)
			b.ReportAllocs()
			b.ResetTimer()
			d.Set(&typ)
			<-done
			if err := d.Stop(bg); err != nil {
				b.Fatal(err)
			}
			b.StopTimer()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "jobs/s")
			b.ReportMetric(float64(calls(b, client)-before)/float64(b.N), "calls/job")
		})
	}
}
