package queuetest

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/deetoo/deetoo/queue"
)

func batchTests() map[string]func(*env) {
	return map[string]func(*env){
		"batch/whole ones at once, the rest when it has waited": batchGathers,
		"batch/one slot until its last job has ended":           batchSlot,
		"batch/no more slots than there are, whoever asks":      batchSlots,
		"batch/its dispatcher is gone":                          batchLost,
		"batch/its handler works on":                            batchAccepted,
		"batch/begun and given up while jobs run":               batchToggled,
		"batch/as large as they come":                           batchLarge,
		"batch/no more data at once than is good":               batchBytes,
		"batch/of groups":                                       batchGroups,
		"batch/repeated requests":                               batchRepeated,
		"batch/a paused type gathers nothing":                   batchPaused,
	}
}

// batches puts the type in force with slots for so many batches.
func (v *env) batches(version int64, slots, size int, wait time.Duration) {
	v.Helper()
	v.ok(v.q.Configure(v.ctx(), typ, queue.Settings{
		Version: version, Concurrency: slots, RetainCount: 1000, RetainAge: time.Hour,
		Batch: queue.BatchPolicy{Size: size, Wait: wait},
	}))
}

func (v *env) pushN(n int) {
	v.Helper()
	v.push(make([]queue.Job, n)...)
}

// sizes are how many jobs the batches of leases have, in order; "1" for a job alone.
func sizes(leases []queue.Lease) string {
	var out []string
	for i, n := 0, 0; i < len(leases); i += n {
		for n = 1; leases[i].Batch != "" && i+n < len(leases) && leases[i+n].Batch == leases[i].Batch; {
			n++
		}
		out = append(out, fmt.Sprint(n))
	}
	return strings.Join(out, " ")
}

func batchGathers(v *env) {
	v.batches(1, 5, 3, time.Minute)
	v.pushN(7)
	b := v.exchange(nil, 5)
	if sizes(b.Leases) != "3 3" || b.Waiting != 1 || b.Active != 6 || b.Next <= 0 || b.Next > time.Minute {
		v.Fatalf("%s of %+v", sizes(b.Leases), b)
	}
	v.pushN(1)
	if b := v.exchange(nil, 5); len(b.Leases) != 0 || b.Waiting != 2 {
		v.Fatalf("%+v", b)
	}
	v.pushN(2) // now there are four
	if b := v.exchange(nil, 5); sizes(b.Leases) != "3" || b.Waiting != 1 {
		v.Fatalf("%s of %+v", sizes(b.Leases), b)
	}
	v.batches(2, 5, 3, 200*time.Millisecond)
	v.pushN(1)
	v.eventually("what has waited goes", func() bool {
		b := v.exchange(nil, 5)
		return sizes(b.Leases) == "2" && b.Waiting == 0
	})
	v.batches(3, 5, 3, 0) // waits for nobody
	v.pushN(4)
	if b := v.exchange(nil, 5); sizes(b.Leases) != "3" { // the fifth slot
		v.Fatalf("%s of %+v", sizes(b.Leases), b)
	}
}

func batchSlot(v *env) {
	v.batches(1, 1, 3, 0)
	v.pushIDs("a", "b", "c", "d")
	l := v.claim(5)
	if ids(l) != "a b c" {
		v.Fatalf("claimed %s", ids(l))
	}
	for i, verdict := range []queue.Verdict{queue.Done, queue.Retry} {
		if b := v.exchange([]queue.Settlement{end(l[i], verdict)}, 5); len(b.Leases) != 0 || len(b.Stale) != 0 {
			v.Fatalf("after %d of its jobs: %+v", i+1, b)
		}
		if b := v.exchange([]queue.Settlement{end(l[i], verdict)}, 5); len(b.Leases) != 0 || len(b.Stale) != 1 {
			v.Fatalf("settled twice: %+v", b)
		}
	}
	if b := v.exchange([]queue.Settlement{end(l[2], queue.Bury)}, 5); ids(b.Leases) == "" || b.Leases[0].Batch == l[0].Batch || b.Leases[0].Batch == "" {
		v.Fatalf("%+v", b)
	}
}

// Any number of dispatchers, settling in any order: what is under way at once is
// never more than the slots there are, and every job ends.
func batchSlots(v *env) {
	const slots, size, jobs = 3, 4, 150
	v.batches(1, slots, size, 0)
	random := rand.New(rand.NewPCG(1, 2))
	nodes := []*queue.Queue{v.q, v.open(queue.Options{Consumer: "second"}), v.open(queue.Options{Consumer: "third"})}
	held := map[string]map[string]queue.Lease{} // batch -> job -> lease
	pushed, ended := 0, 0
	for step := 0; ended < jobs; step++ {
		if step > 20*jobs {
			v.Fatalf("%d of %d jobs ended, %d batches held", ended, pushed, len(held))
		}
		if n := min(random.IntN(6), jobs-pushed); n > 0 {
			v.pushN(n)
			pushed += n
		}
		var done []queue.Settlement
		for name, leases := range held {
			for id, l := range leases {
				if random.IntN(3) == 0 {
					done = append(done, end(l, queue.Done))
					delete(leases, id)
					ended++
				}
			}
			if len(leases) == 0 {
				delete(held, name)
			}
		}
		b, err := nodes[random.IntN(len(nodes))].Exchange(v.ctx(), typ, done, 1+random.IntN(slots))
		v.ok(err)
		for _, l := range b.Leases {
			if held[l.Batch] == nil {
				held[l.Batch] = map[string]queue.Lease{}
			}
			held[l.Batch][l.ID] = l
		}
		for name, leases := range held {
			if len(leases) > size {
				v.Fatalf("batch %s has %d jobs", name, len(leases))
			}
		}
		if len(held) > slots {
			v.Fatalf("%d batches at once", len(held))
		}
	}
	if b := v.exchange(nil, 1); b.Active != 0 || b.Waiting != 0 {
		v.Errorf("%+v", b)
	}
}

func batchLost(v *env) {
	v.batches(1, 1, 3, 0)
	v.pushIDs("a", "b", "c", "d")
	short := v.open(queue.Options{Consumer: "short", Lease: 200 * time.Millisecond})
	b, err := short.Exchange(v.ctx(), typ, nil, 1)
	v.ok(err)
	if ids(b.Leases) != "a b c" {
		v.Fatalf("claimed %s", ids(b.Leases))
	}
	// One of its jobs is cancelled: the others are none of its business.
	if _, err := v.q.Cancel(v.ctx(), typ, "b"); err != nil {
		v.Fatal(err)
	}
	kept := b.Leases[2]
	if got, err := v.q.Renew(v.ctx(), typ, []*queue.Lease{&kept}); err != nil || got[0] != queue.Kept {
		v.Fatalf("%c %v", got, err)
	}
	v.eventually("the others' leases end", func() bool { return v.exchange(nil, 0).Active == 1 })
	v.inState("b", queue.Cancelled)
	if b := v.exchange(nil, 1); len(b.Leases) != 0 {
		v.Fatalf("the slot was given away while a job held it: %+v", b)
	}
	b = v.exchange([]queue.Settlement{end(kept, queue.Done)}, 1)
	if ids(b.Leases) != "a d" && ids(b.Leases) != "d a" {
		v.Fatalf("claimed %s", ids(b.Leases))
	}
}

func batchAccepted(v *env) {
	v.batches(1, 1, 2, 0)
	v.pushIDs("a", "b", "c")
	l := v.claim(1)
	v.accept(l[0], time.Minute)
	v.accept(l[1], 100*time.Millisecond)
	if b := v.exchange(nil, 1); len(b.Leases) != 0 {
		v.Fatalf("%+v", b)
	}
	v.eventually("the silent one fails", func() bool { return v.exchange(nil, 0).Active == 1 })
	if b := v.exchange(nil, 1); len(b.Leases) != 0 {
		v.Fatalf("%+v", b)
	}
	v.ok(v.q.Conclude(v.ctx(), typ, "a", l[0].CallbackToken(), queue.Conclusion{Verdict: queue.Done}))
	if b := v.exchange(nil, 1); len(b.Leases) == 0 {
		v.Fatalf("%+v", b)
	}
}

func batchToggled(v *env) {
	v.configure(3)
	v.pushN(20)
	alone := v.claim(2)
	v.batches(2, 3, 4, 0)
	together := v.claim(5)
	if sizes(together) != "4" {
		v.Fatalf("beside two that run alone: %s", sizes(together))
	}
	v.ok(v.q.Configure(v.ctx(), typ, queue.Settings{Version: 3, Concurrency: 3, RetainCount: 1000, RetainAge: time.Hour}))
	if b := v.exchange([]queue.Settlement{end(alone[0], queue.Done)}, 5); sizes(b.Leases) != "1" || b.Leases[0].Batch != "" {
		v.Fatalf("%s of %+v", sizes(b.Leases), b)
	}
	done := make([]queue.Settlement, 0, 4)
	for _, l := range together {
		done = append(done, end(l, queue.Done))
	}
	if b := v.exchange(done, 5); sizes(b.Leases) != "1" || b.Active != 3 {
		v.Fatalf("%s of %+v", sizes(b.Leases), b)
	}
}

func batchLarge(v *env) {
	v.batches(1, 2, queue.MaxClaim, time.Hour)
	for range 5 {
		v.pushN(500)
	}
	b := v.exchange(nil, 2)
	if sizes(b.Leases) != "1000" || b.Next > time.Second {
		v.Fatalf("%s, next in %s", sizes(b.Leases), b.Next)
	}
	more := v.exchange(nil, 1)
	if sizes(more.Leases) != "1000" || more.Waiting != 500 {
		v.Fatalf("%s, %d waiting", sizes(more.Leases), more.Waiting)
	}
	done := make([]queue.Settlement, 0, 2000)
	for _, l := range append(b.Leases, more.Leases...) {
		done = append(done, end(l, queue.Done))
	}
	if b := v.exchange(done, 0); b.Active != 0 || len(b.Stale) != 0 {
		v.Errorf("%+v", b)
	}
}

// Jobs with large data go in their order all the same, and those given back wait as if nothing had been.
func batchBytes(v *env) {
	v.ok(v.q.Configure(v.ctx(), typ, queue.Settings{
		Version: 1, Concurrency: 5, RetainCount: 1000, RetainAge: time.Hour, Batch: queue.BatchPolicy{Size: 4, Wait: time.Minute, MostBytes: 25_000},
	}))
	large := []byte(`"` + strings.Repeat("x", 10_000) + `"`)
	v.push(
		queue.Job{ID: "urgent", Priority: queue.High, Data: large}, queue.Job{ID: "a"}, queue.Job{ID: "b", Data: large}, queue.Job{ID: "c", Data: large},
		queue.Job{ID: "d"}, queue.Job{ID: "e", Data: []byte(`"` + strings.Repeat("x", 30_000) + `"`)}, queue.Job{ID: "f", Data: large}, queue.Job{ID: "g"},
	)
	b := v.exchange(nil, 5)
	if ids(b.Leases) != "urgent a b" || b.Active != 3 || b.Waiting != 5 || b.Next > time.Second {
		v.Fatalf("%s of %+v", ids(b.Leases), b)
	}
	if s := v.stats(); s.Waiting != 5 || s.ByPriority[queue.High] != 0 {
		v.Errorf("%+v", s)
	}
	if b := v.exchange(nil, 5); ids(b.Leases) != "c d" || b.Active != 5 {
		v.Fatalf("%s of %+v", ids(b.Leases), b)
	}
	v.ok(v.q.Configure(v.ctx(), typ, queue.Settings{
		Version: 2, Concurrency: 5, RetainCount: 1000, RetainAge: time.Hour, Batch: queue.BatchPolicy{Size: 4, MostBytes: 25_000},
	}))
	if b := v.exchange(nil, 5); ids(b.Leases) != "e" {
		v.Fatalf("%s of %+v", ids(b.Leases), b)
	}
	if b := v.exchange(nil, 5); ids(b.Leases) != "f g" {
		v.Fatalf("%s of %+v", ids(b.Leases), b)
	}
}

// A batch has the jobs whose groups' turn it is. Those given back give their groups' slots back, too.
func batchGroups(v *env) {
	v.ok(v.q.Configure(v.ctx(), typ, queue.Settings{
		Version: 1, Concurrency: 5, RetainCount: 1000, RetainAge: time.Hour, Batch: queue.BatchPolicy{Size: 4, MostBytes: 25_000}, Groups: queue.GroupLimits{Concurrency: 1},
	}))
	large := []byte(`"` + strings.Repeat("x", 10_000) + `"`)
	var jobs []queue.Job
	for i := range 3 {
		for _, g := range []string{"a", "b", "c"} {
			jobs = append(jobs, queue.Job{ID: fmt.Sprint(g, i), Group: g, Data: large})
		}
	}
	v.push(jobs...)
	ended := 0
	for range 20 {
		b := v.exchange(nil, 5)
		if len(b.Leases) > 2 {
			v.Fatalf("%s at once", ids(b.Leases))
		}
		v.healthy(typ)
		for _, l := range b.Leases {
			v.settle(end(l, queue.Done))
			ended++
		}
	}
	if s := v.stats(); ended != 9 || s.Active != 0 || s.Waiting != 0 {
		v.Errorf("%d ended: %+v", ended, s)
	}
}

func batchRepeated(v *env) {
	v.batches(1, 2, 3, 0)
	v.pushIDs("a", "b", "c", "d", "e")
	r := &queue.Request{Want: 5}
	first, err := v.q.ExchangeRequest(v.ctx(), typ, r)
	v.ok(err)
	v.batches(2, 2, 2, 0) // nor does it matter what the settings are by now
	again, err := v.q.ExchangeRequest(v.ctx(), typ, r)
	v.ok(err)
	if sizes(first.Leases) != "3 2" || len(again.Leases) != len(first.Leases) || again.Active != 5 {
		v.Fatalf("first %s, then %s", sizes(first.Leases), sizes(again.Leases))
	}
	for i, l := range first.Leases {
		if g := again.Leases[i]; g.ID != l.ID || g.Token != l.Token || g.Batch != l.Batch {
			v.Errorf("%s %s, then %s %s", l.ID, l.Token, g.ID, g.Token)
		}
	}
}

func batchPaused(v *env) {
	v.batches(1, 2, 3, 0)
	v.ok(v.q.Configure(v.ctx(), typ, queue.Settings{
		Version: 2, Concurrency: 2, RetainCount: 1000, RetainAge: time.Hour, Paused: true, Batch: queue.BatchPolicy{Size: 3, Wait: 50 * time.Millisecond},
	}))
	v.pushN(2)
	if b := v.exchange(nil, 2); len(b.Leases) != 0 || b.Next >= 0 {
		v.Fatalf("%+v", b)
	}
	v.batches(3, 2, 3, time.Hour)
	if b := v.exchange(nil, 2); len(b.Leases) != 0 || b.Next <= 0 || b.Next > time.Hour {
		v.Fatalf("%+v", b)
	}
	v.batches(4, 2, 2, time.Hour)
	if b := v.exchange(nil, 2); sizes(b.Leases) != "2" {
		v.Fatalf("%+v", b)
	}
	if err := v.q.Destroy(v.ctx(), typ, true); err != nil {
		v.Fatal(err)
	}
	keys, err := v.client.Keys(v.ctx(), "*{"+v.prefix+":*batches").Result()
	if err != nil || len(keys) > 0 {
		v.Errorf("left behind: %v %v", keys, err)
	}
}
