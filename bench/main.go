// Command bench measures DeeToo's speed beside its peers on one machine: it
// starts a redis-server of its own, the built dispatcher, a handler that
// answers at once, asynq, and two loops that do nothing but claim and POST,
// which are the limit of what the parts allow. Rounds are interleaved, so that
// ratios hold on a machine whose speed drifts. It prints tables and asserts nothing.
//
//	go run . -quick            all measures, once, in about a minute
//	go run .                   all measures, five rounds
//	go run . -measures drain -rounds 9 -jobs 60000
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

// config is what the flags say.
type config struct {
	rounds    int
	jobs      int
	backlog   int // of the memory measure
	scheduled int // jobs, of the scheduled measure
	types     int // of the types measure
	seconds   int
	quick     bool
	measures  string
	systems   string
	against   string
	profile   string
	program   string
}

// concurrency is how many jobs run at once, and over how many connections jobs are pushed.
const concurrency = 64

// payloadSize is the size of a job's data, in bytes.
const payloadSize = 256

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
	for _, m := range measures() {
		names = append(names, m.name)
	}
	flag.IntVar(&c.rounds, "rounds", 5, "rounds, interleaved over the systems")
	flag.IntVar(&c.jobs, "jobs", 60_000, "jobs a round of drain and enqueue")
	flag.IntVar(&c.seconds, "seconds", 20, "seconds a round of latency and rest")
	flag.BoolVar(&c.quick, "quick", false, "one short round of each: a look, not a measurement")
	flag.StringVar(&c.measures, "measures", strings.Join(names, ","), "which, separated by commas")
	flag.StringVar(&c.systems, "systems", "", "only these systems, separated by semicolons (default: all of a measure)")
	flag.StringVar(&c.against, "against", "", "another build of the dispatcher, measured in turn with this one where the first system is deetoo")
	flag.StringVar(&c.profile, "profile", "", "run the dispatcher as a library in a process that writes its CPU profile to this file (of the last round)")
	flag.StringVar(&c.program, "program", "", "measure this built dispatcher instead of building one: to compare two, take turns")
	flag.Parse()
	c.backlog, c.scheduled, c.types = 100_000, 1_000_000, 10_000
	if c.quick {
		c.rounds, c.jobs, c.seconds, c.backlog, c.scheduled, c.types = 1, 10_000, 3, 20_000, 100_000, 1_000
	}
	if err := run(c); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(c config) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	chosen := strings.Split(c.measures, ",")
	for _, name := range chosen {
		if !slices.ContainsFunc(measures(), func(m measure) bool { return m.name == name }) {
			return fmt.Errorf("there is no measure %q", name)
		}
	}
	l, err := openLab(ctx, c)
	if err != nil {
		return err
	}
	defer l.close()
	fmt.Printf("%s, %d CPUs, %s, Redis %s without persistence; payload %d bytes, concurrency %d, %d rounds; median (min–max)\n",
		runtime.Version(), runtime.NumCPU(), runtime.GOOS+"/"+runtime.GOARCH, l.redisVersion(), payloadSize, concurrency, c.rounds)
	for _, m := range measures() {
		if !slices.Contains(chosen, m.name) {
			continue
		}
		begun := time.Now()
		m = c.choose(m)
		if len(m.systems) == 0 {
			continue
		}
		t := newTable(m)
		for range c.rounds {
			for _, s := range m.systems {
				values, err := m.run(l, s)
				if ctx.Err() != nil {
					return ctx.Err()
				}
				if err != nil {
					return fmt.Errorf("%s, %s: %w", m.name, s, err)
				}
				t.add(s, values)
			}
		}
		fmt.Printf("\n## %s (%s)\n\n%s", m.title, time.Since(begun).Round(time.Second), t)
	}
	return nil
}

// choose leaves the systems of a measure that the flags ask for.
func (c config) choose(m measure) measure {
	if c.against != "" && slices.Contains(m.systems, deetooName) {
		m.systems = append(slices.Clip(m.systems), otherName)
		m.ratios = append(slices.Clip(m.ratios), otherName)
	}
	if c.systems == "" {
		return m
	}
	chosen := strings.Split(c.systems, ";")
	drop := func(name string) bool { return !slices.Contains(chosen, name) && name != otherName }
	m.systems = slices.DeleteFunc(slices.Clone(m.systems), drop)
	m.ratios = slices.DeleteFunc(slices.Clone(m.ratios), func(name string) bool { return !slices.Contains(m.systems, name) })
	return m
}
