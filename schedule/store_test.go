package schedule

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/deetoo/deetoo/invalid"
)

func TestStore(t *testing.T) {
	onEach(t, func(t *testing.T, s *Store) {
		ctx := t.Context()
		if _, err := s.Get(ctx, "a"); !errors.Is(err, ErrNotFound) {
			t.Errorf("got %v", err)
		}
		spec, err := DecodeSpec("a", []byte(`{"type":"work","every":"1h","job":{ "data": {"html":"<b> & 12345678901234567890"} }}`))
		if err != nil {
			t.Fatal(err)
		}
		a, created, err := s.PutSpec(ctx, spec, PutOptions{})
		if err != nil || !created || a.Next.Sub(a.CreatedAt) != time.Hour || a.Version == 0 {
			t.Fatalf("%+v, created %v, %v", a, created, err)
		}
		if got, err := s.Get(ctx, "a"); err != nil || !got.same(&a) || !got.Next.Equal(a.Next) || got.Version != a.Version || !got.CreatedAt.Equal(a.CreatedAt) ||
			string(got.Job) != `{"data":{"html":"<b> & 12345678901234567890"}}` {
			t.Errorf("got %+v, %s, %v", got, got.Job, err)
		}
		same, created, err := s.PutSpec(ctx, spec, PutOptions{})
		if err != nil || created || same.Version != a.Version {
			t.Errorf("the same again: version %d of %d, created %v, %v", same.Version, a.Version, created, err)
		}

		// What moves no tick leaves the next where it is; what does, does not.
		patch := func(text string, ifMatch int64) (Schedule, error) {
			return s.Modify(ctx, "a", ifMatch, func(old *Schedule) (Schedule, error) { return Patched(old, []byte(text)) })
		}
		b, err := patch(`{"description":"hourly","job":{"priority":"low"}}`, a.Version)
		if err != nil || b.Version <= a.Version || !b.Next.Equal(a.Next) || !strings.Contains(string(b.Job), `12345678901234567890`) || !strings.Contains(string(b.Job), "low") {
			t.Errorf("patched: %+v %s, %v", b, b.Job, err)
		}
		if _, err := patch(`{"description":"x"}`, a.Version); !errors.Is(err, ErrVersionMismatch) {
			t.Errorf("an old version: %v", err)
		}
		c, err := patch(`{"every":null,"cron":"0 0 1 1 *","timezone":"Europe/Berlin"}`, 0)
		if err != nil || c.Next.In(time.UTC).Format("01-02T15:04") != "12-31T23:00" {
			t.Errorf("by cron: %+v, %v", c, err)
		}
		if c, err = patch(`{"paused":true}`, 0); err != nil || !c.Next.IsZero() {
			t.Errorf("paused: %+v, %v", c, err)
		}
		if _, err := patch(`{"cron":"never"}`, 0); err == nil {
			t.Error("a bad patch was taken")
		}

		put(t, s, every("b", time.Minute))
		if all, err := s.List(ctx); err != nil || len(all) != 2 || all[0].Name != "a" || all[1].Name != "b" || !all[0].Next.IsZero() || all[1].Next.IsZero() {
			t.Errorf("list: %+v, %v", all, err)
		}
		for _, o := range []PutOptions{{IfNoneMatch: true}, {IfMatch: 1 << 40}} {
			if _, _, err := s.PutSpec(ctx, spec, o); !errors.Is(err, ErrVersionMismatch) {
				t.Errorf("%+v: %v", o, err)
			}
		}
		mismatch := &VersionMismatchError{}
		if err := s.Delete(ctx, "a", 1<<40); !errors.As(err, &mismatch) || mismatch.Current != c.Version {
			t.Errorf("delete of another version: %v", err)
		}
		if err := s.Delete(ctx, "a", c.Version); err != nil {
			t.Fatal(err)
		}
		if err := s.Delete(ctx, "a", 0); !errors.Is(err, ErrNotFound) {
			t.Errorf("delete again: %v", err)
		}
		if again, created, err := s.PutSpec(ctx, spec, PutOptions{IfNoneMatch: true}); err != nil || !created || again.Version <= c.Version {
			t.Errorf("made anew: %+v, %v", again, err)
		}
	})
}

// A client repeats a command whose answer got lost.
func TestRepeatedScripts(t *testing.T) {
	onEach(t, func(t *testing.T, s *Store) {
		ctx := t.Context()
		a := put(t, s, every("a", time.Hour))
		body, err := encode(a.spec())
		if err != nil {
			t.Fatal(err)
		}
		var answers [2][]string
		for i := range answers {
			v, err := s.run(ctx, s.scripts.put, "a", "r1", "a", a.Version, "r1", string(body), s.channel, "", 0)
			if err != nil {
				t.Fatal(err)
			}
			if answers[i], err = texts(v, 3); err != nil {
				t.Fatal(err)
			}
		}
		if answers[0][0] != "replaced" || answers[0][1] != answers[1][1] || answers[0][2] != ms(a.Next) || answers[1][2] != ms(a.Next) {
			t.Errorf("put: %q, then %q", answers[0], answers[1])
		}
		for range 2 {
			v, err := s.run(ctx, s.scripts.delete, "a", "r2", "a", 0, s.channel)
			if got, _ := texts(v, 2); err != nil || got[0] != "deleted" {
				t.Errorf("delete: %v, %v", v, err)
			}
		}
		// A tick is taken once, however often that is asked.
		b := put(t, s, every("b", time.Hour))
		e := &entry{schedule: "b", tick: b.Next, typ: "work", created: ms(b.CreatedAt)}
		for i := range 2 {
			took, err := s.advance(ctx, dueTick{name: "b", tick: b.Next}, b.Version, b.Next.Add(time.Hour), nil, []*entry{e})
			if err != nil || took != (i == 0) {
				t.Errorf("advance %d: %v, %v", i, took, err)
			}
		}
		for i := range 2 {
			answer, err := s.finish(ctx, e.field(), "b", Firing{Tick: e.tick, At: e.tick, Outcome: Fired, Type: "work", Job: e.job()})
			if want := []string{"done", "gone"}[i]; err != nil || answer != want {
				t.Errorf("finish %d: %s, %v", i, answer, err)
			}
			if err := s.Note(ctx, "b", Firing{Tick: e.tick, At: e.tick, Outcome: Fired, Type: "work", Job: "by-hand", Manual: true}); err != nil {
				t.Fatal(err)
			}
		}
		if got := history(t, s, "b"); got != "fired fired" {
			t.Errorf("history: %s", got)
		}
		// Nobody takes a tick of a version that is gone.
		if took, err := s.advance(ctx, dueTick{name: "b", tick: b.Next.Add(time.Hour)}, b.Version+1, time.Time{}, nil, nil); err != nil || took {
			t.Errorf("advance of another version: %v, %v", took, err)
		}
	})
}

// A tick that one process has decided to fire, no other skips.
func TestASkipComesTooLate(t *testing.T) {
	onEach(t, func(t *testing.T, s *Store) {
		ctx := t.Context()
		a := put(t, s, every("a", time.Hour))
		e := &entry{schedule: "a", tick: a.Next, typ: "work", created: ms(a.CreatedAt)}
		if took, err := s.advance(ctx, dueTick{name: "a", tick: a.Next}, a.Version, time.Time{}, nil, []*entry{e}); err != nil || !took {
			t.Fatal(took, err)
		}
		note := func(job string, tick time.Time) {
			t.Helper()
			if err := s.Note(ctx, "a", Firing{Tick: tick, Outcome: Fired, Type: "work", Job: job}); err != nil {
				t.Fatal(err)
			}
		}
		note("before", e.tick.Add(-time.Hour))
		note("long-before", e.tick.Add(-2*time.Hour)) // left behind, and late: no longer the last
		for _, latest := range []string{"before", "later"} {
			d, err := s.decide(ctx, e)
			if err != nil || !d.decided || d.before.typ != "work" || d.before.id != "before" || d.latest.id != latest {
				t.Fatalf("%+v, %v", d, err)
			}
			note("later", e.tick.Add(time.Hour))
		}
		if answer, err := s.finish(ctx, e.field(), "a", Firing{Tick: e.tick, Outcome: Skipped}); err != nil || answer != "push" {
			t.Errorf("skip: %s, %v", answer, err)
		}
		// An older tick that has not become a job yet stands in the way of a skip policy.
		later := &entry{schedule: "a", tick: e.tick.Add(time.Hour)}
		if _, pending, err := s.last(ctx, later); err != nil || !pending {
			t.Errorf("pending %v, %v", pending, err)
		}
		if err := s.Delete(ctx, "a", 0); err != nil {
			t.Fatal(err)
		}
		if d, err := s.decide(ctx, e); d != nil || err != nil {
			t.Errorf("a tick of a deleted schedule: %+v, %v", d, err)
		}
	})
}

func TestChangesAtTheSameTime(t *testing.T) {
	s := storeOn(t, single)
	put(t, s, every("a", time.Hour))
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			if _, err := s.Modify(t.Context(), "a", 0, func(old *Schedule) (Schedule, error) {
				c := old.Clone()
				c.Description += "x"
				return c, nil
			}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if got, err := s.Get(t.Context(), "a"); err != nil || got.Description != "xxxxxxxxxx" {
		t.Errorf("%q, %v", got.Description, err)
	}
}

func TestSpecErrors(t *testing.T) {
	for text, want := range map[string]string{
		`{}`:                                                   "type is required",
		`{"type":"work"}`:                                      "cron or every is required",
		`{"type":"-","every":"1s"}`:                            "type must be 1 to 64 letters",
		`{"type":"work","every":"1"}`:                          "every must be a duration",
		`{"type":"work","every":1}`:                            "every must be a string",
		`{"type":"work","every":"1s","name":"b"}`:              `name must be "a" or absent`,
		`{"type":"work","every":"1s","overlap":"x"}`:           "overlap must be queue, skip or replace",
		`{"type":"work","every":"1s","catch_up":"x"}`:          "catch_up must be none, last or all",
		`{"type":"work","every":"1s","jitter":"25h"}`:          "jitter must be 0s to 24h",
		`{"type":"work","every":"1s","start":"tomorrow"}`:      "start must be a time as in RFC 3339",
		`{"type":"work","every":"1s","job":[]}`:                "job must be an object",
		`{"type":"work","every":"1s","job":3}`:                 "job must be an object",
		`{"type":"work","crown":"* * * * *"}`:                  "crown is not a known field; did you mean cron?",
		`{"type":"work","every":"1s","description":"a\u0000"}`: "description must be",
		`null`: "must be an object",
	} {
		spec, err := DecodeSpec("a", []byte(text))
		if err == nil {
			_, err = spec.Schedule(nil)
		}
		if _, ok := errors.AsType[*invalid.Error](err); !ok || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
	spec, err := DecodeSpec("a", []byte(`{"type":"work","every":"90m","start":"2030-01-01T00:00:00+01:00","paused":null,"job":null,"version":7,"next_at":"x"}`))
	if err != nil {
		t.Fatal(err)
	}
	s, err := spec.Schedule(nil)
	if err != nil || s.Overlap != Queue || s.CatchUp != Last || string(s.Job) != `{"data":null}` || !s.Start.Equal(time.Date(2029, 12, 31, 23, 0, 0, 0, time.UTC)) {
		t.Errorf("%+v, %v", s, err)
	}
	shown, err := encode(s.View())
	if err != nil {
		t.Fatal(err)
	}
	back, err := DecodeSpec("a", shown)
	if err != nil {
		t.Fatalf("%s: %v", shown, err)
	}
	if again, err := back.Schedule(nil); err != nil || !again.same(&s) {
		t.Errorf("what is shown means something else: %s, %v", shown, err)
	}
}
