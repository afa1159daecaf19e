package queue_test

import (
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

// single and cluster are shared by all tests of the package, on keys of their own.
var (
	single  *redistest.Server
	cluster *redistest.ClusterServers
)

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(func() int {
		var errs [2]error
		var wg sync.WaitGroup
		wg.Go(func() { single, errs[0] = redistest.Start(redistest.Options{}) })
		wg.Go(func() { cluster, errs[1] = redistest.StartCluster(redistest.Options{}) })
		wg.Wait()
		if single != nil {
			defer single.Close()
		}
		if cluster != nil {
			defer cluster.Close()
		}
		for _, err := range errs {
			if err != nil {
				fmt.Fprintln(os.Stderr, err)
				return 1
			}
		}
		return m.Run()
	}())
}

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

func TestRedis(t *testing.T) {
	queuetest.Run(t, queuetest.Engine{Client: func(testing.TB) redis.UniversalClient { return single.Client() }})
}

func TestCluster(t *testing.T) {
	queuetest.Run(t, queuetest.Engine{Client: func(testing.TB) redis.UniversalClient { return cluster.Client() }})
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

func TestModelEmbedded(t *testing.T) {
	runs(t, 40, 60)
	var mu sync.Mutex
	now := time.UnixMilli(1_800_000_000_000)
	clock := func(d time.Duration) time.Time {
		mu.Lock()
		defer mu.Unlock()
		now = now.Add(d)
		return now
	}
	client := memory(t, func() time.Time { return clock(0) })
	queuetest.Model(t, queuetest.ModelEngine{Client: client, Embedded: true, Clock: clock})
}

func TestModelRedis(t *testing.T) {
	runs(t, 40, 60)
	queuetest.Model(t, queuetest.ModelEngine{Client: single.Client()})
}

func TestModelCluster(t *testing.T) {
	runs(t, 20, 60)
	queuetest.Model(t, queuetest.ModelEngine{Client: cluster.Client()})
}
