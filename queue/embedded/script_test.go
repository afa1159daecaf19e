package embedded

import (
	"context"
	"errors"
	"fmt"
	"net"
	"reflect"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/alicebob/miniredis/v2/server"
	"github.com/redis/go-redis/v9"
	"pgregory.net/rapid"
)

func memory(t testing.TB) redis.UniversalClient {
	t.Helper()
	c, end, err := Memory(nil)
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

// plainMiniredis is miniredis with its own way of running scripts.
func plainMiniredis(t testing.TB) redis.UniversalClient {
	t.Helper()
	m := miniredis.NewMiniRedis()
	c := redis.NewClient(&redis.Options{
		Protocol: 2, MaxRetries: -1, DisableIdentity: true,
		Dialer: func(context.Context, string, string) (net.Conn, error) { return m.Dial() },
	})
	t.Cleanup(func() {
		_ = c.Close()
		m.Close()
	})
	return c
}

// TestScriptsAreAnsweredAsByMiniredis runs random scripts, each a few commands
// and an expression of what they replied, here and there.
func TestScriptsAreAnsweredAsByMiniredis(t *testing.T) {
	ours, theirs := memory(t), plainMiniredis(t)
	// Errors differ in how they name the script and the place.
	framing := regexp.MustCompile(`^ERR Error (running script|compiling script \(new function\)): (user_script|<string>)?(:\d+:)?| stack traceback: .*`)
	gist := func(err error) string { return framing.ReplaceAllString(fmt.Sprint(err), "") }
	rapid.Check(t, func(t *rapid.T) {
		do := func(args ...any) {
			v, err := ours.Do(bg, args...).Result()
			want, wantErr := theirs.Do(bg, args...).Result()
			if !reflect.DeepEqual(v, want) || gist(err) != gist(wantErr) {
				t.Fatalf("%q\nis answered %#v, %v\nby miniredis %#v, %v", args, v, err, want, wantErr)
			}
		}
		do("FLUSHALL")
		for range rapid.IntRange(1, 4).Draw(t, "scripts") {
			text := ""
			for i := range rapid.IntRange(0, 3).Draw(t, "commands") {
				text += fmt.Sprintf("local r%d = redis.%s\n", i, callText(t))
			}
			text = "local r0, r1, r2\n" + text + "return " + valueText(3).Draw(t, "result")
			args := []any{"EVAL", text, 1, "k1"}
			for _, a := range rapid.SliceOfN(rapid.String(), 0, 3).Draw(t, "args") {
				args = append(args, a)
			}
			do(args...)
		}
		for _, key := range []string{"s", "l", "h", "z"} {
			do("TYPE", key)
			do("GET", key)
			do("LRANGE", key, 0, -1)
			do("HGETALL", key)
			do("ZRANGE", key, 0, -1, "WITHSCORES")
		}
	})
}

// callText is a call of a command, which may fail.
func callText(t *rapid.T) string {
	key := rapid.SampledFrom([]string{"'s'", "'l'", "'h'", "'z'", "KEYS[1]"}).Draw(t, "key")
	arg := func() string {
		return rapid.SampledFrom([]string{"1", "-2", "2.5", "'1'", "'a b'", "''", "'x\\r\\ny'", "1e15", "2^53", "ARGV[1] or ''", "'é'"}).Draw(t, "arg")
	}
	command := rapid.SampledFrom([]string{
		"'SET', %s, %s", "'set', %s, %s, 'NX'", "'GET', %s", "'RPUSH', %s, %s, %s", "'LRANGE', %s, 0, -1", "'LPOP', %s, 2", "'HSET', %s, %s, %s",
		"'HGET', %s, %s", "'HMGET', %s, %s, %s", "'HGETALL', %s", "'ZADD', %s, 1, %s", "'ZRANGE', %s, 0, -1, 'WITHSCORES'", "'ZSCORE', %s, %s",
		"'INCRBY', %s, %s", "'EXISTS', %s", "'TYPE', %s", "'DEL', %s", "'PING'", "'ECHO', %s", "'HINCRBY', %s, %s, %s",
	}).Draw(t, "command")
	args := make([]any, strings.Count(command, "%s"))
	for i := range args {
		args[i] = arg()
		if i == 0 && !strings.Contains(command, "ECHO") {
			args[0] = key
		}
	}
	return rapid.SampledFrom([]string{"call", "pcall", "pcall"}).Draw(t, "how") + "(" + fmt.Sprintf(command, args...) + ")"
}

// valueText is an expression of Lua.
func valueText(depth int) *rapid.Generator[string] {
	leaves := []*rapid.Generator[string]{
		rapid.SampledFrom([]string{
			"nil", "true", "false", "0", "-1", "3.99", "-3.99", "2^31", "1e15", "''", "'text'", "'two\\r\\nlines'", "'\\0\\255'",
			"r0", "r1", "r2", "r0 and r0.ok", "type(r1)", "#ARGV", "ARGV", "ARGV[1]", "KEYS", "KEYS[1]", "#(ARGV[2] or '')",
			"redis.sha1hex('a')", "redis.status_reply('FINE')", "redis.error_reply('MY own')", "redis.error_reply('-MY own')", "redis.error_reply('short')",
			"{ok = 'GOOD'}", "{err = 'BAD two\\nlines'}", "{1, nil, 3}", "{a = 1}", "cjson.encode({1, 'two', {a = false}})", "cjson.decode('[1,{\"a\":[null,\"b\"]}]')",
			"string.format('%5.1f|%s|%d', 1.25, 'x', 7)", "tonumber('0x10')", "select('#', 1, nil)", "server.LOG_WARNING", "table.concat({1, 2}, ',')",
			"unknown", "error('stop')", "select(2, pcall(error, 'caught', 0))", "nil .. 'a'", "(nil).a", "redis.status_reply(1)",
		}),
	}
	if depth > 0 {
		leaves = append(leaves, rapid.Map(rapid.SliceOfN(valueText(depth-1), 0, 4), func(values []string) string {
			return "{" + strings.Join(values, ", ") + "}"
		}))
	}
	return rapid.OneOf(leaves...)
}

func TestNothingIsLeftForTheNextScript(t *testing.T) {
	c := memory(t)
	clean := `
		local seen = {}
		local function walk(name, t)
			for k, v in pairs(t) do
				local path = name .. '.' .. tostring(k)
				if type(v) == 'table' and v ~= t and k ~= 'KEYS' and k ~= 'ARGV' then walk(path, v)
				else seen[#seen + 1] = path .. ' ' .. type(v) end
			end
			if getmetatable(t) and getmetatable(t) ~= t then walk(name .. '#', getmetatable(t)) end
		end
		walk('_G', _G)
		table.sort(seen)
		seen[#seen + 1] = string.format('%s %s %s', ('x'):upper(), tostring(math.pi), table.concat({#KEYS, #ARGV}, ','))
		return seen`
	fresh := do(t, c, "EVAL", clean, 0)
	for _, text := range []string{
		"rawset(_G, 'left', 1)", "_G.redis = nil", "redis.call = nil", "redis.left = 1", "string.upper = string.lower", "string.left = {}",
		"math.pi = 3", "table[1] = 1", "table.concat = nil table.left = nil", "cjson.encode = print2", "os.left = 1", "coroutine = nil",
		"setmetatable(_G, nil) left = 1", "getmetatable(_G).__index = nil", "getmetatable(_G).__newindex = rawset left = 1",
		"setmetatable(table, {__index = function() return 1 end})", "setmetatable(string, {})", "getmetatable('').__index = {}",
		"KEYS = nil", "ARGV = {1, 2, 3}", "KEYS[1] = 'left' ARGV[1] = 'left'", "tostring = tonumber", "_G = {}", "server.call = 1",
		"for k in pairs(_G) do rawset(_G, k, nil) end", "rawset(_G, 'left', 1) error('late')", "coroutine.wrap(function() math.huge = 1 end)()",
		"local f = string.rep string.rep = nil string.rep = f",
	} {
		// What it is answered does not matter, as long as it ran.
		if err := c.Eval(bg, text, []string{"a"}, "b").Err(); err != nil && strings.Contains(err.Error(), "near") {
			t.Fatalf("%s: %v", text, err)
		}
		if now := do(t, c, "EVAL", clean, 0); !reflect.DeepEqual(now, fresh) {
			t.Errorf("%s left something behind:\n%v\ninstead of\n%v", text, now, fresh)
		}
	}
}

func TestInterpretersAreUsedAgain(t *testing.T) {
	e, err := newEngine((&fake{at: time.Now()}).now)
	if err != nil {
		t.Fatal(err)
	}
	a := newAccess(e)
	defer a.close()
	eval := func(text string) *interpreter {
		_ = a.client.Eval(bg, text, []string{"k"}, 1).Err()
		e.mu.Lock()
		defer e.mu.Unlock()
		return e.lua
	}
	first := eval("return redis.call('SET', KEYS[1], ARGV[1])")
	if first == nil || eval("local t = {string.rep('a', 1000)} return #t") != first || eval("return redis.pcall('NOSUCH')") != first {
		t.Error("an interpreter was thrown away though no script left anything in it")
	}
	if eval("redis.left = 1") != nil || eval("return 1") == first {
		t.Error("an interpreter was used again though a script left something in it")
	}
}

func TestScriptsAreAtomic(t *testing.T) {
	c := memory(t)
	count := redis.NewScript(`
		local n = tonumber(redis.call('GET', KEYS[1]) or 0)
		for _ = 1, 20 do redis.call('HINCRBY', KEYS[2], 'n', 1) end
		redis.call('SET', KEYS[1], n + 1)
		return redis.call('HGET', KEYS[2], 'n')`)
	var clients sync.WaitGroup
	for range 8 {
		clients.Go(func() {
			for range 25 {
				n, err := count.Run(bg, c, []string{"n", "h"}).Int()
				if err != nil || n%20 != 0 {
					t.Errorf("a script saw another's half: %d, %v", n, err)
				}
				if n, err := c.HGet(bg, "h", "n").Int(); err != nil || n%20 != 0 {
					t.Errorf("a command saw half of a script: %d, %v", n, err)
				}
			}
		})
	}
	clients.Wait()
	if n, err := c.Get(bg, "n").Int(); err != nil || n != 200 {
		t.Errorf("%d of 200 scripts count, %v", n, err)
	}
}

func TestScriptManagement(t *testing.T) {
	c := memory(t)
	sha := do(t, c, "SCRIPT", "LOAD", "return {KEYS[1], ARGV[1]}").(string)
	if got := do(t, c, "EVALSHA", sha, 1, "a", "b"); !reflect.DeepEqual(got, []any{"a", "b"}) {
		t.Errorf("EVALSHA returned %v", got)
	}
	if got := do(t, c, "SCRIPT", "EXISTS", sha, "no"); !reflect.DeepEqual(got, []any{int64(1), int64(0)}) {
		t.Errorf("SCRIPT EXISTS returned %v", got)
	}
	if got := do(t, c, "EVALSHA_RO", sha, 0); !reflect.DeepEqual(got, []any{}) {
		t.Errorf("EVALSHA_RO returned %v", got)
	}
	do(t, c, "SCRIPT", "FLUSH", "SYNC")
	for want, args := range map[string][]any{
		"NOSCRIPT":                        {"EVALSHA", sha, 0},
		"wrong number of arguments":       {"EVAL", "return 1"},
		"not an integer":                  {"EVAL", "return 1", "x"},
		"can't be negative":               {"EVAL", "return 1", -1},
		"greater than number of args":     {"EVAL", "return 1", 1},
		"compiling script":                {"SCRIPT", "LOAD", "return ="},
		"near":                            {"EVAL", "return =", 0},
		"unknown subcommand":              {"SCRIPT", "KILL"},
		"Write commands are not allowed":  {"EVAL_RO", "return redis.call('SET', 'a', 1)", 0},
		"not allowed from script":         {"EVAL", "return redis.call('multi')", 0},
		"Unknown Redis command":           {"EVAL", "return redis.pcall('NOSUCH')", 0},
		"not available in the embedded":   {"EVAL", "return redis.call('BLPOP', 'a', 0)", 0},
		"at least one argument":           {"EVAL", "return redis.call()", 0},
		"must be strings or integers":     {"EVAL", "return redis.call('GET', {})", 0},
		"only RESP version 2":             {"EVAL", "redis.setresp(3)", 0},
		"limit of nesting":                {"EVAL", "local t = {} t[1] = t return t", 0},
		"nonexistent global variable 'a'": {"EVAL", "return a", 0},
		"create global variable 'a'":      {"EVAL", "a = 1", 0},
		"MY own":                          {"EVAL", "error(redis.error_reply('MY own'))", 0},
		"variable 'print'":                {"EVAL", "print(1)", 0},
	} {
		if got := fmt.Sprint(c.Do(bg, args...).Result()); !strings.Contains(got, want) {
			t.Errorf("%q is answered %s, not %s", args, got, want)
		}
	}
}

// TestAFailingScript keeps what it wrote, as in Redis, and the next one works.
func TestAFailingScript(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Options{Dir: dir})
	err := s.Client().Eval(bg, "redis.call('SET', 'a', 1) redis.call('INCR', 'a') redis.call('LPUSH', 'a', 1) redis.call('SET', 'b', 1)", nil).Err()
	if err == nil || !strings.Contains(err.Error(), "WRONGTYPE") {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	again := open(t, Options{Dir: dir})
	if got := do(t, again.Client(), "EVAL", "return redis.call('MGET', 'a', 'b')", 0); !reflect.DeepEqual(got, []any{"2", nil}) {
		t.Errorf("it left %v", got)
	}
}

// TestACommandThatPanics is an error to the script that called it, and nobody
// finds the engine locked.
func TestACommandThatPanics(t *testing.T) {
	e, err := newEngine((&fake{at: time.Now()}).now)
	if err != nil {
		t.Fatal(err)
	}
	a := newAccess(e)
	defer a.close()
	for cmd, lock := range map[string]bool{"PANIC": false, "LOCKPANIC": true} {
		err := e.srv.Register(cmd, func(*server.Peer, string, []string) {
			if lock {
				e.m.Lock()
			}
			panic("out of order")
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := a.client.Eval(bg, "return redis.pcall('"+cmd+"')", nil).Err(); err == nil || !strings.Contains(err.Error(), "out of order") {
			t.Errorf("%s: %v", cmd, err)
		}
		if err := a.client.Eval(bg, "return redis.call('SET', KEYS[1], 1, 'EX', 10)", []string{"a"}).Err(); err != nil {
			t.Errorf("after %s: %v", cmd, err)
		}
		if err := a.client.Get(bg, "nothing").Err(); !errors.Is(err, redis.Nil) {
			t.Errorf("after %s: %v", cmd, err)
		}
	}
}
