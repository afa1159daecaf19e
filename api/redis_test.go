package api

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/deetoo/deetoo/intake"
	"github.com/deetoo/deetoo/internal/redistest"
)

// quickClient gives up soon, as a server's client should.
func quickClient(t testing.TB, s *redistest.Server) redis.UniversalClient {
	c := redis.NewClient(&redis.Options{
		Addr: s.Addr(), MaxRetries: 1, DialTimeout: time.Second, DialerRetries: 1, PoolSize: 64,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func TestRedisGoesAndComesBack(t *testing.T) {
	server := redistest.SingleServer(t, "--appendonly", "yes", "--appendfsync", "always")
	w := newWorldOn(t, quickClient(t, server), false, intake.Options{}).email()
	w.put(emailJobs+"/before", `{"data":1}`).want(201)
	if err := server.Kill(); err != nil {
		t.Fatal(err)
	}
	for _, a := range []*answer{
		w.put(emailJobs+"/during", `{"data":1}`), w.get(emailJobs + "/before"), w.get("/v1/types/email"), w.get("/readyz"),
		w.do(call{method: "POST", path: emailJobs, body: "{\"data\":1}\n", media: mediaNDJSON}),
	} {
		a.wantProblem(503, "unavailable")
		if a.Header.Get("Retry-After") == "" || strings.Contains(string(a.Body), "127.0.0.1") {
			t.Errorf("Retry-After %q: %s", a.Header.Get("Retry-After"), a.Body)
		}
	}
	w.get("/healthz").want(200)
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(10 * time.Second)
	for w.get("/readyz").Status != 200 {
		if time.Now().After(deadline) {
			t.Fatal("it does not recover")
		}
		time.Sleep(10 * time.Millisecond)
	}
	w.get(emailJobs + "/before").want(200)
	w.put(emailJobs+"/during", `{"data":1}`).want(201)
}

func TestRedisFull(t *testing.T) {
	server := redistest.SingleServer(t, "--maxmemory-policy", "noeviction")
	client := quickClient(t, server)
	w := newWorldOn(t, client, false, intake.Options{}).email()
	w.put(emailJobs+"/before", `{"data":1}`).want(201)
	limit := func(bytes int) {
		t.Helper()
		if err := client.ConfigSet(context.Background(), "maxmemory", fmt.Sprint(bytes)).Err(); err != nil {
			t.Fatal(err)
		}
	}
	limit(1)
	for _, a := range []*answer{
		w.put(emailJobs+"/full", `{"data":1}`), w.post(emailJobs, `[{"data":1},{"data":2}]`), w.post("/api/v2/email", `{"jobData":1}`),
	} {
		a.wantProblem(503, "store-full")
		if a.Header.Get("Retry-After") == "" {
			t.Error("no Retry-After")
		}
	}
	w.get(emailJobs + "/before").want(200)
	limit(0)
	w.put(emailJobs+"/full", `{"data":1}`).want(201)
}
