package queue

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/deetoo/deetoo/invalid"
)

// Settings of a type that the scripts need beside its queue.
type Settings struct {
	// Version orders settings: an older one never replaces a newer.
	Version int64
	// Concurrency in the whole cluster.
	Concurrency int
	Paused      bool
	// RetainCount and RetainAge say how long finished jobs are kept; 0 in either deletes them at once.
	RetainCount int
	RetainAge   time.Duration
	// Retry is how attempts are repeated that no dispatcher settles.
	Retry RetryPolicy
	// Batch says which jobs go together. The zero value: each goes alone.
	Batch BatchPolicy
	// Outage and Adaptive are nil if the type has none.
	Outage   *OutagePolicy
	Adaptive *AdaptivePolicy
	// Rate of starts, in the whole cluster. Every attempt is one, and one given back has been one.
	Rate Rate
	// Groups are the limits of each of the type's groups.
	Groups GroupLimits
}

// BatchPolicy says how jobs go together in one delivery, which takes one of the type's slots.
type BatchPolicy struct {
	// Size is how many at most: 1 to MaxClaim. 0: each goes alone.
	Size int
	// Wait is how long jobs that are too few for a whole batch wait for company
	// while a slot is free; to the millisecond.
	Wait time.Duration
	// MostBytes is how much data of large jobs (over 4 KiB) one Request brings, unless
	// the first alone has more. Default: 64 MiB.
	MostBytes int
}

// pairs are the fields of control. That a type ever had batches stays known,
// since some may be under way.
func (p BatchPolicy) pairs() []any {
	if p.Size <= 0 {
		return []any{"batch", ""}
	}
	return []any{"batch", fmt.Sprintf("%d %d %d", min(p.Size, MaxClaim), max(p.Wait, 0).Milliseconds(), cmp.Or(max(p.MostBytes, 0), 64<<20)), "batched", "1"}
}

// RetryPolicy says how attempts are repeated that their handler failed or fell
// silent in. The zero value stands for 12 attempts and 1 s to 1 h.
type RetryPolicy struct {
	// MaxAttempts before a job is dead, unless it has its own.
	MaxAttempts int
	// MinBackoff and MaxBackoff bound the wait after attempt n: a random time
	// between 0 and min(MaxBackoff, MinBackoff·2^(n−1)), to the millisecond.
	MinBackoff, MaxBackoff time.Duration
	// NoJitter waits the whole backoff each time.
	NoJitter bool
}

// Configure puts a type's settings in force, unless newer ones are already.
func (q *Queue) Configure(ctx context.Context, typ string, s Settings) error {
	if s.Retry == (RetryPolicy{}) {
		s.Retry = RetryPolicy{MaxAttempts: 12, MinBackoff: time.Second, MaxBackoff: time.Hour}
	}
	_, err := q.run(ctx, q.scripts.configure, q.typeKeys(typ, ""), append([]any{
		s.Version, q.wakeChannel(), typ,
		"limit", s.Concurrency, "paused", flag(s.Paused),
		"keep", s.RetainCount, "age", s.RetainAge.Milliseconds(),
		"attempts", s.Retry.MaxAttempts, "jitter", flag(!s.Retry.NoJitter),
		"backoff", s.Retry.MinBackoff.Milliseconds(), "longest", s.Retry.MaxBackoff.Milliseconds(),
		"outage", s.Outage.encode(), "adaptive", s.Adaptive.encode(),
		"rate", s.Rate.encode(), "groups", s.Groups.encode(),
	}, s.Batch.pairs()...))
	return err
}

// flag is how scripts read a bool.
func flag(b bool) string {
	if b {
		return "1"
	}
	return "0"
}

// Stats counts a type's jobs.
type Stats struct {
	// Waiting is the sum over the priorities; ByPriority may count a few more,
	// since jobs taken from the middle leave their entry until it comes up.
	Waiting    int
	ByPriority map[Priority]int
	Scheduled  int
	Active     int
	Dead       int
	// Finished jobs are the succeeded and cancelled ones still kept.
	Finished int
	// Limit is the concurrency in force.
	Limit  int
	Paused bool
	// Hold is how much longer the type runs one job at a time.
	Hold time.Duration
	// Limited is how long the type's rate lets no job start.
	Limited time.Duration
	// Oldest is how long the oldest waiting job has been due; 0 if none waits. Where there are more
	// than 1,000 groups of a priority, it is that of the 1,000 whose turn is next.
	Oldest time.Duration
	// Outage is nil if all is well.
	Outage *Outage
	// Adaptive is nil if the type's concurrency is fixed.
	Adaptive *Adaptive
	// Endings are jobs that have ended and whose follow-ups are not pushed yet;
	// Troubled are those of them that could not be pushed so far.
	Endings, Troubled int
	// At is when this was counted, by Redis's clock.
	At time.Time
}

// Stats counts the jobs of one type, at a cost that does not grow with them.
func (q *Queue) Stats(ctx context.Context, typ string) (Stats, error) {
	v, err := q.run(ctx, q.scripts.stats, q.typeKeys(typ, ""), nil)
	if err != nil {
		return Stats{}, err
	}
	return decodeStats(v)
}

// statsAtOnce is how many types are counted in one round trip: an engine that is slow answers within the client's patience.
const statsAtOnce = 50

// StatsOf is Stats of many types in a round trip for each fifty; of a cluster, one to each node.
func (q *Queue) StatsOf(ctx context.Context, types []string) (map[string]Stats, error) {
	out := make(map[string]Stats, len(types))
	if q.embedded { // a round trip costs nothing there, and its connections hold no pipeline: they have no buffers
		for _, typ := range types {
			s, err := q.Stats(ctx, typ)
			if err != nil {
				return nil, err
			}
			out[typ] = s
		}
		return out, nil
	}
	for chunk := range slices.Chunk(types, statsAtOnce) {
		if err := q.addStats(ctx, chunk, out); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (q *Queue) addStats(ctx context.Context, types []string, out map[string]Stats) error {
	calls := make([]*redis.Cmd, len(types))
	_, err := q.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, typ := range types {
			calls[i] = q.scripts.stats.EvalSha(ctx, p, q.typeKeys(typ, ""))
		}
		return nil
	})
	if err != nil && !redis.HasErrorPrefix(err, "NOSCRIPT") {
		return Classify(err)
	}
	for i, typ := range types {
		v, err := calls[i].Result()
		if redis.HasErrorPrefix(err, "NOSCRIPT") { // once in the life of a node
			v, err = q.run(ctx, q.scripts.stats, q.typeKeys(typ, ""), nil)
		}
		if err != nil {
			return Classify(err)
		}
		if out[typ], err = decodeStats(v); err != nil {
			return fmt.Errorf("%s: %w", typ, err)
		}
	}
	return nil
}

func decodeStats(v any) (s Stats, err error) {
	r := reply{values: asSlice(v)}
	s.ByPriority = map[Priority]int{}
	for _, p := range Priorities() {
		n := int(r.int())
		s.ByPriority[p] = n
		s.Waiting += n
	}
	s.Waiting -= int(r.int())
	s.Scheduled, s.Active, s.Dead, s.Finished = int(r.int()), int(r.int()), int(r.int()), int(r.int())
	s.Limit, s.Paused, s.Hold = int(r.int()), r.int() == 1, time.Duration(r.int())*time.Millisecond
	if oldest := r.int(); oldest > 0 {
		s.Oldest = time.Duration(oldest) * time.Millisecond
	}
	s.At = time.UnixMilli(r.int())
	s.Limited = time.Duration(r.int()) * time.Millisecond
	outage, policy, state := r.str(), r.str(), r.str()
	s.Endings, s.Troubled = int(r.int()), int(r.int())
	if r.err != nil {
		return Stats{}, fmt.Errorf("stats: %w", r.err)
	}
	if s.Outage, err = decodeOutage(outage); err != nil {
		return Stats{}, fmt.Errorf("stats: %w", err)
	}
	if s.Adaptive, err = decodeAdaptive(policy, state, s.Limit); err != nil {
		return Stats{}, fmt.Errorf("stats: %w", err)
	}
	return s, nil
}

// Purge deletes all jobs of a type in a state, in bounded steps, and returns
// how many: Waiting, Scheduled or Dead; Succeeded and Cancelled go together. Active jobs cannot be purged.
func (q *Queue) Purge(ctx context.Context, typ string, state State) (int, error) {
	if _, err := ParseState(string(state)); err != nil {
		return 0, invalid.Errorf("state", "%s", strings.TrimPrefix(err.Error(), "state "))
	}
	if state == Active {
		return 0, invalid.Errorf("state", "must not be active: running jobs can only be cancelled")
	}
	s, err := q.Stats(ctx, typ)
	if err != nil {
		return 0, err
	}
	total := 0
	for {
		v, err := q.run(ctx, q.scripts.purge, q.typeKeys(typ, "once:"+nonce()), []any{statePlace(state), chunkSize, s.At.UnixMilli()})
		if err != nil {
			return total, err
		}
		answer, _ := v.(string)
		var n, more int
		if _, err := fmt.Sscanf(answer, "%d %d", &n, &more); err != nil {
			return total, fmt.Errorf("purge: unexpected answer %v", v)
		}
		if total += n; more == 0 {
			return total, nil
		}
	}
}

// Destroy deletes a type's whole queue. Unless forced, it refuses with
// ErrNotEmpty while jobs are waiting, scheduled, active or dead, or have follow-ups that are not pushed yet.
func (q *Queue) Destroy(ctx context.Context, typ string, force bool) error {
	flag := "0"
	if force {
		flag = "1"
	}
	v, err := q.run(ctx, q.scripts.destroy, q.typeKeys(typ, ""), []any{flag})
	if err != nil {
		return err
	}
	r := reply{values: asSlice(v)}
	waiting, scheduled, active, dead, endings := r.int(), r.int(), r.int(), r.int(), r.int()
	if r.err != nil {
		return fmt.Errorf("destroy: %w", r.err)
	}
	if !force && waiting+scheduled+active+dead+endings > 0 {
		return fmt.Errorf("%w: %d waiting, %d scheduled, %d running, %d dead, %d with follow-ups to be pushed", ErrNotEmpty, waiting, scheduled, active, dead, endings)
	}
	return nil
}

// Types returns the names of all types that have a queue, sorted. It scans the
// whole key space, so it is for maintenance.
func (q *Queue) Types(ctx context.Context) ([]string, error) {
	found := map[string]bool{}
	var mu sync.Mutex
	err := q.scan(ctx, "{"+q.prefix+":*}:*", func(key string) error {
		if typ, ok := typeOf(q.prefix, key); ok {
			mu.Lock()
			found[typ] = true
			mu.Unlock()
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	var out []string
	for t := range found {
		out = append(out, t)
	}
	sort.Strings(out)
	return out, nil
}

// scan calls fn for each key that matches, on every shard.
func (q *Queue) scan(ctx context.Context, match string, fn func(key string) error) error {
	node := func(ctx context.Context, c redis.UniversalClient) error {
		it := c.Scan(ctx, 0, match, 1000).Iterator()
		for it.Next(ctx) {
			if err := fn(it.Val()); err != nil {
				return err
			}
		}
		return Classify(it.Err())
	}
	if cluster, ok := q.client.(*redis.ClusterClient); ok {
		return cluster.ForEachMaster(ctx, func(ctx context.Context, c *redis.Client) error { return node(ctx, c) })
	}
	return node(ctx, q.client)
}

// Version returns the version of the settings in force for a type; 0 if none.
func (q *Queue) Version(ctx context.Context, typ string) (int64, error) {
	v, err := q.client.HGet(ctx, q.typeKeys(typ, "")[keyControl], "version").Result()
	if errors.Is(err, redis.Nil) {
		return 0, nil
	}
	if err != nil {
		return 0, Classify(err)
	}
	return strconv.ParseInt(v, 10, 64)
}
