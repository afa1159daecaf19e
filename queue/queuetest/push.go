package queuetest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/deetoo/deetoo/invalid"
	"github.com/deetoo/deetoo/queue"
)

func pushTests() map[string]func(*env) {
	return map[string]func(*env){
		"push/one job keeps what it was given":     pushKeeps,
		"push/defaults":                            pushDefaults,
		"push/several types at once":               pushTypes,
		"push/more than a script takes":            pushMany,
		"push/generated IDs are sorted and unique": pushIDs,
		"push/when and delay to the millisecond":   pushWhen,
		"push/the same ID twice in a batch":        pushTwice,
		"push/bad input names the field":           pushInvalid,
		"push/the same slice again":                pushAgain,
		"push/large data stays whole":              pushLarge,
	}
}

func pushKeeps(v *env) {
	v.configure(1)
	in := queue.Job{
		Type: typ, ID: "x", Data: []byte(`{"b": 1,  "a":[null, "\u0000\ud83d\ude00"]}`), Title: "a \"title\" ü", Priority: queue.Low,
		MaxAttempts: 3, Timeout: 1500 * time.Millisecond, Traceparent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
	}
	r := v.push(in)[0]
	if r.ID != "x" || r.State != queue.Waiting || r.Replaced || r.Err != nil {
		v.Fatalf("receipt %+v", r)
	}
	same := func(j *queue.Job, how string) {
		v.Helper()
		if string(j.Data) != string(in.Data) || j.Title != in.Title || j.Priority != in.Priority || j.MaxAttempts != in.MaxAttempts ||
			j.Timeout != in.Timeout || j.Traceparent != in.Traceparent || j.Type != typ || j.ID != "x" {
			v.Fatalf("%s: %+v, want %+v", how, j, in)
		}
	}
	j := v.inState("x", queue.Waiting)
	same(j, "get")
	if !j.EnqueuedAt.Equal(r.RunAt) || !j.RunAt.Equal(r.RunAt) || j.Attempt != 0 || !j.StartedAt.IsZero() || !j.FinishedAt.IsZero() {
		v.Fatalf("times of %+v, receipt %+v", j, r)
	}
	same(&v.all(queue.Waiting, 10)[0], "list")
	same(&v.claim(1)[0].Job, "lease")
}

func pushDefaults(v *env) {
	r := v.push(queue.Job{})
	j := v.inState(r[0].ID, queue.Waiting)
	if string(j.Data) != "null" || j.Priority != queue.Normal || j.Title != "" || j.Timeout != 0 || j.MaxAttempts != 0 {
		v.Fatalf("%+v", j)
	}
	if r, err := v.q.Push(v.ctx()); len(r) != 0 || err != nil {
		v.Fatalf("nothing pushed: %v, %v", r, err)
	}
}

func pushTypes(v *env) {
	r := v.push(queue.Job{Type: "a", ID: "1"}, queue.Job{Type: "b", ID: "1"}, queue.Job{Type: "a", ID: "2", Delay: time.Hour})
	for i, want := range []queue.Receipt{{ID: "1", State: queue.Waiting}, {ID: "1", State: queue.Waiting}, {ID: "2", State: queue.Scheduled}} {
		if r[i].ID != want.ID || r[i].State != want.State || r[i].Replaced {
			v.Errorf("receipt %d: %+v", i, r[i])
		}
	}
	types, err := v.q.Types(v.ctx())
	v.ok(err)
	if !slices.Equal(types, []string{"a", "b"}) {
		v.Errorf("types %v", types)
	}
}

func pushMany(v *env) {
	v.configure(20000)
	jobs := make([]queue.Job, 10_000)
	for i := range jobs {
		jobs[i] = queue.Job{ID: fmt.Sprintf("j%05d", i), Data: fmt.Appendf(nil, `{"n":%d}`, i)}
	}
	for i, r := range v.push(jobs...) {
		if r.ID != jobs[i].ID || r.State != queue.Waiting || r.Err != nil {
			v.Fatalf("receipt %d: %+v", i, r)
		}
	}
	if s := v.stats(); s.Waiting != len(jobs) {
		v.Fatalf("%d waiting", s.Waiting)
	}
	next := 0
	var done []queue.Settlement
	for next < len(jobs) {
		b := v.exchange(done, 1000)
		if len(b.Leases) == 0 || len(b.Leases) > queue.MaxSettlements {
			v.Fatalf("%d leases", len(b.Leases))
		}
		done = nil
		for _, l := range b.Leases {
			if l.ID != jobs[next].ID || string(l.Data) != string(jobs[next].Data) {
				v.Fatalf("lease %d is %s with %s", next, l.ID, l.Data)
			}
			done = append(done, end(l, queue.Done))
			next++
		}
	}
	v.exchange(done, 0)
	if s := v.stats(); s.Finished != 1000 || s.Active+s.Waiting != 0 {
		// What is over the retention goes in bounded steps, on every look.
		v.eventually("retention", func() bool { v.exchange(nil, 0); return v.stats().Finished == 1000 })
	}
	// More settlements than a script takes are several calls.
	v.push(jobs[:1200]...)
	done = nil
	for range 3 {
		for _, l := range v.claim(queue.MaxSettlements) {
			done = append(done, end(l, queue.Done))
		}
	}
	done = append(done, queue.Settlement{ID: "nobody", Token: "x", Verdict: queue.Done})
	if b := v.exchange(done, 0); len(done) != 1201 || len(b.Stale) != 1 || b.Active != 0 {
		v.Fatalf("%d settled: %+v", len(done), b)
	}
}

func pushIDs(v *env) {
	var mu sync.Mutex
	all := map[string]bool{}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			last := ""
			for range 5 {
				r, err := v.q.Push(v.ctx(), slices.Repeat([]queue.Job{{Type: typ}}, 50)...)
				if err != nil {
					v.Error(err)
					return
				}
				for _, r := range r {
					if r.ID <= last || queue.ValidateID(r.ID) != nil {
						v.Errorf("%q after %q", r.ID, last)
					}
					last = r.ID
					mu.Lock()
					if all[r.ID] {
						v.Errorf("%s twice", r.ID)
					}
					all[r.ID] = true
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	if s := v.stats(); s.Waiting != 2000 || len(all) != 2000 {
		v.Errorf("%d waiting, %d IDs", s.Waiting, len(all))
	}
}

func pushWhen(v *env) {
	v.configure(10)
	at := v.stats().At.Add(time.Hour + 123*time.Millisecond)
	r := v.push(
		queue.Job{ID: "when", RunAt: at.Add(456 * time.Microsecond)},
		queue.Job{ID: "delay", Delay: 1234*time.Millisecond + 900*time.Microsecond},
		queue.Job{ID: "both", RunAt: at, Delay: time.Second},
		queue.Job{ID: "past", RunAt: time.UnixMilli(1)},
		queue.Job{ID: "tiny", Delay: time.Microsecond},
	)
	pushed := v.get("when").EnqueuedAt
	for i, want := range []time.Time{at, pushed.Add(1234 * time.Millisecond), at, pushed, pushed} {
		j := v.get(r[i].ID)
		if !j.RunAt.Equal(want) || !r[i].RunAt.Equal(want) || j.State != r[i].State || (j.State == queue.Scheduled) != want.After(pushed) {
			v.Errorf("%s: %s, due %v (receipt %+v), want %v", j.ID, j.State, j.RunAt, r[i], want)
		}
	}
	if b := v.exchange(nil, 10); ids(b.Leases) != "past tiny" || b.Next > 1234*time.Millisecond || b.Next <= 0 {
		v.Errorf("claimed %s, next %v", ids(b.Leases), b.Next)
	}
	// Never early, and found without another push.
	v.push(queue.Job{ID: "soon", Delay: 150 * time.Millisecond})
	due := v.get("soon").RunAt
	var l []queue.Lease
	v.eventually("due job claimed", func() bool { l = v.claim(1); return len(l) > 0 })
	if l[0].ID != "soon" || l[0].StartedAt.Before(due) {
		v.Errorf("%s started %v, due %v", l[0].ID, l[0].StartedAt, due)
	}
}

func pushTwice(v *env) {
	v.configure(10)
	r := v.push(
		queue.Job{ID: "x", Data: []byte("1")}, queue.Job{ID: "y", Data: []byte("2")},
		queue.Job{ID: "x", Data: []byte("3"), Priority: queue.High},
		queue.Job{ID: "x", Data: []byte("4"), Delay: time.Hour},
		queue.Job{ID: "x", Data: []byte("5")}, queue.Job{ID: "x", Data: []byte("6"), Priority: queue.High},
		queue.Job{ID: "x", Data: []byte("7")},
	)
	for i, r := range r {
		if r.Replaced != (i > 1) {
			v.Errorf("receipt %d: %+v", i, r)
		}
	}
	if s := v.stats(); s.Waiting != 2 || s.Scheduled != 0 {
		v.Fatalf("%+v", s)
	}
	v.healthy(typ)
	l := v.claim(10)
	if ids(l) != "x y" || string(l[0].Data) != "7" {
		v.Fatalf("claimed %s", ids(l))
	}
	if s := v.stats(); s.Waiting != 0 || s.ByPriority[queue.Normal]+s.ByPriority[queue.High] != 0 {
		v.Fatalf("%+v", s)
	}
}

func pushInvalid(v *env) {
	far := time.Now().Add(queue.MaxDelay + 48*time.Hour)
	for _, c := range []struct {
		field string
		job   queue.Job
	}{
		{"type", queue.Job{Type: "a b"}}, {"type", queue.Job{Type: "{a}"}}, {"type", queue.Job{Type: "a*"}}, {"type", queue.Job{Type: "a\n"}},
		{"type", queue.Job{Type: strings.Repeat("t", 65)}}, {"type", queue.Job{Type: "-a"}}, {"type", queue.Job{Type: "ü"}},
		{"id", queue.Job{ID: "a b"}}, {"id", queue.Job{ID: "a\x00"}}, {"id", queue.Job{ID: "é"}}, {"id", queue.Job{ID: strings.Repeat("i", 10<<10)}},
		{"title", queue.Job{Title: strings.Repeat("t", 257)}}, {"title", queue.Job{Title: "a\nb"}}, {"title", queue.Job{Title: "\xff"}},
		{"data", queue.Job{Data: []byte("{")}}, {"data", queue.Job{Data: []byte(strings.Repeat("[", 20_000))}},
		{"data", queue.Job{Data: []byte(strings.Repeat(" ", queue.MaxDataSize) + "1")}},
		{"priority", queue.Job{Priority: 3}}, {"priority", queue.Job{Priority: -3}},
		{"delay", queue.Job{Delay: -1}}, {"delay", queue.Job{Delay: queue.MaxDelay + 1}},
		{"when", queue.Job{RunAt: far}}, {"when", queue.Job{RunAt: time.Date(1900, 1, 1, 0, 0, 0, 0, time.UTC)}},
		{"max_attempts", queue.Job{MaxAttempts: -1}}, {"max_attempts", queue.Job{MaxAttempts: 101}},
		{"timeout", queue.Job{Timeout: -1}}, {"timeout", queue.Job{Timeout: 25 * time.Hour}},
		{"traceparent", queue.Job{Traceparent: "a\r\nb"}}, {"traceparent", queue.Job{Traceparent: strings.Repeat("0", 129)}},
	} {
		if c.job.Type == "" {
			c.job.Type = typ
		}
		for at, jobs := range map[string][]queue.Job{c.field: {c.job}, "[1]." + c.field: {{Type: typ, ID: "good"}, c.job}} {
			r, err := v.q.Push(v.ctx(), jobs...)
			var bad *invalid.Error
			if !errors.As(err, &bad) || bad.Field != at || bad.Rule == "" || r != nil {
				v.Errorf("%.50v: error %v, want one of %s", c.job, err, at)
			}
		}
	}
	if _, err := v.q.Push(v.ctx(), queue.Job{}); err == nil {
		v.Error("a job without type was pushed")
	}
	if types, err := v.q.Types(v.ctx()); err != nil || len(types) != 0 {
		v.Errorf("something was pushed: %v, %v", types, err)
	}
}

func pushAgain(v *env) {
	jobs := []queue.Job{{Type: typ}, {Type: typ}}
	for i := range 2 {
		r, err := v.q.Push(v.ctx(), jobs...)
		v.ok(err)
		if jobs[0].ID != r[0].ID || r[0].Replaced != (i == 1) {
			v.Errorf("push %d: %+v", i, r)
		}
	}
	if s := v.stats(); s.Waiting != 2 {
		v.Errorf("%d waiting", s.Waiting)
	}
}

func pushLarge(v *env) {
	v.configure(10)
	for id, size := range map[string]int{"inline": 4096, "apart": 4097, "mega": 1 << 20} {
		data := `"` + strings.Repeat("d", size-2) + `"`
		whole := func(got []byte, where string) {
			v.Helper()
			if string(got) != data {
				v.Errorf("%s, %s: %d bytes, want %d", id, where, len(got), size)
			}
		}
		v.push(queue.Job{ID: id, Data: []byte(data), Delay: time.Hour})
		whole(v.inState(id, queue.Scheduled).Data, "scheduled")
		v.ok(v.q.Promote(v.ctx(), typ, id))
		whole(v.inState(id, queue.Waiting).Data, "waiting")
		if listed := v.all(queue.Waiting, 10); len(listed) != 1 || (len(listed[0].Data) == size) != (id == "inline") {
			v.Errorf("%s: listed with %d bytes", id, len(listed[0].Data))
		}
		for _, verdict := range []queue.Verdict{queue.Release, queue.Retry, queue.Bury} {
			l := v.claimOne(id)
			whole(l.Data, "lease")
			s := end(l, verdict)
			v.settle(s)
			v.exchange(nil, 0)
			whole(v.get(id).Data, string(verdict))
		}
		v.ok(v.q.RetryNow(v.ctx(), typ, id))
		s := end(v.claimOne(id), queue.Done)
		s.Result = []byte(strings.Repeat("r", queue.MaxResultSize+1))
		v.settle(s)
		j := v.inState(id, queue.Succeeded)
		whole(j.Data, "succeeded")
		if len(j.Result) != queue.MaxResultSize {
			v.Errorf("%s: result of %d bytes", id, len(j.Result))
		}
		// Small data in its place leaves nothing of the large.
		v.push(queue.Job{ID: id, Data: []byte("1"), Delay: time.Hour})
		if j := v.get(id); string(j.Data) != "1" || j.Result != nil {
			v.Errorf("%s replaced: %d bytes, result %q", id, len(j.Data), j.Result)
		}
		v.healthy(typ)
	}
}
