package schedule

import (
	"context"
	"embed"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/deetoo/deetoo/queue"
)

//go:embed lua/*.lua
var luaFiles embed.FS

// scripts are the operations that must be atomic.
type scripts struct{ put, delete, due, advance, last, decide, finish *redis.Script }

func loadScripts() (scripts, error) {
	var s scripts
	prelude, err := luaFiles.ReadFile("lua/prelude.lua")
	if err != nil {
		return s, err
	}
	for name, script := range map[string]**redis.Script{
		"put": &s.put, "delete": &s.delete, "due": &s.due, "advance": &s.advance, "last": &s.last, "decide": &s.decide, "finish": &s.finish,
	} {
		body, err := luaFiles.ReadFile("lua/" + name + ".lua")
		if err != nil {
			return s, fmt.Errorf("script %s: %w", name, err)
		}
		*script = redis.NewScript(string(prelude) + string(body))
	}
	return s, nil
}

// keys are the scripts' KEYS; see lua/prelude.lua. All carry one hash tag, so
// that they share a slot of a Redis Cluster, and none is of a job type.
func (s *Store) keys(name, request string) []string {
	k := s.key
	return []string{k, k + ":rev", k + ":due", k + ":outbox", k + ":takeover", k + ":last", k + ":history:" + name, k + ":request:" + request}
}

// run calls a script; an error says what can be done about it, as those of package queue do.
func (s *Store) run(ctx context.Context, script *redis.Script, name, request string, args ...any) (any, error) {
	v, err := script.Run(ctx, s.client, s.keys(name, request), args...).Result()
	if err != nil {
		return nil, queue.Classify(fmt.Errorf("schedules: %w", err))
	}
	return v, nil
}

// texts reads an answer that is an array of n strings.
func texts(v any, n int) ([]string, error) {
	list, ok := v.([]any)
	if !ok || len(list) != n {
		return nil, fmt.Errorf("schedules: unexpected answer %v", v)
	}
	out := make([]string, n)
	for i, item := range list {
		if out[i], ok = item.(string); !ok {
			return nil, fmt.Errorf("schedules: unexpected answer %v", v)
		}
	}
	return out, nil
}

// ms writes a time as the scripts do; "" for none.
func ms(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return fmt.Sprint(t.UnixMilli())
}
