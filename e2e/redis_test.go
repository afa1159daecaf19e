package e2e

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/deetoo/deetoo/internal/redistest"
)

func TestTwoDispatchersShareTheWork(t *testing.T) {
	t.Parallel()
	redis := redistest.SingleServer(t)
	h := handle(t, func(http.ResponseWriter, delivery) { time.Sleep(2 * time.Millisecond) }) // so that they overlap
	// Of one name, as a deployment's replicas may be: they must not be taken for one.
	name := "DEETOO_NAME=twin"
	a, b := serve(t, append(onRedis(t, redis.URL()), name)), serve(t, append(onRedis(t, redis.URL()), name))
	settings := keepAll()
	settings["concurrency"] = 3
	a.register("work", h.url, settings)
	// The other follows within a second.
	begun := time.Now()
	eventually(t, "the other knows the type", func() bool { return strings.Contains(string(b.call("GET", "/v1/types", nil).body), `"work"`) })
	if took := time.Since(begun); took > 5*time.Second { // a second, on a machine that does nothing else
		t.Errorf("the other knew of a change after %s", took)
	}
	const jobs = 300
	a.batch("work", "a", jobs/2)
	b.batch("work", "b", jobs/2)
	b.allDone("work", jobs)
	if n := h.most(); n > 3 || n < 2 {
		t.Errorf("%d at once, of a concurrency of 3", n)
	}
	for id, n := range h.times() {
		if n != 1 {
			t.Errorf("job %s was delivered %d times", id, n)
		}
	}
	// A change by one is followed by the other: paused there, the job pushed here waits.
	b.must("POST", "/v1/types/work/pause", nil, nil)
	id := a.push("work", spec{"data": 1})
	b.must("PATCH", "/v1/types/work", spec{"concurrency": 5}, nil)
	eventually(t, "the change is in force for all", func() bool { return a.stats("work").Concurrency == 5 })
	if j := a.job("work", id); j.State != "waiting" {
		t.Errorf("a job of a paused type is %s", j.State)
	}
	a.must("POST", "/v1/types/work/resume", nil, nil)
	a.becomes("work", id, "succeeded")
	a.stop()
	b.stop()
	sound(t, onRedis(t, redis.URL()))
}

func TestTheOtherTakesOverFromAKilledDispatcher(t *testing.T) {
	t.Parallel()
	redis := redistest.SingleServer(t)
	g := newGate()
	t.Cleanup(g.open)
	h := handle(t, func(_ http.ResponseWriter, d delivery) { g.hold(d) })
	a := serve(t, onRedis(t, redis.URL()), "--lease=2s")
	settings := keepAll()
	settings["concurrency"] = 3
	a.register("work", h.url, settings)
	a.batch("work", "j", 5)
	h.awaits(t, 3)
	b := serve(t, onRedis(t, redis.URL()), "--lease=2s")
	a.kill()
	eventually(t, "the requests are abandoned", func() bool { return h.running() == 0 })
	g.open()
	b.allDone("work", 5)
	lost := 0
	for i := range 5 {
		j := b.job("work", fmt.Sprint("j", i))
		lost += j.Lost
		if j.Attempt != 1 {
			t.Errorf("a lost dispatcher cost %s an attempt: %+v", j.ID, j)
		}
	}
	if lost != 3 || len(h.deliveries()) != 8 {
		t.Errorf("%d lost, %d deliveries", lost, len(h.deliveries()))
	}
}

func TestTypesFileAndSIGHUP(t *testing.T) {
	t.Parallel()
	h := handle(t, nil)
	file := filepath.Join(t.TempDir(), "types.yaml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("types:\n  - {name: work, target: '" + h.url + "', concurrency: 4}\n")
	s := serve(t, inDir(t.TempDir()), "--types", file)
	if got := s.stats("work").Concurrency; got != 4 {
		t.Fatalf("concurrency %d", got)
	}
	write("types:\n  - {name: work, target: '" + h.url + "', concurrency: 7}\n  - {name: more, target: '" + h.url + "'}\n")
	s.signal(syscall.SIGHUP)
	s.logs("types file applied")
	if got := s.stats("work").Concurrency; got != 7 {
		t.Errorf("concurrency %d", got)
	}
	s.becomes("more", s.push("more", spec{"data": 1}), "succeeded")

	for rule, bad := range map[string]string{
		"concurrency":  "types:\n  - {name: work, target: '" + h.url + "', concurrency: 8}\n  - {name: more, target: '" + h.url + "', concurrency: -1}\n",
		"concurency":   "types:\n  - {name: work, target: '" + h.url + "', concurency: 8}\n",
		"yaml":         "types: [",
		"metadata":     "types:\n  - {name: work, target: '" + h.url + "', concurrency: 8}\n  - {name: more, target: 'http://169.254.169.254/'}\n",
		"single YAML ": "types: []\n---\ntypes: []\n",
	} {
		write(bad)
		before := strings.Count(s.stderr.String(), "everything stays as it was")
		s.signal(syscall.SIGHUP)
		eventually(t, "the file is refused", func() bool { return strings.Count(s.stderr.String(), "everything stays as it was") > before })
		log := s.stderr.String()
		if line := log[strings.LastIndex(log, "everything stays as it was"):]; !strings.Contains(line, rule) {
			t.Errorf("the log does not name what is wrong, %q: %s", rule, line)
		}
		if got := s.stats("work").Concurrency; got != 7 {
			t.Errorf("%s: concurrency %d: a bad file was applied in part", rule, got)
		}
	}
	for _, bad := range []string{"types: [", "types:\n  - {name: more, target: 'http://169.254.169.254/'}\n"} {
		write(bad)
		_, stderr, code := run(t, append(inDir(t.TempDir()), "DEETOO_LISTEN=127.0.0.1:0"), "serve", "--types", file)
		if code != 1 || !strings.Contains(stderr, file) {
			t.Errorf("started with a bad file: %d %s", code, stderr)
		}
	}
}

func TestRedisAwayAndBack(t *testing.T) {
	t.Parallel()
	redis := redistest.SingleServer(t, "--appendonly", "yes", "--appendfsync", "always")
	g := newGate()
	t.Cleanup(g.open)
	h := handle(t, func(_ http.ResponseWriter, d delivery) {
		if d.id == "held" {
			g.hold(d)
		}
	})
	s := serve(t, onRedis(t, redis.URL()))
	s.register("work", h.url, keepAll())
	s.push("work", spec{"id": "held", "data": 1})
	h.awaits(t, 1)
	if err := redis.Stop(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "/readyz says 503", func() bool { return s.status("GET", "/readyz") == 503 })
	if got := s.status("GET", "/healthz"); got != 200 {
		t.Errorf("/healthz: %d", got)
	}
	a := s.call("POST", "/v1/types/work/jobs", spec{"id": "lost", "data": 1})
	if a.status != 503 || a.header.Get("Retry-After") == "" || a.header.Get("Content-Type") != "application/problem+json" || strings.Contains(string(a.body), redis.Addr()) {
		t.Errorf("push: %d %v %s", a.status, a.header, a.body)
	}
	g.open() // it ends while Redis is away, and is settled when it is back
	if err := redis.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "/readyz says 200", func() bool { return s.status("GET", "/readyz") == 200 })
	s.becomes("work", "held", "succeeded")
	s.becomes("work", s.push("work", spec{"data": 1}), "succeeded")
	if n := h.times()["held"]; n != 1 {
		t.Errorf("the job that ran meanwhile was delivered %d times", n)
	}
	s.stop()
}

// A dispatcher that comes before its Redis waits for it, and does then what it would have done.
func TestStartBeforeRedis(t *testing.T) {
	t.Parallel()
	redis := redistest.SingleServer(t)
	h := handle(t, nil)
	file := filepath.Join(t.TempDir(), "types.yaml")
	if err := os.WriteFile(file, []byte("types: {work: {target: '"+h.url+"'}}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := redis.Stop(); err != nil {
		t.Fatal(err)
	}
	s := begin(t, onRedis(t, redis.URL()), "--types", file)
	eventually(t, "/healthz says 200", func() bool { return s.status("GET", "/healthz") == 200 })
	if got := s.status("GET", "/readyz"); got != 503 {
		t.Errorf("/readyz: %d", got)
	}
	if err := redis.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the types of the file are registered", func() bool { return s.status("GET", "/v1/types/work") == 200 })
	s.becomes("work", s.push("work", spec{"data": 1}), "succeeded")
	s.logs("keeps nothing on disk") // it is warned of, when it is there to be asked
}

func TestRedisFull(t *testing.T) {
	t.Parallel()
	redis := redistest.SingleServer(t, "--maxmemory-policy", "noeviction")
	g := newGate()
	t.Cleanup(g.open)
	h := handle(t, func(_ http.ResponseWriter, d delivery) { g.hold(d) })
	s := serve(t, onRedis(t, redis.URL()), "--lease=2s")
	s.register("work", h.url, keepAll())
	s.batch("work", "j", 5)
	h.awaits(t, 5)
	ctx := context.Background()
	if err := redis.Client().ConfigSet(ctx, "maxmemory", "1").Err(); err != nil {
		t.Fatal(err)
	}
	a := s.call("POST", "/v1/types/work/jobs", spec{"id": "late", "data": 1})
	if a.status != 503 || a.header.Get("Retry-After") == "" || !strings.Contains(string(a.body), "store-full") {
		t.Errorf("push: %d %v %s", a.status, a.header, a.body)
	}
	leased := func() float64 {
		z, err := redis.Client().ZRangeWithScores(ctx, "{deetoo:work}:active", 0, 0).Result()
		if err != nil || len(z) != 1 {
			t.Fatalf("active: %v %v", z, err)
		}
		return z[0].Score
	}
	before := leased()
	eventually(t, "leases are renewed in a full Redis", func() bool { return leased() > before })
	g.open()
	s.allDone("work", 5)
	if n := len(h.deliveries()); n != 5 {
		t.Errorf("%d deliveries of 5 jobs: leases were lost in a full Redis", n)
	}
	if err := redis.Client().ConfigSet(ctx, "maxmemory", "0").Err(); err != nil {
		t.Fatal(err)
	}
	s.becomes("work", s.push("work", spec{"id": "late", "data": 1}), "succeeded")
}

// mainJob registers a type and has a signed job delivered.
func mainJob(t *testing.T, s *server) {
	t.Helper()
	h := handle(t, nil)
	for _, typ := range []string{"email", "sms", "letter", "fax"} { // on several shards of a cluster
		signed := s.register(typ, h.url, keepAll())
		s.batch(typ, typ, 5)
		s.push(typ, spec{"id": "later", "data": 1, "delay": "50ms"})
		s.allDone(typ, 6)
		for _, d := range h.deliveries() {
			if d.header.Get("deetoo-job-type") == typ {
				d.verifies(t, signed)
			}
		}
	}
	for id, n := range h.times() {
		if n != 1 && id != "later" || id == "later" && n != 4 {
			t.Errorf("job %s was delivered %d times", id, n)
		}
	}
}

func TestRedisCluster(t *testing.T) {
	t.Parallel()
	addrs, _ := redistest.Cluster(t)
	env := onRedis(t, "redis+cluster://"+strings.Join(addrs, ","))
	s := serve(t, env)
	mainJob(t, s)
	s.stop()
	sound(t, env)
}

func TestRedisSentinel(t *testing.T) {
	t.Parallel()
	master := redistest.SingleServer(t)
	redistest.Replica(t, master)
	watcher := redistest.Sentinel(t, "main", master)
	s := serve(t, onRedis(t, "redis+sentinel://"+watcher.Addr()+"/main"))
	mainJob(t, s)

	// A failover: the replica takes over, and work goes on there.
	ctx := context.Background()
	redistest.AwaitReplica(t, watcher, "main")
	if n, err := master.Client().Do(ctx, "WAIT", 1, 5000).Int(); n != 1 || err != nil {
		t.Fatalf("the replica does not follow: %d, %v", n, err)
	}
	if err := master.Kill(); err != nil {
		t.Fatal(err)
	}
	// While it goes on, callers are told to come again, and nothing else.
	again := func(a answer) bool {
		if a.err == nil && a.status != 503 && a.status != 409 && a.status > 201 {
			t.Fatalf("during the failover: %d %s", a.status, a.body)
		}
		return a.status == 200 || a.status == 201
	}
	eventually(t, "a push is answered after the failover", func() bool {
		return again(s.call("POST", "/v1/types/email/jobs", spec{"id": "after", "data": 1}))
	})
	eventually(t, "it is done", func() bool {
		a := s.call("GET", "/v1/types/email/jobs/after", nil)
		return again(a) && strings.Contains(string(a.body), `"state":"succeeded"`)
	})
}
