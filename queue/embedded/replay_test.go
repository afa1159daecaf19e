package embedded

import (
	"math"
	"os"
	"reflect"
	"strconv"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"pgregory.net/rapid"
)

// fake is a machine's clock that tests move, backwards too.
type fake struct{ at time.Time }

func (f *fake) now() time.Time { return f.at }

// TestReplayEqualsLive does random things, among them crashes, compactions
// and jumps of the clock, and compares what a store holds before and after it
// is opened again.
func TestReplayEqualsLive(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		dir, err := os.MkdirTemp("", "embedded-")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		clock := &fake{at: time.UnixMilli(1_700_000_000_000)}
		start := func() *Store {
			s, err := Open(bg, Options{Dir: dir, Now: clock.now})
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
		s := start()
		defer func() { _ = s.Close() }()
		reopen := func(end func(*Store)) {
			before := contents(s)
			end(s)
			s = start()
			if after := contents(s); !reflect.DeepEqual(before, after) {
				t.Fatalf("before %q\nafter  %q", before, after)
			}
		}
		key := rapid.SampledFrom([]string{"a", "b", "{c}:1", "\x00\xff"})
		value := rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{"", "1", "2.5", "\r\n$3\r\n", "x"}))
		number := rapid.OneOf(rapid.Int64Range(-10, 10_000), rapid.SampledFrom([]int64{0, math.MaxInt64, math.MinInt64, 1_700_000_001_000}))
		do := func(args ...any) { _ = s.Client().Do(bg, args...).Err() } // failures replay too
		t.Repeat(map[string]func(*rapid.T){
			"write": func(t *rapid.T) {
				k, v := key.Draw(t, "key"), value.Draw(t, "value")
				switch rapid.IntRange(0, 13).Draw(t, "command") {
				case 0:
					do("SET", k, v)
				case 1:
					do("HSET", k, v, v, "n", 1)
				case 2:
					do("HINCRBYFLOAT", k, "n", "0.1")
				case 3:
					do("RPUSH", k, v, "y")
				case 4:
					do("LPOP", k)
				case 5:
					do("SADD", k, v)
				case 6:
					do("ZADD", k, strconv.FormatFloat(rapid.Float64().Draw(t, "score"), 'g', -1, 64), v)
				case 7:
					do("ZPOPMIN", k)
				case 8:
					do("XADD", k, "*", "f", v)
				case 9:
					do("XTRIM", k, "MAXLEN", 1)
				case 10:
					do("DEL", k)
				case 11:
					do("APPEND", k, v)
				case 12:
					do("RENAME", k, key.Draw(t, "to"))
				case 13:
					do("COPY", k, key.Draw(t, "to"), "REPLACE")
				}
			},
			"expire": func(t *rapid.T) {
				k, n := key.Draw(t, "key"), number.Draw(t, "time")
				switch rapid.IntRange(0, 5).Draw(t, "command") {
				case 0:
					do(rapid.SampledFrom([]string{"EXPIRE", "PEXPIRE", "EXPIREAT", "PEXPIREAT"}).Draw(t, "unit"), k, n)
				case 1:
					do("PEXPIRE", k, n, rapid.SampledFrom([]string{"NX", "XX", "GT", "LT"}).Draw(t, "flag"))
				case 2:
					do("SET", k, "v", rapid.SampledFrom([]string{"EX", "PX", "EXAT", "PXAT"}).Draw(t, "unit"), n, rapid.SampledFrom([]string{"NX", "XX", "GET"}).Draw(t, "flag"))
				case 3:
					do(rapid.SampledFrom([]string{"SETEX", "PSETEX"}).Draw(t, "unit"), k, n, "v")
				case 4:
					do("GETEX", k, "PX", n)
				case 5:
					do("PERSIST", k)
				}
			},
			"script": func(t *rapid.T) {
				do("EVAL", `
					local now = redis.call('TIME')
					redis.call('ZADD', KEYS[1], now[1] .. '.' .. now[2], now[2] .. math.random())
					redis.call('SET', KEYS[2], now[2], 'PX', ARGV[1])
					redis.call('SET', KEYS[3], redis.call('PTTL', KEYS[2]))
					redis.call('INCR', KEYS[1])`, // fails half-way
					3, "z", key.Draw(t, "key"), "ttl", number.Draw(t, "time"))
			},
			"transaction": func(t *rapid.T) {
				pipe := s.Client().TxPipeline()
				pipe.Set(bg, key.Draw(t, "key"), 1, time.Second)
				pipe.Eval(bg, `return redis.call('RPUSH', KEYS[1], redis.call('TIME')[2])`, []string{key.Draw(t, "key")})
				pipe.Incr(bg, key.Draw(t, "key"))
				_, _ = pipe.Exec(bg)
			},
			"read": func(t *rapid.T) {
				do("GET", key.Draw(t, "key"))
				do("PTTL", key.Draw(t, "key"))
			},
			"time": func(t *rapid.T) {
				clock.at = clock.at.Add(time.Duration(rapid.Int64Range(-int64(time.Minute), int64(2*time.Minute)).Draw(t, "step")))
			},
			"compact": func(t *rapid.T) {
				if err := s.keeper.compact(); err != nil {
					t.Fatal(err)
				}
			},
			"crash":  func(t *rapid.T) { reopen(crash) },
			"reopen": func(t *rapid.T) { reopen(func(s *Store) { _ = s.Close() }) },
		})
		reopen(crash)
	})
}

func TestClockNeverGoesBackAndNeverStands(t *testing.T) {
	clock := &fake{at: time.UnixMilli(1_700_000_000_000)}
	dir := t.TempDir()
	s := open(t, Options{Dir: dir, Now: clock.now})
	read := func() time.Time {
		t.Helper()
		now, err := s.Client().Time(bg).Result()
		if err != nil {
			t.Fatal(err)
		}
		return now
	}
	do(t, s.Client(), "SET", "k", "v", "PX", 3000)
	first := read()
	if !first.Equal(clock.at) {
		t.Fatalf("%v, want %v", first, clock.at)
	}
	clock.at = clock.at.Add(-10 * time.Second) // set back
	if now := read(); !now.Equal(first) {
		t.Errorf("%v after the clock was set back, want %v", now, first)
	}
	crash(s)
	s = open(t, Options{Dir: dir, Now: clock.now})
	if now := read(); !now.Equal(first) {
		t.Errorf("%v after a restart, want %v", now, first)
	}
	for range 5 { // half pace
		clock.at = clock.at.Add(time.Second)
		if now := read(); !now.Equal(first.Add(500 * time.Millisecond)) {
			t.Errorf("%v, want half a second more than %v", now, first)
		}
		first = first.Add(500 * time.Millisecond)
	}
	if got := s.Client().PTTL(bg, "k").Val(); got != 500*time.Millisecond {
		t.Errorf("%v left", got)
	}
	clock.at = clock.at.Add(time.Minute) // ahead again
	if now := read(); !now.Equal(clock.at) {
		t.Errorf("%v, want %v", now, clock.at)
	}
	if got := s.Client().Exists(bg, "k").Val(); got != 0 {
		t.Error("the key did not end")
	}
	crash(s)
	clock.at = clock.at.Add(-time.Hour)
	s = open(t, Options{Dir: dir, Now: clock.now})
	if got := s.Client().Exists(bg, "k").Val(); got != 0 {
		t.Error("a key that had ended came back with the clock")
	}
}

func TestManyKeysAreReadBack(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Options{Dir: dir})
	pipe := s.Client().Pipeline()
	for i := range 2500 { // more than a chunk of each
		pipe.RPush(bg, "list", i)
		pipe.HSet(bg, "hash", i, i)
		pipe.SAdd(bg, "set", i)
		pipe.ZAdd(bg, "zset", redis.Z{Score: float64(i) / 3, Member: i})
	}
	if _, err := pipe.Exec(bg); err != nil {
		t.Fatal(err)
	}
	before := contents(s)
	if err := s.keeper.compact(); err != nil {
		t.Fatal(err)
	}
	crash(s)
	s = open(t, Options{Dir: dir})
	if after := contents(s); !reflect.DeepEqual(before, after) {
		t.Error("the state before is not the state after")
	}
	if n := s.Client().LLen(bg, "list").Val(); n != 2500 {
		t.Errorf("%d elements", n)
	}
}
