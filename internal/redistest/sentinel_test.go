package redistest

import (
	"context"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

func TestSentinelFailsOverToTheReplica(t *testing.T) {
	master := SingleServer(t)
	replica := Replica(t, master)
	watcher := Sentinel(t, "main", master)
	ctx := context.Background()
	c := redis.NewFailoverClient(&redis.FailoverOptions{MasterName: "main", SentinelAddrs: []string{watcher.Addr()}})
	defer c.Close()
	if err := c.Set(ctx, "k", "v", 0).Err(); err != nil {
		t.Fatal(err)
	}
	if n, err := master.Client().Do(ctx, "WAIT", 1, 5000).Int(); n != 1 || err != nil {
		t.Fatalf("WAIT: %d, %v", n, err)
	}
	AwaitReplica(t, watcher, "main")
	if err := master.Kill(); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(20 * time.Second); c.Set(ctx, "after", "v", 0).Err() != nil; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("no master answers after the failover")
		}
	}
	if v, err := replica.Client().Get(ctx, "after").Result(); v != "v" || err != nil {
		t.Errorf("the new master is not the replica: %q, %v", v, err)
	}
}
