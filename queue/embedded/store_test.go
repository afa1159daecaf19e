package embedded

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/deetoo/deetoo/invalid"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		child(dir)
	}
	goleak.VerifyTestMain(m)
}

var bg = context.Background()

func open(t testing.TB, opts Options) *Store {
	t.Helper()
	s, err := Open(bg, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() }) // most tests closed it and checked
	return s
}

// crash ends a store as kill -9 does: what is not on disk by now never is.
func crash(s *Store) {
	s.engine.mu.Lock()
	s.engine.closed = true
	s.engine.mu.Unlock()
	s.keeper.stop()
	j := s.engine.journal
	j.mu.Lock()
	j.err = errors.New("crashed")
	j.stopping = true
	j.changed.Broadcast()
	j.mu.Unlock()
	<-j.done
	_ = j.file.Close()
	_ = s.access.close()
	_ = s.lock.Close()
	s.close = func() error { return nil }
}

func contents(s *Store) [][]string {
	s.engine.mu.Lock()
	defer s.engine.mu.Unlock()
	s.engine.begin(s.engine.clock.tick())
	if err := s.engine.durable(s.engine.end()); err != nil {
		panic(err)
	}
	return s.engine.state().commands
}

func do(t testing.TB, c redis.UniversalClient, args ...any) any {
	t.Helper()
	v, err := c.Do(bg, args...).Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		t.Fatalf("%v: %v", args, err)
	}
	return v
}

func TestEverythingSurvivesCloseAndCrash(t *testing.T) {
	for name, end := range map[string]func(*Store){
		"close": func(s *Store) { _ = s.Close() }, "crash": crash,
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "new", "store")
			s := open(t, Options{Dir: dir})
			c := s.Client()
			do(t, c, "SET", "binary", "\x00\r\n\xff*3\r\n")
			do(t, c, "SET", "empty", "")
			do(t, c, "HSET", "hash", "a", "1", "", "2")
			do(t, c, "RPUSH", "list", "c", "a", "", "b")
			do(t, c, "SADD", "set", "x", "y")
			do(t, c, "ZADD", "zset", "0.1", "a", "1700000000000.123", "b", "-inf", "c", "5e-324", "d")
			do(t, c, "XADD", "stream", "MAXLEN", "~", "2", "*", "*", "v")
			do(t, c, "XADD", "stream", "7777777777777-*", "f", "v", "f", "w")
			do(t, c, "XADD", "trimmed", "1-1", "f", "v")
			do(t, c, "XTRIM", "trimmed", "MAXLEN", "0")
			do(t, c, "SET", "ttl", "v", "EX", "1000")
			half := `redis.call('SET', KEYS[1], redis.call('TIME')[1]); redis.pcall('LPUSH', KEYS[1], 'wrong type'); error('on purpose')`
			if err := c.Eval(bg, half, []string{"half"}).Err(); err == nil {
				t.Fatal("the script did not fail")
			}
			before, id := contents(s), s.ID()
			end(s)
			s = open(t, Options{Dir: dir})
			if after := contents(s); !reflect.DeepEqual(before, after) {
				t.Errorf("before %q\nafter  %q", before, after)
			}
			if s.ID() != id || len(id) != 32 {
				t.Errorf("id %s became %s", id, s.ID())
			}
		})
	}
}

func TestTransactionsAreOneRecord(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Options{Dir: dir})
	c := s.Client()
	at := s.engine.journal.position()
	cmds, err := c.TxPipelined(bg, func(p redis.Pipeliner) error {
		p.Set(bg, "a", 1, 0)
		p.LPush(bg, "a", "wrong type")
		p.Eval(bg, `redis.call('SET', KEYS[1], 2); return redis.call('SET', KEYS[2], 3)`, []string{"b", "c"})
		p.Get(bg, "a")
		return nil
	})
	if err == nil || len(cmds) != 4 || cmds[3].(*redis.StringCmd).Val() != "1" || !strings.Contains(cmds[1].Err().Error(), "WRONGTYPE") {
		t.Fatalf("%v, %v", cmds, err)
	}
	if got := s.engine.journal.position(); got != at+1 {
		t.Errorf("%d records, want 1", got-at)
	}
	// Nothing of a transaction that is refused as a whole.
	if _, err := c.TxPipelined(bg, func(p redis.Pipeliner) error {
		p.Set(bg, "d", 1, 0)
		p.Do(bg, "NOSUCHCOMMAND")
		return nil
	}); err == nil {
		t.Error("an unknown command was accepted in a transaction")
	}
	before := contents(s)
	crash(s)
	s = open(t, Options{Dir: dir})
	if after := contents(s); !reflect.DeepEqual(before, after) || len(after) != 3 {
		t.Errorf("before %q\nafter  %q", before, after)
	}
}

func TestWatch(t *testing.T) {
	client, end, err := Memory(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer end()
	increment := func(interfere bool) error {
		return client.Watch(bg, func(tx *redis.Tx) error {
			n, err := tx.Get(bg, "n").Int()
			if err != nil && !errors.Is(err, redis.Nil) {
				return err
			}
			if interfere {
				client.Set(bg, "n", 41, 0)
			}
			_, err = tx.TxPipelined(bg, func(p redis.Pipeliner) error { return p.Set(bg, "n", n+1, 0).Err() })
			return err
		}, "n")
	}
	if err := increment(false); err != nil {
		t.Error(err)
	}
	if err := increment(true); !errors.Is(err, redis.TxFailedErr) {
		t.Errorf("a changed key: %v", err)
	}
	if n, err := client.Get(bg, "n").Int(); n != 41 || err != nil {
		t.Errorf("n = %d, %v", n, err)
	}
}

func TestReadsAndIdleScriptsCostNoDisk(t *testing.T) {
	s := open(t, Options{Dir: t.TempDir()})
	c := s.Client()
	do(t, c, "SET", "k", "v")
	at := s.engine.journal.position()
	do(t, c, "GET", "k")
	do(t, c, "TTL", "k")
	do(t, c, "TIME")
	do(t, c, "PUBLISH", "channel", "m")
	do(t, c, "EVAL", `return redis.call('ZRANGE', KEYS[1], 0, 10)`, "1", "none")
	if got := s.engine.journal.position(); got != at {
		t.Errorf("%d records", got-at)
	}
}

func TestRefusals(t *testing.T) {
	client, end, err := Memory(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer end()
	for _, cmd := range []string{
		"BLPOP k 1", "XREAD BLOCK 10 STREAMS s 0", "XREAD COUNT 1 BLOCK 10 STREAMS s 0", "SWAPDB 0 1", "SELECT 1",
		"COPY a b DB 1", "SPOP k", "PFADD k v", "XGROUP CREATE s g 0", "HEXPIRE k 1 FIELDS 1 f",
	} {
		var args []any
		for _, a := range strings.Fields(cmd) {
			args = append(args, a)
		}
		if err := client.Do(bg, args...).Err(); err == nil || !strings.Contains(err.Error(), "not available in the embedded store") {
			t.Errorf("%s: %v", cmd, err)
		}
		script := `return redis.call(unpack(ARGV))`
		if err := client.Eval(bg, script, nil, args...).Err(); err == nil || !strings.Contains(err.Error(), "not available in the embedded store") {
			t.Errorf("%s in a script: %v", cmd, err)
		}
	}
}

func TestPubSub(t *testing.T) {
	s := open(t, Options{Dir: t.TempDir()})
	sub := s.Client().Subscribe(bg, "wake")
	if _, err := sub.Receive(bg); err != nil {
		t.Fatal(err)
	}
	do(t, s.Client(), "EVAL", `return redis.call('PUBLISH', 'wake', 'from a script')`, "0")
	if m := <-sub.Channel(); m.Payload != "from a script" {
		t.Errorf("%v", m)
	}
	if err := sub.Close(); err != nil {
		t.Fatal(err)
	}
	for { // its end is noticed by the other side in its own time
		n, err := s.Client().PubSubNumSub(bg, "wake").Result()
		if err != nil {
			t.Fatal(err)
		}
		if n["wake"] == 0 {
			break
		}
		time.Sleep(time.Millisecond)
	}
	left := s.Client().Subscribe(bg, "left open") // Close ends it
	defer left.Close()
	if _, err := left.Receive(bg); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

func TestLargePipelineAndValues(t *testing.T) {
	s := open(t, Options{Dir: t.TempDir()})
	big := strings.Repeat("x", 5<<20)
	cmds, err := s.Client().Pipelined(bg, func(p redis.Pipeliner) error {
		p.Set(bg, "big", big, 0)
		for i := range 5000 {
			p.Set(bg, fmt.Sprint("k", i), i, 0)
			p.Get(bg, fmt.Sprint("k", i))
		}
		p.Get(bg, "big")
		return nil
	})
	if err != nil || cmds[10001].(*redis.StringCmd).Val() != big || cmds[10000].(*redis.StringCmd).Val() != "4999" {
		t.Errorf("%d answers, %v", len(cmds), err)
	}
}

func TestMemoryInSynctest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, end, err := Memory(nil)
		if err != nil {
			t.Fatal(err)
		}
		now := `return redis.call('TIME')[1]`
		first, err := client.Eval(bg, now, nil).Int()
		if err != nil {
			t.Fatal(err)
		}
		do(t, client, "SET", "k", "v", "EX", 3*3600+1)
		time.Sleep(3 * time.Hour)
		if later, err := client.Eval(bg, now, nil).Int(); later-first != 3*3600 || err != nil {
			t.Errorf("%d s passed, %v", later-first, err)
		}
		if do(t, client, "GET", "k") != "v" {
			t.Error("the key ended early")
		}
		time.Sleep(time.Second)
		if do(t, client, "GET", "k") != nil {
			t.Error("the key did not end")
		}
		ctx, cancel := context.WithTimeout(bg, time.Second)
		defer cancel()
		sub := client.Subscribe(ctx, "c")
		if _, err := sub.Receive(ctx); err != nil {
			t.Error(err)
		}
		if m, err := sub.ReceiveTimeout(bg, time.Minute); err == nil {
			t.Errorf("received %v", m)
		}
		if err := errors.Join(sub.Close(), end(), end()); err != nil {
			t.Error(err)
		}
	})
}

func TestStoreInSynctest(t *testing.T) {
	dir := t.TempDir()
	for range 2 {
		synctest.Test(t, func(t *testing.T) {
			s, err := Open(bg, Options{Dir: dir})
			if err != nil {
				t.Fatal(err)
			}
			do(t, s.Client(), "INCR", "n")
			time.Sleep(time.Hour)
			do(t, s.Client(), "INCR", "n")
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	s := open(t, Options{Dir: dir})
	if got := do(t, s.Client(), "GET", "n"); got != "4" {
		t.Errorf("n = %v", got)
	}
}

func TestOneOpenerAtATime(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Options{Dir: dir})
	if _, err := Open(bg, Options{Dir: dir}); !errors.Is(err, ErrLocked) {
		t.Errorf("a second opener: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Client().Ping(bg).Err(); err == nil {
		t.Error("a closed store answers")
	}
	if err := open(t, Options{Dir: dir}).Close(); err != nil {
		t.Error(err)
	}
}

func TestModes(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	s := open(t, Options{Dir: dir, CompactCommands: 1})
	do(t, s.Client(), "SET", "k", "v")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			err = fmt.Errorf("%s has mode %v", path, info.Mode())
		}
		return err
	}); err != nil {
		t.Error(err)
	}
}

func TestMigratedIsNotOpened(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Options{Dir: dir})
	if err := MarkMigrated(dir, "redis://user:secret@redis.example:6379/0?password=secret"); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	_, err := Open(bg, Options{Dir: dir})
	if !errors.Is(err, ErrMigrated) || !strings.Contains(err.Error(), "redis://redis.example:6379/0") || strings.Contains(err.Error(), "secret") {
		t.Errorf("%v", err)
	}
	if err := os.Remove(filepath.Join(dir, migratedName)); err != nil {
		t.Fatal(err)
	}
	open(t, Options{Dir: dir})
}

func TestOptionsAreValidated(t *testing.T) {
	for field, opts := range map[string]Options{
		"Dir": {}, "CompactBytes": {Dir: "d", CompactBytes: -1}, "CompactCommands": {Dir: "d", CompactCommands: -1},
	} {
		_, err := Open(bg, opts)
		var bad *invalid.Error
		if !errors.As(err, &bad) || bad.Field != field {
			t.Errorf("%s: %v", field, err)
		}
	}
}

func TestOpenHeedsItsContext(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Options{Dir: dir})
	do(t, s.Client(), "SET", "k", "v")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(bg)
	cancel()
	if _, err := Open(ctx, Options{Dir: dir}); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	open(t, Options{Dir: dir})
}

func TestConcurrentClients(t *testing.T) {
	s := open(t, Options{Dir: t.TempDir()})
	var wg sync.WaitGroup
	for range 32 {
		wg.Go(func() {
			for range 20 {
				if err := s.Client().Incr(bg, "n").Err(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if n := do(t, s.Client(), "GET", "n"); n != "640" {
		t.Errorf("n = %v", n)
	}
}
