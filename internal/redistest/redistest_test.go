package redistest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
)

func TestSingleAnswersAndKeepsNothing(t *testing.T) {
	c := Single(t)
	ctx := context.Background()
	if err := c.Set(ctx, "k", "v", 0).Err(); err != nil {
		t.Fatal(err)
	}
	save, err := c.ConfigGet(ctx, "save").Result()
	if err != nil || save["save"] != "" {
		t.Errorf("save = %q, %v; want none", save, err)
	}
}

func TestServersAreSeparate(t *testing.T) {
	a, b := SingleServer(t), SingleServer(t)
	ctx := context.Background()
	if err := a.Client().Set(ctx, "k", "v", 0).Err(); err != nil {
		t.Fatal(err)
	}
	if err := b.Client().Get(ctx, "k").Err(); !errors.Is(err, redis.Nil) {
		t.Errorf("the other server answers %v, want no such key", err)
	}
}

func TestURLIsGoRedis(t *testing.T) {
	s := SingleServer(t)
	opts, err := redis.ParseURL(s.URL())
	if err != nil {
		t.Fatal(err)
	}
	c := redis.NewClient(opts)
	defer c.Close()
	if err := c.Ping(context.Background()).Err(); err != nil {
		t.Error(err)
	}
}

func TestRestartKeepsPortAndFolder(t *testing.T) {
	s := SingleServer(t, "--appendonly", "yes", "--appendfsync", "always")
	ctx := context.Background()
	addr := s.Addr()
	for i, end := range []func() error{s.Stop, s.Kill} {
		key := fmt.Sprint("k", i)
		if err := s.Client().Set(ctx, key, "v", 0).Err(); err != nil {
			t.Fatal(err)
		}
		if err := end(); err != nil {
			t.Fatal(err)
		}
		if err := s.Client().Ping(ctx).Err(); err == nil {
			t.Fatal("an ended server answers")
		}
		if err := s.Start(); err != nil {
			t.Fatal(err)
		}
		if got, err := s.Client().Get(ctx, key).Result(); got != "v" || err != nil {
			t.Errorf("after restart %d: %q, %v", i, got, err)
		}
	}
	if s.Addr() != addr {
		t.Errorf("address %s became %s", addr, s.Addr())
	}
	if err := s.Start(); err == nil {
		t.Error("a running server was started again")
	}
}

func TestCloseEndsProcessAndRemovesFolder(t *testing.T) {
	s, err := Start(Options{})
	if err != nil {
		t.Fatal(err)
	}
	proc := s.proc
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if proc.cmd.ProcessState == nil {
		t.Error("the process still runs")
	}
	if _, err := os.Stat(s.dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the folder is still there: %v", err)
	}
}

func TestBadArgumentTellsTheServersLog(t *testing.T) {
	_, err := Start(Options{Args: []string{"--no-such-directive", "1"}})
	if err == nil || !strings.Contains(err.Error(), "no-such-directive") {
		t.Errorf("error %v does not carry redis-server's own words", err)
	}
}

func TestMissingBinarySaysHowToInstallIt(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	_, err := Start(Options{})
	if !errors.Is(err, ErrMissing) || !strings.Contains(err.Error(), "apt-get install redis-server") {
		t.Errorf("error %v", err)
	}
	if _, err := StartCluster(Options{}); !errors.Is(err, ErrMissing) {
		t.Errorf("cluster: error %v", err)
	}
}

func TestClusterSpreadsKeysOverThreeMasters(t *testing.T) {
	addrs, c := Cluster(t)
	if len(addrs) != 3 {
		t.Fatalf("%d addresses, want 3", len(addrs))
	}
	ctx := context.Background()
	const keys = 100
	for i := range keys {
		if err := c.Set(ctx, fmt.Sprint("k", i), i, 0).Err(); err != nil {
			t.Fatal(err)
		}
	}
	total := int64(0)
	for _, addr := range addrs {
		node := redis.NewClient(&redis.Options{Addr: addr})
		n, err := node.DBSize(ctx).Result()
		if err := errors.Join(err, node.Close()); err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			t.Errorf("%s holds no key", addr)
		}
		total += n
	}
	if total != keys {
		t.Errorf("the masters hold %d keys, want %d", total, keys)
	}
}
