package registry

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
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
		if err := s.Close(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
		if err := c.Close(); err != nil {
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

// inProcess is a client of a Redis inside this process, without a port.
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

func storeOn(t testing.TB, client redis.UniversalClient) *Store {
	t.Helper()
	prefix := strings.Map(func(r rune) rune {
		if isAlphanumeric(r) {
			return r
		}
		return '-'
	}, t.Name())
	s, err := NewStore(client, Options{Prefix: prefix[max(0, len(prefix)-60):], Logger: slog.New(slog.DiscardHandler)})
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

func put(t testing.TB, s *Store, typ Type) Type {
	t.Helper()
	stored, _, err := s.Put(t.Context(), typ, PutOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return stored
}

// running runs a directory until the test ends.
func running(t testing.TB, s *Store, log *slog.Logger) *Directory {
	d := NewDirectory(s, log)
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() {
		if err := d.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { cancel(); done.Wait() })
	return d
}

// eventually waits for a condition, and fails after ten seconds.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 10 s: %s", what)
		}
	}
}
