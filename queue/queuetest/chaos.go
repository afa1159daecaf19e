package queuetest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/deetoo/deetoo/queue"
)

// everythingAtOnce has producers, dispatchers and people at work on the same
// few jobs. No job runs twice at the same time, the limit holds, no settlement
// is stale, and in the end all is in order.
func everythingAtOnce(v *env) {
	const limit, rounds = 4, 150
	v.configure(limit)
	var mu sync.Mutex
	running := map[string]bool{}
	var wg sync.WaitGroup
	expected := func(err error) bool {
		return err == nil || errors.Is(err, queue.ErrNotFound) || errors.Is(err, queue.ErrActive) || errors.Is(err, queue.ErrConflict)
	}
	for n := range 3 {
		wg.Go(func() {
			random := rand.New(rand.NewPCG(1, uint64(n)))
			for range 120 {
				id := fmt.Sprint("j", random.IntN(8))
				job := queue.Job{Type: typ, ID: id, Priority: queue.Priority(random.IntN(5) - 2), Delay: time.Duration(random.IntN(3)) * time.Millisecond}
				_, push := v.q.Push(v.ctx(), job, queue.Job{Type: typ, ID: id, Priority: queue.High}, queue.Job{Type: typ})
				err := map[int]func(context.Context, string, string) error{
					0: v.q.Promote, 1: v.q.RetryNow, 2: v.q.Remove,
					3: func(ctx context.Context, typ, id string) error { _, err := v.q.Cancel(ctx, typ, id); return err },
					4: func(ctx context.Context, typ, _ string) error { _, err := v.q.Redrive(ctx, typ); return err },
					5: func(ctx context.Context, typ, _ string) error {
						_, err := v.q.Purge(ctx, typ, queue.Succeeded)
						return err
					},
				}[random.IntN(6)](v.ctx(), typ, id)
				if push != nil || !expected(err) {
					v.Errorf("%v, %v", push, err)
				}
			}
		})
		q := v.open(queue.Options{Consumer: fmt.Sprint("consumer", n)})
		wg.Go(func() {
			random := rand.New(rand.NewPCG(2, uint64(n)))
			var done []queue.Settlement
			for round := range rounds {
				mu.Lock()
				for _, s := range done {
					delete(running, s.ID)
				}
				mu.Unlock()
				want := random.IntN(3)
				if round == rounds-1 {
					want = 0
				}
				b, err := q.Exchange(v.ctx(), typ, done, want)
				if err != nil || len(b.Stale) > 0 || b.Active > limit {
					v.Errorf("%+v, %v", b, err)
				}
				done = nil
				mu.Lock()
				for _, l := range b.Leases {
					if running[l.ID] {
						v.Errorf("%s runs twice", l.ID)
					}
					running[l.ID] = true
					done = append(done, end(l, []queue.Verdict{queue.Done, queue.Retry, queue.Bury, queue.Release}[random.IntN(4)]))
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	s := v.stats()
	if s.Active != 0 {
		v.Errorf("%+v", s)
	}
	for state, want := range map[queue.State]int{queue.Waiting: s.Waiting, queue.Scheduled: s.Scheduled, queue.Dead: s.Dead} {
		seen := map[string]bool{}
		for _, j := range v.all(state, 1000) {
			seen[j.ID] = true
		}
		if len(seen) != want {
			v.Errorf("%d %s listed, %d counted", len(seen), state, want)
		}
	}
}
