package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/deetoo/deetoo/internal/redistest"
)

// pushed collects the IDs of jobs whose push was answered.
type pushed struct {
	mu  sync.Mutex
	ids []string
}

func (p *pushed) add(ids ...string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ids = append(p.ids, ids...)
}

func (p *pushed) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.ids)
}

// pushUntilKilled pushes from many clients, single jobs and batches, until the server does not answer.
func pushUntilKilled(s *server, typ string, into *pushed, wg *sync.WaitGroup, clients int) {
	for c := range clients {
		wg.Go(func() {
			for {
				var body any = spec{"data": spec{"pad": strings.Repeat("x", 300)}}
				if c%2 == 1 {
					body = []any{body, body, body}
				}
				a := s.call("POST", "/v1/types/"+typ+"/jobs", body)
				if a.err != nil || a.status != 201 {
					return
				}
				var got struct {
					ID      string
					Results []struct{ ID string }
				}
				if json.Unmarshal(a.body, &got) != nil {
					return
				}
				if got.ID != "" {
					into.add(got.ID)
				}
				for _, r := range got.Results {
					into.add(r.ID)
				}
			}
		})
	}
}

// states of all jobs of a type, by ID.
func (s *server) states(typ string) map[string]string {
	s.t.Helper()
	all := map[string]string{}
	for _, state := range []string{"waiting", "scheduled", "active", "succeeded", "cancelled", "dead"} {
		for cursor := ""; ; {
			var page struct {
				Jobs []job
				Next string `json:"next_cursor"`
			}
			path := "/v1/types/" + typ + "/jobs?limit=500&state=" + state
			if cursor != "" {
				path += "&cursor=" + cursor
			}
			s.must("GET", path, nil, &page)
			for _, j := range page.Jobs {
				all[j.ID] = j.State
			}
			if cursor = page.Next; cursor == "" {
				break
			}
		}
	}
	return all
}

// sound proves by fsck that every job is in exactly one place.
func sound(t *testing.T, env []string) {
	t.Helper()
	if out, stderr, code := run(t, env, "fsck"); code != 0 || !strings.Contains(out, "every job is in exactly one place") {
		t.Errorf("fsck: %d\n%s%s", code, out, stderr)
	}
}

// keepAll keeps finished jobs for the test to count.
func keepAll() spec {
	return spec{"retention": spec{"count": 100_000, "age": "24h"}, "concurrency": 10}
}

func TestKillLosesNothingAnswered(t *testing.T) {
	t.Parallel()
	env := inDir(t.TempDir())
	h := handle(t, nil)
	var work, parked pushed
	const rounds = 5
	for round := range rounds {
		s := serve(t, env, "--lease", "1s")
		if round == 0 {
			s.register("work", h.url, keepAll())
			s.register("parked", h.url, spec{"paused": true})
		}
		var clients sync.WaitGroup
		enough := (round+1)*150 + rand.IntN(100)
		pushUntilKilled(s, "work", &work, &clients, 5)
		pushUntilKilled(s, "parked", &parked, &clients, 3)
		eventually(t, "enough pushes are answered", func() bool { return work.count() > enough && parked.count() > enough/2 })
		s.kill()
		clients.Wait()
	}

	s := serve(t, env, "--lease", "1s")
	states := s.states("parked")
	for _, id := range parked.ids {
		if states[id] != "waiting" {
			t.Errorf("job %s of parked, whose push was answered, is %q", id, states[id])
		}
	}
	eventually(t, "nothing of work is left to do", func() bool {
		st := s.stats("work")
		return st.Waiting+st.Scheduled+st.Active == 0
	})
	states = s.states("work")
	for _, id := range work.ids {
		if states[id] != "succeeded" {
			t.Errorf("job %s of work, whose push was answered, is %q", id, states[id])
		}
	}
	s.stop()
	sound(t, env)
	t.Logf("%d kills; %d and %d answered pushes", rounds, work.count(), parked.count())
}

// journal is the store's last segment.
func journal(t *testing.T, dir string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "store", "journal-*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no journal in %s: %v", dir, err)
	}
	return files[len(files)-1]
}

// killed makes a store with jobs whose dispatcher crashed.
func killed(t *testing.T, jobs int) (dir string, ids []string) {
	t.Helper()
	dir = t.TempDir()
	s := serve(t, inDir(dir))
	s.register("parked", "http://127.0.0.1:1", spec{"paused": true})
	for range jobs {
		ids = append(ids, s.push("parked", spec{"data": 1}))
	}
	s.kill()
	return dir, ids
}

func TestTornTailIsCut(t *testing.T) {
	t.Parallel()
	dir, ids := killed(t, 10)
	file := journal(t, dir)
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(file, info.Size()-3); err != nil {
		t.Fatal(err)
	}
	s := serve(t, inDir(dir))
	s.logs("cut off an unfinished write")
	if !strings.Contains(s.stderr.String(), filepath.Base(file)) {
		t.Errorf("the warning does not name the file: %s", s.stderr)
	}
	states := s.states("parked")
	for _, id := range ids[:len(ids)-1] { // the last one's write was torn
		if states[id] != "waiting" {
			t.Errorf("job %s is %q", id, states[id])
		}
	}
	s.stop()
	sound(t, inDir(dir))
}

func TestDamageIsRefused(t *testing.T) {
	t.Parallel()
	dir, _ := killed(t, 10)
	file := journal(t, dir)
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	content[len(content)/2] ^= 1
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, command := range []string{"serve", "fsck"} {
		_, stderr, code := run(t, append(inDir(dir), "DEETOO_LISTEN=127.0.0.1:0"), command)
		if code != 1 || !strings.Contains(stderr, file) || !strings.Contains(stderr, "damaged") || !strings.Contains(stderr, "byte ") {
			t.Errorf("%s: code %d: %s", command, code, stderr)
		}
	}
	after, err := os.ReadFile(file)
	if err != nil || !bytes.Equal(after, content) {
		t.Errorf("the damaged file was changed: %v", err)
	}
}

func TestTwoProcessesCannotShareAFolder(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := serve(t, inDir(dir))
	for _, args := range [][]string{{"serve"}, {"fsck"}, {"migrate", "--from", dir, "--to", "redis://127.0.0.1:1"}} {
		_, stderr, code := run(t, append(inDir(dir), "DEETOO_LISTEN=127.0.0.1:0"), args...)
		if code != 1 || !strings.Contains(stderr, "in use by another process") || !strings.Contains(stderr, dir) {
			t.Errorf("%v: code %d: %s", args, code, stderr)
		}
	}
	if s.status("GET", "/readyz") != 200 {
		t.Error("the first one suffered")
	}
	s.stop()
	s = serve(t, inDir(dir)) // a folder is free once its process has ended
	s.stop()
}

func TestMigrateIntoRedisAndGoOn(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	h := handle(t, nil)
	s := serve(t, inDir(dir))
	s.register("work", h.url, keepAll())
	s.batch("work", "done-", 5)
	s.allDone("work", 5)
	s.must("POST", "/v1/types/work/pause", nil, nil)
	s.batch("work", "wait-", 20)
	s.push("work", spec{"id": "later", "data": 1, "delay": "1s"})
	s.push("work", spec{"id": "big", "data": strings.Repeat("x", 200_000)})
	s.stop()

	redis := redistest.SingleServer(t)
	out, stderr, code := run(t, inDir(dir), "migrate", "--from", dir, "--to", redis.URL())
	if code != 0 || !strings.Contains(out, "moved and checked") {
		t.Fatalf("migrate: %d %s%s", code, out, stderr)
	}
	sound(t, onRedis(t, redis.URL()))
	_, stderr, code = run(t, append(inDir(dir), "DEETOO_LISTEN=127.0.0.1:0"), "serve")
	if code != 1 || !strings.Contains(stderr, "migrated") {
		t.Errorf("the old store was started again: %d %s", code, stderr)
	}

	s = serve(t, onRedis(t, redis.URL()))
	s.must("POST", "/v1/types/work/resume", nil, nil)
	s.allDone("work", 27)
	for id, n := range h.times() {
		if n != 1 {
			t.Errorf("job %s was delivered %d times", id, n)
		}
	}
	s.stop()
	sound(t, onRedis(t, redis.URL()))
}

// A migration that dies in the middle is begun anew, and nothing is doubled or lost.
func TestKilledMigrationBeginsAnew(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	h := handle(t, nil)
	s := serve(t, inDir(dir))
	settings := keepAll()
	settings["paused"] = true
	s.register("work", h.url, settings)
	const batches, size = 10, 30
	for b := range batches {
		jobs := make([]spec, size)
		for i := range jobs {
			jobs[i] = spec{"id": fmt.Sprintf("j%d-%d", b, i), "data": strings.Repeat("x", 100_000)}
		}
		s.must("POST", "/v1/types/work/jobs", jobs, nil)
	}
	s.stop()

	redis := redistest.SingleServer(t)
	args := []string{"migrate", "--from", dir, "--to", redis.URL()}
	cut := launch(t, inDir(dir), args...)
	for redis.Client().DBSize(t.Context()).Val() < 2 && cut.running() {
		time.Sleep(time.Millisecond)
	}
	cut.kill()
	if cut.cmd.ProcessState.ExitCode() == 0 {
		t.Fatal("the migration ended before it could be killed: give it more to do")
	}
	if out, stderr, code := run(t, inDir(dir), args...); code != 0 {
		t.Fatalf("again: %d %s%s", code, out, stderr)
	}
	sound(t, onRedis(t, redis.URL()))
	s = serve(t, onRedis(t, redis.URL()))
	s.must("POST", "/v1/types/work/resume", nil, nil)
	s.allDone("work", batches*size)
	for id, n := range h.times() {
		if n != 1 {
			t.Errorf("job %s was delivered %d times", id, n)
		}
	}
}

// What is due while nobody runs is done when somebody does.
func TestScheduledJobsOutliveARestart(t *testing.T) {
	t.Parallel()
	env := inDir(t.TempDir())
	h := handle(t, nil)
	s := serve(t, env)
	s.register("work", h.url, keepAll())
	due := time.Now().Add(1500 * time.Millisecond)
	s.push("work", spec{"id": "soon", "data": 1, "when": due.UnixMilli()})
	s.push("work", spec{"id": "someday", "data": 1, "delay": "1h"})
	s.kill()
	s = serve(t, env)
	s.becomes("work", "soon", "succeeded")
	if early := time.Until(due.Truncate(time.Millisecond)); early > 0 {
		t.Errorf("it ran %s too early", early)
	}
	if st := s.job("work", "someday").State; st != "scheduled" {
		t.Error("someday is", st)
	}
	s.must("POST", "/v1/types/work/jobs/someday/promote", nil, nil)
	s.becomes("work", "someday", "succeeded")
	if got := fmt.Sprint(h.times()); got != "map[someday:1 soon:1]" {
		t.Error(got)
	}
}
