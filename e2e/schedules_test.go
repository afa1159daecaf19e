package e2e

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/deetoo/deetoo/internal/redistest"
)

// firing as the API shows it.
type firing struct {
	Tick         time.Time
	Outcome, Job string
	Manual       bool
	Error        string
}

func (s *server) firings(name string) []firing {
	s.t.Helper()
	var out struct{ Firings []firing }
	s.must("GET", "/v1/schedules/"+name+"/firings", nil, &out)
	return out.Firings
}

// schedule makes one, and returns its first tick.
func (s *server) schedule(name string, settings spec) time.Time {
	s.t.Helper()
	var made struct {
		Next time.Time `json:"next_at"`
	}
	s.must("PUT", "/v1/schedules/"+name, settings, &made)
	return made.Next
}

func TestScheduleOnTheEmbeddedStore(t *testing.T) {
	t.Parallel()
	h := handle(t, nil)
	dir := t.TempDir()
	s := serve(t, inDir(dir))
	s.register("work", h.url, keepAll())
	s.schedule("often", spec{"type": "work", "every": "100ms", "job": spec{"data": spec{"kind": "tick"}, "title": "Tick"}})
	h.awaits(t, 3)
	d := h.deliveries()[0]
	if !strings.HasPrefix(d.id, "often:20") || string(d.body) != `{"kind":"tick"}` || d.header.Get("deetoo-scheduled-at") == "" {
		t.Errorf("delivery %s: %s, %v", d.id, d.body, d.header)
	}
	// A schedule and its rhythm outlive a crash.
	s.kill()
	s = serve(t, inDir(dir))
	before := len(h.deliveries())
	h.awaits(t, before+2)
	s.must("POST", "/v1/schedules/often/pause", nil, nil)
	var receipt struct{ ID string }
	s.must("POST", "/v1/schedules/often/run", nil, &receipt)
	s.becomes("work", receipt.ID, "succeeded")
	// A tick taken before the pause may end after the run.
	eventually(t, "the run is in the history", func() bool {
		for _, f := range s.firings("often") {
			if f.Job == receipt.ID && f.Manual && f.Outcome == "fired" {
				return true
			}
		}
		return false
	})
	s.stop()
	sound(t, inDir(dir))
}

// Three dispatchers are killed and started again, at random, while schedules
// tick: each tick becomes exactly one job.
func TestEachTickIsOneJobThoughDispatchersDie(t *testing.T) {
	t.Parallel()
	redis := redistest.SingleServer(t)
	h := handle(t, nil)
	var servers [3]*server
	for i := range servers {
		servers[i] = serve(t, onRedis(t, redis.URL()), "--lease=2s")
	}
	settings := keepAll()
	settings["concurrency"] = 20
	servers[0].register("work", h.url, settings)
	began := time.Now()
	firsts := map[string]time.Time{
		"often": servers[0].schedule("often", spec{"type": "work", "every": "200ms", "catch_up": "all"}),
		"cron":  servers[1].schedule("cron", spec{"type": "work", "cron": "* * * * * *", "catch_up": "all", "overlap": "replace"}),
	}
	deaths := 0
	for time.Since(began) < 15*time.Second {
		time.Sleep(time.Duration(100+rand.N(500)) * time.Millisecond)
		i := rand.N(len(servers))
		servers[i].kill()
		deaths++
		// Not waited for: it may die again before it has begun.
		servers[i] = begin(t, onRedis(t, redis.URL()), "--lease=2s")
	}
	s := serve(t, onRedis(t, redis.URL()), "--lease=2s")
	for _, name := range []string{"often", "cron"} {
		s.must("POST", "/v1/schedules/"+name+"/pause", nil, nil)
	}
	// What was under way is finished by those who live.
	eventually(t, "no tick is under way", func() bool {
		n, err := redis.Client().Exists(t.Context(), "{deetoo}:schedules:outbox").Result()
		return err == nil && n == 0
	})
	s.allIn("work", 0)

	ticks := map[string][]time.Time{}
	for _, j := range s.allJobs("work") {
		name, tick, _ := strings.Cut(j.ID, ":")
		at, err := time.Parse(time.RFC3339, tick)
		if err != nil {
			t.Fatalf("job %s: %v", j.ID, err)
		}
		// Pushed twice, it would run twice although no dispatcher was lost with it.
		if n := h.times()[j.ID]; n > 1+j.Lost {
			t.Errorf("job %s was delivered %d times, with %d lost", j.ID, n, j.Lost)
		}
		ticks[name] = append(ticks[name], at)
	}
	for name, step := range map[string]time.Duration{"often": 200 * time.Millisecond, "cron": time.Second} {
		seen := map[time.Time]bool{}
		first := firsts[name]
		last := first
		for _, at := range ticks[name] {
			if seen[at] {
				t.Errorf("%s: two jobs of %s", name, at)
			}
			seen[at] = true
			if at.After(last) {
				last = at
			}
		}
		for at := first; at.Before(last); at = at.Add(step) {
			if !seen[at] {
				t.Errorf("%s: no job of %s", name, at)
			}
		}
		if want := int(last.Sub(first)/step) + 1; len(seen) != want || want < int(14*time.Second/step) {
			t.Errorf("%s: %d jobs of %d ticks", name, len(seen), want)
		}
	}
	t.Logf("%d and %d jobs, %d deaths", len(ticks["often"]), len(ticks["cron"]), deaths)
	for _, s := range servers {
		s.kill()
	}
	s.stop()
	sound(t, onRedis(t, redis.URL()))
}

// allIn waits until nothing of a type is left to do but n jobs.
func (s *server) allIn(typ string, n int) {
	s.t.Helper()
	eventually(s.t, fmt.Sprintf("%d jobs of %s are left", n, typ), func() bool {
		st := s.stats(typ)
		return st.Waiting+st.Scheduled+st.Active == n
	})
}

// allJobs returns all jobs of a type.
func (s *server) allJobs(typ string) []job {
	s.t.Helper()
	var out []job
	for _, state := range []string{"waiting", "scheduled", "active", "succeeded", "cancelled", "dead"} {
		for cursor := ""; ; {
			var page struct {
				Jobs []job
				Next string `json:"next_cursor"`
			}
			path := "/v1/types/" + typ + "/jobs?limit=100&state=" + state
			if cursor != "" {
				path += "&cursor=" + cursor
			}
			s.must("GET", path, nil, &page)
			out = append(out, page.Jobs...)
			if cursor = page.Next; cursor == "" {
				break
			}
		}
	}
	return out
}

func TestSchedulesMove(t *testing.T) {
	t.Parallel()
	redis := redistest.SingleServer(t)
	h := handle(t, nil)
	dir := t.TempDir()
	s := serve(t, inDir(dir))
	s.register("work", h.url, keepAll())
	s.schedule("often", spec{"type": "work", "every": "100ms"})
	s.schedule("yearly", spec{"type": "work", "cron": "@yearly", "timezone": "Europe/Berlin"})
	h.awaits(t, 3)
	s.stop()
	stdout, stderr, code := run(t, inDir(dir), "migrate", "--from", dir, "--to", redis.URL())
	if code != 0 {
		t.Fatalf("migrate: %d %s%s", code, stdout, stderr)
	}
	before := len(h.deliveries())
	s = serve(t, append([]string{"DEETOO_DATA_DIR=" + filepath.Join(t.TempDir(), "new"), "DEETOO_JWT_SECRET=" + secret}, "REDIS_URL="+redis.URL()))
	h.awaits(t, before+3)
	var all struct {
		Schedules []struct {
			Name string
			Next time.Time `json:"next_at"`
		}
	}
	s.must("GET", "/v1/schedules", nil, &all)
	if len(all.Schedules) != 2 || all.Schedules[1].Next.IsZero() {
		t.Errorf("schedules: %+v", all)
	}
	s.stop()
}

func TestSchedulesOnTheCommandLine(t *testing.T) {
	t.Parallel()
	h := handle(t, nil)
	s := serve(t, inDir(t.TempDir()))
	s.register("work", h.url, keepAll())
	s.ok("schedules", "put", "nightly", "--type=work", "--cron=0 3 * * *", "--timezone=Europe/Berlin", `--data={"n":7}`, "--overlap=skip", "--catch-up=all")
	s.ok("schedules", "put", "often", "--type=work", "--every=90m")
	if out := s.ok("schedules", "list"); !strings.Contains(out, "0 3 * * * Europe/Berlin") || !strings.Contains(out, "every 1h30m") {
		t.Errorf("list: %s", out)
	}
	if out := s.ok("schedules", "show", "nightly"); !strings.Contains(out, `"overlap": "skip"`) || !strings.Contains(out, `"catch_up": "all"`) {
		t.Errorf("show: %s", out)
	}
	if out := s.ok("schedules", "next", "nightly", "-n3"); strings.Count(out, ":00:00.000Z\n") != 3 {
		t.Errorf("next: %s", out)
	}
	s.ok("schedules", "pause", "nightly")
	if out := s.ok("schedules", "list"); !strings.Contains(out, "paused") {
		t.Errorf("list: %s", out)
	}
	s.ok("schedules", "run", "nightly")
	if d := h.awaits(t, 1); string(d.body) != `{"n":7}` {
		t.Errorf("delivered: %s", d.body)
	}
	if out := s.ok("schedules", "firings", "nightly"); !strings.Contains(out, "fired") || !strings.Contains(out, "nightly:run-") {
		t.Errorf("firings: %s", out)
	}
	s.ok("schedules", "resume", "nightly")
	s.ok("schedules", "delete", "nightly")
	for _, wrong := range [][]string{{"show", "nightly"}, {"put", "x", "--type=work"}, {"put", "x", "--type=work", "--every=1s", "--data={"}} {
		if _, stderr, code := s.command(append([]string{"schedules"}, wrong...)...); code == 0 || stderr == "" {
			t.Errorf("%v: %d %s", wrong, code, stderr)
		}
	}
}
