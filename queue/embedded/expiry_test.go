package embedded

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/deetoo/deetoo/internal/redistest"
)

// TestExpiryIsRediss runs the same commands on a real Redis and here. Times
// may differ by what passes between the two.
func TestExpiryIsRediss(t *testing.T) {
	real := redistest.Single(t)
	memory, end, err := Memory(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer end()
	const tolerance = 5000
	future := time.Now().Add(time.Hour)
	for _, line := range []string{
		"SET a v", "TTL a", "PTTL a", "EXPIRETIME a", "TTL none", "PTTL none", "PEXPIRETIME none",
		"EXPIRE a 1000", "TTL a", "PTTL a", "EXPIRETIME a", "PEXPIRETIME a",
		"EXPIRE a 500 GT", "TTL a", "EXPIRE a 5000 GT", "TTL a", "EXPIRE a 100 LT", "TTL a", "EXPIRE a 200 NX", "TTL a",
		"PERSIST a", "TTL a", "EXPIRE a 200 XX", "TTL a", "EXPIRE a 200 NX", "TTL a", "EXPIRE none 5",
		"PEXPIRE a 900000", "PTTL a", "EXPIREAT a " + itoa(future.Unix()), "TTL a", "PEXPIREAT a " + itoa(future.UnixMilli()), "PTTL a",
		"RENAME a b", "TTL b", "TTL a", "COPY b c", "TTL c", "SET b w KEEPTTL", "TTL b", "SET b w", "TTL b",
		"SET d v EX 100", "TTL d", "SET d v PX 100000 XX GET", "PTTL d", "SET d v NX EX 7", "TTL d", "SET d v EXAT " + itoa(future.Unix()), "TTL d",
		"SET d v PXAT " + itoa(future.UnixMilli()), "TTL d", "SETEX e 300 v", "TTL e", "PSETEX e 300000 v", "TTL e",
		"GETEX e EX 900", "TTL e", "GETEX e PERSIST", "TTL e", "GETEX e PX 900000", "TTL e", "GETEX none EX 1", "GETEX e", "TTL e",
		"EXPIRE e -1", "EXISTS e", "SET f v PXAT 1000", "EXISTS f", "SET g v", "EXPIREAT g 1", "EXISTS g", "SET g v", "PEXPIRE g 0", "EXISTS g",
		"EXPIRE b", "EXPIRE b x", "EXPIRE b 9223372036854775807", "EXPIRE b 10 NX XX", "SET b v EX 0", "SET b v EX -1", "SET b v PX x",
		"SET b v EX 9223372036854775807", "SETEX b 0 v", "SETEX b x v", "SETEX b 1", "GETEX b EX 0", "GET b", "TTL b", "TTL",
		"HSET h f v", "EXPIRE h 60", "TTL h", "HSET h g v", "TTL h", "DEL h", "HSET h f v", "TTL h",
	} {
		var args []any
		for _, a := range strings.Fields(line) {
			args = append(args, a)
		}
		want, wantErr := real.Do(bg, args...).Result()
		for _, how := range []string{"alone", "script"} {
			var got any
			var gotErr error
			if how == "script" {
				if !strings.Contains(args[0].(string), "TTL") && !strings.Contains(args[0].(string), "TIME") {
					continue // writes only once
				}
				got, gotErr = memory.Eval(bg, "return redis.call(unpack(ARGV))", nil, args...).Result()
			} else {
				got, gotErr = memory.Do(bg, args...).Result()
			}
			if (wantErr == nil || wantErr == redis.Nil) != (gotErr == nil || gotErr == redis.Nil) {
				t.Errorf("%s, %s: %v, %v; Redis says %v, %v", line, how, got, gotErr, want, wantErr)
			}
			w, isInt := want.(int64)
			g, _ := got.(int64)
			if isInt && w > 10 && g >= w-tolerance && g <= w+tolerance {
				continue
			}
			if got != want {
				t.Errorf("%s, %s: %v; Redis says %v", line, how, got, want)
			}
		}
	}
}

func itoa(n int64) string { return strconv.FormatInt(n, 10) }

func TestKeysEndOnTime(t *testing.T) {
	clock := &fake{at: time.UnixMilli(1_700_000_000_000)}
	client, end, err := Memory(clock.now)
	if err != nil {
		t.Fatal(err)
	}
	defer end()
	do(t, client, "SET", "a", "v", "PX", 1000)
	do(t, client, "EVAL", `redis.call('SET', 'b', 'v'); redis.call('PEXPIRE', 'b', 1000); redis.call('RENAME', 'b', 'c')`, 0)
	do(t, client, "HSET", "h", "f", "v")
	do(t, client, "PEXPIRE", "h", 500)
	do(t, client, "PEXPIRE", "h", 1000) // later than before
	do(t, client, "SET", "kept", "v", "PX", 1000)
	do(t, client, "PERSIST", "kept")
	do(t, client, "SET", "again", "v", "PX", 1000)
	do(t, client, "SET", "again", "v", "PX", 2000)
	clock.at = clock.at.Add(999 * time.Millisecond)
	if n := client.Exists(bg, "a", "c", "h", "kept", "again").Val(); n != 5 {
		t.Errorf("%d keys of 5 a millisecond before", n)
	}
	clock.at = clock.at.Add(time.Millisecond)
	if n := client.Exists(bg, "a", "c", "h").Val(); n != 0 {
		t.Errorf("%d keys that should have ended", n)
	}
	if n := client.Exists(bg, "kept", "again").Val(); n != 2 {
		t.Errorf("%d keys of 2 that should not have ended", n)
	}
}

func TestScriptsSeeOneTime(t *testing.T) {
	client, end, err := Memory(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer end()
	same, err := client.Eval(bg, `
		local a = redis.call('TIME')
		redis.call('SET', KEYS[1], 'v', 'PX', 5000)
		local left = redis.call('PTTL', KEYS[1])
		local b = redis.call('TIME')
		return {a[1] == b[1] and a[2] == b[2], left}`, []string{"k"}).Slice()
	if err != nil || same[0] != int64(1) || same[1] != int64(5000) {
		t.Errorf("%v, %v", same, err)
	}
}
