// Package queuetest is the conformance suite of the queue: every promise of
// package queue, to be run on every kind of Redis that is supported, and a
// random test that compares the whole state with a model after each step.
package queuetest

import (
	"context"
	"crypto/rand"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/deetoo/deetoo/queue"
)

// Engine is a kind of Redis to run the suite on.
type Engine struct {
	// Client is called once a test, and says what to clean up by t.Cleanup.
	Client func(t testing.TB) redis.UniversalClient
	// Embedded says that it is the in-process engine.
	Embedded bool
	// Virtual runs each test in a testing/synctest bubble, so that time costs
	// nothing. The client must live in the bubble. Otherwise tests run in parallel.
	Virtual bool
}

// Run runs the suite: a subtest a promise, each on keys of its own, and each
// ends with Fsck, which must find nothing.
func Run(t *testing.T, e Engine) {
	tests := map[string]func(*env){}
	for _, group := range []map[string]func(*env){
		rateTests(), groupTests(),
		pushTests(), onceTests(), uniqueTests(), expiryTests(), orderTests(), replaceTests(), cancelTests(), listTests(),
		leaseTests(), callbackTests(), retryTests(), deadTests(), redriveTests(), whyTests(), repeatTests(), adminTests(), listenTests(),
		batchTests(), afterTests(), workflowTests(),
		outageTests(), adaptiveTests(),
	} {
		for name, test := range group {
			tests[name] = test
		}
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if e.Virtual {
				synctest.Test(t, func(t *testing.T) { run(t, e, test) })
				return
			}
			t.Parallel()
			run(t, e, test)
		})
	}
}

func run(t *testing.T, e Engine, test func(*env)) {
	v := &env{T: t, engine: e, client: e.Client(t), prefix: "t" + strings.ToLower(rand.Text()[:12])}
	// A test on a slow machine must not lose a lease it does not mean to lose.
	v.q = v.open(queue.Options{Consumer: "first", Lease: 10 * time.Minute})
	test(v)
	types, err := v.q.Types(v.ctx())
	v.ok(err)
	for _, typ := range types {
		v.healthy(typ)
	}
}

// typ is the job type of most tests.
const typ = "email"

// env is what a test works with.
type env struct {
	*testing.T
	engine Engine
	client redis.UniversalClient
	prefix string
	q      *queue.Queue
}

func (v *env) ctx() context.Context { return v.Context() }

// open opens another queue on the same data.
func (v *env) open(o queue.Options) *queue.Queue {
	v.Helper()
	return v.openOn(v.client, o)
}

func (v *env) openOn(c redis.UniversalClient, o queue.Options) *queue.Queue {
	v.Helper()
	o.Prefix, o.Embedded = v.prefix, v.engine.Embedded
	q, err := queue.New(c, o)
	v.ok(err)
	return q
}

func (v *env) ok(err error) {
	v.Helper()
	if err != nil {
		v.Fatal(err)
	}
}

func (v *env) is(err, want error) {
	v.Helper()
	if !errors.Is(err, want) {
		v.Fatalf("error %v, want %v", err, want)
	}
}

// eventually waits for a condition: for what other goroutines or Redis's clock bring about.
func (v *env) eventually(what string, cond func() bool) {
	v.Helper()
	for end := time.Now().Add(10 * time.Second); !cond(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			v.Fatalf("not within 10 s: %s", what)
		}
	}
}

// configure puts the type in force with room for n at once and long retention.
func (v *env) configure(n int) {
	v.Helper()
	v.ok(v.q.Configure(v.ctx(), typ, queue.Settings{Version: 1, Concurrency: n, RetainCount: 1000, RetainAge: time.Hour}))
}

// push pushes jobs of typ and returns their receipts.
func (v *env) push(jobs ...queue.Job) []queue.Receipt {
	v.Helper()
	for i := range jobs {
		if jobs[i].Type == "" {
			jobs[i].Type = typ
		}
	}
	r, err := v.q.Push(v.ctx(), jobs...)
	v.ok(err)
	return r
}

func (v *env) pushIDs(ids ...string) {
	v.Helper()
	jobs := make([]queue.Job, len(ids))
	for i, id := range ids {
		jobs[i].ID = id
	}
	v.push(jobs...)
}

func (v *env) exchange(done []queue.Settlement, want int) queue.Batch {
	v.Helper()
	b, err := v.q.Exchange(v.ctx(), typ, done, want)
	v.ok(err)
	return b
}

func (v *env) claim(want int) []queue.Lease {
	v.Helper()
	return v.exchange(nil, want).Leases
}

// claimOne claims a job that must be the one of that ID.
func (v *env) claimOne(id string) queue.Lease {
	v.Helper()
	l := v.claim(1)
	if len(l) != 1 || l[0].ID != id {
		v.Fatalf("claimed %s, want %s", ids(l), id)
	}
	return l[0]
}

// settle ends one attempt, which must not be stale.
func (v *env) settle(s queue.Settlement) {
	v.Helper()
	if b := v.exchange([]queue.Settlement{s}, 0); len(b.Stale) > 0 {
		v.Fatalf("settlement of %s was stale", s.ID)
	}
}

// end makes a settlement with the history a dispatcher writes.
func end(l queue.Lease, verdict queue.Verdict) queue.Settlement {
	outcome := map[queue.Verdict]string{queue.Done: "succeeded", queue.Retry: "failed", queue.Bury: "dead", queue.Snooze: "snoozed", queue.Release: ""}[verdict]
	a := queue.Attempt{N: l.Attempt, StartedAt: l.StartedAt.UnixMilli(), Outcome: outcome, Status: 200}
	if verdict == queue.Retry || verdict == queue.Bury {
		a.Status, a.Error = 500, "boom "+l.ID
	}
	return queue.Settlement{ID: l.ID, Token: l.Token, Verdict: verdict, Attempt: a}
}

func (v *env) get(id string) *queue.Job {
	v.Helper()
	j, err := v.q.Get(v.ctx(), typ, id)
	v.ok(err)
	return j
}

func (v *env) attempts(id string) []queue.Attempt {
	v.Helper()
	a, err := v.q.Attempts(v.ctx(), typ, id)
	v.ok(err)
	return a
}

func (v *env) inState(id string, s queue.State) *queue.Job {
	v.Helper()
	j := v.get(id)
	if j.State != s {
		v.Fatalf("job %s is %s, want %s", id, j.State, s)
	}
	return j
}

func (v *env) gone(id string) {
	v.Helper()
	_, err := v.q.Get(v.ctx(), typ, id)
	v.is(err, queue.ErrNotFound)
}

func (v *env) stats() queue.Stats {
	v.Helper()
	s, err := v.q.Stats(v.ctx(), typ)
	v.ok(err)
	return s
}

func (v *env) healthy(typ string) {
	v.Helper()
	found, err := v.q.Fsck(v.ctx(), typ)
	v.ok(err)
	for _, f := range found {
		v.Errorf("fsck of %s: %s", typ, f)
	}
}

// put brings a new job into a state.
func (v *env) put(id string, s queue.State, tags ...string) {
	v.Helper()
	j := queue.Job{ID: id, Data: []byte(`"old"`), Priority: queue.Critical, Tags: tags}
	if s == queue.Scheduled {
		j.Delay = time.Hour
	}
	v.push(j)
	switch s {
	case queue.Waiting, queue.Scheduled:
		return
	case queue.Cancelled:
		_, err := v.q.Cancel(v.ctx(), typ, id)
		v.ok(err)
		return
	}
	l := v.claimOne(id)
	switch s {
	case queue.Succeeded:
		v.settle(end(l, queue.Done))
	case queue.Dead:
		v.settle(end(l, queue.Bury))
	}
}

// all reads all pages of a list, of n jobs each.
func (v *env) all(s queue.State, n int) []queue.Job {
	v.Helper()
	var out []queue.Job
	cursor := ""
	for {
		p, err := v.q.List(v.ctx(), typ, s, cursor, n)
		v.ok(err)
		out = append(out, p.Jobs...)
		if cursor = p.Next; cursor == "" {
			return out
		}
	}
}

func ids(leases []queue.Lease) string {
	var out []string
	for _, l := range leases {
		out = append(out, l.ID)
	}
	return strings.Join(out, " ")
}

func jobIDs(jobs []queue.Job) string {
	var out []string
	for _, j := range jobs {
		out = append(out, j.ID)
	}
	return strings.Join(out, " ")
}
