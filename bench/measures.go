package main

import (
	"errors"
	"fmt"
	"time"
)

// measure is one thing measured, of some systems.
type measure struct {
	name, title string
	systems     []string
	columns     []string
	// ratios are the systems that the first one's first column is divided by.
	ratios []string
	// run returns a value a column, fewer if a system has no more.
	run func(l *lab, system string) ([]float64, error)
}

func measures() []measure {
	return []measure{
		{
			name: "drain", title: "Drain: a backlog delivered",
			systems: []string{deetooName, asynqName, limitName, limitFastName},
			columns: []string{"jobs/s", "CPU µs/job", "worker µs", "Redis µs", "script calls/job"},
			ratios:  []string{asynqName, limitName, limitFastName}, run: drain,
		},
		{
			name: "latency", title: "Latency: enqueue to arrival at 500 jobs/s, ms",
			systems: []string{deetooName, asynqTunedName, asynqName},
			columns: []string{"p50", "p99", "p99.9", "max"}, ratios: []string{asynqTunedName}, run: latency,
		},
		{
			name: "enqueue", title: "Enqueue: one job a call on 64 connections",
			systems: []string{deetooName, asynqName},
			columns: []string{"jobs/s", "CPU µs/job", "server µs", "Redis µs", "producer µs", "script calls/job"},
			ratios:  []string{asynqName}, run: enqueue,
		},
		{
			name: "bulk", title: "Enqueue: 1,000 jobs a request on 4 connections",
			systems: []string{asArray, asNDJSON},
			columns: []string{"jobs/s", "CPU µs/job", "server µs", "Redis µs", "producer µs", "script calls/job"}, run: bulkEnqueue,
		},
		{
			name: "due", title: "10,000 jobs due at one moment: lateness of arrival, ms",
			systems: []string{deetooName, asynqTunedName, asynqName},
			columns: []string{"max", "p50", "first"}, ratios: []string{asynqTunedName}, run: dueAtOnce,
		},
		{
			name: "alone", title: "Jobs due one at a time, 20 a second: lateness of arrival, ms",
			systems: []string{deetooName}, // asynq's times are whole seconds
			columns: []string{"p50", "p99", "max"}, run: dueAlone,
		},
		{
			name: "scheduled", title: "A drain beside 1,000,000 jobs scheduled for tomorrow (100,000 if quick)",
			systems: []string{manyScheduled, noneScheduled},
			columns: []string{"Redis µs/job", "jobs/s", "CPU µs/job"}, ratios: []string{noneScheduled}, run: besideScheduled,
		},
		{
			name: "types", title: "10 jobs each of 10,000 types at once (1,000 types if quick)",
			systems: []string{manyTypes, oneType},
			columns: []string{"jobs/s", "CPU µs/job", "worker µs", "Redis µs", "script calls/job", "peak RSS MB", "descriptors"}, ratios: []string{oneType}, run: typesAtOnce,
		},
		{
			name: "growth", title: "A handler that takes 50 ms",
			systems: []string{twoDispatchers, oneDispatcher, oneWideDispatcher},
			columns: []string{"jobs/s", "CPU µs/job", "worker µs", "Redis µs", "script calls/job"}, ratios: []string{oneDispatcher, oneWideDispatcher}, run: growth,
		},
		{
			name: "memory", title: "Memory with a backlog of 100,000 (20,000 if quick)",
			systems: []string{deetooName, asynqName},
			columns: []string{"Redis bytes/queued job", "Redis bytes/finished job", "RSS MB with all queued, 64 in flight"}, run: memory,
		},
		{
			name: "embedded", title: "The embedded default, fsync included: POST to arrival",
			systems: []string{"single POSTs", "backlog of 10,000"},
			columns: []string{"jobs/s", "CPU µs/job"}, run: embedded,
		},
		{
			name: "rest", title: "At rest: 1,000 types without jobs",
			systems: []string{deetooName},
			columns: []string{"% of a core", "Redis % of a core", "RSS MB"}, run: rest,
		},
	}
}

// settling is how long after the last arrival the last results are settled.
const settling = 100 * time.Millisecond

// due now, unstamped.
func plain(n int) []job { return make([]job, n) }

func drain(l *lab, name string) ([]float64, error) {
	s, err := l.open(name)
	if err != nil {
		return nil, err
	}
	defer s.close()
	if err := s.load(plain(l.jobs)); err != nil {
		return nil, err
	}
	return l.drained(s, l.jobs)
}

// drained begins and measures until all have arrived.
func (l *lab) drained(s system, n int) ([]float64, error) {
	c, err := l.meter(s)
	if err != nil {
		return nil, err
	}
	if err := s.begin(); err != nil {
		return nil, err
	}
	seen, err := l.await(n)
	if err != nil {
		return nil, err
	}
	time.Sleep(settling)
	worker, redis, _, calls, err := c.perJob(n)
	rate := float64(n-1) / time.Duration(seen.Last-seen.First).Seconds()
	return []float64{rate, worker + redis, worker, redis, calls}, err
}

// pace is that of the latency measure, in jobs a second.
const pace = 500

func latency(l *lab, name string) ([]float64, error) {
	s, err := l.open(name)
	if err != nil {
		return nil, err
	}
	defer s.close()
	if err := s.begin(); err != nil {
		return nil, err
	}
	// The first ones make connections.
	warm := pace
	n := pace*l.seconds + warm
	results := make(chan error, n)
	begun := time.Now()
	for i := range n {
		time.Sleep(time.Until(begun.Add(time.Duration(i) * time.Second / pace)))
		go func() { results <- s.push(job{stamp: time.Now().UnixNano() * int64(min(i/warm, 1))}) }()
	}
	for range n {
		err = errors.Join(err, <-results)
	}
	if err != nil {
		return nil, err
	}
	seen, err := l.await(n)
	return lateness(seen, 0.5, 0.99, 0.999, 1), err
}

// lateness returns quantiles in ms.
func lateness(s sinkStats, quantiles ...float64) []float64 {
	ms := make([]float64, len(s.Late))
	for i, ns := range s.Late {
		ms[i] = float64(ns) / 1e6
	}
	var out []float64
	for _, q := range quantiles {
		out = append(out, quantile(ms, q))
	}
	return out
}

func enqueue(l *lab, name string) ([]float64, error) {
	s, err := l.open(name)
	if err != nil {
		return nil, err
	}
	defer s.close()
	d, ours := s.(*deetooSystem)
	if !ours {
		return l.pushed(s, func(n int) error { return pushAll(s, plain(n)) })
	}
	p, err := d.producer(concurrency, jsonType, envelope(job{}))
	if err != nil {
		return nil, err
	}
	defer p.close()
	return l.pushed(s, p.send)
}

const (
	asArray  = "deetoo, array"
	asNDJSON = "deetoo, NDJSON"
)

func bulkEnqueue(l *lab, name string) ([]float64, error) {
	if err := l.clear(); err != nil {
		return nil, err
	}
	s, err := openDeetoo(l, false)
	if err != nil {
		return nil, err
	}
	defer s.close()
	media, body := ndjsonType, ndjson(plain(bulk))
	if name == asArray {
		media, body = jsonType, array(plain(bulk))
	}
	p, err := s.producer(bulkConnections, media, []byte(body))
	if err != nil {
		return nil, err
	}
	defer p.close()
	return l.pushed(s, func(n int) error { return p.send(max(n/bulk, 1)) })
}

// pushed measures the pushing of all jobs, which push does.
func (l *lab) pushed(s system, push func(n int) error) ([]float64, error) {
	if err := push(2 * concurrency); err != nil { // connections are made, scripts loaded
		return nil, err
	}
	c, err := l.meter(s)
	if err != nil {
		return nil, err
	}
	begun := time.Now()
	if err := push(l.jobs); err != nil {
		return nil, err
	}
	took := time.Since(begun)
	server, redis, producer, calls, err := c.perJob(l.jobs)
	return []float64{float64(l.jobs) / took.Seconds(), server + redis + producer, server, redis, producer, calls}, err
}

func dueAtOnce(l *lab, name string) ([]float64, error) {
	const n = 10_000
	s, err := l.open(name)
	if err != nil {
		return nil, err
	}
	defer s.close()
	if err := s.begin(); err != nil {
		return nil, err
	}
	at := time.Now().Add(4 * time.Second).Truncate(time.Second)
	jobs := make([]job, n)
	for i := range jobs {
		jobs[i] = job{stamp: at.UnixNano(), at: at}
	}
	if err := s.load(jobs); err != nil {
		return nil, err
	}
	if time.Until(at) < 200*time.Millisecond {
		return nil, errors.New("pushing took until the jobs were due")
	}
	seen, err := l.await(n)
	return lateness(seen, 1, 0.5, 0), err
}

func memory(l *lab, name string) ([]float64, error) {
	n := l.backlog
	s, err := l.open(name)
	if err != nil {
		return nil, err
	}
	defer s.close()
	if err := s.push(job{}); err != nil { // the scripts are loaded
		return nil, err
	}
	before, err := l.info("memory", "used_memory")
	if err != nil {
		return nil, err
	}
	if err := s.load(plain(n)); err != nil {
		return nil, err
	}
	queued, err := l.info("memory", "used_memory")
	if err != nil {
		return nil, err
	}
	resident := []float64{}
	d, ours := s.(*deetooSystem)
	if ours {
		if err := d.call("PATCH", typePath, jsonType, fmt.Sprintf(`{"target":%q}`, l.target+"/hold")); err != nil {
			return nil, err
		}
	}
	if err := s.begin(); err != nil {
		return nil, err
	}
	if ours {
		if _, err := l.await(concurrency); err != nil {
			return nil, err
		}
		mb, err := residentMB(d.pids()[0])
		if err != nil {
			return nil, err
		}
		resident = append(resident, mb)
		if err := d.call("PATCH", typePath, jsonType, fmt.Sprintf(`{"target":%q}`, l.target)); err != nil {
			return nil, err
		}
	}
	if _, err := l.await(n + 1); err != nil {
		return nil, err
	}
	time.Sleep(settling)
	finished, err := l.info("memory", "used_memory")
	return append([]float64{(queued - before) / float64(n), (finished - before) / float64(n)}, resident...), err
}

func embedded(l *lab, name string) ([]float64, error) {
	if err := l.clear(); err != nil {
		return nil, err
	}
	s, err := openDeetoo(l, true)
	if err != nil {
		return nil, err
	}
	defer s.close()
	const backlog = 10_000
	if name != "single POSTs" {
		if err := s.load(plain(backlog)); err != nil {
			return nil, err
		}
		v, err := l.drained(s, backlog)
		if err != nil {
			return nil, err
		}
		return []float64{v[0], v[2]}, nil
	}
	if err := s.begin(); err != nil {
		return nil, err
	}
	c, err := l.meter(s)
	if err != nil {
		return nil, err
	}
	n := min(l.jobs, backlog)
	begun := time.Now()
	if err := pushAll(s, plain(n)); err != nil {
		return nil, err
	}
	seen, err := l.await(n)
	if err != nil {
		return nil, err
	}
	worker, _, _, _, err := c.perJob(n)
	return []float64{float64(n) / time.Unix(0, seen.Last).Sub(begun).Seconds(), worker}, err
}

func rest(l *lab, name string) ([]float64, error) {
	s, err := l.open(name)
	if err != nil {
		return nil, err
	}
	defer s.close()
	d := s.(*deetooSystem)
	for i := range 1000 {
		if err := d.call("PUT", fmt.Sprintf("/v1/types/rest-%d", i), jsonType, fmt.Sprintf(`{"target":%q}`, l.target)); err != nil {
			return nil, err
		}
	}
	time.Sleep(2 * time.Second)
	c, err := l.meter(s)
	if err != nil {
		return nil, err
	}
	time.Sleep(time.Duration(l.seconds) * time.Second)
	// A job a second, so to speak: µs a second are a ten-thousandth of a per cent of a core.
	worker, redis, _, _, err := c.perJob(l.seconds)
	if err != nil {
		return nil, err
	}
	mb, err := residentMB(d.pids()[0])
	return []float64{worker / 1e4, redis / 1e4, mb}, err
}
