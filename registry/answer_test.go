package registry

import (
	"encoding/json"
	"testing"
	"time"
)

const policySpec = `{"target":"http://x.test/","max_retry_after":"2h","answers":[
	{"status":409,"then":"done"},
	{"status":"500-599","header":{"name":"X-Why","equals":"busy"},"then":"snooze","after":"10s"},
	{"json":{"field":"error.code","equals":null},"then":"dead"},
	{"status":" 429 ","json":{"field":"errors.0","equals":12345678901234567890},"then":"retry"}]}`

// What was read can be written, stored, shown and sent back, and is the same.
func TestAnswerPolicyIsKept(t *testing.T) {
	onEach(t, func(t *testing.T, s *Store) {
		spec, err := DecodeSpec("a", []byte(policySpec))
		if err != nil {
			t.Fatal(err)
		}
		stored, _, err := s.PutSpec(t.Context(), spec, PutOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if len(stored.Answers) != 4 || stored.MaxRetryAfter != 2*time.Hour || !stored.Answers[1].Status.Contains(503) || stored.Answers[1].Status.Contains(499) ||
			*stored.Answers[3].Status != (StatusRange{429, 429}) || string(stored.Answers[2].JSON.Equals) != "null" || time.Duration(*stored.Answers[1].After) != 10*time.Second {
			t.Fatalf("%+v", stored.Answers)
		}
		shown, err := json.Marshal(stored.View())
		if err != nil {
			t.Fatal(err)
		}
		again, err := DecodeSpec("a", shown)
		if err != nil {
			t.Fatal(err)
		}
		if now, _, err := s.PutSpec(t.Context(), again, PutOptions{}); err != nil || now.Version != stored.Version {
			t.Errorf("sent back: %v, version %d", err, now.Version)
		}
		if now, err := s.Patch(t.Context(), "a", []byte(`{"concurrency":7}`), 0); err != nil || !sameAnswers(now.Answers, stored.Answers) || now.Concurrency != 7 {
			t.Errorf("patched: %v, %+v", err, now.Answers)
		}
		patch := `{"answers":[{"json":{"field":"a","equals":null},"then":"done"}]}`
		if now, err := s.Patch(t.Context(), "a", []byte(patch), 0); err != nil || len(now.Answers) != 1 || string(now.Answers[0].JSON.Equals) != "null" {
			t.Errorf("patched: %v, %+v", err, now.Answers)
		}
		if now, err := s.Patch(t.Context(), "a", []byte(`{"answers":null}`), 0); err != nil || now.Answers != nil {
			t.Errorf("reset: %v, %+v", err, now.Answers)
		}
	})
}

func TestCloneSharesNoAnswers(t *testing.T) {
	spec, err := DecodeSpec("a", []byte(policySpec))
	if err != nil {
		t.Fatal(err)
	}
	a, err := spec.Type(nil)
	if err != nil {
		t.Fatal(err)
	}
	b := a.Clone()
	if !a.same(&b) {
		t.Fatal("a clone differs")
	}
	for _, change := range []func(*Type){
		func(b *Type) { b.Answers[0].Status.To = 410 },
		func(b *Type) { b.Answers[0].Then = ThenDead },
		func(b *Type) { b.Answers[1].Header.Equals = "x" },
		func(b *Type) { *b.Answers[1].After = 0 },
		func(b *Type) { b.Answers[1].After = nil },
		func(b *Type) { b.Answers[2].JSON.Field = "x" },
		func(b *Type) { b.Answers[2].JSON.Equals[0] = 'x' },
		func(b *Type) { b.Answers = b.Answers[:3] },
		func(b *Type) { b.MaxRetryAfter = 0 },
	} {
		b := a.Clone()
		if change(&b); a.same(&b) {
			t.Errorf("the same: %+v", b.Answers)
		}
	}
}
