package queue

import (
	"context"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"
)

// batchCheck compares what is counted of the jobs that go together with their leases; see lua/batch.lua.
type batchCheck struct {
	counted map[string]string // name -> leases left, and "jobs" -> of all
	held    map[string]int    // name -> leases there are
}

func (b *batchCheck) load(ctx context.Context, client redis.UniversalClient, jobsKey string) error {
	b.counted = map[string]string{}
	return scanHash(ctx, client, strings.TrimSuffix(jobsKey, "jobs")+"batches", func(name, n string) { b.counted[name] = n })
}

// lease takes note of one lease.
func (b *batchCheck) lease(held string) {
	token, _, _ := strings.Cut(held, " ")
	name, _, ok := strings.Cut(token, ".")
	if !ok {
		return
	}
	if b.held == nil {
		b.held = map[string]int{}
	}
	b.held[name]++
	b.held["jobs"]++
}

func (b *batchCheck) check(problem func(string, ...any)) {
	for name, n := range b.held {
		if b.counted[name] != strconv.Itoa(n) {
			problem("batch %s has %d leases, but %q are counted", name, n, b.counted[name])
		}
	}
	for name, n := range b.counted {
		if b.held[name] == 0 {
			problem("batch %s has no lease, but %s are counted: it would keep its slot", name, n)
		}
	}
}
