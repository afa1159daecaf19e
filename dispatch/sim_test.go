package dispatch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/deetoo/deetoo/queue"
	"github.com/deetoo/deetoo/queue/embedded"
	"github.com/deetoo/deetoo/registry"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var bg = context.Background()

// world is one Redis and the dispatchers on it, on a fake clock. A goroutine
// left behind when it ends fails the test, as the bubble cannot end then.
type world struct {
	*testing.T
	client  *redis.Client
	q       *queue.Queue // of the producers; it never fails
	nodes   []*node
	step    atomic.Int64 // how far the clock of Redis is ahead of the others, in ns
	mu      sync.Mutex
	version int64
	types   map[string]*registry.Type
	log     strings.Builder
}

func simulate(t *testing.T, fn func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{T: t, types: map[string]*registry.Type{}}
		engine, closeEngine, err := embedded.Memory(func() time.Time { return time.Now().Add(time.Duration(w.step.Load())) })
		if err != nil {
			t.Fatal(err)
		}
		w.client = engine.(*redis.Client)
		w.q = w.newQueue(w.client, "producer")
		defer func() {
			for _, n := range w.nodes {
				n.end()
			}
			if err := closeEngine(); err != nil {
				t.Error(err)
			}
		}()
		fn(w)
	})
}

// newClient is another client of the same Redis.
func (w *world) newClient() *redis.Client {
	o := *w.client.Options()
	return w.mutated(redis.NewClient(&o))
}

func (w *world) newQueue(c *redis.Client, consumer string) *queue.Queue {
	q, err := queue.New(c, queue.Options{Embedded: true, Consumer: consumer})
	if err != nil {
		w.Fatal(err)
	}
	return q
}

func (w *world) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.log.Write(b)
}

// logged counts the log lines that hold a text.
func (w *world) logged(text string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return strings.Count(w.log.String(), text)
}

// fault is what happens to a call of Redis.
type fault int

const (
	fine    fault = iota
	refused       // not executed, and failed at once
	silent        // not executed, and no answer until the caller gives up
	deaf          // executed, but its answer is lost, at once
	mute          // executed, but no answer until the caller gives up
)

// link is a dispatcher's connection to Redis, as tests want it to be.
type link struct {
	*queue.Queue
	mu                  sync.Mutex
	fault               func(op string) fault
	lag                 func() time.Duration
	exchanges, renewals int
}

// late is how long the next request takes to arrive.
func (l *link) late() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lag == nil {
		return 0
	}
	return l.lag()
}

var errLink = fmt.Errorf("%w: the line is cut", queue.ErrUnavailable)

func (l *link) set(f func(op string) fault) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fault = f
}

func always(f fault) func(string) fault { return func(string) fault { return f } }

// once has the next call of that kind meet with a fault.
func once(op string, f fault) func(string) fault {
	left := 1
	return func(o string) fault {
		if o == op && left > 0 {
			left--
			return f
		}
		return fine
	}
}

func (l *link) calls() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.exchanges + l.renewals
}

func (l *link) call(ctx context.Context, op string, do func() error) error {
	l.mu.Lock()
	f := fine
	if op == "exchange" {
		l.exchanges++
	} else {
		l.renewals++
	}
	if l.fault != nil {
		f = l.fault(op)
	}
	l.mu.Unlock()
	if f == fine || f == deaf || f == mute {
		if err := do(); err != nil || f == fine {
			return err
		}
	}
	if f == silent || f == mute {
		<-ctx.Done()
		return queue.Classify(ctx.Err())
	}
	return errLink
}

func (l *link) ExchangeRequest(ctx context.Context, typ string, r *queue.Request) (b queue.Batch, err error) {
	err = l.call(ctx, "exchange", func() (err error) { b, err = l.Queue.ExchangeRequest(ctx, typ, r); return err })
	if err != nil {
		return queue.Batch{}, err
	}
	return b, nil
}

func (l *link) Renew(ctx context.Context, typ string, leases []*queue.Lease) (r []queue.Renewal, err error) {
	err = l.call(ctx, "renew", func() (err error) { r, err = l.Queue.Renew(ctx, typ, leases); return err })
	if err != nil {
		return nil, err
	}
	return r, nil
}

// node is one dispatcher with its link.
type node struct {
	*Dispatcher
	w      *world
	link   *link
	client *redis.Client
	hear   context.CancelFunc
	deaf   chan struct{} // closed when it listens no more
}

// node starts a dispatcher of all types; change may alter its options.
func (w *world) node(d Deliverer, change ...func(*Options)) *node {
	w.Helper()
	n := &node{w: w, link: &link{}, deaf: make(chan struct{})}
	n.client = w.newClient()
	dial := n.client.Options().Dialer
	n.client.Options().Dialer = func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := dial(ctx, network, addr)
		return newSlowConn(c, n.link.late), err
	}
	n.link.Queue = w.newQueue(n.client, fmt.Sprintf("node%d", len(w.nodes)))
	opts := Options{
		Queue: n.link, Deliverer: d, Logger: slog.New(slog.NewTextHandler(w, nil)),
		Pause: func(_ context.Context, typ, reason string) error {
			t := w.typ(typ)
			t.Paused, t.PausedReason = true, reason
			w.set(&t)
			return nil
		},
	}
	opts.Redrive = n.link.StepRedrives
	for _, c := range change {
		c(&opts)
	}
	var err error
	if n.Dispatcher, err = New(opts); err != nil {
		w.Fatal(err)
	}
	w.nodes = append(w.nodes, n)
	ctx, cancel := context.WithCancel(bg)
	n.hear = cancel
	go func() {
		defer close(n.deaf)
		n.link.Listen(ctx, n.Heard, n.WakesArrive)
	}()
	for _, t := range w.types {
		n.Set(t)
	}
	return n
}

// silence cuts a node off from wakes.
func (n *node) silence() {
	n.hear()
	<-n.deaf
}

func (n *node) end() {
	n.silence()
	ctx, cancel := context.WithCancel(bg)
	cancel()
	_ = n.Stop(ctx) // most have stopped, and those that cannot are meant to
	if err := n.client.Close(); err != nil {
		n.w.Error(err)
	}
}

// set puts a type in force, everywhere.
func (w *world) set(t *registry.Type) {
	w.Helper()
	w.mu.Lock()
	w.version++
	t.Version = w.version
	w.types[t.Name] = t
	w.mu.Unlock()
	s := queue.Settings{
		Version: t.Version, Concurrency: t.Concurrency, Paused: t.Paused,
		RetainCount: t.Retention.Count, RetainAge: t.Retention.Age,
		Batch: queue.BatchPolicy{Size: t.Batch.Size, Wait: t.Batch.Wait},
		Rate:  queue.Rate(t.Rate), Groups: queue.GroupLimits{Concurrency: t.Groups.Concurrency, Rate: queue.Rate(t.Groups.Rate)},
		Retry: queue.RetryPolicy{
			MaxAttempts: t.Retry.MaxAttempts, MinBackoff: t.Retry.MinBackoff, MaxBackoff: t.Retry.MaxBackoff, NoJitter: t.Retry.NoJitter,
		},
	}
	if o := t.Outage; o != nil {
		s.Outage = &queue.OutagePolicy{Share: o.Share, Of: o.Of, Refused: o.Refused, CanaryMin: o.CanaryMin, CanaryMax: o.CanaryMax}
	}
	if a := t.Adaptive; a != nil {
		s.Adaptive = &queue.AdaptivePolicy{Min: a.Min, TargetLatency: a.TargetLatency, Tolerance: a.Tolerance}
	}
	if err := w.q.Configure(bg, t.Name, s); err != nil {
		w.Fatal(err)
	}
	for _, n := range w.nodes {
		n.Set(t)
	}
}

// typ returns a copy of a type in force.
func (w *world) typ(name string) registry.Type {
	w.mu.Lock()
	defer w.mu.Unlock()
	return *w.types[name]
}

// newType puts a type in force: retries after 1 s, 2 s, 4 s without jitter, and four attempts.
func (w *world) newType(name string, concurrency int, change ...func(*registry.Type)) *registry.Type {
	w.Helper()
	t := registry.New(name, "http://x.test/")
	t.Concurrency, t.Timeout = concurrency, 10*time.Minute
	t.Retry = registry.Retry{MaxAttempts: 4, MinBackoff: time.Second, MaxBackoff: time.Minute, NoJitter: true}
	t.Retention = registry.Retention{Count: 1 << 20, Age: 240 * time.Hour}
	for _, c := range change {
		c(&t)
	}
	w.set(&t)
	return &t
}

// push pushes n jobs of a type, or one with the options of j, and returns their IDs.
func (w *world) push(jobs ...queue.Job) []string {
	w.Helper()
	receipts, err := w.q.Push(bg, jobs...)
	if err != nil {
		w.Fatal(err)
	}
	ids := make([]string, len(receipts))
	for i, r := range receipts {
		if ids[i] = r.ID; r.Err != nil {
			w.Fatal(r.Err)
		}
	}
	return ids
}

func jobs(typ string, n int) []queue.Job {
	out := make([]queue.Job, n)
	for i := range out {
		out[i] = queue.Job{Type: typ}
	}
	return out
}

func (w *world) get(typ, id string) *queue.Job {
	w.Helper()
	j, err := w.q.Get(bg, typ, id)
	if err != nil {
		w.Fatal(err)
	}
	return j
}

// attempts returns a job's history as "outcome:error" words.
func (w *world) attempts(typ, id string) string {
	w.Helper()
	attempts, err := w.q.Attempts(bg, typ, id)
	if err != nil {
		w.Fatal(err)
	}
	var out []string
	for _, a := range attempts {
		out = append(out, fmt.Sprintf("%d %s", a.N, a.Outcome))
	}
	return strings.Join(out, ", ")
}

func (w *world) stats(typ string) queue.Stats {
	w.Helper()
	s, err := w.q.Stats(bg, typ)
	if err != nil {
		w.Fatal(err)
	}
	return s
}

// clean fails the test if the queue of a type is damaged.
func (w *world) clean(types ...string) {
	w.Helper()
	for _, typ := range types {
		problems, err := w.q.Fsck(bg, typ)
		if err != nil || len(problems) > 0 {
			w.Errorf("fsck of %s: %v, %v", typ, problems, err)
		}
	}
}

// expect fails the test unless a job is in a state, with that history.
func (w *world) expect(typ, id string, state queue.State, history string) {
	w.Helper()
	if j := w.get(typ, id); j.State != state {
		w.Errorf("the job is %s, want %s", j.State, state)
	}
	if got := w.attempts(typ, id); got != history {
		w.Errorf("its attempts: %q, want %q", got, history)
	}
}

// until waits, on the fake clock, for a condition.
func (w *world) until(what string, within time.Duration, ok func() bool) {
	w.Helper()
	for end := time.Now().Add(within); ; time.Sleep(100 * time.Millisecond) {
		synctest.Wait()
		if ok() {
			return
		}
		if time.Now().After(end) {
			w.Fatalf("not within %s: %s", within, what)
		}
	}
}

// tally counts what the deliverers of all nodes see.
type tally struct {
	mu      sync.Mutex
	running map[string]int
	most    map[string]int
	starts  map[string][]time.Time // by job
	causes  map[string]error       // why the last attempt of a job was called off
	fn      func(ctx context.Context, l *queue.Lease) Outcome
}

func newTally(fn func(ctx context.Context, l *queue.Lease) Outcome) *tally {
	return &tally{running: map[string]int{}, most: map[string]int{}, starts: map[string][]time.Time{}, causes: map[string]error{}, fn: fn}
}

func (y *tally) Deliver(ctx context.Context, l *queue.Lease) Outcome {
	y.mu.Lock()
	y.running[l.Type]++
	y.most[l.Type] = max(y.most[l.Type], y.running[l.Type])
	y.starts[l.ID] = append(y.starts[l.ID], time.Now())
	y.mu.Unlock()
	defer func() {
		y.mu.Lock()
		defer y.mu.Unlock()
		y.running[l.Type]--
		if ctx.Err() != nil {
			y.causes[l.ID] = context.Cause(ctx)
		}
	}()
	return y.fn(ctx, l)
}

func (y *tally) count(id string) int { return len(y.times(id)) }

func (y *tally) times(id string) []time.Time {
	y.mu.Lock()
	defer y.mu.Unlock()
	return append([]time.Time(nil), y.starts[id]...)
}

func (y *tally) now(typ string) int {
	y.mu.Lock()
	defer y.mu.Unlock()
	return y.running[typ]
}

func (y *tally) peak(typ string) int {
	y.mu.Lock()
	defer y.mu.Unlock()
	return y.most[typ]
}

func (y *tally) cause(id string) error {
	y.mu.Lock()
	defer y.mu.Unlock()
	return y.causes[id]
}

// wait blocks for d or until ctx ends.
func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// work succeeds after d, and fails if it is called off.
func work(d time.Duration) func(context.Context, *queue.Lease) Outcome {
	return func(ctx context.Context, _ *queue.Lease) Outcome {
		if err := wait(ctx, d); err != nil {
			return Outcome{Err: err.Error()}
		}
		return Outcome{Verdict: Done, Status: 200}
	}
}

func answer(o Outcome) func(context.Context, *queue.Lease) Outcome {
	return func(context.Context, *queue.Lease) Outcome { return o }
}

func TestOptions(t *testing.T) {
	ok := Options{Queue: &link{}, Deliverer: DelivererFunc(answer(Outcome{})), Pause: func(context.Context, string, string) error { return nil }}
	for field, change := range map[string]func(*Options){
		"queue":               func(o *Options) { o.Queue = nil },
		"deliverer":           func(o *Options) { o.Deliverer = nil },
		"pause":               func(o *Options) { o.Pause = nil },
		"poll":                func(o *Options) { o.Poll = -1 },
		"on_shutdown_timeout": func(o *Options) { o.OnTimeout = "explode" },
	} {
		o := ok
		change(&o)
		if _, err := New(o); err == nil || !strings.Contains(err.Error(), field+" ") {
			t.Errorf("%s: %v", field, err)
		}
	}
	d, err := New(ok)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Stop(t.Context()); err != nil || !errors.Is(d.work.Err(), context.Canceled) {
		t.Errorf("stop of nothing: %v", err)
	}
}
