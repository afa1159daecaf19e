package queue_test

import (
	"context"
	"errors"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/deetoo/deetoo/internal/redistest"
	"github.com/deetoo/deetoo/queue"
)

// Benchmarks run on a redis-server without persistence: go test -bench . -run '^$' ./queue
// Beside the time of a job they tell Redis's own share of it, from INFO
// commandstats, and the bytes Redis needs a job beyond its payload.

const payload = 256

func benchJobs(n int) []queue.Job {
	return slices.Repeat([]queue.Job{{Type: "email", Data: []byte(`"` + strings.Repeat("x", payload-2) + `"`)}}, n)
}

func benchQueue(b *testing.B, limit int) (*queue.Queue, redis.UniversalClient) {
	b.Helper()
	c := redistest.Single(b)
	q, err := queue.New(c, queue.Options{})
	if err == nil {
		err = q.Configure(context.Background(), "email", queue.Settings{Version: 1, Concurrency: limit, RetainCount: 1 << 30, RetainAge: 1 << 60})
	}
	if err != nil {
		b.Fatal(err)
	}
	return q, c
}

// scriptMicros is the time Redis has spent in scripts.
func scriptMicros(b *testing.B, c redis.UniversalClient) float64 {
	b.Helper()
	info, err := c.Info(context.Background(), "commandstats").Result()
	if err != nil {
		b.Fatal(err)
	}
	sum := 0.0
	for _, m := range regexp.MustCompile(`cmdstat_eval(?:sha)?:calls=\d+,usec=(\d+)`).FindAllStringSubmatch(info, -1) {
		n, err := strconv.ParseFloat(m[1], 64)
		if err != nil {
			b.Fatal(err)
		}
		sum += n
	}
	return sum
}

func perJob(b *testing.B, jobs int, redisMicros float64) {
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(jobs), "µs/job")
	b.ReportMetric(redisMicros/float64(jobs), "redis-µs/job")
}

func BenchmarkPush100(b *testing.B) {
	q, c := benchQueue(b, 1)
	jobs := 0
	before := scriptMicros(b, c)
	for b.Loop() {
		if _, err := q.Push(context.Background(), benchJobs(100)...); err != nil {
			b.Fatal(err)
		}
		jobs += 100
	}
	perJob(b, jobs, scriptMicros(b, c)-before)
}

func BenchmarkExchange20(b *testing.B) {
	q, c := benchQueue(b, 20)
	ctx := context.Background()
	var done []queue.Settlement
	left, jobs, redisMicros := 0, 0, 0.0
	for b.Loop() {
		if left == 0 {
			b.StopTimer()
			if _, err := q.Push(ctx, benchJobs(10_000)...); err != nil {
				b.Fatal(err)
			}
			left = 10_000
			b.StartTimer()
			redisMicros -= scriptMicros(b, c)
		}
		batch, err := q.Exchange(ctx, "email", done, 20)
		if err != nil || len(batch.Leases) != 20 || len(batch.Stale) != 0 {
			b.Fatalf("%d leases, %v", len(batch.Leases), err)
		}
		done = done[:0]
		for _, l := range batch.Leases {
			done = append(done, queue.Settlement{ID: l.ID, Token: l.Token, Verdict: queue.Done,
				Attempt: queue.Attempt{N: l.Attempt, StartedAt: l.StartedAt.UnixMilli(), Outcome: "succeeded", Status: 200}})
		}
		jobs += 20
		if left -= 20; left == 0 {
			redisMicros += scriptMicros(b, c)
		}
	}
	if left > 0 {
		redisMicros += scriptMicros(b, c)
	}
	perJob(b, jobs, redisMicros)
}

// BenchmarkMemory fills a queue with 100,000 jobs and finishes them.
func BenchmarkMemory(b *testing.B) {
	const n = 100_000
	used := func(c redis.UniversalClient) int64 {
		ctx := context.Background()
		// Answers kept for a repeated request go after half a minute: now they do.
		keys, err := c.Keys(ctx, "{deetoo:email}:request:*").Result()
		if err == nil && len(keys) > 0 {
			err = c.Del(ctx, keys...).Err()
		}
		info, err2 := c.Info(ctx, "memory").Result()
		if err := errors.Join(err, err2); err != nil {
			b.Fatal(err)
		}
		bytes, err := strconv.ParseInt(regexp.MustCompile(`used_memory:(\d+)`).FindStringSubmatch(info)[1], 10, 64)
		if err != nil {
			b.Fatal(err)
		}
		return bytes
	}
	report := func(unit string, bytes int64) { b.ReportMetric(float64(bytes)/n-payload, unit) }
	for b.Loop() {
		q, c := benchQueue(b, n)
		ctx := context.Background()
		before := used(c)
		for range n / 1000 {
			if _, err := q.Push(ctx, benchJobs(1000)...); err != nil {
				b.Fatal(err)
			}
		}
		report("B-over-payload/queued", used(c)-before)
		var done []queue.Settlement
		for finished := 0; finished < n; finished += len(done) {
			batch, err := q.Exchange(ctx, "email", done, queue.MaxSettlements)
			if err != nil {
				b.Fatal(err)
			}
			done = done[:0]
			for _, l := range batch.Leases {
				done = append(done, queue.Settlement{ID: l.ID, Token: l.Token, Verdict: queue.Done,
					Attempt: queue.Attempt{N: l.Attempt, StartedAt: l.StartedAt.UnixMilli(), Outcome: "succeeded", Status: 200}})
			}
		}
		if _, err := q.Exchange(ctx, "email", done, 0); err != nil {
			b.Fatal(err)
		}
		if s, err := q.Stats(ctx, "email"); err != nil || s.Finished != n {
			b.Fatalf("%+v, %v", s, err)
		}
		report("B-over-payload/finished", used(c)-before)
	}
}
