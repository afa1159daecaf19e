package deetoo

import (
	"bytes"
	"context"
	"log/slog"
	"regexp"
	"strings"
	"testing"

	"github.com/deetoo/deetoo/internal/redistest"
)

// What puts jobs at risk is warned of, and a setup that is safe is not. A Redis
// whose access rules keep us from asking is not asked again and again.
func TestRisksOfARedisAreWarnedOf(t *testing.T) {
	safe := []string{"--appendonly", "yes"}
	for name, c := range map[string]struct {
		args    []string
		setting []any
		warned  string // "" for nothing
	}{
		"safe":                {args: safe},
		"evicts":              {safe, []any{"CONFIG", "SET", "maxmemory-policy", "allkeys-lru"}, "value=allkeys-lru"},
		"keeps nothing":       {nil, nil, "keeps nothing on disk"},
		"keeps snapshots":     {[]string{"--save", "3600 1"}, nil, "keeps snapshots alone"},
		"leaves it to the OS": {safe, []any{"CONFIG", "SET", "appendfsync", "no"}, "setting=appendfsync value=no"},
		"refuses INFO":        {safe, []any{"ACL", "SETUSER", "default", "-info"}, "level=DEBUG.*NOPERM"},
		"refuses CONFIG":      {safe, []any{"ACL", "SETUSER", "default", "-config"}, "level=DEBUG.*NOPERM"},
		"no CONFIG, no AOF":   {nil, []any{"ACL", "SETUSER", "default", "-config"}, "keeps snapshots alone"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := redistest.SingleServer(t, c.args...)
			if c.setting != nil {
				if err := server.Client().Do(context.Background(), c.setting...).Err(); err != nil {
					t.Fatal(err)
				}
			}
			log := risksSaid(t, server.URL())
			if c.warned == "" && strings.Contains(log, "level=WARN") || !regexp.MustCompile(c.warned).MatchString(log) {
				t.Errorf("want %q, it said:\n%s", c.warned, log)
			}
		})
	}
}

// A master that need not wait for its replicas may go on alone.
func TestRiskOfAMasterAlone(t *testing.T) {
	master := redistest.SingleServer(t, "--appendonly", "yes")
	redistest.Replica(t, master)
	if log := risksSaid(t, master.URL()); !strings.Contains(log, "min-replicas-to-write") {
		t.Errorf("it said:\n%s", log)
	}
	if err := master.Client().ConfigSet(context.Background(), "min-replicas-to-write", "1").Err(); err != nil {
		t.Fatal(err)
	}
	if log := risksSaid(t, master.URL()); strings.Contains(log, "level=WARN") {
		t.Errorf("it said:\n%s", log)
	}
}

// Of a cluster all masters are asked.
func TestRisksOfACluster(t *testing.T) {
	c, err := redistest.StartCluster(redistest.Options{Args: []string{"--appendonly", "yes"}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Nodes[2].Client().ConfigSet(context.Background(), "maxmemory-policy", "volatile-lru").Err(); err != nil {
		t.Fatal(err)
	}
	log := risksSaid(t, "redis+cluster://"+strings.Join(c.Addrs(), ","))
	if n := strings.Count(log, "level=WARN"); n != 1 || !strings.Contains(log, "redis="+c.Nodes[2].Addr()) {
		t.Errorf("it said:\n%s", log)
	}
}

// risksSaid is what is logged of the risks of a Redis.
func risksSaid(t *testing.T, url string) string {
	t.Helper()
	client, err := ConnectRedis(url)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	var log bytes.Buffer
	warnOfRisks(t.Context(), client, slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})))
	return log.String()
}
