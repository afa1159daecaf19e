package main

import (
	"context"
	"math/rand/v2"
	"sync"
	"syscall"
	"time"

	"github.com/deetoo/deetoo/chaos/verify"
)

// blow is a fault to come.
type blow struct {
	after time.Duration // the one before
	kind  kind
	// target is a number that chooses whom it hits, force one from 0 to 1 that says how hard.
	target int
	force  float64
}

// kind is a kind of fault. Making it lasts until it is over, and it notes what it did.
type kind struct {
	name string
	make func(f *field, target int, force float64) error
}

// nemesis makes faults, which depend on the seed alone, one every 1 to 5 s. Some
// last longer than that, and others begin meanwhile.
func nemesis(ctx context.Context, f *field, seed uint64, kinds []kind) {
	rng := rand.New(rand.NewPCG(seed, 2))
	var wg sync.WaitGroup
	defer wg.Wait()
	for {
		b := blow{
			after: time.Second + time.Duration(rng.Int64N(int64(4*time.Second))),
			kind:  kinds[rng.IntN(len(kinds))], target: rng.IntN(1 << 16), force: rng.Float64(),
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(b.after):
		}
		wg.Go(func() { f.trouble(b.kind.make(f, b.target, b.force)) })
	}
}

// between is the length that a force stands for.
func between(low, high time.Duration, force float64) time.Duration {
	return low + time.Duration(force*float64(high-low))
}

// ofDispatcher makes a kind of fault that hits one dispatcher. begin returns when
// it is over, recover has the dispatcher run again.
func ofDispatcher(name string, hit func(f *field, d *dispatcher, force float64, v *verify.Fault) error, recover func(d *dispatcher) error) kind {
	return kind{name, func(f *field, target int, force float64) error {
		d := f.dispatchers[target%len(f.dispatchers)]
		d.busy.Lock()
		defer d.busy.Unlock()
		v := verify.Fault{Kind: name, Target: d.addr, Begin: time.Now()}
		err := hit(f, d, force, &v)
		v.End = time.Now()
		f.note(v)
		if err != nil || recover == nil {
			return err
		}
		time.Sleep(between(0, 2*time.Second, force))
		return recover(d)
	}}
}

// The faults of dispatchers.
func killed() kind {
	return ofDispatcher("kill -9", func(_ *field, d *dispatcher, _ float64, _ *verify.Fault) error { return d.kill() }, (*dispatcher).start)
}

func rolled() kind {
	return ofDispatcher("SIGTERM", func(_ *field, d *dispatcher, _ float64, v *verify.Fault) error {
		v.Harmless = true
		return d.stop()
	}, (*dispatcher).start)
}

func asleep() kind {
	return ofDispatcher("SIGSTOP", func(f *field, d *dispatcher, force float64, v *verify.Fault) error {
		length := between(f.lease/2, 3*f.lease, force)
		v.Sleep = true
		if err := d.process().signal(syscall.SIGSTOP); err != nil {
			return err
		}
		time.Sleep(length)
		return d.process().signal(syscall.SIGCONT)
	}, nil)
}

// ofSingle makes a kind of fault of the one redis-server, that lasts up to some
// leases. One that forgets nothing and is much shorter than a lease does no harm.
func ofSingle(name string, leases float64, forgets bool, hit func(s *single, length time.Duration) error) kind {
	return kind{name, func(f *field, _ int, force float64) error {
		s := f.store.(*single)
		s.busy.Lock()
		defer s.busy.Unlock()
		length := between(f.lease/10, time.Duration(leases*float64(f.lease)), force)
		v := verify.Fault{Kind: name, Begin: time.Now()}
		if forgets {
			v.Forgets = s.forgets
		}
		err := hit(s, length)
		v.End = time.Now()
		v.Harmless = v.Forgets == 0 && v.End.Sub(v.Begin) < f.lease/2
		f.note(v)
		time.Sleep(f.lease / 2) // else two short ones may make a long one
		return err
	}}
}

// The faults of Redis.
func redisKilled() kind    { return ofSingle("kill -9 of Redis", 0.4, true, (*single).crash) }
func redisAway() kind      { return ofSingle("Redis away", 2, false, (*single).restart) }
func redisRestarted() kind { return ofSingle("restart of Redis", 0.2, false, (*single).restart) }
func redisStalled() kind   { return ofSingle("SIGSTOP of Redis", 0.4, false, (*single).stall) }
func redisHung() kind      { return ofSingle("long SIGSTOP of Redis", 2, false, (*single).stall) }
func powerCut() kind       { return ofSingle("power cut", 0.4, true, (*single).cut) }
func redisFull() kind      { return ofSingle("maxmemory", 0.4, false, (*single).fill) }
func scriptsFlushed() kind {
	return ofSingle("SCRIPT FLUSH", 0.1, false, func(s *single, _ time.Duration) error { return s.flush() })
}
