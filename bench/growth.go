package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/deetoo/deetoo/queue"
)

// What speed becomes when there is more: of scheduled jobs, of types, of dispatchers.

const (
	noneScheduled = "deetoo, none scheduled"
	manyScheduled = "deetoo, many scheduled"
)

// besideScheduled is a drain with, or without, as many jobs scheduled for tomorrow as the flags say.
func besideScheduled(l *lab, name string) ([]float64, error) {
	s, err := l.open(deetooName)
	if err != nil {
		return nil, err
	}
	defer s.close()
	if name == manyScheduled {
		tomorrow := time.Now().Add(24 * time.Hour)
		jobs := make([]job, bulk*10)
		for left := l.scheduled; left > 0; left -= len(jobs) {
			for i := range jobs {
				jobs[i].at = tomorrow.Add(time.Duration(left-i) * time.Millisecond)
			}
			if err := s.load(jobs[:min(left, len(jobs))]); err != nil {
				return nil, err
			}
		}
	}
	if err := s.load(plain(l.jobs)); err != nil {
		return nil, err
	}
	v, err := l.drained(s, l.jobs)
	if err != nil {
		return nil, err
	}
	return []float64{v[3], v[0], v[1]}, nil
}

// dueAlone has jobs become due one at a time.
func dueAlone(l *lab, name string) ([]float64, error) {
	s, err := l.open(name)
	if err != nil {
		return nil, err
	}
	defer s.close()
	if err := s.begin(); err != nil {
		return nil, err
	}
	const every = 50 * time.Millisecond
	first := time.Now().Add(2 * time.Second).Truncate(time.Second)
	jobs := make([]job, l.seconds*int(time.Second/every))
	for i := range jobs {
		at := first.Add(time.Duration(i) * every)
		jobs[i] = job{stamp: at.UnixNano(), at: at}
	}
	if err := s.load(jobs); err != nil {
		return nil, err
	}
	seen, err := l.await(len(jobs))
	return lateness(seen, 0.5, 0.99, 1), err
}

const (
	manyTypes = "deetoo, many types"
	oneType   = "deetoo, one type"
	// each is how many jobs each of many types has, and how many of them may run at once.
	each = 10
)

// typesAtOnce drains a backlog of many types, or the same number of jobs of one. The types and jobs are there when
// the dispatcher starts, so that all types are to be served at the same moment.
func typesAtOnce(l *lab, name string) ([]float64, error) {
	types, jobs, width := l.types, each, each
	if name == oneType {
		types, jobs, width = 1, l.types*each, concurrency
	}
	if err := l.prepareTypes(types, jobs, width); err != nil {
		return nil, err
	}
	c, err := l.meter(nobody{})
	if err != nil {
		return nil, err
	}
	s, err := openDeetoo(l, false)
	if err != nil {
		return nil, err
	}
	defer s.close()
	c.system = s
	watched := watch(s.worker.pid())
	seen, err := l.await(types * jobs)
	sockets := watched()
	if err != nil {
		return nil, err
	}
	time.Sleep(settling)
	worker, redis, _, calls, err := c.perJob(types * jobs)
	if err != nil {
		return nil, err
	}
	peak, err := peakMB(s.worker.pid())
	rate := float64(types*jobs-1) / time.Duration(seen.Last-seen.First).Seconds()
	return []float64{rate, worker + redis, worker, redis, calls, peak, float64(sockets)}, err
}

// nobody is a system without processes.
type nobody struct{ system }

func (nobody) pids() []int { return nil }

// prepareTypes registers types and stores jobs of each, with no dispatcher left running.
func (l *lab) prepareTypes(types, jobs, width int) error {
	if err := l.clear(); err != nil {
		return err
	}
	s, err := openDeetoo(l, false)
	if err != nil {
		return err
	}
	defer s.close()
	var g errgroup.Group
	g.SetLimit(16)
	for i := range types {
		g.Go(func() error {
			return s.call("PUT", "/v1/types/"+typeName(i), jsonType, fmt.Sprintf(`{"target":%q,"concurrency":%d}`, l.target, width))
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	s.close()
	q, err := queue.New(l.redis.Client(), queue.Options{})
	if err != nil {
		return err
	}
	for i := range types {
		g.Go(func() error {
			list := make([]queue.Job, 0, min(jobs, bulk))
			for left := jobs; left > 0; left -= len(list) {
				for list = list[:0]; len(list) < min(left, bulk); {
					list = append(list, queue.Job{Type: typeName(i), Data: payload(0)})
				}
				if _, err := q.Push(context.Background(), list...); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return g.Wait()
}

func typeName(i int) string { return fmt.Sprintf("many-%d", i) }

// watch looks at how many descriptors a process has open, until the function it returns is called, which returns the most.
func watch(pid int) func() int {
	stop, most := make(chan struct{}), make(chan int)
	go func() {
		n := 0
		for {
			if entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid)); err == nil {
				n = max(n, len(entries))
			}
			select {
			case <-stop:
				most <- n
				return
			case <-time.After(20 * time.Millisecond):
			}
		}
	}()
	return func() int {
		close(stop)
		return <-most
	}
}

const (
	oneDispatcher     = "deetoo, one"
	oneWideDispatcher = "deetoo, one, twice the concurrency"
	twoDispatchers    = "deetoo, two, twice the concurrency"
)

// growth is a drain to a handler that takes 50 ms, by one dispatcher or two.
func growth(l *lab, name string) ([]float64, error) {
	if err := l.clear(); err != nil {
		return nil, err
	}
	systems := cluster{}
	defer func() { systems.close() }()
	for range map[string]int{oneDispatcher: 1, oneWideDispatcher: 1, twoDispatchers: 2}[name] {
		s, err := openDeetoo(l, false)
		if err != nil {
			return nil, err
		}
		systems = append(systems, s)
	}
	width := 4 * concurrency
	if name != oneDispatcher {
		width *= 2
	}
	// A second of each width, four times over.
	n := 4 * width * int(time.Second/slowTime)
	err := systems[0].call("PATCH", typePath, jsonType, fmt.Sprintf(`{"target":%q,"concurrency":%d}`, l.target+"/slow", width))
	if err != nil {
		return nil, err
	}
	if err := systems[0].load(plain(n)); err != nil {
		return nil, err
	}
	c, err := l.meter(systems)
	if err != nil {
		return nil, err
	}
	if err := systems[0].begin(); err != nil {
		return nil, err
	}
	seen, err := l.await(n)
	if err != nil {
		return nil, err
	}
	time.Sleep(settling + slowTime)
	worker, redis, _, calls, err := c.perJob(n)
	rate := float64(n-1) / time.Duration(seen.Last-seen.First).Seconds()
	return []float64{rate, worker + redis, worker, redis, calls}, err
}

// cluster is several dispatchers on one Redis.
type cluster []*deetooSystem

func (c cluster) load([]job) error { return errors.ErrUnsupported }
func (c cluster) push(job) error   { return errors.ErrUnsupported }
func (c cluster) begin() error     { return c[0].begin() }

func (c cluster) pids() (pids []int) {
	for _, s := range c {
		pids = append(pids, s.pids()...)
	}
	return pids
}

func (c cluster) close() {
	for _, s := range c {
		s.close()
	}
}
