package history

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/deetoo/deetoo/queue"
)

// Health is how Redis does, by its own account (INFO); of a cluster, any one node. What it does
// not tell is zero.
type Health struct {
	// RoundTrip is how long it took to answer.
	RoundTrip time.Duration
	Version   string
	Uptime    time.Duration
	// Memory it uses and may use, in bytes; MaxMemory 0 is no limit.
	Memory, MaxMemory uint64
	// Policy of what it does when that is reached: "noeviction", or jobs can be lost.
	Policy string
	// Clients are its connections, and PerSecond the commands of late.
	Clients, PerSecond int
	Role               string
	// Told is false if it does not tell any of it: its access rules forbid INFO, or it is the embedded store.
	Told bool
}

// Health asks Redis how it does.
func (s *Store) Health(ctx context.Context) (*Health, error) {
	began := time.Now()
	text, err := s.client.Info(ctx).Result()
	if err != nil && !redis.HasErrorPrefix(err, "ERR") && !redis.HasErrorPrefix(err, "NOPERM") {
		return nil, queue.Classify(err)
	}
	h := &Health{RoundTrip: time.Since(began)}
	told := map[string]string{}
	for line := range strings.SplitSeq(text, "\n") {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			told[name] = value
		}
	}
	h.Version, h.Policy, h.Role = told["redis_version"], told["maxmemory_policy"], told["role"]
	h.Memory, h.MaxMemory = unsigned(told["used_memory"]), unsigned(told["maxmemory"])
	h.Clients, h.PerSecond = int(unsigned(told["connected_clients"])), int(unsigned(told["instantaneous_ops_per_sec"]))
	h.Uptime = time.Duration(unsigned(told["uptime_in_seconds"])) * time.Second
	h.Told = h.Version != ""
	return h, nil
}

func unsigned(text string) uint64 {
	n, _ := strconv.ParseUint(text, 10, 63) // what is not told is 0
	return n
}
