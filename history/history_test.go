package history

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"pgregory.net/rapid"

	"github.com/deetoo/deetoo/internal/redistest"
	"github.com/deetoo/deetoo/queue"
)

func newStore(t *testing.T) (*Store, *miniredis.Miniredis, redis.UniversalClient) {
	t.Helper()
	m := miniredis.NewMiniRedis()
	c := redis.NewClient(&redis.Options{Dialer: func(context.Context, string, string) (net.Conn, error) { return m.Dial() }, DisableIdentity: true, MaxRetries: -1})
	t.Cleanup(func() { _ = c.Close(); m.Close() })
	s, err := NewStore(c, Options{})
	if err != nil {
		t.Fatal(err)
	}
	return s, m, c
}

func newRecorder(t *testing.T, s *Store, change func(*RecorderOptions)) *Recorder {
	t.Helper()
	o := RecorderOptions{Store: s, Name: "one", Version: "1.2.3"}
	if change != nil {
		change(&o)
	}
	r, err := NewRecorder(o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func read(t *testing.T, s *Store, typ string, w Window) *Series {
	t.Helper()
	series, err := s.Read(t.Context(), typ, w)
	if err != nil {
		t.Fatal(err)
	}
	return series
}

// TestHistory follows attempts from two dispatchers into every window, through the hours.
func TestHistory(t *testing.T) {
	s, m, _ := newStore(t)
	noon := time.Date(2030, 5, 6, 12, 0, 30, 0, time.UTC)
	m.SetTime(noon)
	one, two := newRecorder(t, s, nil), newRecorder(t, s, func(o *RecorderOptions) { o.Name = "two" })
	for range 8 {
		one.Attempt("email", "succeeded", 20*time.Millisecond, time.Second)
	}
	one.Attempt("email", "failed", 400*time.Millisecond, -1)
	two.Attempt("email", "dead", 400*time.Millisecond, 0)
	two.Attempt("sms", "snoozed", time.Millisecond, 0)
	one.Flush(t.Context())
	two.Flush(t.Context())
	one.Flush(t.Context()) // with nothing more

	for _, w := range Windows() {
		series := read(t, s, "email", w)
		last := series.Steps[len(series.Steps)-1]
		if got := [...]int64{last.Succeeded, last.Failed, last.Dead, last.Other}; got != [...]int64{8, 1, 1, 0} {
			t.Errorf("%s: the last step has %v", w, got)
		}
		if end := series.Start.Add(time.Duration(len(series.Steps)) * series.Step); !series.At.Equal(noon) || end.Before(noon) || end.Sub(noon) > series.Step {
			t.Errorf("%s: it reaches from %s to %s", w, series.Start, end)
		}
		if p := last.Ran.Quantile(.5); p < 16*time.Millisecond || p > 25*time.Millisecond {
			t.Errorf("%s: the median is %s", w, p)
		}
		if rate, ok := last.SuccessRate(); !ok || rate != .8 {
			t.Errorf("%s: the success rate is %v", w, rate)
		}
		all := read(t, s, All, w).Total()
		if all.Ended() != 11 || all.Other != 1 {
			t.Errorf("%s: all types together have %d attempts", w, all.Ended())
		}
	}

	m.SetTime(noon.Add(20 * time.Minute))
	one.Attempt("email", "succeeded", time.Millisecond, 0)
	one.Flush(t.Context())
	for w, want := range map[Window]int64{"15m": 1, "1h": 11, "24h": 11, "7d": 11} {
		series := read(t, s, "email", w)
		if total := series.Total(); total.Ended() != want {
			t.Errorf("20 minutes later, %s has %d attempts, want %d", w, total.Ended(), want)
		}
	}
	if series := read(t, s, "email", "1h"); series.Steps[39].Succeeded != 8 {
		t.Errorf("the attempts are not 20 minutes back: %v", series.Steps)
	}
}

// TestBounded keeps recording for weeks: the keys there are do not grow.
func TestBounded(t *testing.T) {
	s, m, c := newStore(t)
	at := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	r := newRecorder(t, s, nil)
	most := 0
	for day := range 40 {
		for hour := range 24 {
			m.SetTime(at.Add(time.Duration(day*24+hour) * time.Hour))
			r.Attempt("email", "succeeded", time.Millisecond, 0)
			r.Flush(t.Context())
			m.FastForward(time.Hour)
		}
		keys, err := c.Keys(t.Context(), "*").Result()
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range keys {
			if !strings.HasPrefix(k, "{deetoo:@history}:") {
				t.Errorf("the key %s", k)
			}
		}
		if day == 20 {
			most = len(keys)
		}
		if day > 20 && len(keys) > most+4 {
			t.Fatalf("on day %d there are %d keys; on day 20 there were %d: %v", day, len(keys), most, keys)
		}
	}
	if total := read(t, s, "email", "7d").Total(); total.Succeeded != 168 {
		t.Errorf("a week has %d attempts, want one an hour", total.Succeeded)
	}
}

// TestRepeated sends the same call twice, as a client does whose answer got lost.
func TestRepeated(t *testing.T) {
	s, _, _ := newStore(t)
	for range 2 {
		if _, err := s.run(t.Context(), s.record, "same", "", "one", "", 0, "email", "s=3"); err != nil && err.Error() == "" {
			t.Fatal(err)
		}
	}
	if total := read(t, s, "email", "15m").Total(); total.Succeeded != 3 {
		t.Errorf("%d attempts, want 3", total.Succeeded)
	}
}

// TestRedisAway loses nothing of what was counted meanwhile.
func TestRedisAway(t *testing.T) {
	s, m, _ := newStore(t)
	r := newRecorder(t, s, nil)
	m.SetError("LOADING is away")
	r.Attempt("email", "succeeded", time.Second, 0)
	r.Flush(t.Context())
	r.Attempt("email", "failed", time.Second, 0)
	m.SetError("")
	r.Flush(t.Context())
	if total := read(t, s, "email", "15m").Total(); total.Succeeded != 1 || total.Failed != 1 {
		t.Errorf("%d succeeded, %d failed", total.Succeeded, total.Failed)
	}
}

// TestPresent sees dispatchers come and go, one of them looking at the queues for all.
func TestPresent(t *testing.T) {
	s, m, _ := newStore(t)
	noon := time.Date(2030, 5, 6, 12, 0, 0, 0, time.UTC)
	m.SetTime(noon)
	looks := 0
	look := func(o *RecorderOptions) {
		o.Types = func() []string { return []string{"email", "idle"} }
		o.Stats = func(_ context.Context, types []string) (map[string]queue.Stats, error) {
			looks++
			return map[string]queue.Stats{types[0]: {Waiting: 7, Dead: 2, Oldest: 3 * time.Second}, types[1]: {}}, nil
		}
		o.Running = func() int { return 5 }
	}
	one := newRecorder(t, s, look)
	two := newRecorder(t, s, func(o *RecorderOptions) { look(o); o.Name = "two" })
	one.Attempt("email", "succeeded", time.Millisecond, 0)
	one.Flush(t.Context())
	two.Flush(t.Context())
	one.Flush(t.Context())
	if looks != 1 {
		t.Errorf("the queues were looked at %d times, want once", looks)
	}
	p, err := s.Now(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Dispatchers) != 2 || p.Dispatchers[0].Running != 5 || p.Dispatchers[0].Version != "1.2.3" || !p.Dispatchers[0].At.Equal(noon) {
		t.Errorf("the dispatchers are %+v", p.Dispatchers)
	}
	if p.Sparks["email"].Succeeded[SparkLen-1] != 1 {
		t.Errorf("the sparks are %v", p.Sparks)
	}
	last := read(t, s, "email", "15m").Steps[14]
	if last.Waiting != 7 || last.Buried != 2 || last.Oldest != 3*time.Second || !last.Looked {
		t.Errorf("the queue stood at %+v", last)
	}
	if idle := read(t, s, "idle", "15m").Total(); idle.Looked {
		t.Error("something is kept of a type without jobs")
	}
	if all := read(t, s, All, "15m").Total(); all.Waiting != 7 || !all.Looked {
		t.Errorf("all queues stood at %+v", all)
	}

	// Two leaves, one falls silent.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	two.Run(ctx)
	if p, err = s.Now(t.Context()); err != nil || len(p.Dispatchers) != 1 || p.Dispatchers[0].Name != "one" {
		t.Errorf("after one has left: %+v (%v)", p, err)
	}
	m.SetTime(noon.Add(2 * time.Minute))
	if p, err = s.Now(t.Context()); err != nil || len(p.Dispatchers) != 0 || p.Sparks["email"].Succeeded[SparkLen-3] != 1 {
		t.Errorf("after two minutes: %+v (%v)", p, err)
	}
}

// TestEncoding: what is written is read again, whatever it is.
func TestEncoding(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.Int64Range(0, 1<<40)
		s := Sample{
			Succeeded: n.Draw(t, "s"), Failed: n.Draw(t, "f"), Dead: n.Draw(t, "d"), Other: n.Draw(t, "o"), Waiting: n.Draw(t, "W"),
			Scheduled: n.Draw(t, "S"), Active: n.Draw(t, "A"), Buried: n.Draw(t, "B"), Looked: rapid.Bool().Draw(t, "L"),
			Oldest: time.Duration(n.Draw(t, "O")/1e6) * time.Millisecond,
		}
		s.Ran[rapid.IntRange(0, buckets-1).Draw(t, "r")] = n.Draw(t, "rn")
		s.Waited[rapid.IntRange(0, buckets-1).Draw(t, "w")] = n.Draw(t, "wn")
		if got := decode(s.encode()); got != s {
			t.Errorf("%+v was read as %+v", s, got)
		}
	})
	if got := decode("s=1 z=2 r99=3 x r=1 s5=7 =4"); got != (Sample{Succeeded: 1}) {
		t.Errorf("what is not known was read as %+v", got)
	}
}

// TestQuantile compares with the exact quantile of random durations.
func TestQuantile(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var h Histogram
	if h.Quantile(.5) != 0 {
		t.Error("there is a median of nothing")
	}
	for range 10_000 { // evenly from 0 to 1 s
		h[bucketOf(time.Duration(rng.Int64N(int64(time.Second))))]++
	}
	for _, q := range []float64{.5, .95, .99} {
		got, want := h.Quantile(q).Seconds(), q
		if got < want*.8 || got > want*1.2 {
			t.Errorf("the quantile %v is %v", q, got)
		}
	}
	for _, d := range []time.Duration{-1, 0, time.Microsecond, 99 * time.Microsecond, 100 * time.Microsecond, time.Millisecond, 24 * time.Hour, 1000 * time.Hour} {
		if i := bucketOf(d); i < 0 || i >= buckets {
			t.Errorf("%s is in bucket %d", d, i)
		}
	}
	for i, last := 0, 0; i < 1000; i++ {
		b := bucketOf(time.Duration(i) * 130 * time.Microsecond)
		if b < last {
			t.Fatalf("a longer duration is in an earlier bucket: %d after %d", b, last)
		}
		last = b
	}
}

func BenchmarkAttempt(b *testing.B) {
	r, err := NewRecorder(RecorderOptions{Store: &Store{}, Name: "bench"})
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		r.Attempt("email", "succeeded", 20*time.Millisecond, time.Millisecond)
	}
}

// TestRealRedis does on a real server what the others do on the in-process engine.
func TestRealRedis(t *testing.T) {
	s, err := NewStore(redistest.Single(t), Options{Prefix: "other"})
	if err != nil {
		t.Fatal(err)
	}
	r := newRecorder(t, s, nil)
	r.Attempt("email", "succeeded", time.Millisecond, 0)
	r.Flush(t.Context())
	r.Attempt("email", "succeeded", time.Millisecond, 0)
	r.Flush(t.Context())
	for _, w := range Windows() {
		if total := read(t, s, "email", w).Total(); total.Succeeded != 2 || total.Ran.Count() != 2 {
			t.Errorf("%s has %d attempts, want 2", w, total.Succeeded)
		}
	}
	if p, err := s.Now(t.Context()); err != nil || len(p.Dispatchers) != 1 {
		t.Errorf("%+v (%v)", p, err)
	}
	if _, err := s.run(t.Context(), s.sweep); err != nil && !errors.Is(err, redis.Nil) {
		t.Error(err)
	}
	h, err := s.Health(t.Context())
	if err != nil || !h.Told || h.Memory == 0 || h.Policy == "" || h.Role != "master" {
		t.Errorf("its health is %+v (%v)", h, err)
	}
}
