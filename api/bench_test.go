package api

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/valyala/fasthttp"

	"github.com/deetoo/deetoo/auth"
	"github.com/deetoo/deetoo/intake"
	"github.com/deetoo/deetoo/internal/redistest"
)

// benchmarkPush posts a body over 64 connections to an API on a real Redis. The client runs in the
// same process, so a server alone does better.
func benchmarkPush(b *testing.B, media string, body []byte, jobs int) {
	w := newWorldOn(b, quickClient(b, redistest.SingleServer(b)), false, intake.Options{}).email()
	quiet := slog.New(slog.DiscardHandler)
	api, err := New(Options{Intake: w.intake, Verifier: w.verifier, Sender: w.sender, Spec: spec.bytes, Logger: quiet})
	if err != nil {
		b.Fatal(err)
	}
	app := NewApp(AppOptions{Logger: quiet})
	api.Mount(app)
	addr := listen(b, app)
	client := &fasthttp.HostClient{Addr: addr, MaxConns: 64}
	authorization := "Bearer " + token(b, auth.MintOptions{})
	b.SetParallelism(32) // times GOMAXPROCS, which is 2 where this is measured
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		req, resp := fasthttp.AcquireRequest(), fasthttp.AcquireResponse()
		req.SetRequestURI("http://" + addr + emailJobs)
		req.Header.SetMethod("POST")
		req.Header.SetContentType(media)
		req.Header.Set("Authorization", authorization)
		req.SetBodyRaw(body)
		for pb.Next() {
			if err := client.Do(req, resp); err != nil || resp.StatusCode() != 201 {
				b.Errorf("%d %v: %s", resp.StatusCode(), err, resp.Body())
				return
			}
		}
	})
	b.StopTimer()
	b.ReportMetric(float64(b.N*jobs)/b.Elapsed().Seconds(), "jobs/s")
	b.ReportMetric(scriptTime(b, w.client)/float64(jobs), "redis-µs/job")
	client.CloseIdleConnections()
}

// scriptTime is what Redis spent on one script call, in microseconds.
func scriptTime(b *testing.B, client redis.UniversalClient) float64 {
	info, err := client.Info(b.Context(), "commandstats").Result()
	if err != nil {
		b.Fatal(err)
	}
	_, after, _ := strings.Cut(info, "cmdstat_evalsha:")
	var calls, usec float64
	if _, err := fmt.Sscanf(after, "calls=%f,usec=%f", &calls, &usec); err != nil {
		b.Fatal(err)
	}
	return usec / calls
}

// BenchmarkPushOne is one job of 256 bytes a request.
func BenchmarkPushOne(b *testing.B) {
	benchmarkPush(b, mediaJSON, fmt.Appendf(nil, `{"data":{"text":%q}}`, strings.Repeat("x", 245)), 1)
}

// BenchmarkPushNDJSON is 1,000 jobs of 256 bytes a request.
func BenchmarkPushNDJSON(b *testing.B) {
	line := fmt.Appendf(nil, "{\"data\":{\"text\":%q}}\n", strings.Repeat("x", 245))
	benchmarkPush(b, mediaNDJSON, bytes.Repeat(line, 1000), 1000)
}
