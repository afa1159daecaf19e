package dispatch

import (
	"context"
	"crypto/sha1"
	"encoding/hex"
	"flag"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/redis/go-redis/v9"
)

var mutationName = flag.String("dispatch.mutation", "", "run the simulations with a guarantee taken out of the scripts; see mutations")

// mutation takes one guarantee out of the queue's scripts.
type mutation struct {
	name, old, new string
	// test is what must fail then, and says what it must complain of.
	test, says string
}

func mutations() []mutation {
	return []mutation{
		{"token", " or string.find(held, token, 1, true) ~= 1 or string.byte(held, #token + 1) ~= 32 then", " then", "TestLeaseThatCannotBeRenewed", "1 succeeded, 1 succeeded"},
		{"lease", "call('ZRANGEBYSCORE', ACTIVE, '-inf', now_text,", "call('ZRANGEBYSCORE', ACTIVE, '-inf', '+inf',", "TestRandomly", "two live attempts"},
		{"slots", "math.min(want, most - used)", "want", "TestRandomly", "alive, the limit is"},
		{"request", "if last and string.sub(last, 1, #request + 1) == request .. '\\n' then", "if last == '' then", "TestLostReplyIsRepeated", "1 lost, 1 succeeded"},
	}
}

// TestSimulationsCanFail takes guarantees out of the scripts, one at a time, and
// sees that a simulation notices.
func TestSimulationsCanFail(t *testing.T) {
	if *mutationName != "" {
		return // this is the run that is to fail
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	script, err := os.ReadFile("../queue/lua/exchange.lua")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range mutations() {
		t.Run(m.name, func(t *testing.T) {
			if strings.Count(string(script), m.old) != 1 {
				t.Fatalf("the script does not say %q any more: say anew how this guarantee is taken out", m.old)
			}
			out, err := exec.Command(self, "-test.run=^"+m.test+"$", "-dispatch.mutation="+m.name, "-dispatch.budget=1m").CombinedOutput()
			if err == nil || !strings.Contains(string(out), m.says) {
				t.Errorf("%s does not complain of %q: %v\n%s", m.test, m.says, err, out)
			}
		})
	}
}

// mutate is a redis.Hook that changes scripts on their way.
type mutate struct {
	mutation
	mu   sync.Mutex
	shas map[string]string // of the original script → of the changed one
}

// mutated has a client send changed scripts, if a mutation is asked for.
func (w *world) mutated(c *redis.Client) *redis.Client {
	for _, m := range mutations() {
		if m.name == *mutationName {
			c.AddHook(&mutate{mutation: m, shas: map[string]string{}})
		}
	}
	return c
}

func sha(s string) string {
	sum := sha1.Sum([]byte(s))
	return hex.EncodeToString(sum[:])
}

func (m *mutate) change(cmd redis.Cmder) {
	args := cmd.Args()
	if len(args) < 2 {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	switch name, _ := args[0].(string); strings.ToLower(name) {
	case "evalsha":
		if changed, ok := m.shas[args[1].(string)]; ok {
			args[1] = changed
		}
	case "script", "eval":
		text, ok := args[len(args)-1].(string)
		if strings.EqualFold(name, "eval") {
			text, ok = args[1].(string)
		}
		if !ok || !strings.Contains(text, m.old) {
			return
		}
		changed := strings.ReplaceAll(text, m.old, m.new)
		m.shas[sha(text)] = sha(changed)
		if strings.EqualFold(name, "eval") {
			args[1] = changed
		} else {
			args[len(args)-1] = changed
		}
	}
}

// DialHook is redis.Hook's.
func (m *mutate) DialHook(next redis.DialHook) redis.DialHook { return next }

// ProcessHook is redis.Hook's.
func (m *mutate) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		m.change(cmd)
		return next(ctx, cmd)
	}
}

// ProcessPipelineHook is redis.Hook's.
func (m *mutate) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		for _, cmd := range cmds {
			m.change(cmd)
		}
		return next(ctx, cmds)
	}
}
