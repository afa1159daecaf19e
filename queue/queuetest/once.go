package queuetest

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/deetoo/deetoo/queue"
)

func onceTests() map[string]func(*env) {
	return map[string]func(*env){
		"once/a repeated push changes nothing":         onceRepeated,
		"once/another fingerprint is refused":          onceReused,
		"once/many at the same time make one":          onceTogether,
		"once/a large batch that was cut is completed": onceLarge,
		"once/the key is forgotten in the end":         onceForgotten,
		"once/what was pushed can be recalled":         onceRecalled,
	}
}

func (v *env) once(key string, jobs ...queue.Job) []queue.Receipt {
	v.Helper()
	r, err := v.q.PushOnce(v.ctx(), queue.Once{Key: key, Fingerprint: "f", TTL: time.Hour}, jobs...)
	v.ok(err)
	return r
}

func onceRepeated(v *env) {
	v.configure(10)
	first := v.once("k", queue.Job{Type: typ}, queue.Job{Type: typ, ID: "named", Delay: time.Hour})
	for _, l := range v.claim(10) {
		v.settle(end(l, queue.Done))
	}
	_, err := v.q.Cancel(v.ctx(), typ, "named")
	v.ok(err)
	second := v.once("k", queue.Job{Type: typ}, queue.Job{Type: typ, ID: "named", Delay: time.Hour})
	for i := range second {
		if first[i].Replayed || !second[i].Replayed {
			v.Errorf("replayed: first %v, second %v", first[i].Replayed, second[i].Replayed)
		}
		second[i].Replayed = false
	}
	if len(first) != 2 || fmt.Sprint(first) != fmt.Sprint(second) || first[1].State != queue.Scheduled || first[0].ID == "" {
		v.Errorf("first %+v, second %+v", first, second)
	}
	v.inState(first[0].ID, queue.Succeeded)
	v.inState("named", queue.Cancelled)
	if other := v.once("another", queue.Job{Type: typ}); other[0].ID == first[0].ID {
		v.Error("another key gave the same job")
	}
}

func onceReused(v *env) {
	v.configure(10)
	v.once("k", queue.Job{Type: typ, ID: "a"})
	_, err := v.q.PushOnce(v.ctx(), queue.Once{Key: "k", Fingerprint: "g", TTL: time.Hour}, queue.Job{Type: typ, ID: "b"})
	v.is(err, queue.ErrKeyReused)
	_, err = v.q.PushOnce(v.ctx(), queue.Once{Key: "k", Fingerprint: "f", TTL: time.Hour}, queue.Job{Type: typ, ID: "a"}, queue.Job{Type: typ, ID: "b"})
	v.is(err, queue.ErrKeyReused)
	if s := v.stats(); s.Waiting != 1 {
		v.Errorf("%+v", s)
	}
}

func onceTogether(v *env) {
	v.configure(10)
	ids := make([]string, 8)
	var all sync.WaitGroup
	for i := range ids {
		all.Go(func() {
			r, err := v.q.PushOnce(v.ctx(), queue.Once{Key: "k", TTL: time.Hour}, queue.Job{Type: typ})
			if err != nil {
				v.Error(err)
				return
			}
			ids[i] = r[0].ID
		})
	}
	all.Wait()
	for _, id := range ids {
		if id == "" || id != ids[0] {
			v.Errorf("they made %q", ids)
		}
	}
	if s := v.stats(); s.Waiting != 1 {
		v.Errorf("%+v", s)
	}
}

func onceLarge(v *env) {
	v.configure(10)
	jobs := func(n int) []queue.Job {
		out := make([]queue.Job, n)
		for i := range out {
			out[i].Type = typ
		}
		return out
	}
	// What was stored of a batch of 1,200 when its client gave up.
	part := v.once("k", jobs(500)...)
	whole := v.once("k", jobs(1200)...)
	if len(whole) != 1200 || whole[0].ID != part[0].ID || whole[499].ID != part[499].ID {
		v.Errorf("%d receipts", len(whole))
	}
	if s := v.stats(); s.Waiting != 1200 {
		v.Errorf("%+v", s)
	}
	bad := jobs(2)
	bad[1].MaxAttempts = -1
	if _, err := v.q.PushOnce(v.ctx(), queue.Once{Key: "bad", TTL: time.Hour}, bad...); err == nil || errors.Is(err, queue.ErrKeyReused) {
		v.Errorf("error %v", err)
	}
}

func onceForgotten(v *env) {
	v.configure(10)
	push := func() string {
		r, err := v.q.PushOnce(v.ctx(), queue.Once{Key: "k", TTL: 200 * time.Millisecond}, queue.Job{Type: typ})
		v.ok(err)
		return r[0].ID
	}
	first := push()
	v.eventually("the key is forgotten", func() bool { return push() != first })
}

func onceRecalled(v *env) {
	v.configure(10)
	o := queue.Once{Key: "k", Fingerprint: "f", TTL: time.Hour, Memo: "two\nlines"}
	recall := func() ([]queue.Receipt, string) {
		r, memo, err := v.q.Recall(v.ctx(), typ, o)
		v.ok(err)
		return r, memo
	}
	if r, memo := recall(); r != nil || memo != "" {
		v.Errorf("before: %+v, %q", r, memo)
	}
	jobs := make([]queue.Job, 600) // more than one call takes
	for i := range jobs {
		jobs[i].Type = typ
	}
	first, err := v.q.PushOnce(v.ctx(), o, jobs...)
	v.ok(err)
	again, memo := recall()
	if len(again) != 600 || memo != o.Memo {
		v.Fatalf("%d receipts, memo %q", len(again), memo)
	}
	for i := range again {
		if again[i].ID != first[i].ID || !again[i].RunAt.Equal(first[i].RunAt) || !again[i].Replayed {
			v.Fatalf("receipt %d: %+v, first %+v", i, again[i], first[i])
		}
	}
	other := o
	other.Fingerprint = "g"
	_, _, err = v.q.Recall(v.ctx(), typ, other)
	v.is(err, queue.ErrKeyReused)
	// Of a push that was cut short there is nothing to recall, and its repetition completes it.
	cut := &cutter{}
	lossy := v.openOn(another(v, v.client, cut), queue.Options{})
	v.ok(lossy.Ping(v.ctx()))
	for i := range jobs {
		jobs[i].ID = ""
	}
	cut.on = true
	half := queue.Once{Key: "half", Fingerprint: "f", TTL: time.Hour}
	_, err = lossy.PushOnce(v.ctx(), half, jobs...)
	v.is(err, errCut)
	if s := v.stats(); s.Waiting != 1100 {
		v.Errorf("of the push cut short: %+v", s)
	}
	o.Key = "half"
	if r, _ := recall(); r != nil {
		v.Errorf("recalled %d receipts of a push cut short", len(r))
	}
	for i := range jobs {
		jobs[i].ID = ""
	}
	whole, err := v.q.PushOnce(v.ctx(), half, jobs...)
	v.ok(err)
	if r, _ := recall(); len(r) != 600 || r[599].ID != whole[599].ID {
		v.Errorf("recalled %d receipts", len(r))
	}
	if s := v.stats(); s.Waiting != 1200 {
		v.Errorf("%+v", s)
	}
}
