package queue_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/deetoo/deetoo/internal/redistest"
	"github.com/deetoo/deetoo/queue/embedded"
	"github.com/deetoo/deetoo/queue/queuetest"
)

// servers start when the first test needs them and are shared by all, on keys
// of their own.
type servers struct {
	mu      sync.Mutex
	single  *redistest.Server
	cluster *redistest.ClusterServers
}

var shared servers

func TestMain(m *testing.M) {
	code := m.Run()
	shared.mu.Lock()
	defer shared.mu.Unlock()
	var errs []error
	if shared.single != nil {
		errs = append(errs, shared.single.Close())
	}
	if shared.cluster != nil {
		errs = append(errs, shared.cluster.Close())
	}
	if err := errors.Join(errs...); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = max(code, 1)
	}
	os.Exit(code)
}

func single(t testing.TB) redis.UniversalClient {
	shared.mu.Lock()
	defer shared.mu.Unlock()
	if shared.single == nil {
		s, err := redistest.Start(redistest.Options{})
		if err != nil {
			t.Fatal(err)
		}
		shared.single = s
	}
	return shared.single.Client()
}

func cluster(t testing.TB) *redistest.ClusterServers {
	shared.mu.Lock()
	defer shared.mu.Unlock()
	if shared.cluster == nil {
		c, err := redistest.StartCluster(redistest.Options{})
		if err != nil {
			t.Fatal(err)
		}
		shared.cluster = c
	}
	return shared.cluster
}

func clusterClient(t testing.TB) redis.UniversalClient { return cluster(t).Client() }

func memory(t testing.TB, now func() time.Time) redis.UniversalClient {
	c, end, err := embedded.Memory(now)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := end(); err != nil {
			t.Error(err)
		}
	})
	return c
}

func TestEmbedded(t *testing.T) {
	queuetest.Run(t, queuetest.Engine{
		Client:   func(t testing.TB) redis.UniversalClient { return memory(t, nil) },
		Embedded: true, Virtual: true,
	})
}

func TestEmbeddedOnDisk(t *testing.T) {
	store, err := embedded.Open(t.Context(), embedded.Options{Dir: t.TempDir()})
	must(t, err)
	t.Cleanup(func() { must(t, store.Close()) })
	queuetest.Run(t, queuetest.Engine{Client: func(testing.TB) redis.UniversalClient { return store.Client() }, Embedded: true})
}

func TestRedis(t *testing.T) {
	queuetest.Run(t, queuetest.Engine{Client: single})
}

func TestCluster(t *testing.T) {
	queuetest.Run(t, queuetest.Engine{Client: clusterClient})
}

// runs sets rapid's number of runs and steps a run, unless the command line does.
func runs(t *testing.T, n, steps int) {
	given := map[string]bool{}
	flag.Visit(func(f *flag.Flag) { given[f.Name] = true })
	for name, value := range map[string]int{"rapid.checks": n, "rapid.steps": steps} {
		if old := flag.Lookup(name).Value; !given[name] {
			was := old.String()
			if err := old.Set(fmt.Sprint(value)); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = old.Set(was) })
		}
	}
}

// stopped is a clock that moves when it is told to.
func stopped() func(time.Duration) time.Time {
	var mu sync.Mutex
	now := time.UnixMilli(1_800_000_000_000)
	return func(d time.Duration) time.Time {
		mu.Lock()
		defer mu.Unlock()
		now = now.Add(d)
		return now
	}
}

func TestModelEmbedded(t *testing.T) {
	runs(t, 12, 60)
	clock := stopped()
	client := memory(t, func() time.Time { return clock(0) })
	queuetest.Model(t, queuetest.ModelEngine{Client: client, Embedded: true, Clock: clock})
}

// On disk, restarts belong to the steps, and compaction is frequent.
func TestModelEmbeddedOnDisk(t *testing.T) {
	runs(t, 4, 60)
	clock := stopped()
	dir := t.TempDir()
	var store *embedded.Store
	restart := func() redis.UniversalClient {
		if store != nil {
			must(t, store.Close())
		}
		var err error
		store, err = embedded.Open(context.Background(), embedded.Options{Dir: dir, CompactCommands: 200, Now: func() time.Time { return clock(0) }})
		must(t, err)
		return store.Client()
	}
	client := restart()
	t.Cleanup(func() { must(t, store.Close()) })
	queuetest.Model(t, queuetest.ModelEngine{Client: client, Embedded: true, Clock: clock, Restart: restart})
}

func TestModelRedis(t *testing.T) {
	runs(t, 12, 60)
	queuetest.Model(t, queuetest.ModelEngine{Client: single(t)})
}

func TestModelCluster(t *testing.T) {
	runs(t, 6, 60)
	queuetest.Model(t, queuetest.ModelEngine{Client: clusterClient(t)})
}
