package queue

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/deetoo/deetoo/internal/redistest"
)

// Each damage is planted in a healthy queue, and Fsck must name it.
func TestFsckFindsDamage(t *testing.T) {
	client := redistest.Single(t)
	ctx := context.Background()
	const typ = "email"
	for name, c := range map[string]struct {
		plant func(redis.UniversalClient, []string) error
		found string
	}{
		"a record that cannot be read": {func(c redis.UniversalClient, k []string) error {
			return c.HSet(ctx, k[0], "waiting", "junk").Err()
		}, "job waiting has a damaged record"},
		"a priority there is not": {func(c redis.UniversalClient, k []string) error {
			return c.HSet(ctx, k[0], "waiting", "q9- 0 0 1 0\n\nnull").Err()
		}, "job waiting has a damaged record"},
		"a waiting job in no list": {func(c redis.UniversalClient, k []string) error {
			return c.LRem(ctx, k[12], 1, "waiting").Err()
		}, "job waiting waits in no list"},
		"a waiting job in another list": {func(c redis.UniversalClient, k []string) error {
			c.LRem(ctx, k[12], 1, "waiting")
			return c.RPush(ctx, k[10], "waiting").Err()
		}, "job waiting waits in no list"},
		"an entry too many": {func(c redis.UniversalClient, k []string) error {
			return c.RPush(ctx, k[12], "waiting").Err()
		}, "1 left-over entries in the waiting lists, but 0 are counted"},
		"a left-over entry too many counted": {func(c redis.UniversalClient, k []string) error {
			return c.HIncrBy(ctx, k[keyControl], "wstale", 1).Err()
		}, "0 left-over entries in the waiting lists, but 1 are counted"},
		"the same of finished": {func(c redis.UniversalClient, k []string) error {
			return c.HIncrBy(ctx, k[keyControl], "fstale", 1).Err()
		}, "0 left-over entries in the finished list, but 1 are counted"},
		"scheduled and active": {func(c redis.UniversalClient, k []string) error {
			return c.ZAdd(ctx, k[6], redis.Z{Score: 9e12, Member: "active"}).Err()
		}, "job active is in more than one place"},
		"queued and dead": {func(c redis.UniversalClient, k []string) error {
			return c.ZAdd(ctx, k[7], redis.Z{Score: 1, Member: "waiting"}).Err()
		}, "job waiting is in more than one place"},
		"a dead job that is not among them": {func(c redis.UniversalClient, k []string) error {
			return c.ZRem(ctx, k[7], "dead").Err()
		}, "dead job dead is not among the dead alone"},
		"finished and scheduled": {func(c redis.UniversalClient, k []string) error {
			return c.ZAdd(ctx, k[6], redis.Z{Score: 9e12, Member: "succeeded"}).Err()
		}, "finished job succeeded is in more than one place"},
		"a finished job in no list": {func(c redis.UniversalClient, k []string) error {
			return c.Del(ctx, k[8]).Err()
		}, "finished job succeeded is in no list"},
		"a blob without its record's word": {func(c redis.UniversalClient, k []string) error {
			return c.HSet(ctx, k[1], "waiting", "data").Err()
		}, "job waiting: its record and its blob disagree"},
		"a record without its blob": {func(c redis.UniversalClient, k []string) error {
			return c.HDel(ctx, k[1], "scheduled").Err()
		}, "job scheduled: its record and its blob disagree"},
		"a blob of no job": {func(c redis.UniversalClient, k []string) error {
			return c.HSet(ctx, k[1], "ghost", "data").Err()
		}, "blobs holds ghost, which is no job"},
		"a result of no job": {func(c redis.UniversalClient, k []string) error {
			return c.HSet(ctx, k[2], "ghost", "data").Err()
		}, "results holds ghost, which is no job"},
		"a history of no job": {func(c redis.UniversalClient, k []string) error {
			return c.HSet(ctx, k[3], "ghost", "{}").Err()
		}, "attempts holds ghost, which is no job"},
		"a report of no job": {func(c redis.UniversalClient, k []string) error {
			return c.HSet(ctx, k[keyReports], "ghost", "token\n").Err()
		}, "reports holds ghost, which is no job"},
		"a batch that ended": {func(c redis.UniversalClient, k []string) error {
			return c.HSet(ctx, strings.TrimSuffix(k[0], "jobs")+"batches", "R-1", 2).Err()
		}, "batch R-1 has no lease, but 2 are counted"},
		"a batch that is not counted": {func(c redis.UniversalClient, k []string) error {
			return c.HSet(ctx, k[4], "active", "R-1.1 1 me").Err()
		}, "batch R-1 has 1 leases, but \"\" are counted"},
		"a lease that cannot be read": {func(c redis.UniversalClient, k []string) error {
			return c.HSet(ctx, k[4], "active", "token 1 me hx c").Err()
		}, "job active has a damaged lease"},
		"a lease of a job that does not run": {func(c redis.UniversalClient, k []string) error {
			return c.HSet(ctx, k[4], "waiting", "token 1 me").Err()
		}, "job waiting has a lease but is not active"},
		"a running job without a lease": {func(c redis.UniversalClient, k []string) error {
			return c.HDel(ctx, k[4], "active").Err()
		}, "job active is active without a lease"},
		"active, but no job": {func(c redis.UniversalClient, k []string) error {
			c.HSet(ctx, k[4], "ghost", "token 1 me")
			return c.ZAdd(ctx, k[5], redis.Z{Score: 9e12, Member: "ghost"}).Err()
		}, "active holds ghost, which is no job"},
		"scheduled, but no job": {func(c redis.UniversalClient, k []string) error {
			return c.ZAdd(ctx, k[6], redis.Z{Score: 9e12, Member: "ghost"}).Err()
		}, "scheduled holds ghost, which is no job"},
		"dead, but no job": {func(c redis.UniversalClient, k []string) error {
			return c.ZAdd(ctx, k[7], redis.Z{Score: 1, Member: "ghost"}).Err()
		}, "dead holds ghost, which is no job"},
		"a dead job in no group": {func(c redis.UniversalClient, k []string) error {
			return c.HDel(ctx, beside(k, "buried"), "dead").Err()
		}, "dead job dead is in no group"},
		"in a group, but not dead": {func(c redis.UniversalClient, k []string) error {
			return c.HSet(ctx, beside(k, "buried"), "waiting", "other").Err()
		}, "job waiting is in a group of dead jobs, but not dead"},
		"a group with one too many": {func(c redis.UniversalClient, k []string) error {
			return c.HSet(ctx, beside(k, "graves"), "other", "1 5 6 500 dead\nfailure\nerror").Err()
		}, "group other of dead jobs has 0, but 1 are counted"},
		"a group that is not there": {func(c redis.UniversalClient, k []string) error {
			return c.Del(ctx, beside(k, "graves")).Err()
		}, "has 1, but there is no such group"},
		"a group that cannot be read": {func(c redis.UniversalClient, k []string) error {
			return c.HSet(ctx, beside(k, "graves"), "other", "junk").Err()
		}, "group other of dead jobs"},
		"a canary of nothing": {func(c redis.UniversalClient, k []string) error {
			c.HSet(ctx, k[keyControl], "canaries", 1)
			return c.HSet(ctx, beside(k, "canaries"), "waiting", "gone").Err()
		}, "job waiting is a canary of redrive gone, which does not go on"},
		"a canary too many": {func(c redis.UniversalClient, k []string) error {
			return c.HSet(ctx, k[keyControl], "canaries", 1).Err()
		}, "0 canaries, but 1 are counted"},
		"a redrive nobody looks at": {func(c redis.UniversalClient, k []string) error {
			return c.ZAdd(ctx, beside(k, "redriving"), redis.Z{Score: 1, Member: "op"}).Err()
		}, "redrive op goes on, but nobody would look at it"},
		"a redrive that is not listed": {func(c redis.UniversalClient, k []string) error {
			return c.ZAdd(ctx, beside(k, "redriving"), redis.Z{Score: 1, Member: "op"}).Err()
		}, "redrive op goes on, but is not listed"},
		"nobody looks in time": {func(c redis.UniversalClient, k []string) error {
			return c.HSet(ctx, k[keyControl], "due", "9999999999999").Err()
		}, "scheduled job scheduled is due before the type is looked at"},
		"nobody looks at all": {func(c redis.UniversalClient, k []string) error {
			return c.HDel(ctx, k[keyControl], "due").Err()
		}, "scheduled job scheduled is due before the type is looked at"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			q, err := New(client, Options{Prefix: strings.ToLower(nonce())})
			if err == nil {
				err = oneInEachState(ctx, q, typ)
			}
			if err != nil {
				t.Fatal(err)
			}
			if found, err := q.Fsck(ctx, typ); err != nil || len(found) > 0 {
				t.Fatalf("before: %v, %v", found, err)
			}
			if err := c.plant(client, q.typeKeys(typ, "")); err != nil {
				t.Fatal(err)
			}
			found, err := q.Fsck(ctx, typ)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(strings.Join(found, "\n"), c.found) {
				t.Errorf("found %q, want %q", found, c.found)
			}
		})
	}
}

// beside returns a key of the type that is not among the scripts' KEYS.
func beside(keys []string, name string) string {
	return strings.TrimSuffix(keys[keyControl], "control") + name
}

func oneInEachState(ctx context.Context, q *Queue, typ string) error {
	if err := q.Configure(ctx, typ, Settings{Version: 1, Concurrency: 9, RetainCount: 9, RetainAge: time.Hour}); err != nil {
		return err
	}
	if _, err := q.Push(ctx, Job{Type: typ, ID: "succeeded"}, Job{Type: typ, ID: "dead"}, Job{Type: typ, ID: "active"}, Job{Type: typ, ID: "waiting"},
		Job{Type: typ, ID: "scheduled", Delay: time.Hour, Data: []byte(`"` + strings.Repeat("x", blobSize) + `"`)}); err != nil {
		return err
	}
	b, err := q.Exchange(ctx, typ, nil, 3)
	if err != nil {
		return err
	}
	_, err = q.Exchange(ctx, typ, []Settlement{
		{ID: "succeeded", Token: b.Leases[0].Token, Verdict: Done, Result: []byte("result")},
		{ID: "dead", Token: b.Leases[1].Token, Verdict: Bury, Attempt: Attempt{N: 1, Outcome: "dead"}},
	}, 0)
	return err
}
