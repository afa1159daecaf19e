package schedule

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
	"go.uber.org/goleak"

	"github.com/deetoo/deetoo/internal/redistest"
)

// The real servers of this package's tests, each of which has its own prefix.
var single, cluster redis.UniversalClient

func TestMain(m *testing.M) {
	os.Exit(func() int {
		s, err := redistest.Start(redistest.Options{})
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		c, err := redistest.StartCluster(redistest.Options{})
		if err != nil {
			fmt.Fprintln(os.Stderr, err, s.Close())
			return 1
		}
		single, cluster = s.Client(), c.Client()
		code := m.Run()
		if err := errors.Join(s.Close(), c.Close()); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
		if err := goleak.Find(); code == 0 && err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return code
	}())
}

// inProcess is a client of a Redis inside this process, without a port; in a
// synctest bubble its clock is the bubble's.
func inProcess(t testing.TB) *redis.Client {
	m := miniredis.NewMiniRedis()
	m.ClockTTL(true)
	client := redis.NewClient(&redis.Options{
		Dialer:                   func(context.Context, string, string) (net.Conn, error) { return m.Dial() },
		DisableIdentity:          true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})
	t.Cleanup(func() {
		_ = client.Close()
		m.Close()
	})
	return client
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func storeOn(t testing.TB, client redis.UniversalClient) *Store {
	t.Helper()
	prefix := strings.Map(func(r rune) rune {
		if validName(string(r)) {
			return r
		}
		return '-'
	}, t.Name())
	s, err := NewStore(client, Options{Prefix: prefix[max(0, len(prefix)-60):], Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// onEach runs a test on every kind of Redis there is.
func onEach(t *testing.T, test func(t *testing.T, s *Store)) {
	for name, client := range map[string]redis.UniversalClient{"in-process": inProcess(t), "single": single, "cluster": cluster} {
		t.Run(name, func(t *testing.T) { test(t, storeOn(t, client)) })
	}
}

func put(t testing.TB, s *Store, sched Schedule) Schedule {
	t.Helper()
	if sched.Job == nil {
		sched.Job = []byte(`{"data":1}`)
	}
	stored, _, err := s.Update(t.Context(), sched.Name, PutOptions{}, func(*Schedule) (Schedule, error) { return sched, nil })
	if err != nil {
		t.Fatal(err)
	}
	return stored
}

func every(name string, d time.Duration) Schedule {
	s := New(name, "work")
	s.Every = d
	return s
}

// recorder is Jobs that remembers. What is in unfinished has not ended.
type recorder struct {
	mu         sync.Mutex
	keys       map[string]bool
	pushed     []string // IDs, in order
	due        map[string]time.Time
	repeated   int
	unfinished map[string]bool
	running    map[string]bool
	withdrawn  []string
	fail       error // what PushOnce answers, if set
}

func newRecorder() *recorder {
	return &recorder{keys: map[string]bool{}, due: map[string]time.Time{}, unfinished: map[string]bool{}, running: map[string]bool{}}
}

func (r *recorder) PushOnce(_ context.Context, key, _, id string, _ []byte, due time.Time) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fail != nil {
		return r.fail
	}
	if r.keys[key] {
		r.repeated++
		return nil
	}
	r.keys[key], r.due[id] = true, due
	r.pushed = append(r.pushed, id)
	return nil
}

func (r *recorder) Finished(_ context.Context, _, id string) (bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return !r.unfinished[id] && !r.running[id], nil
}

func (r *recorder) Withdraw(_ context.Context, _, id string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.unfinished[id] && !r.running[id] {
		delete(r.unfinished, id)
		r.withdrawn = append(r.withdrawn, id)
	}
	return nil
}

func (r *recorder) set(fn func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	fn()
}

func (r *recorder) list() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.pushed)
}

// running runs a clock until stop is called, or the test ends.
func running(t testing.TB, s *Store, jobs Jobs) (stop func()) {
	t.Helper()
	c, err := NewClock(ClockOptions{Store: s, Jobs: jobs, Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() { c.Run(ctx) })
	stop = func() { cancel(); done.Wait() }
	t.Cleanup(stop)
	return stop
}

func history(t testing.TB, s *Store, name string) string {
	t.Helper()
	all, err := s.History(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, f := range slices.Backward(all) {
		out = append(out, string(f.Outcome))
	}
	return strings.Join(out, " ")
}
