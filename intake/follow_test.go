package intake

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/deetoo/deetoo/auth"
	"github.com/deetoo/deetoo/invalid"
	"github.com/deetoo/deetoo/queue"
	"github.com/deetoo/deetoo/registry"
	"github.com/deetoo/deetoo/schedule"
)

// What follows a job is pushed with its producer's rights, so these are asked when the job is.
func TestFollowUpsNeedTheRightToPushThem(t *testing.T) {
	w := newWorld(t, func(o *Options) {
		o.CheckTarget = func(target string) error {
			if strings.Contains(target, "internal") {
				return errors.New("it is in a private network")
			}
			return nil
		}
	})
	w.register("email", "sms")
	limited := w.who([]string{"email"}, auth.Admin)
	after := func(change func(*queue.Job)) []queue.Job {
		j := job("email", "")
		change(&j)
		return []queue.Job{j}
	}
	sms := &queue.Job{Type: "sms"}
	reach := map[string][]queue.Job{
		"on success": after(func(j *queue.Job) { j.OnSuccess = sms }),
		"on failure": after(func(j *queue.Job) { j.OnFailure = sms }),
		"chain":      after(func(j *queue.Job) { j.Then = []queue.Job{{Type: "email"}, *sms} }),
		"nested":     after(func(j *queue.Job) { j.OnSuccess = &queue.Job{Type: "email", OnFailure: sms} }),
	}
	for name, jobs := range reach {
		var out *auth.TypeError
		if _, err := w.Push(t.Context(), limited, jobs); !errors.As(err, &out) || out.Type != "sms" {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := w.PushOnce(t.Context(), limited, "email", Once{Key: name}, []Item{{Job: jobs[0]}}); !errors.As(err, &out) {
			t.Errorf("%s, once: %v", name, err)
		}
		if r, err := w.Push(t.Context(), auth.System(), jobs); err != nil || r[0].Err != nil {
			t.Errorf("%s: %v %+v", name, err, r)
		}
	}
	var out *auth.TypeError
	template := []byte(`{"type":"email","every":"1h","job":{"data":1,"on_success":{"type":"sms"}}}`)
	if _, _, err := w.PutSchedule(t.Context(), limited, "s", template, schedule.PutOptions{}); !errors.As(err, &out) {
		t.Errorf("schedule: %v", err)
	}
	var missing *registry.NotFoundError
	if _, err := w.Push(t.Context(), auth.System(), after(func(j *queue.Job) { j.OnSuccess = &queue.Job{Type: "nosuch"} })); !errors.As(err, &missing) {
		t.Error(err)
	}
	for field, jobs := range map[string][]queue.Job{
		"callback_url":            after(func(j *queue.Job) { j.CallbackURL = "https://internal.example.org" }),
		"on_success.callback_url": after(func(j *queue.Job) { j.OnSuccess = &queue.Job{Type: "sms", CallbackURL: "https://internal.example.org"} }),
		"then[0].type":            after(func(j *queue.Job) { j.Then = []queue.Job{{Type: registry.CallbackType}} }),
	} {
		receipts, err := w.Push(t.Context(), auth.System(), jobs)
		if bad, ok := errors.AsType[*invalid.Error](receipts[0].Err); err != nil || !ok || bad.Field != field {
			t.Errorf("%s: %v, %+v", field, err, receipts)
		}
	}
	if _, err := w.Push(t.Context(), auth.System(), []queue.Job{job(registry.CallbackType, "")}); err == nil {
		t.Error("a callback was pushed by hand")
	}
}

func TestPushFollowUp(t *testing.T) {
	w := newWorld(t, nil)
	w.register("email")
	ctx := t.Context()
	once := func(key string) queue.Once { return queue.Once{Key: key, Fingerprint: "f", TTL: time.Hour} }
	for range 2 {
		if err := w.PushFollowUp(ctx, once("1"), job("email", "")); err != nil {
			t.Fatal(err)
		}
	}
	if s, err := w.queue.Stats(ctx, "email"); err != nil || s.Waiting != 1 {
		t.Errorf("%+v, %v", s, err)
	}
	if err := w.PushFollowUp(ctx, once("2"), job("gone", "")); !errors.Is(err, registry.ErrNotFound) {
		t.Error(err)
	}
	// The type of callbacks comes with the first, and keeps what is changed of it.
	callback := queue.Job{Type: registry.CallbackType, Target: "https://example.org", Parent: &queue.Parent{Type: "email", ID: "1"}}
	if err := w.PushFollowUp(ctx, once("3"), callback); err != nil {
		t.Fatal(err)
	}
	if _, err := w.PatchType(ctx, auth.System(), registry.CallbackType, []byte(`{"concurrency":3}`), 0); err != nil {
		t.Fatal(err)
	}
	if err := w.PushFollowUp(ctx, once("4"), callback); err != nil {
		t.Fatal(err)
	}
	if s, err := w.queue.Stats(ctx, registry.CallbackType); err != nil || s.Waiting != 2 || s.Limit != 3 {
		t.Errorf("%+v, %v", s, err)
	}
	// One under an ID that runs at the moment is refused, and gets in later under the same key.
	b, err := w.queue.Exchange(ctx, "email", nil, 1)
	if err != nil || len(b.Leases) != 1 {
		t.Fatalf("%+v, %v", b, err)
	}
	l := b.Leases[0]
	if err := w.PushFollowUp(ctx, once("5"), job("email", l.ID)); !errors.Is(err, queue.ErrActive) {
		t.Error(err)
	}
	if _, err := w.queue.Exchange(ctx, "email", []queue.Settlement{{ID: l.ID, Token: l.Token, Verdict: queue.Done}}, 0); err != nil {
		t.Fatal(err)
	}
	if err := w.PushFollowUp(ctx, once("5"), job("email", l.ID)); err != nil {
		t.Error(err)
	}
	if s, err := w.queue.Stats(ctx, "email"); err != nil || s.Waiting != 1 {
		t.Errorf("%+v, %v", s, err)
	}
}
