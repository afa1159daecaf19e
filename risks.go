package deetoo

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/deetoo/deetoo/queue"
)

// risk is something about a Redis by which jobs may be lost without a word.
type risk struct {
	// Says what may happen, and what to do.
	Says string
	// Setting is Redis' name of what is set so, and Value what it is set to.
	Setting, Value string
}

// warnOfRisks says how jobs may be lost by the way a Redis is set up: see
// docs/reliability.md. It waits for a Redis that is away. What it does not let
// us ask, as its access rules or its operator may say, it is trusted in.
func warnOfRisks(ctx context.Context, client redis.UniversalClient, log *slog.Logger) {
	retry(ctx, func() error {
		asking, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		var mu sync.Mutex
		found := map[risk]string{} // and the address of the first that has it
		err := eachMaster(asking, client, func(ctx context.Context, node *redis.Client) error {
			told, err := settingsOf(ctx, node, log)
			mu.Lock()
			defer mu.Unlock()
			for _, r := range risksOf(told) {
				found[r] = node.Options().Addr
			}
			return err
		})
		if err != nil {
			return err
		}
		for r, addr := range found {
			log.Warn(r.Says, "redis", addr, "setting", r.Setting, "value", r.Value)
		}
		return nil
	})
}

// eachMaster calls do for the server, or for each master of a cluster, side by side.
func eachMaster(ctx context.Context, client redis.UniversalClient, do func(context.Context, *redis.Client) error) error {
	switch c := client.(type) {
	case *redis.ClusterClient:
		return queue.Classify(c.ForEachMaster(ctx, do))
	case *redis.Client:
		return do(ctx, c)
	}
	return nil
}

// settingsOf asks a server how it is set up: by CONFIG, which hosted ones often
// refuse, and by INFO, which tells less. The error is queue.ErrUnavailable.
func settingsOf(ctx context.Context, node *redis.Client, log *slog.Logger) (map[string]string, error) {
	told := map[string]string{}
	for _, section := range []string{"memory", "persistence", "replication"} {
		info, err := node.Info(ctx, section).Result()
		if err := answered(err, log); err != nil {
			return nil, err
		}
		for line := range strings.Lines(info) {
			if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
				told[name] = value
			}
		}
	}
	for _, name := range []string{"save", "appendfsync", "min-replicas-to-write"} {
		values, err := node.ConfigGet(ctx, name).Result()
		if err := answered(err, log); err != nil {
			return nil, err
		}
		for name, value := range values {
			told[name] = value
		}
	}
	return told, nil
}

// answered returns an error if a server that may answer later did not answer. One that refuses to is heard at Debug.
func answered(err error, log *slog.Logger) error {
	if err = queue.Classify(err); errors.Is(err, queue.ErrUnavailable) && !redis.HasErrorPrefix(err, "NOPERM") {
		return err
	}
	if err != nil {
		log.Debug("the redis does not tell how it is set up", "error", err)
	}
	return nil
}

// risksOf judges what a server told. What it did not tell is no risk.
func risksOf(told map[string]string) (risks []risk) {
	add := func(says, setting string) { risks = append(risks, risk{says, setting, told[setting]}) }
	if policy := told["maxmemory_policy"]; policy != "" && policy != "noeviction" {
		add("this redis deletes keys when it is full, and with them jobs: set its maxmemory-policy to noeviction", "maxmemory_policy")
	}
	save, known := told["save"]
	switch {
	case told["aof_enabled"] == "0" && known && save == "":
		add("this redis keeps nothing on disk: when it restarts, all jobs are gone. Set appendonly yes", "aof_enabled")
	case told["aof_enabled"] == "0":
		add("this redis keeps snapshots alone: when it crashes, what came since the last is gone. Set appendonly yes", "aof_enabled")
	case told["aof_enabled"] == "1" && told["appendfsync"] == "no":
		add("this redis leaves it to the system when jobs are written to disk: set appendfsync to everysec or always", "appendfsync")
	}
	if status := told["aof_last_write_status"]; told["aof_enabled"] == "1" && status != "" && status != "ok" {
		add("this redis cannot write to its disk", "aof_last_write_status")
	}
	if n := told["connected_slaves"]; n != "" && n != "0" && told["min-replicas-to-write"] == "0" {
		add("a master that is cut off from its replicas goes on answering, and that is lost when one of them takes over: set min-replicas-to-write", "min-replicas-to-write")
	}
	return risks
}
