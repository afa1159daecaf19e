package registry

import (
	"context"
	_ "embed"
	"fmt"

	"github.com/redis/go-redis/v9"
)

//go:embed lua/put.lua
var putSource string

//go:embed lua/delete.lua
var deleteSource string

// scripts are the operations that must be atomic, one typed method each.
type scripts struct{ put, delete *redis.Script }

func newScripts() scripts {
	return scripts{put: redis.NewScript(putSource), delete: redis.NewScript(deleteSource)}
}

// scriptAnswer is what both scripts return: what happened, and to what.
type scriptAnswer struct{ status, value string }

// runPut runs lua/put.lua. A repeated request ID gets its first answer.
func (s *Store) runPut(ctx context.Context, name string, expected int64, request, body string) (scriptAnswer, error) {
	return answer(s.scripts.put.Run(ctx, s.client, s.keys(request), name, expected, request, body, s.channel))
}

// runDelete runs lua/delete.lua. A repeated request ID gets its first answer.
func (s *Store) runDelete(ctx context.Context, name string, expected int64, request string) (scriptAnswer, error) {
	return answer(s.scripts.delete.Run(ctx, s.client, s.keys(request), name, expected, request, s.channel))
}

// keys all carry one hash tag, so that they share a slot of a Redis Cluster.
func (s *Store) keys(request string) []string {
	return []string{s.typesKey, s.revisionKey, s.typesKey + ":request:" + request}
}

func answer(cmd *redis.Cmd) (scriptAnswer, error) {
	reply, err := cmd.StringSlice()
	if err != nil {
		return scriptAnswer{}, fmt.Errorf("registry: %w", err)
	}
	if len(reply) != 2 {
		return scriptAnswer{}, fmt.Errorf("registry: unexpected reply of %d values", len(reply))
	}
	return scriptAnswer{status: reply[0], value: reply[1]}, nil
}
