package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/deetoo/deetoo/internal/redistest"
)

// lab is what all measures share: Redis, the sink, and the built dispatcher.
type lab struct {
	config
	ctx    context.Context
	dir    string
	redis  *redistest.Server
	sink   *child
	target string
}

func openLab(ctx context.Context, c config) (l *lab, err error) {
	l = &lab{config: c, ctx: ctx}
	defer func() {
		if err != nil {
			l.close()
		}
	}()
	if l.dir, err = os.MkdirTemp("", "deetoo-bench-"); err != nil {
		return nil, err
	}
	if l.program == "" {
		if err = l.build(); err != nil {
			return nil, err
		}
	}
	if l.redis, err = redistest.Start(redistest.Options{}); err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	if l.sink, err = launch(ctx, nil, self, roleSink); err != nil {
		return nil, err
	}
	l.target, err = l.sink.line("ready ")
	return l, err
}

// build makes the dispatcher that is measured.
func (l *lab) build() (err error) {
	l.program = filepath.Join(l.dir, "dispatcher")
	cmd := exec.CommandContext(l.ctx, "go", "build", "-o", l.program, "./cmd/dispatcher")
	if cmd.Dir, err = root(); err != nil {
		return err
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build the dispatcher: %w\n%s", err, out)
	}
	return nil
}

// root is the folder of the main module.
func root() (string, error) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/deetoo/deetoo").Output()
	if err != nil {
		return "", fmt.Errorf("find the dispatcher's source (run this in its folder): %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}

func (l *lab) close() {
	if l.sink != nil {
		l.sink.close()
	}
	if l.redis != nil {
		_ = l.redis.Close()
	}
	_ = os.RemoveAll(l.dir)
}

// clear empties Redis and the sink.
func (l *lab) clear() error {
	_, err := l.seen(true)
	return errors.Join(err, l.redis.Client().FlushAll(l.ctx).Err())
}

// seen is what the sink has received, and forgets it if reset is true.
func (l *lab) seen(reset bool) (sinkStats, error) {
	var s sinkStats
	url := l.target
	if reset {
		url += "?reset=1"
	}
	_, b, err := fasthttp.Get(nil, url)
	if err != nil {
		return s, err
	}
	return s, json.Unmarshal(b, &s)
}

// await waits until the sink has received n jobs. It gives up when none come any more.
func (l *lab) await(n int) (sinkStats, error) {
	last, since := 0, time.Now()
	for {
		s, err := l.seen(false)
		switch {
		case err != nil:
			return s, err
		case s.Count >= n:
			return s, nil
		case s.Count > last:
			last, since = s.Count, time.Now()
		case time.Since(since) > 30*time.Second:
			return s, fmt.Errorf("only %d of %d jobs arrived", s.Count, n)
		}
		select {
		case <-l.ctx.Done():
			return s, l.ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// info is a number from Redis's INFO.
func (l *lab) info(section, field string) (float64, error) {
	text, err := l.redis.Client().Info(l.ctx, section).Result()
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(text) {
		if v, ok := strings.CutPrefix(strings.TrimSpace(line), field+":"); ok {
			return strconv.ParseFloat(v, 64)
		}
	}
	return 0, fmt.Errorf("INFO %s has no %s", section, field)
}

func (l *lab) redisVersion() string {
	text, err := l.redis.Client().Info(l.ctx, "server").Result()
	if err != nil {
		return "?"
	}
	_, rest, _ := strings.Cut(text, "redis_version:")
	version, _, _ := strings.Cut(rest, "\r")
	return version
}

// scriptCalls counts the scripts run since the statistics were reset: each is a round trip.
func (l *lab) scriptCalls() (float64, error) {
	text, err := l.redis.Client().Info(l.ctx, "commandstats").Result()
	if err != nil {
		return 0, err
	}
	calls := 0.0
	for line := range strings.Lines(text) {
		name, rest, _ := strings.Cut(strings.TrimPrefix(line, "cmdstat_"), ":calls=")
		if name != "eval" && name != "evalsha" {
			continue
		}
		n, _, _ := strings.Cut(rest, ",")
		v, err := strconv.ParseFloat(n, 64)
		if err != nil {
			return 0, err
		}
		calls += v
	}
	return calls, nil
}

// cost is what a stretch of work cost, by the processes' own accounting.
type cost struct {
	l           *lab
	system      system
	redisPID    int
	worker      time.Duration
	redis, self time.Duration
}

// meter begins to count.
func (l *lab) meter(s system) (*cost, error) {
	pid, err := l.info("server", "process_id")
	if err != nil {
		return nil, err
	}
	c := &cost{l: l, system: s, redisPID: int(pid)}
	if err := l.redis.Client().ConfigResetStat(l.ctx).Err(); err != nil {
		return nil, err
	}
	c.worker, c.redis, c.self, err = c.now()
	return c, err
}

func (c *cost) now() (worker, redis, self time.Duration, err error) {
	worker, err1 := cpuTime(c.system.pids()...)
	redis, err2 := cpuTime(c.redisPID)
	self, err3 := cpuTime(os.Getpid())
	return worker, redis, self, errors.Join(err1, err2, err3)
}

// perJob ends counting: µs of CPU a job of the system, Redis and this process, and script calls a job.
func (c *cost) perJob(jobs int) (worker, redis, self, calls float64, err error) {
	w, r, s, err := c.now()
	if err != nil {
		return 0, 0, 0, 0, err
	}
	calls, err = c.l.scriptCalls()
	us := func(d time.Duration) float64 { return float64(d.Microseconds()) / float64(jobs) }
	return us(w - c.worker), us(r - c.redis), us(s - c.self), calls / float64(jobs), err
}
