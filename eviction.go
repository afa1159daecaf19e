package deetoo

import (
	"context"
	"errors"
	"log/slog"
	"regexp"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/deetoo/deetoo/queue"
)

// warnOfEviction says so if the Redis deletes keys when it is full: jobs would
// be lost without a word. Of a cluster it asks any one node. It waits for a Redis that is away. One that does not
// let us ask (INFO), as its access rules may say, is taken at its operator's word.
func warnOfEviction(ctx context.Context, client redis.UniversalClient, log *slog.Logger) {
	retry(ctx, func() error {
		asking, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		info, err := client.Info(asking, "memory").Result()
		if err = queue.Classify(err); err != nil {
			if errors.Is(err, queue.ErrUnavailable) && !redis.HasErrorPrefix(err, "NOPERM") {
				return err
			}
			log.Debug("the redis does not tell its maxmemory-policy", "error", err)
			return nil
		}
		if policy := evictionPolicy(info); policy != "" && policy != "noeviction" {
			log.Warn("this redis deletes keys when it is full, and with them jobs: set its maxmemory-policy to noeviction", "maxmemory_policy", policy)
		}
		return nil
	})
}

// evictionPolicy finds the policy in the answer to INFO memory; "" if it is not told.
func evictionPolicy(info string) string {
	m := regexp.MustCompile(`(?m)^maxmemory_policy:([a-z-]+)`).FindStringSubmatch(info)
	if m == nil {
		return ""
	}
	return m[1]
}
