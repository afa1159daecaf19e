package queuetest

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/redis/go-redis/v9"
)

// another returns a client of the same Redis with a hook; the test closes it.
func another(t testing.TB, c redis.UniversalClient, h redis.Hook) redis.UniversalClient {
	t.Helper()
	var out redis.UniversalClient
	switch c := c.(type) {
	case *redis.Client:
		out = redis.NewClient(c.Options())
	case *redis.ClusterClient:
		out = redis.NewClusterClient(c.Options())
	default:
		t.Fatalf("cannot copy a %T", c)
	}
	t.Cleanup(func() { _ = out.Close() })
	out.AddHook(h)
	return out
}

// repeater sends each script twice while on, as the Redis client does when the
// first answer got lost. The second answer is the one that counts.
type repeater struct{ on atomic.Bool }

func (r *repeater) DialHook(next redis.DialHook) redis.DialHook { return next }

func (r *repeater) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (r *repeater) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if err := next(ctx, cmd); err != nil || !r.on.Load() || !strings.HasPrefix(cmd.Name(), "eval") {
			return err
		}
		return next(ctx, cmd)
	}
}

// forgetful sends a script twice, the second time after its answer was forgotten.
type forgetful struct{ client redis.UniversalClient }

func (f *forgetful) DialHook(next redis.DialHook) redis.DialHook { return next }

func (f *forgetful) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (f *forgetful) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if err := next(ctx, cmd); err != nil || !strings.HasPrefix(cmd.Name(), "eval") {
			return err
		}
		// evalsha, the script, the number of keys, and the 17th is what it remembers by.
		if err := f.client.Del(ctx, cmd.Args()[2+17].(string)).Err(); err != nil {
			return err
		}
		return next(ctx, cmd)
	}
}

// cutter lets scripts run and loses their answers.
type cutter struct{ on bool }

var errCut = errors.New("the answer got lost")

func (c *cutter) DialHook(next redis.DialHook) redis.DialHook { return next }

func (c *cutter) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (c *cutter) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if err := next(ctx, cmd); err != nil || !c.on {
			return err
		}
		cmd.SetErr(errCut)
		return errCut
	}
}
