package dispatch

import (
	"context"
	"flag"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/deetoo/deetoo/queue"
	"github.com/deetoo/deetoo/registry"
)

var (
	randomSeed   = flag.Uint64("dispatch.seed", 0, "run TestRandomly with this seed only")
	randomRounds = flag.Int("dispatch.rounds", 1000, "seeds TestRandomly tries at most")
	randomBudget = flag.Duration("dispatch.budget", 8*time.Second, "how long TestRandomly goes on beginning with new seeds")
)

// TestRandomly has several dispatchers work through jobs of random fates while
// requests and answers get lost, requests arrive late and overtake each other, dispatchers stop, hang and die, types change,
// endpoints are held, jobs are cancelled, and the clock of Redis steps. At the end every job must have ended, once, for a
// reason; and at no time may more attempts have been alive than the limit allows.
func TestRandomly(t *testing.T) {
	if *randomSeed != 0 {
		randomly(t, *randomSeed)
		return
	}
	base, end, tried := rand.Uint64()>>16, time.Now().Add(*randomBudget), 0
	for ; tried < *randomRounds && time.Now().Before(end) && !t.Failed(); tried++ {
		seed := base + uint64(tried)
		if tried < 2 {
			seed = uint64(tried + 1)
		}
		t.Run(fmt.Sprint(seed), func(t *testing.T) { randomly(t, seed) })
	}
	t.Logf("%d seeds", tried)
}

func randomly(t *testing.T, seed uint64) {
	simulate(t, func(w *world) { newChaos(w, seed).run() })
	if t.Failed() {
		t.Logf("again: go test ./dispatch -run TestRandomly -dispatch.seed=%d", seed)
	}
}

// live is an attempt that believes it holds its jobs: one, or a batch.
type live struct {
	ctx context.Context
	ids []string
}

type change struct {
	at    time.Time
	limit int
}

type chaos struct {
	*world
	seed uint64
	rng  *rand.Rand // of the test's goroutine
	end  chan struct{}

	mu     sync.Mutex
	alive  map[string][]live   // by type
	limits map[string][]change // by type, oldest first
	done   map[string]int      // attempts of a job that succeeded
	visits map[string]int      // attempts begun at a job
	fatal  map[string]bool     // jobs that were told Dead
	called map[string]bool     // jobs that were cancelled
	peace  bool

	steps bool // the clock of Redis does, and leases end early
}

func newChaos(w *world, seed uint64) *chaos {
	return &chaos{
		world: w, seed: seed, rng: rand.New(rand.NewPCG(seed, 0)), end: make(chan struct{}),
		alive: map[string][]live{}, limits: map[string][]change{}, done: map[string]int{}, visits: map[string]int{}, fatal: map[string]bool{}, called: map[string]bool{},
	}
}

// fate is a number that depends on the seed and the words alone, so that a
// job's fate does not depend on who is scheduled first.
func (c *chaos) fate(words ...any) *rand.Rand {
	h := fnv.New64a()
	fmt.Fprint(h, words...)
	return rand.New(rand.NewPCG(c.seed, h.Sum64()))
}

// begin notes an attempt, checks what must hold of it, and says which of each
// job's it is.
func (c *chaos) begin(ctx context.Context, leases ...*queue.Lease) []int {
	c.mu.Lock()
	defer c.mu.Unlock()
	l, ids := leases[0], make([]string, len(leases))
	visits := make([]int, len(leases))
	for i, l := range leases {
		ids[i] = l.ID
		c.visits[l.ID]++
		visits[i] = c.visits[l.ID]
	}
	kept := c.alive[l.Type][:0]
	for _, a := range c.alive[l.Type] {
		if a.ctx.Err() == nil && !c.steps {
			if i := slices.IndexFunc(ids, func(id string) bool { return slices.Contains(a.ids, id) }); i >= 0 {
				c.Errorf("two live attempts at job %s", ids[i])
			}
			kept = append(kept, a)
		}
	}
	c.alive[l.Type] = append(kept, live{ctx, ids})
	// Those that began under a higher limit may go on under a lower one.
	most := 0
	for i, ch := range c.limits[l.Type] {
		if next := i + 1; next == len(c.limits[l.Type]) || time.Since(c.limits[l.Type][next].at) < time.Minute {
			most = max(most, ch.limit)
		}
	}
	if n := len(c.alive[l.Type]); n > most {
		c.Errorf("%d attempts of %s alive, the limit is %d", n, l.Type, most)
	}
	return visits
}

func (c *chaos) leave(ctx context.Context, typ string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, a := range c.alive[typ] {
		if a.ctx == ctx {
			c.alive[typ] = append(c.alive[typ][:i:i], c.alive[typ][i+1:]...)
			break
		}
	}
}

func (c *chaos) came(l *queue.Lease, o *Outcome) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch o.Verdict {
	case Done:
		c.done[l.ID]++
	case Dead:
		c.fatal[l.ID] = true
	}
}

// Deliver makes an attempt of random fate.
func (c *chaos) Deliver(ctx context.Context, l *queue.Lease) (out Outcome) {
	visit := c.begin(ctx, l)[0]
	defer c.leave(ctx, l.Type)
	return c.attempt(ctx, l, visit)
}

// DeliverBatch makes attempts of random fates, that end together. One that panics is all of theirs.
func (c *chaos) DeliverBatch(ctx context.Context, leases []*queue.Lease) []Outcome {
	visits := c.begin(ctx, leases...)
	defer c.leave(ctx, leases[0].Type)
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	outs := make([]Outcome, len(leases))
	broken := make([]any, len(leases))
	var wg sync.WaitGroup
	for i, l := range leases {
		wg.Go(func() {
			defer func() { broken[i] = recover() }()
			outs[i] = c.attempt(ctx, l, visits[i])
		})
	}
	wg.Wait()
	for _, p := range broken {
		if p != nil {
			panic(p)
		}
	}
	return outs
}

func (c *chaos) attempt(ctx context.Context, l *queue.Lease, visit int) (out Outcome) {
	defer c.came(l, &out)
	r := c.fate(l.ID, visit)
	took := time.Duration(r.IntN(3000)) * time.Millisecond
	switch p := r.IntN(100); {
	case p < 10:
		took = 0
	case p < 20:
		took = 20 * time.Second
	}
	if err := wait(ctx, took); err != nil {
		return Outcome{Err: err.Error()}
	}
	switch p := r.IntN(100); {
	case p < 65:
		return Outcome{Verdict: Done, Status: 200, Result: []byte("ok")}
	case p < 85:
		return Outcome{Status: 500, Err: "failed", Excerpt: "oops"}
	case p < 88:
		return Outcome{Verdict: Dead, Err: "fatal"}
	case p < 92:
		panic("random")
	case p < 95:
		return Outcome{Status: 429, RetryAfter: time.Duration(1+r.IntN(2000)) * time.Millisecond}
	case p < 97:
		return Outcome{Verdict: Release}
	}
	<-ctx.Done() // it hangs until its timeout
	return Outcome{Err: "hung"}
}

// unreliable starts a dispatcher whose link fails one call in ten, and now and
// then for a while.
func (c *chaos) unreliable() *node {
	n := c.node(c)
	r := c.fate("link", len(c.nodes))
	var until time.Time
	bad := fine
	n.link.set(func(string) fault {
		c.mu.Lock()
		peace := c.peace
		c.mu.Unlock()
		switch {
		case peace:
			return fine
		case time.Now().Before(until):
			return bad
		case r.IntN(100) < 2:
			until, bad = time.Now().Add(time.Duration(r.IntN(25000))*time.Millisecond), fault(1+r.IntN(4))
			return bad
		case r.IntN(100) < 10:
			return fault(1 + r.IntN(4))
		}
		return fine
	})
	late := c.fate("late", len(c.nodes))
	n.link.mu.Lock()
	defer n.link.mu.Unlock()
	n.link.lag = func() time.Duration {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.peace || late.IntN(100) >= 3 {
			return 0
		}
		return time.Duration(late.IntN(8000)) * time.Millisecond
	}
	return n
}

// pushOnce pushes a job in a way that can be repeated.
func (c *chaos) pushOnce(j queue.Job) {
	c.Helper()
	receipts, err := c.q.PushOnce(bg, queue.Once{Key: j.ID, Fingerprint: "same", TTL: 24 * time.Hour}, j)
	if err != nil || receipts[0].Err != nil {
		c.Fatal(err, receipts)
	}
}

// kill cuts a dispatcher off for good, and leaves its deliverers hanging.
func (c *chaos) kill(n *node) {
	n.silence()
	n.link.set(always(silent))
}

func (c *chaos) limit(typ string, limit int, paused bool) {
	c.mu.Lock()
	c.limits[typ] = append(c.limits[typ], change{time.Now(), limit})
	c.mu.Unlock()
	t := c.typ(typ)
	t.Concurrency, t.Paused = limit, paused
	c.set(&t)
}

func (c *chaos) run() {
	types := []string{"a", "b", "c"}[:1+c.rng.IntN(3)]
	c.steps = c.rng.IntN(8) == 0
	for _, typ := range types {
		c.newType(typ, 1, func(t *registry.Type) {
			t.Timeout, t.Retry.MaxBackoff, t.Retry.NoJitter = 30*time.Second, 5*time.Second, false
			if c.rng.IntN(2) == 0 {
				t.Batch = registry.Batch{Size: 1 + c.rng.IntN(6), Wait: time.Duration(c.rng.IntN(1000)) * time.Millisecond, MaxBytes: 1 << 20}
			}
			if c.rng.IntN(4) == 0 {
				t.Outage = &registry.Outage{Share: 0.3, Of: 10, Refused: 3, CanaryMin: time.Second, CanaryMax: 10 * time.Second}
			}
			if c.rng.IntN(4) == 0 {
				t.Rate = registry.Rate{Limit: 5, Per: time.Second, Burst: 3}
			}
			if c.rng.IntN(4) == 0 {
				t.Groups.Concurrency = 1 + c.rng.IntN(3)
			}
		})
		c.limit(typ, 1+c.rng.IntN(10), false)
	}
	var nodes []*node
	for range 2 + c.rng.IntN(3) {
		nodes = append(nodes, c.unreliable())
	}
	var pushed []queue.Job
	for step := range 4 + c.rng.IntN(30) {
		time.Sleep(time.Duration(c.rng.IntN(2000)) * time.Millisecond)
		typ := types[c.rng.IntN(len(types))]
		switch p := c.rng.IntN(100); {
		case p < 60:
			for i := range 1 + c.rng.IntN(8) {
				j := queue.Job{Type: typ, ID: fmt.Sprintf("%d-%d", step, i), Priority: queue.Priority(c.rng.IntN(5) - 2)}
				if c.rng.IntN(4) == 0 {
					j.Delay = time.Duration(c.rng.IntN(10000)) * time.Millisecond
				}
				if c.rng.IntN(3) == 0 {
					j.Group = fmt.Sprint("g", c.rng.IntN(4))
				}
				c.pushOnce(j)
				pushed = append(pushed, j)
			}
		case p < 70:
			c.limit(typ, 1+c.rng.IntN(10), false)
		case p < 75:
			c.limit(typ, 1+c.rng.IntN(10), true)
		case p < 80 && c.steps:
			c.step.Add(int64(c.rng.IntN(60000)-30000) * int64(time.Millisecond))
		case p < 78 && len(pushed) > 0:
			c.pushOnce(pushed[c.rng.IntN(len(pushed))]) // its answer got lost: nothing may come of it
		case p < 85 && len(pushed) > 0:
			j := pushed[c.rng.IntN(len(pushed))]
			c.mu.Lock()
			c.called[j.ID] = true
			c.mu.Unlock()
			_, _ = c.q.Cancel(bg, j.Type, j.ID) // it may have ended
		default:
			i := c.rng.IntN(len(nodes))
			switch c.rng.IntN(3) {
			case 0:
				c.kill(nodes[i])
			case 1:
				_ = nodes[i].Stop(within(time.Duration(c.rng.IntN(5000)) * time.Millisecond)) // it says what it aborted
			case 2:
				nodes[i].Remove(typ)
				t := c.typ(typ)
				nodes[i].Set(&t)
				continue
			}
			nodes[i] = c.unreliable()
		}
	}
	c.mu.Lock()
	c.peace = true
	c.mu.Unlock()
	for _, typ := range types {
		c.limit(typ, 10, false)
	}
	left := func() string {
		out := ""
		for _, typ := range types {
			if s := c.stats(typ); s.Waiting+s.Scheduled+s.Active > 0 {
				out += fmt.Sprintf("%s: %+v ", typ, s)
			}
		}
		return out
	}
	for end := time.Now().Add(20 * time.Minute); left() != ""; time.Sleep(5 * time.Second) {
		if time.Now().After(end) {
			c.Fatalf("not all jobs ended: %s", left())
		}
	}
	c.judge(types, pushed)
}

func (c *chaos) judge(types []string, pushed []queue.Job) {
	c.clean(types...)
	c.mu.Lock()
	defer c.mu.Unlock()
	ended := 0
	for _, typ := range types {
		s := c.stats(typ)
		ended += s.Finished + s.Dead
	}
	if ended != len(pushed) {
		c.Errorf("%d jobs ended, %d were pushed", ended, len(pushed))
	}
	states := map[queue.State]int{}
	for _, p := range pushed {
		j := c.get(p.Type, p.ID)
		states[j.State]++
		switch {
		case j.State == queue.Succeeded && c.done[j.ID] > 0 && string(j.Result) == "ok":
		case j.State == queue.Cancelled && c.called[j.ID]:
		case j.State == queue.Dead && (c.fatal[j.ID] || j.Attempt >= 4 || j.Lost >= 5):
		default:
			c.Errorf("job %s is %s after %d successes: %s", j.ID, j.State, c.done[j.ID], c.attempts(j.Type, j.ID))
		}
	}
	c.Logf("%d dispatchers in all, %d jobs: %v", len(c.nodes), len(pushed), states)
}
