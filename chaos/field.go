package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/deetoo/deetoo/auth"
	"github.com/deetoo/deetoo/chaos/verify"
)

// secret signs the tokens.
const secret = "chaos-secret-of-at-least-thirty-two-bytes"

// The job types.
const (
	typeWork   = "work"   // most jobs
	typeSingle = "single" // one at a time
	typeRated  = "rated"  // so many a second
	typeTicks  = "ticks"  // pushed by a schedule
)

// types are what is promised of the job types.
func types() []verify.Type {
	return []verify.Type{
		{Name: typeWork, Concurrency: 24, MaxAttempts: 8},
		{Name: typeSingle, Concurrency: 1, MaxAttempts: 8},
		{Name: typeRated, Concurrency: 20, MaxAttempts: 8, Burst: 5, Interval: 40 * time.Millisecond},
		{Name: typeTicks, Concurrency: 4, MaxAttempts: 8, Every: 500 * time.Millisecond},
	}
}

// settings are those of a type for the API.
func settings(t verify.Type, target string) map[string]any {
	s := map[string]any{
		"target": target + "/" + t.Name, "concurrency": t.Concurrency, "timeout": "20s",
		"retry":     map[string]any{"max_attempts": t.MaxAttempts, "min_backoff": "100ms", "max_backoff": "1s"},
		"retention": map[string]any{"count": 1_000_000, "age": "240h"},
	}
	if t.Interval > 0 {
		s["rate"] = map[string]any{"limit": int(time.Second / t.Interval), "per": "1s", "burst": t.Burst}
	}
	return s
}

// How many there are of each process.
const (
	dispatchers = 3
	handlers    = 3
	producers   = 2
)

// field is where a round of a scenario is played.
type field struct {
	dir, program, token string
	seed                uint64
	lease               time.Duration
	client              *http.Client
	store               store
	dispatchers         []*dispatcher
	producers           []*child
	handlers            []*child

	mu       sync.Mutex
	history  verify.History
	troubles []error
}

// openField starts everything but the producers.
func openField(s scenario, c config, program, dir string) (f *field, err error) {
	f = &field{dir: dir, program: program, seed: c.seed, lease: c.lease, client: &http.Client{
		Timeout: 20 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 32},
	}}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.close())
		}
	}()
	if f.token, err = auth.Mint([]byte(secret), auth.MintOptions{Subject: "chaos", Scopes: []auth.Scope{auth.Admin}, TTL: 30 * 24 * time.Hour}); err != nil {
		return f, err
	}
	if f.store, err = s.open(); err != nil {
		return f, err
	}
	var targets []string
	for i := range handlers {
		name := fmt.Sprintf("h%d", i+1)
		h, err := cast(name, f.file(name+".log"), roleHandler, handlerPart{Name: name, Ledger: f.file(name + ".ledger"), Seed: f.seed})
		if err != nil {
			return f, err
		}
		f.handlers = append(f.handlers, h)
		target, err := h.await(10 * time.Second)
		if err != nil {
			return f, err
		}
		targets = append(targets, target)
	}
	for i := range dispatchers {
		d, err := newDispatcher(f, fmt.Sprintf("d%d", i+1), f.store.url(i))
		if err != nil {
			return f, err
		}
		f.dispatchers = append(f.dispatchers, d)
		if err := d.start(); err != nil {
			return f, err
		}
		if err := d.ready(); err != nil {
			return f, err
		}
	}
	return f, f.register(targets)
}

func (f *field) file(name string) string { return filepath.Join(f.dir, name) }

func (f *field) register(targets []string) error {
	f.history.Lease, f.history.Types = f.lease, types()
	d := f.dispatchers[0]
	for i, t := range f.history.Types {
		if err := d.call("PUT", "/v1/types/"+t.Name, settings(t, targets[i%len(targets)]), nil); err != nil {
			return err
		}
	}
	for _, t := range f.history.Types {
		if t.Every == 0 {
			continue
		}
		if err := d.call("PUT", "/v1/schedules/"+t.Name, map[string]any{
			"type": t.Name, "every": t.Every.String(), "start": time.Now().UTC().Truncate(t.Every).Format(time.RFC3339Nano), "catch_up": "all",
		}, nil); err != nil {
			return err
		}
	}
	f.history.Since = time.Now().Add(time.Second)
	return nil
}

// produce starts the producers.
func (f *field) produce(pace time.Duration) error {
	var urls []string
	for _, d := range f.dispatchers {
		urls = append(urls, d.url())
	}
	for i := range producers {
		name := fmt.Sprintf("p%d", i+1)
		p, err := cast(name, f.file(name+".log"), roleProducer, producerPart{
			Name: name, Ledger: f.file(name + ".ledger"), Seed: f.seed + uint64(i), Dispatchers: urls, Token: f.token, Pace: pace,
		})
		if err != nil {
			return err
		}
		f.producers = append(f.producers, p)
		if _, err := p.await(10 * time.Second); err != nil {
			return err
		}
	}
	return nil
}

// note takes a fault into the history.
func (f *field) note(v verify.Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.history.Faults = append(f.history.Faults, v)
}

// trouble is what went wrong with the making of faults: dispatchers that do not end or start, say.
func (f *field) trouble(err error) {
	if err == nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.troubles = append(f.troubles, err)
}

// watch samples the dispatchers until ctx ends.
func (f *field) watch(ctx context.Context) {
	for tick := time.NewTicker(time.Second); ; {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for _, d := range f.dispatchers {
			if s, ok := d.sample(); ok {
				f.mu.Lock()
				f.history.Samples = append(f.history.Samples, s)
				f.mu.Unlock()
			}
		}
	}
}

// close ends all processes.
func (f *field) close() error {
	var errs []error
	for _, p := range append(f.producers, f.handlers...) {
		_ = p.cmd.Process.Kill()
		<-p.done
	}
	for _, d := range f.dispatchers {
		if p := d.process(); p != nil {
			_ = p.cmd.Process.Kill()
			<-p.done
		}
	}
	if f.store != nil {
		errs = append(errs, f.store.close())
	}
	return errors.Join(errs...)
}

// build builds the dispatcher.
func build(dir string) (program string, err error) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/deetoo/deetoo").Output()
	if err != nil {
		return "", fmt.Errorf("find the dispatcher's source (run this in its folder): %w", err)
	}
	program = filepath.Join(dir, "dispatcher")
	cmd := exec.Command("go", "build", "-o", program, "./cmd/dispatcher")
	cmd.Dir, cmd.Stderr = strings.TrimSpace(string(out)), os.Stderr
	return program, cmd.Run()
}
