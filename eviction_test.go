package deetoo_test

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/deetoo/deetoo"
	"github.com/deetoo/deetoo/internal/redistest"
)

// logLines is a logger's output, a line each.
type logLines chan string

func (l logLines) Write(p []byte) (int, error) {
	l <- string(bytes.TrimSpace(p))
	return len(p), nil
}

// A Redis that deletes keys when it is full, and with them jobs, is warned of;
// one whose access rules keep us from asking is not asked again and again.
func TestRedisThatEvictsIsWarnedOf(t *testing.T) {
	for name, c := range map[string]struct {
		setting []any
		warned  string
	}{
		"evicts":  {[]any{"CONFIG", "SET", "maxmemory-policy", "allkeys-lru"}, "maxmemory_policy=allkeys-lru"},
		"refuses": {[]any{"ACL", "SETUSER", "default", "-info"}, "NOPERM"},
	} {
		t.Run(name, func(t *testing.T) {
			server := redistest.SingleServer(t)
			if err := server.Client().Do(context.Background(), c.setting...).Err(); err != nil {
				t.Fatal(err)
			}
			said := make(logLines, 1000)
			d := deetoo.New(deetoo.WithOptions(deetoo.Options{
				RedisURL: server.URL(), DataDir: t.TempDir(),
				Logger: slog.New(slog.NewTextHandler(said, &slog.HandlerOptions{Level: slog.LevelDebug})),
			}))
			if err := d.Start(context.Background()); err != nil {
				t.Fatal(err)
			}
			defer func() { _ = d.Shutdown(context.Background()) }()
			for late := time.After(20 * time.Second); ; {
				select {
				case line := <-said:
					if strings.Contains(line, c.warned) {
						return
					}
				case <-late:
					t.Fatalf("nothing was said with %q", c.warned)
				}
			}
		})
	}
}
