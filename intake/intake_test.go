package intake

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/deetoo/deetoo/auth"
	"github.com/deetoo/deetoo/invalid"
	"github.com/deetoo/deetoo/queue"
	"github.com/deetoo/deetoo/registry"
	"github.com/deetoo/deetoo/schedule"
)

// world is an intake on a Redis in this process, and what it told others.
type world struct {
	*testing.T
	*Intake
	queue *queue.Queue
	store *registry.Store
	redis *miniredis.Miniredis
	woken []queue.Event
}

func newWorld(t *testing.T, change func(*Options)) *world {
	t.Helper()
	m := miniredis.NewMiniRedis()
	client := redis.NewClient(&redis.Options{
		Dialer:                   func(context.Context, string, string) (net.Conn, error) { return m.Dial() },
		DisableIdentity:          true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})
	t.Cleanup(func() { _ = client.Close(); m.Close() })
	w := &world{T: t, redis: m}
	var err error
	if w.queue, err = queue.New(client, queue.Options{Embedded: true}); err != nil {
		t.Fatal(err)
	}
	silent := slog.New(slog.DiscardHandler)
	if w.store, err = registry.NewStore(client, registry.Options{Logger: silent}); err != nil {
		t.Fatal(err)
	}
	schedules, err := schedule.NewStore(client, schedule.Options{Logger: silent})
	if err != nil {
		t.Fatal(err)
	}
	o := Options{
		Queue: w.queue, Store: w.store, Directory: registry.NewDirectory(w.store, silent), Schedules: schedules,
		Wake: func(e queue.Event) { w.woken = append(w.woken, e) },
	}
	if change != nil {
		change(&o)
	}
	if w.Intake, err = New(o); err != nil {
		t.Fatal(err)
	}
	return w
}

// who is a caller with a token for that.
func (w *world) who(globs []string, scopes ...auth.Scope) *auth.Identity {
	w.Helper()
	secret := []byte("0123456789abcdef0123456789abcdef")
	token, err := auth.Mint(secret, auth.MintOptions{Subject: "leia", Scopes: scopes, JobTypes: globs, TTL: time.Hour})
	if err != nil {
		w.Fatal(err)
	}
	v, err := auth.New(w.Context(), auth.Options{Secret: secret})
	if err != nil {
		w.Fatal(err)
	}
	defer v.Close()
	id, err := v.Verify(w.Context(), token)
	if err != nil {
		w.Fatal(err)
	}
	return id
}

func (w *world) register(names ...string) {
	w.Helper()
	for _, name := range names {
		if _, _, _, err := w.PutType(w.Context(), auth.System(), name, []byte(`{"target":"https://example.org/"}`), registry.PutOptions{}); err != nil {
			w.Fatal(err)
		}
	}
}

func job(typ, id string) queue.Job {
	return queue.Job{Type: typ, ID: id, Data: json.RawMessage("1")}
}

// TestEveryMethodAsksForItsScope calls each with every scope but its own, and
// with a token for other types.
func TestEveryMethodAsksForItsScope(t *testing.T) {
	w := newWorld(t, nil)
	w.register("email")
	ctx := t.Context()
	errOf := func(_ any, err error) error { return err }
	for name, m := range map[string]struct {
		scope auth.Scope
		call  func(who *auth.Identity) error
	}{
		"Push":    {auth.JobsWrite, func(who *auth.Identity) error { return errOf(w.Push(ctx, who, []queue.Job{job("email", "")})) }},
		"CanPush": {auth.JobsWrite, func(who *auth.Identity) error { return w.CanPush(ctx, who, "email") }},
		"Job":     {auth.JobsRead, func(who *auth.Identity) error { return errOf(w.Job(ctx, who, "email", "j")) }},
		"TaggedJobs": {auth.JobsRead, func(who *auth.Identity) error {
			return errOf(w.TaggedJobs(ctx, who, "email", queue.Dead, "vip", "", 0))
		}},
		"Jobs":       {auth.JobsRead, func(who *auth.Identity) error { return errOf(w.Jobs(ctx, who, "email", queue.Dead, "", 0)) }},
		"Attempts":   {auth.JobsRead, func(who *auth.Identity) error { return errOf(w.Attempts(ctx, who, "email", "j")) }},
		"Why":        {auth.JobsRead, func(who *auth.Identity) error { _, err := w.Why(ctx, who, "email", "j"); return err }},
		"Stats":      {auth.JobsRead, func(who *auth.Identity) error { return errOf(w.Stats(ctx, who, "email")) }},
		"Cancel":     {auth.JobsWrite, func(who *auth.Identity) error { return errOf(w.Cancel(ctx, who, "email", "j")) }},
		"Retry":      {auth.JobsWrite, func(who *auth.Identity) error { return w.Retry(ctx, who, "email", "j") }},
		"Promote":    {auth.JobsWrite, func(who *auth.Identity) error { return w.Promote(ctx, who, "email", "j") }},
		"Redrive":    {auth.JobsWrite, func(who *auth.Identity) error { return errOf(w.Redrive(ctx, who, "email", queue.RedriveSpec{})) }},
		"Purge":      {auth.JobsWrite, func(who *auth.Identity) error { return errOf(w.Purge(ctx, who, "email", queue.Dead)) }},
		"Type":       {auth.TypesRead, func(who *auth.Identity) error { return errOf(w.Type(ctx, who, "email")) }},
		"TypeToTest": {auth.TypesWrite, func(who *auth.Identity) error { return errOf(w.TypeToTest(ctx, who, "email", nil)) }},
		"SetPaused":  {auth.TypesWrite, func(who *auth.Identity) error { return errOf(w.SetPaused(ctx, who, "email", true, "")) }},
		"PatchType":  {auth.TypesWrite, func(who *auth.Identity) error { return errOf(w.PatchType(ctx, who, "email", []byte(`{}`), 0)) }},
		"DeleteType": {auth.TypesWrite, func(who *auth.Identity) error { return w.DeleteType(ctx, who, "email", 0, true) }},
		"PutType": {auth.TypesWrite, func(who *auth.Identity) error {
			_, _, _, err := w.PutType(ctx, who, "email", []byte(`{"target":"https://example.org/"}`), registry.PutOptions{})
			return err
		}},
	} {
		t.Run(name, func(t *testing.T) {
			others := slices.DeleteFunc(auth.Scopes(), func(s auth.Scope) bool { return s == m.scope || s == auth.Admin })
			if scope, ok := errors.AsType[*auth.ScopeError](m.call(w.who(nil, others...))); !ok || scope.Scope != m.scope {
				t.Errorf("without %s: %v", m.scope, m.call(w.who(nil, others...)))
			}
			if _, ok := errors.AsType[*auth.TypeError](m.call(w.who([]string{"shop.*"}, auth.Admin))); !ok {
				t.Error("a token for other types may")
			}
			if err := m.call(nil); !errors.Is(err, auth.ErrForbidden) {
				t.Errorf("nobody: %v", err)
			}
			if err := m.call(w.who([]string{"email"}, m.scope)); errors.Is(err, auth.ErrForbidden) {
				t.Errorf("with %s: %v", m.scope, err)
			}
			w.register("email") // DeleteType took it
		})
	}
}

func TestListsShowWhatTheTokenReaches(t *testing.T) {
	w := newWorld(t, nil)
	w.register("email", "shop.a", "shop.b")
	who := w.who([]string{"shop.*"}, auth.Admin)
	types, err := w.Types(t.Context(), who)
	if err != nil || len(types) != 2 || types[0].Name != "shop.a" {
		t.Errorf("%v, %v", types, err)
	}
	if _, err := w.Push(t.Context(), who, []queue.Job{job("shop.b", "")}); err != nil {
		t.Fatal(err)
	}
	stats, err := w.AllStats(t.Context(), who)
	if err != nil || len(stats) != 2 || stats[0].Waiting != 0 || stats[1].Type != "shop.b" || stats[1].Waiting != 1 {
		t.Errorf("%+v, %v", stats, err)
	}
	other := w.who(nil, auth.TypesWrite, auth.JobsWrite)
	if _, err := w.Types(t.Context(), other); !errors.Is(err, auth.ErrForbidden) {
		t.Error(err)
	}
	if _, err := w.AllStats(t.Context(), other); !errors.Is(err, auth.ErrForbidden) {
		t.Error(err)
	}
}

func TestPushAnswersForEachJob(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.MaxJobSize, o.MaxBatch = 100, 5 })
	w.register("email", "sms")
	large := job("email", "large")
	large.Data = json.RawMessage(`"` + strings.Repeat("x", 99) + `"`)
	jobs := []queue.Job{job("email", "a"), large, job("sms", ""), job("email", "a b")}
	receipts, err := w.Push(t.Context(), auth.System(), jobs)
	if err != nil || len(receipts) != 4 {
		t.Fatalf("%+v, %v", receipts, err)
	}
	if receipts[0].Err != nil || receipts[0].ID != "a" || receipts[2].Err != nil || receipts[2].ID == "" {
		t.Errorf("%+v", receipts)
	}
	if _, ok := errors.AsType[*invalid.Error](receipts[3].Err); !errors.Is(receipts[1].Err, ErrTooLarge) || !ok {
		t.Errorf("%v; %v", receipts[1].Err, receipts[3].Err)
	}
	if len(w.woken) != 2 || w.woken[0].Type != "email" || w.woken[1].Type != "sms" {
		t.Errorf("woken: %+v", w.woken)
	}
	if _, err := w.Push(t.Context(), auth.System(), slices.Repeat(jobs, 2)); err == nil {
		t.Error("more than MaxBatch")
	}
	// One type out of reach, and nothing is stored.
	_, err = w.Push(t.Context(), w.who([]string{"sms"}, auth.Admin), []queue.Job{job("sms", "x"), job("email", "x")})
	if _, ok := errors.AsType[*auth.TypeError](err); !ok {
		t.Error(err)
	}
	if _, err := w.Job(t.Context(), auth.System(), "sms", "x"); !errors.Is(err, queue.ErrNotFound) {
		t.Error(err)
	}
}

func TestUnknownTypeHidesNamesOutOfReach(t *testing.T) {
	w := newWorld(t, nil)
	w.register("email", "emails")
	_, err := w.Push(t.Context(), w.who([]string{"emai", "email"}, auth.Admin), []queue.Job{job("emai", "")})
	missing, ok := errors.AsType[*registry.NotFoundError](err)
	if !ok || !slices.Equal(missing.Nearest, []string{"email"}) {
		t.Errorf("%v", err)
	}
}

func TestIDsThatAreNone(t *testing.T) {
	w := newWorld(t, nil)
	w.register("email")
	for _, id := range []string{"", "a b", "a\x00", "é", strings.Repeat("x", 256)} {
		_, err := w.Job(t.Context(), auth.System(), "email", id)
		if bad, ok := errors.AsType[*invalid.Error](err); !ok || bad.Field != "id" {
			t.Errorf("%q: %v", id, err)
		}
	}
}

func TestSettingsAreInForceAtOnce(t *testing.T) {
	w := newWorld(t, nil)
	ctx := t.Context()
	typ, created, generated, err := w.PutType(ctx, auth.System(), "email", []byte(`{"target":"https://example.org/","concurrency":7}`), registry.PutOptions{})
	if err != nil || !created || !generated || len(typ.Secrets) != 1 {
		t.Fatalf("%v, created %v, generated %v, %v", typ, created, generated, err)
	}
	if s, err := w.queue.Stats(ctx, "email"); err != nil || s.Limit != 7 || s.Paused {
		t.Errorf("%+v, %v", s, err)
	}
	if _, created, generated, err := w.PutType(ctx, auth.System(), "email", []byte(`{"target":"https://example.org/","concurrency":8}`), registry.PutOptions{}); err != nil || created || generated {
		t.Errorf("created %v, generated %v, %v", created, generated, err)
	}
	if _, err := w.SetPaused(ctx, w.who(nil, auth.TypesWrite), "email", true, ""); err != nil {
		t.Fatal(err)
	}
	if s, err := w.queue.Stats(ctx, "email"); err != nil || s.Limit != 8 || !s.Paused {
		t.Errorf("%+v, %v", s, err)
	}
	if _, err := w.Push(ctx, auth.System(), []queue.Job{job("email", "j")}); err != nil {
		t.Fatal(err)
	}
	if why, err := w.Why(ctx, auth.System(), "email", "j"); err != nil || why.Reason != "paused" || why.By != "paused by leia" || why.Since.IsZero() {
		t.Errorf("%+v, %v", why, err)
	}
	if err := w.DeleteType(ctx, auth.System(), "email", 0, false); !errors.Is(err, queue.ErrNotEmpty) {
		t.Error(err)
	}
	if err := w.DeleteType(ctx, auth.System(), "email", 0, true); err != nil {
		t.Error(err)
	}
	if _, err := w.Stats(ctx, auth.System(), "email"); !errors.Is(err, registry.ErrNotFound) {
		t.Error(err)
	}
}

func TestTargetsThatCannotBeCalledAreRefusedEarly(t *testing.T) {
	w := newWorld(t, func(o *Options) {
		o.CheckTarget = func(target string) error {
			if strings.Contains(target, "127.0.0.1") {
				return errors.New("it is on this machine")
			}
			return nil
		}
	})
	w.register("email")
	ctx, local := t.Context(), []byte(`{"target":"http://127.0.0.1/"}`)
	_, _, _, put := w.PutType(ctx, auth.System(), "new", local, registry.PutOptions{})
	_, patch := w.PatchType(ctx, auth.System(), "email", local, 0)
	_, file := w.TypesFrom(ctx, []registry.Spec{{Name: "new", Target: "http://127.0.0.1/"}})
	for name, err := range map[string]error{"put": put, "patch": patch, "file": file} {
		if bad, ok := errors.AsType[*invalid.Error](err); !ok || bad.Field != "target" || !strings.Contains(bad.Rule, "on this machine") {
			t.Errorf("%s: %v", name, err)
		}
	}
	ask := []byte(`{"target":"http://192.0.2.1/","reconcile_url":"http://127.0.0.1/"}`)
	_, _, _, put = w.PutType(ctx, auth.System(), "new", ask, registry.PutOptions{})
	_, patch = w.PatchType(ctx, auth.System(), "email", []byte(`{"reconcile_url":"http://127.0.0.1/"}`), 0)
	for name, err := range map[string]error{"put": put, "patch": patch} {
		if bad, ok := errors.AsType[*invalid.Error](err); !ok || bad.Field != "reconcile_url" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestRedisAwayIsUnavailable(t *testing.T) {
	w := newWorld(t, nil)
	w.register("email")
	w.redis.SetError("LOADING Redis is loading the dataset in memory")
	ctx := t.Context()
	_, push := w.Push(ctx, auth.System(), []queue.Job{job("email", "")})
	_, known := w.Type(ctx, auth.System(), "email")
	_, unknown := w.Push(ctx, auth.System(), []queue.Job{job("other", "")})
	_, stats := w.AllStats(ctx, auth.System())
	for name, err := range map[string]error{"push": push, "known": known, "unknown": unknown, "stats": stats, "ready": w.Ready(ctx)} {
		if !errors.Is(err, queue.ErrUnavailable) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestNotReadySaysWhy(t *testing.T) {
	w := newWorld(t, nil)
	if err := w.Ready(t.Context()); !errors.Is(err, ErrNotReady) || !strings.Contains(err.Error(), "types have not been loaded") {
		t.Errorf("before the types are loaded: %v", err)
	}
	draining := make(chan struct{})
	close(draining)
	w.opts.Draining = draining
	if err := w.Ready(t.Context()); !errors.Is(err, ErrNotReady) || !strings.Contains(err.Error(), "shutting down") {
		t.Errorf("while shutting down: %v", err)
	}
}

func TestOptionsNameTheField(t *testing.T) {
	good := newWorld(t, nil).opts
	for field, change := range map[string]func(*Options){
		"queue": func(o *Options) { o.Queue = nil }, "store": func(o *Options) { o.Store = nil }, "directory": func(o *Options) { o.Directory = nil },
		"max_job_size": func(o *Options) { o.MaxJobSize = queue.MaxDataSize + 1 }, "max_batch": func(o *Options) { o.MaxBatch = -1 },
	} {
		o := good
		change(&o)
		if _, err := New(o); err == nil || !strings.HasPrefix(err.Error(), field+" ") {
			t.Errorf("%s: %v", field, err)
		}
	}
}
