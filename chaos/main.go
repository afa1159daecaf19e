// Command chaos lets DeeToo work while its processes, its Redis and the network
// between them fail, and tells whether it kept its promises. It starts the built
// dispatcher three times, two producers, three handlers and a Redis of its own, all on
// loopback, makes a fault every 1 to 5 s, lets everything come to rest, and then
// checks the invariants of package verify over what producers and handlers
// noted on disk, what is stored, and fsck. It ends with 1 if one does not hold. Linux only.
//
//	go run .                              every scenario for 45 s
//	go run . -scenario always -duration 1h
//	go run . -scenario always -seed 7     the same faults again
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/deetoo/deetoo/chaos/verify"
)

// config is what the flags say.
type config struct {
	duration, lease, pace time.Duration
	seed                  uint64
	scenario, keep        string
}

func main() {
	if len(os.Args) > 1 && strings.HasPrefix(os.Args[1], rolePrefix) {
		if err := play(os.Args[1], os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, os.Args[1]+":", err)
			os.Exit(1)
		}
		return
	}
	var c config
	var names []string
	for _, s := range scenarios() {
		names = append(names, s.name)
	}
	flag.DurationVar(&c.duration, "duration", 45*time.Second, "how long faults are made, in each scenario")
	flag.DurationVar(&c.lease, "lease", 3*time.Second, "lease of the dispatchers")
	flag.DurationVar(&c.pace, "pace", 50*time.Millisecond, "time between two pushes of a producer")
	flag.Uint64Var(&c.seed, "seed", 0, "of the faults and the jobs (default: random, and printed)")
	flag.StringVar(&c.scenario, "scenario", strings.Join(names, ","), "which, separated by commas")
	flag.StringVar(&c.keep, "keep", "", "folder to keep ledgers and logs in (default: they are kept of rounds that fail alone)")
	flag.Parse()
	if c.seed == 0 {
		c.seed = rand.Uint64N(1_000_000) + 1
	}
	if err := run(c); err != nil {
		fmt.Fprintln(os.Stderr, "chaos:", err)
		os.Exit(1)
	}
}

var errBroken = errors.New("promises were broken")

func run(c config) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var chosen []scenario
	for name := range strings.SplitSeq(c.scenario, ",") {
		i := slices.IndexFunc(scenarios(), func(s scenario) bool { return s.name == name })
		if i < 0 {
			return fmt.Errorf("there is no scenario %q", name)
		}
		chosen = append(chosen, scenarios()[i])
	}
	dir, err := c.keep, error(nil)
	if dir == "" {
		dir, err = os.MkdirTemp("", "deetoo-chaos-")
	} else {
		err = os.MkdirAll(dir, 0o700)
	}
	if err != nil {
		return err
	}
	program, err := build(dir)
	if err != nil {
		return err
	}
	fmt.Printf("seed %d, %s of faults a scenario, lease %s\n", c.seed, c.duration, c.lease)
	broken := false
	for _, s := range chosen {
		where := filepath.Join(dir, s.name)
		if err := os.Mkdir(where, 0o700); err != nil {
			return err
		}
		h, err := s.play(ctx, c, program, where)
		if err != nil {
			return fmt.Errorf("%s: %w (logs are in %s)", s.name, err, where)
		}
		if err := save(h, filepath.Join(where, "history.json")); err != nil {
			return err
		}
		findings := h.Verify()
		fmt.Print(report(s, h, findings))
		for _, f := range findings {
			broken = broken || len(f.Broken) > 0
		}
	}
	if broken {
		return fmt.Errorf("%w; again: -seed %d; ledgers and logs are in %s", errBroken, c.seed, dir)
	}
	if c.keep != "" {
		return nil
	}
	return os.RemoveAll(dir)
}

// save writes all that is known of a round, for who wants to know why.
func save(h *verify.History, path string) error {
	b, err := json.MarshalIndent(h, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, b, 0o600)
}
