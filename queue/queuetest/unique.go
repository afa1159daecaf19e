package queuetest

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/deetoo/deetoo/queue"
)

func uniqueTests() map[string]func(*env) {
	return map[string]func(*env){
		"unique/rejected while the holder has not ended": uniqueRejected,
		"unique/every end gives the key up":              uniqueReleased,
		"unique/replace":                                 uniqueReplace,
		"unique/ignore":                                  uniqueIgnore,
		"unique/debounce":                                uniqueDebounce,
		"unique/window":                                  uniqueWindow,
		"unique/a job that begins anew":                  uniqueAgain,
		"unique/in a batch":                              uniqueBatch,
		"unique/many at the same time":                   uniqueTogether,
		"unique/replaced by its ID":                      uniqueByID,
		"unique/repeated push":                           uniqueRepeated,
		"unique/bad input":                               uniqueInvalid,
		"unique/fsck finds what is wrong":                uniqueFsck,
	}
}

// unique pushes one job under a key.
func (v *env) unique(j queue.Job, u queue.Unique) queue.Receipt {
	v.Helper()
	if u.Key == "" {
		u.Key = "k"
	}
	j.Type, j.Unique = typ, &u
	r, err := v.q.Push(v.ctx(), j)
	v.ok(err)
	return r[0]
}

// duplicateOf fails unless the receipt says that the key is held by that job.
func (v *env) duplicateOf(r queue.Receipt, id string, s queue.State) {
	v.Helper()
	var dup *queue.DuplicateError
	if !errors.As(r.Err, &dup) || !errors.Is(r.Err, queue.ErrDuplicate) || dup.ID != id || dup.State != s {
		v.Fatalf("%+v, want a duplicate of %s, %s", r, id, s)
	}
}

func uniqueRejected(v *env) {
	v.configure(10)
	first := v.unique(queue.Job{Delay: time.Hour}, queue.Unique{})
	v.duplicateOf(v.unique(queue.Job{ID: "b"}, queue.Unique{}), first.ID, queue.Scheduled)
	v.ok(v.q.Promote(v.ctx(), typ, first.ID))
	v.duplicateOf(v.unique(queue.Job{}, queue.Unique{}), first.ID, queue.Waiting)
	l := v.claimOne(first.ID)
	if l.Unique == nil || l.Unique.Key != "k" {
		v.Errorf("the lease's unique key: %+v", l.Unique)
	}
	v.duplicateOf(v.unique(queue.Job{}, queue.Unique{}), first.ID, queue.Active)
	s := end(l, queue.Retry)
	s.Delay = time.Hour
	v.settle(s)
	v.duplicateOf(v.unique(queue.Job{}, queue.Unique{}), first.ID, queue.Scheduled)
	v.gone("b")
	if r := v.unique(queue.Job{ID: "b"}, queue.Unique{Key: "another"}); r.Err != nil || r.Duplicate {
		v.Errorf("another key: %+v", r)
	}
}

func uniqueReleased(v *env) {
	v.configure(10)
	start := func() queue.Lease {
		v.Helper()
		r := v.unique(queue.Job{}, queue.Unique{})
		if r.Err != nil {
			v.Fatalf("the key is still held: %v", r.Err)
		}
		return v.claimOne(r.ID)
	}
	v.settle(end(start(), queue.Done))
	v.settle(end(start(), queue.Bury))
	l := start()
	_, err := v.q.Cancel(v.ctx(), typ, l.ID)
	v.ok(err)
	v.duplicateOf(v.unique(queue.Job{}, queue.Unique{}), l.ID, queue.Active)
	v.settle(end(l, queue.Retry))
	v.inState(l.ID, queue.Cancelled)
	for verdict, state := range map[queue.Verdict]queue.State{queue.Done: queue.Succeeded, queue.Bury: queue.Dead} {
		l = start()
		v.ok(v.q.Conclude(v.ctx(), typ, l.ID, l.CallbackToken(), queue.Conclusion{Verdict: verdict, Error: "no"}))
		v.inState(l.ID, state)
	}
	for _, purge := range []func(id string){
		func(id string) { _, err := v.q.Cancel(v.ctx(), typ, id); v.ok(err) },
		func(string) { _, err := v.q.Purge(v.ctx(), typ, queue.Waiting); v.ok(err) },
	} {
		purge(v.unique(queue.Job{}, queue.Unique{}).ID)
	}
	v.unique(queue.Job{Delay: time.Hour}, queue.Unique{})
	_, err = v.q.Purge(v.ctx(), typ, queue.Scheduled)
	v.ok(err)
	// Lost with its dispatcher for good.
	q := v.open(queue.Options{Consumer: "mortal", Lease: 100 * time.Millisecond, MaxLost: 1})
	r := v.unique(queue.Job{}, queue.Unique{})
	v.ok(r.Err)
	_, err = q.Exchange(v.ctx(), typ, nil, 1)
	v.ok(err)
	v.eventually("the job is dead", func() bool {
		_, err := q.Exchange(v.ctx(), typ, nil, 0)
		v.ok(err)
		return v.get(r.ID).State == queue.Dead
	})
	v.settle(end(start(), queue.Done))
	v.ok(v.q.Destroy(v.ctx(), typ, true))
	v.configure(10)
	start()
}

func uniqueReplace(v *env) {
	v.configure(10)
	u := queue.Unique{OnConflict: queue.Replace}
	first := v.unique(queue.Job{Data: []byte("1"), Delay: time.Hour}, u)
	r := v.unique(queue.Job{ID: "other", Data: []byte("2"), Title: "new"}, u)
	if r.Err != nil || r.ID != first.ID || !r.Replaced || r.State != queue.Waiting {
		v.Errorf("%+v, first %s", r, first.ID)
	}
	v.gone("other")
	j := v.inState(first.ID, queue.Waiting)
	if string(j.Data) != "2" || j.Title != "new" {
		v.Errorf("%+v", j)
	}
	l := v.claimOne(first.ID)
	v.duplicateOf(v.unique(queue.Job{Data: []byte("3")}, u), first.ID, queue.Active)
	v.settle(end(l, queue.Done))
	if r := v.unique(queue.Job{}, u); r.Err != nil || r.Replaced || r.ID == first.ID {
		v.Errorf("after its end: %+v", r)
	}
}

func uniqueIgnore(v *env) {
	v.configure(10)
	u := queue.Unique{OnConflict: queue.Ignore}
	first := v.unique(queue.Job{Data: []byte("1"), Delay: time.Hour}, u)
	for range 2 {
		r := v.unique(queue.Job{ID: "other", Data: []byte("2")}, u)
		if r.Err != nil || !r.Duplicate || r.ID != first.ID || r.State != queue.Scheduled || !r.RunAt.Equal(first.RunAt) {
			v.Errorf("%+v, first %+v", r, first)
		}
	}
	if j := v.get(first.ID); string(j.Data) != "1" {
		v.Errorf("data %s", j.Data)
	}
	v.ok(v.q.Promote(v.ctx(), typ, first.ID))
	l := v.claimOne(first.ID)
	if r := v.unique(queue.Job{}, u); !r.Duplicate || r.State != queue.Active {
		v.Errorf("while it runs: %+v", r)
	}
	v.settle(end(l, queue.Done))
	if r := v.unique(queue.Job{}, u); r.Duplicate || r.Err != nil {
		v.Errorf("after its end: %+v", r)
	}
}

func uniqueDebounce(v *env) {
	v.configure(10)
	u := queue.Unique{OnConflict: queue.Debounce, Longest: 90 * time.Minute}
	first := v.unique(queue.Job{Data: []byte("1"), Delay: time.Hour}, u)
	second := v.unique(queue.Job{Data: []byte("2"), Delay: 80 * time.Minute}, u)
	if second.ID != first.ID || !second.Replaced || second.State != queue.Scheduled || second.RunAt.Sub(first.RunAt) < 15*time.Minute {
		v.Errorf("%+v, first %+v", second, first)
	}
	// Not beyond 90 minutes from the first push.
	third := v.unique(queue.Job{Data: []byte("3"), Delay: 5 * time.Hour}, u)
	if late := third.RunAt.Sub(first.RunAt); third.ID != first.ID || late < 29*time.Minute || late > 31*time.Minute {
		v.Errorf("%+v, %v after the first", third, late)
	}
	j := v.inState(first.ID, queue.Scheduled)
	if string(j.Data) != "3" || !j.RunAt.Equal(third.RunAt) {
		v.Errorf("%+v", j)
	}
	// One that runs has its data: the next is another job, and has the key.
	v.ok(v.q.Promote(v.ctx(), typ, first.ID))
	l := v.claimOne(first.ID)
	next := v.unique(queue.Job{Data: []byte("4"), Delay: time.Hour}, u)
	if next.Err != nil || next.ID == first.ID || next.Replaced {
		v.Errorf("while it runs: %+v", next)
	}
	v.settle(end(l, queue.Done))
	if r := v.unique(queue.Job{Delay: time.Hour}, u); r.ID != next.ID {
		v.Errorf("after the first has ended: %+v, want %s", r, next.ID)
	}
	// The longest time may have passed already.
	if r := v.unique(queue.Job{Delay: time.Hour}, queue.Unique{OnConflict: queue.Debounce, Longest: time.Millisecond, Key: "quick"}); r.State != queue.Scheduled {
		v.Errorf("the first push waits its delay: %+v", r)
	}
	v.eventually("the longest time has passed", func() bool {
		return v.unique(queue.Job{Delay: time.Hour}, queue.Unique{OnConflict: queue.Debounce, Longest: time.Millisecond, Key: "quick"}).State == queue.Waiting
	})
}

func uniqueWindow(v *env) {
	v.configure(10)
	u := queue.Unique{For: time.Hour}
	first := v.unique(queue.Job{}, u)
	v.settle(end(v.claimOne(first.ID), queue.Done))
	v.duplicateOf(v.unique(queue.Job{}, u), first.ID, queue.Succeeded)
	v.duplicateOf(v.unique(queue.Job{}, queue.Unique{OnConflict: queue.Replace}), first.ID, queue.Succeeded)
	v.duplicateOf(v.unique(queue.Job{ID: first.ID}, u), first.ID, queue.Succeeded)
	v.ok(v.q.Remove(v.ctx(), typ, first.ID))
	v.duplicateOf(v.unique(queue.Job{}, u), first.ID, "")
	if r := v.unique(queue.Job{}, queue.Unique{OnConflict: queue.Ignore}); !r.Duplicate || r.ID != first.ID || r.State != "" {
		v.Errorf("ignored: %+v", r)
	}
	// A window that ends lets the next in, though the job waits still.
	short := queue.Unique{Key: "short", For: 50 * time.Millisecond}
	one := v.unique(queue.Job{Delay: time.Hour}, short)
	v.eventually("the window ends", func() bool {
		r := v.unique(queue.Job{Delay: time.Hour}, short)
		return r.Err == nil && r.ID != one.ID
	})
	// Keys whose window has ended are swept by those that come.
	for i := range 100 {
		v.unique(queue.Job{Delay: time.Hour}, queue.Unique{Key: fmt.Sprint("many", i), For: time.Millisecond})
	}
	v.eventually("they are swept", func() bool {
		v.unique(queue.Job{Delay: time.Hour}, queue.Unique{Key: "last", For: time.Millisecond})
		n, err := v.client.HLen(v.ctx(), "{"+v.prefix+":"+typ+"}:unique").Result()
		v.ok(err)
		return n <= 8
	})
}

func uniqueAgain(v *env) {
	v.configure(10)
	first := v.unique(queue.Job{}, queue.Unique{})
	v.settle(end(v.claimOne(first.ID), queue.Bury))
	v.ok(v.q.RetryNow(v.ctx(), typ, first.ID))
	v.duplicateOf(v.unique(queue.Job{}, queue.Unique{}), first.ID, queue.Waiting)
	v.settle(end(v.claimOne(first.ID), queue.Bury))
	_, err := v.q.Redrive(v.ctx(), typ)
	v.ok(err)
	v.duplicateOf(v.unique(queue.Job{}, queue.Unique{}), first.ID, queue.Waiting)
	v.settle(end(v.claimOne(first.ID), queue.Bury))
	// Meanwhile another has the key: both run, and the other keeps it.
	second := v.unique(queue.Job{Delay: time.Hour}, queue.Unique{})
	v.ok(v.q.RetryNow(v.ctx(), typ, first.ID))
	v.duplicateOf(v.unique(queue.Job{}, queue.Unique{}), second.ID, queue.Scheduled)
	v.settle(end(v.claimOne(first.ID), queue.Done))
	v.duplicateOf(v.unique(queue.Job{}, queue.Unique{}), second.ID, queue.Scheduled)
}

func uniqueBatch(v *env) {
	v.configure(10)
	u := func(c queue.OnConflict) *queue.Unique { return &queue.Unique{Key: "k", OnConflict: c} }
	r := v.push(
		queue.Job{ID: "plain"},
		queue.Job{ID: "a", Unique: u("")},
		queue.Job{ID: "b", Unique: u(queue.Reject)},
		queue.Job{ID: "c", Unique: u(queue.Ignore)},
		queue.Job{ID: "d", Unique: u(queue.Replace), Data: []byte(`"d"`)},
		queue.Job{ID: "e", Unique: &queue.Unique{Key: "other"}, Priority: queue.High},
		queue.Job{Unique: &queue.Unique{Key: "fresh"}},
	)
	v.duplicateOf(r[2], "a", queue.Waiting)
	if !r[3].Duplicate || r[3].ID != "a" || r[4].ID != "a" || !r[4].Replaced || r[0].Err != nil || r[1].Err != nil || r[5].Err != nil || r[6].Err != nil {
		v.Errorf("%+v", r)
	}
	if s := v.stats(); s.Waiting != 4 {
		v.Errorf("%+v", s)
	}
	if j := v.get("a"); string(j.Data) != `"d"` {
		v.Errorf("data %s", j.Data)
	}
	if got, want := ids(v.claim(10)), "e plain a "+r[6].ID; got != want {
		v.Errorf("claimed %s, want %s", got, want)
	}
}

func uniqueTogether(v *env) {
	v.configure(10)
	receipts := make([]queue.Receipt, 16)
	var all sync.WaitGroup
	for i := range receipts {
		all.Go(func() {
			r, err := v.q.Push(v.ctx(), queue.Job{Type: typ, Unique: &queue.Unique{Key: "k"}})
			if err != nil {
				v.Error(err)
				return
			}
			receipts[i] = r[0]
		})
	}
	all.Wait()
	stored := 0
	for _, r := range receipts {
		if r.Err == nil {
			stored++
		} else if !errors.Is(r.Err, queue.ErrDuplicate) {
			v.Error(r.Err)
		}
	}
	if s := v.stats(); stored != 1 || s.Waiting != 1 {
		v.Errorf("%d stored, %+v", stored, s)
	}
}

func uniqueByID(v *env) {
	v.configure(10)
	// The same ID under the same key is replaced, as ever.
	v.unique(queue.Job{ID: "a", Data: []byte("1")}, queue.Unique{})
	if r := v.unique(queue.Job{ID: "a", Data: []byte("2")}, queue.Unique{}); r.Err != nil || !r.Replaced {
		v.Errorf("%+v", r)
	}
	// With another key, or none, it gives up the one it had.
	v.unique(queue.Job{ID: "a"}, queue.Unique{Key: "l"})
	v.unique(queue.Job{ID: "b"}, queue.Unique{})
	v.pushIDs("b")
	if r := v.unique(queue.Job{ID: "c"}, queue.Unique{}); r.Err != nil {
		v.Error(r.Err)
	}
	v.duplicateOf(v.unique(queue.Job{}, queue.Unique{Key: "l"}), "a", queue.Waiting)
	// One that runs can take no key.
	v.pushIDs("busy")
	v.claim(10)
	if r := v.unique(queue.Job{ID: "busy"}, queue.Unique{Key: "m"}); !errors.Is(r.Err, queue.ErrActive) {
		v.Errorf("%+v", r)
	}
	if r := v.unique(queue.Job{}, queue.Unique{Key: "m"}); r.Err != nil {
		v.Error(r.Err)
	}
}

func uniqueRepeated(v *env) {
	v.configure(10)
	for name, q := range map[string]*queue.Queue{
		"remembered": func() *queue.Queue {
			r := &repeater{}
			r.on.Store(true)
			return v.openOn(another(v, v.client, r), queue.Options{})
		}(),
		"forgotten": v.openOn(another(v, v.client, &forgetful{v.client}), queue.Options{}),
	} {
		for _, c := range []queue.OnConflict{queue.Reject, queue.Replace, queue.Ignore, queue.Debounce} {
			key := name + string(c)
			j := queue.Job{Type: typ, Delay: time.Hour, Unique: &queue.Unique{Key: key, OnConflict: c}}
			r, err := q.Push(v.ctx(), j)
			v.ok(err)
			if r[0].Err != nil || r[0].Duplicate {
				v.Errorf("%s: %+v", key, r[0])
			}
			v.duplicateOf(v.unique(queue.Job{}, queue.Unique{Key: key}), r[0].ID, queue.Scheduled)
		}
	}
	if s := v.stats(); s.Scheduled != 8 || s.Waiting != 0 {
		v.Errorf("%+v", s)
	}
}

func uniqueInvalid(v *env) {
	v.configure(10)
	for field, j := range map[string]queue.Job{
		"unique_key":   {Unique: &queue.Unique{}},
		"unique_for":   {Unique: &queue.Unique{Key: "k", For: -time.Second}},
		"on_conflict":  {Unique: &queue.Unique{Key: "k", OnConflict: "merge"}},
		"debounce_max": {Unique: &queue.Unique{Key: "k", Longest: time.Second}},
		"delay":        {Unique: &queue.Unique{Key: "k", OnConflict: queue.Debounce}},
	} {
		j.Type = typ
		if _, err := v.q.Push(v.ctx(), j); err == nil || len(err.Error()) < len(field) || err.Error()[:len(field)] != field {
			v.Errorf("%s: %v", field, err)
		}
	}
}

func uniqueFsck(v *env) {
	v.configure(10)
	r := v.unique(queue.Job{}, queue.Unique{})
	key := "{" + v.prefix + ":" + typ + "}:unique"
	for value, want := range map[string]string{
		"0 1 nobody":   `the unique key "k" is held by nobody, which is no job or has ended`,
		"99 1 " + r.ID: `the unique key "k" and the end of its window disagree`,
		"rubbish":      `the unique key "k" has a damaged holder`,
	} {
		v.ok(v.client.HSet(v.ctx(), key, "k", value).Err())
		if found, err := v.q.Fsck(v.ctx(), typ); err != nil || len(found) != 1 || found[0] != want {
			v.Errorf("%s: %q, %v", value, found, err)
		}
	}
	v.ok(v.client.HSet(v.ctx(), key, "k", "0 1 "+r.ID).Err())
	v.ok(v.client.ZAdd(v.ctx(), key+":ends", redis.Z{Score: 99, Member: "gone"}).Err())
	if found, err := v.q.Fsck(v.ctx(), typ); err != nil || len(found) != 1 {
		v.Errorf("%q, %v", found, err)
	}
	v.ok(v.client.Del(v.ctx(), key+":ends").Err())
}
