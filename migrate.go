package deetoo

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/deetoo/deetoo/invalid"
	"github.com/deetoo/deetoo/queue"
	"github.com/deetoo/deetoo/queue/embedded"
)

// MigrateOptions of Migrate. DataDir and RedisURL are required.
type MigrateOptions struct {
	// DataDir of the dispatcher on the embedded store; it must not be running.
	DataDir string
	// RedisURL of the Redis to move into; see ConnectRedis.
	RedisURL string
	// Prefix of the Redis keys. Default: "deetoo".
	Prefix string
	// Logger hears of trouble. Default: slog.Default().
	Logger *slog.Logger
}

// Migrated says what Migrate moved.
type Migrated struct {
	Keys, Types int
}

// ErrNotEmpty says that a Redis to migrate into has DeeToo's keys already.
var ErrNotEmpty = errors.New("the Redis already holds jobs or job types under this prefix")

// Migrate copies everything in an embedded store into a Redis that holds
// nothing under the prefix yet, checks the copy, and marks the old store so that it is not
// started again by accident. If it is cut short, running it again begins anew. Jobs that were running keep their
// leases, and run again when those end.
func Migrate(ctx context.Context, o MigrateOptions) (moved Migrated, err error) {
	opts := Options{DataDir: o.DataDir, Prefix: o.Prefix, Logger: o.Logger}.withDefaults()
	opts.Prefix = opts.prefix()
	if o.RedisURL == "" {
		return moved, invalid.Errorf("to", "is required")
	}
	// A prefix that is a pattern would find, and delete, what is not ours.
	if err := (queue.Options{Prefix: opts.Prefix}).Validate(); err != nil {
		return moved, err
	}
	if err := storeExists(opts.DataDir); err != nil {
		return moved, err
	}
	target, err := ConnectRedis(o.RedisURL)
	if err != nil {
		return moved, err
	}
	defer func() { err = errors.Join(err, target.Close()) }()
	dir := EmbeddedDir(opts.DataDir)
	store, err := embedded.Open(ctx, embedded.Options{Dir: dir, Logger: opts.Logger})
	if err != nil {
		return moved, err
	}
	closed := false
	defer func() {
		if !closed {
			err = errors.Join(err, store.Close())
		}
	}()

	m := &migration{from: store.Client(), to: target, prefix: opts.Prefix}
	if err := m.complete(ctx); err != nil {
		return moved, err
	}
	if err := m.begin(ctx, store.ID()); err != nil {
		return moved, err
	}
	if moved.Keys, err = m.copyAll(ctx); err != nil {
		return moved, queue.Classify(err)
	}
	if moved.Types, err = m.check(ctx, opts); err != nil {
		return moved, err
	}
	closed = true
	if err := store.Close(); err != nil {
		return moved, err
	}
	if err := embedded.MarkMigrated(dir, redisPlace(o.RedisURL)); err != nil {
		return moved, err
	}
	if err := target.Del(ctx, m.marker()).Err(); err != nil {
		return moved, fmt.Errorf("everything is moved, but for the mark of it: delete the key %s in that Redis: %w", m.marker(), queue.Classify(err))
	}
	return moved, nil
}

// ErrMigrating says that a Redis holds part of a copy: what would be stored
// there now is deleted when the migration begins anew.
var ErrMigrating = errors.New("a migration into this Redis was not finished; run it again first")

// migrated refuses a Redis with part of a copy.
func migrated(ctx context.Context, c redis.UniversalClient, o Options) error {
	if o.RedisURL == "" {
		return nil
	}
	n, err := c.Exists(ctx, (&migration{prefix: o.prefix()}).marker()).Result()
	if err == nil && n > 0 {
		return ErrMigrating
	}
	return queue.Classify(err)
}

type migration struct {
	from, to redis.UniversalClient
	prefix   string
}

// marker is the key that says whose migration is under way.
func (m *migration) marker() string { return "{" + m.prefix + "}:migrating" }

// complete refuses a store that the prefix does not tell all of: what is left
// behind would be lost when the store is marked as moved.
func (m *migration) complete(ctx context.Context) error {
	var found int64
	if err := m.scan(ctx, m.from, func(string) error { found++; return nil }); err != nil {
		return queue.Classify(err)
	}
	all, err := m.from.DBSize(ctx).Result()
	if err != nil {
		return queue.Classify(err)
	}
	if found == 0 || found < all {
		return invalid.Errorf("prefix", "must be that of the store: of its %d keys, %d begin with %q", all, found, m.prefix)
	}
	return nil
}

// begin claims the target: it must be empty, or hold a copy by this very store that was cut short, which is deleted.
func (m *migration) begin(ctx context.Context, id string) error {
	fresh, err := m.to.SetNX(ctx, m.marker(), id, 0).Result()
	if err != nil {
		return queue.Classify(err)
	}
	owner, err := m.to.Get(ctx, m.marker()).Result()
	if err != nil {
		return queue.Classify(err)
	}
	if owner != id {
		return fmt.Errorf("%w: another store's migration into it has not been finished", ErrNotEmpty)
	}
	var left []string
	err = m.scan(ctx, m.to, func(key string) error {
		if key != m.marker() {
			left = append(left, key)
		}
		return nil
	})
	if err != nil {
		return queue.Classify(err)
	}
	if fresh && len(left) > 0 {
		return errors.Join(ErrNotEmpty, m.to.Del(ctx, m.marker()).Err())
	}
	for _, key := range left {
		if err := m.to.Unlink(ctx, key).Err(); err != nil {
			return queue.Classify(err)
		}
	}
	return nil
}

// scan calls fn for every key of the prefix, once.
func (m *migration) scan(ctx context.Context, c redis.UniversalClient, fn func(key string) error) error {
	var mu sync.Mutex
	seen := map[string]bool{}
	node := func(ctx context.Context, c redis.UniversalClient) error {
		for _, match := range []string{"{" + m.prefix + "}:*", "{" + m.prefix + ":*}:*"} {
			it := c.Scan(ctx, 0, match, 1000).Iterator()
			for it.Next(ctx) {
				mu.Lock()
				known := seen[it.Val()]
				seen[it.Val()] = true
				mu.Unlock()
				if known {
					continue
				}
				if err := fn(it.Val()); err != nil {
					return err
				}
			}
			if err := it.Err(); err != nil {
				return err
			}
		}
		return nil
	}
	if cluster, ok := c.(*redis.ClusterClient); ok {
		var one sync.Mutex
		return cluster.ForEachMaster(ctx, func(ctx context.Context, c *redis.Client) error {
			one.Lock()
			defer one.Unlock()
			return node(ctx, c)
		})
	}
	return node(ctx, c)
}

// copyAll copies every key, in bounded steps.
func (m *migration) copyAll(ctx context.Context) (int, error) {
	n := 0
	err := m.scan(ctx, m.from, func(key string) error {
		n++
		if err := m.copyKey(ctx, key); err != nil {
			return fmt.Errorf("key %s: %w", key, err)
		}
		return nil
	})
	return n, err
}

// copyStep is how many elements are read and written at once.
const copyStep = 500

func (m *migration) copyKey(ctx context.Context, key string) error {
	kind, err := m.from.Type(ctx, key).Result()
	if err != nil {
		return err
	}
	switch kind {
	case "none": // expired since it was seen
		return nil
	case "string":
		return m.copyString(ctx, key)
	case "hash":
		return m.copyHash(ctx, key)
	case "list":
		return m.copyList(ctx, key)
	case "zset":
		return m.copySet(ctx, key)
	}
	return fmt.Errorf("a %s, which DeeToo does not write", kind)
}

func (m *migration) copyString(ctx context.Context, key string) error {
	v, err := m.from.Get(ctx, key).Result()
	if errors.Is(err, redis.Nil) {
		return nil
	}
	if err != nil {
		return err
	}
	ttl, err := m.from.PTTL(ctx, key).Result()
	if err != nil {
		return err
	}
	return m.to.Set(ctx, key, v, max(ttl, 0).Truncate(time.Millisecond)).Err()
}

func (m *migration) copyHash(ctx context.Context, key string) error {
	var cursor uint64
	for {
		kv, next, err := m.from.HScan(ctx, key, cursor, "", copyStep).Result()
		if err != nil {
			return err
		}
		for len(kv) > 0 {
			n := min(len(kv), 2*copyStep)
			if err := m.to.HSet(ctx, key, kv[:n]).Err(); err != nil {
				return err
			}
			kv = kv[n:]
		}
		if cursor = next; cursor == 0 {
			ttl, err := m.from.PTTL(ctx, key).Result() // workflows have one
			if err == nil && ttl > 0 {
				err = m.to.PExpire(ctx, key, ttl).Err()
			}
			return err
		}
	}
}

func (m *migration) copyList(ctx context.Context, key string) error {
	for start := int64(0); ; start += copyStep {
		part, err := m.from.LRange(ctx, key, start, start+copyStep-1).Result()
		if err != nil || len(part) == 0 {
			return err
		}
		values := make([]any, len(part))
		for i, v := range part {
			values[i] = v
		}
		if err := m.to.RPush(ctx, key, values...).Err(); err != nil {
			return err
		}
	}
}

func (m *migration) copySet(ctx context.Context, key string) error {
	for start := int64(0); ; start += copyStep {
		part, err := m.from.ZRangeWithScores(ctx, key, start, start+copyStep-1).Result()
		if err != nil || len(part) == 0 {
			return err
		}
		if err := m.to.ZAdd(ctx, key, part...).Err(); err != nil {
			return err
		}
	}
}

// check compares each key's length on both sides, and runs fsck on the copy.
func (m *migration) check(ctx context.Context, opts Options) (types int, err error) {
	err = m.scan(ctx, m.from, func(key string) error {
		if ttl, err := m.from.PTTL(ctx, key).Result(); err != nil || ttl > 0 {
			return err // what expires may have done so on either side
		}
		want, err := length(ctx, m.from, key)
		if err != nil {
			return err
		}
		got, err := length(ctx, m.to, key)
		if err != nil {
			return err
		}
		if got != want {
			return fmt.Errorf("key %s has %d elements in the copy, not %d", key, got, want)
		}
		return nil
	})
	if err != nil {
		return 0, queue.Classify(err)
	}
	q, err := queue.New(m.to, queue.Options{Prefix: opts.Prefix})
	if err != nil {
		return 0, err
	}
	names, err := q.Types(ctx)
	if err != nil {
		return 0, err
	}
	for _, name := range names {
		problems, err := q.Fsck(ctx, name)
		if err != nil {
			return 0, err
		}
		if len(problems) > 0 {
			return 0, fmt.Errorf("the copy of type %s is not sound: %s", name, problems[0])
		}
	}
	return len(names), nil
}

func length(ctx context.Context, c redis.UniversalClient, key string) (int64, error) {
	kind, err := c.Type(ctx, key).Result()
	if err != nil {
		return 0, err
	}
	switch kind {
	case "hash":
		return c.HLen(ctx, key).Result()
	case "list":
		return c.LLen(ctx, key).Result()
	case "zset":
		return c.ZCard(ctx, key).Result()
	case "string":
		return c.StrLen(ctx, key).Result()
	}
	return 0, nil
}
