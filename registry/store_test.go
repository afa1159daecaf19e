package registry

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/deetoo/deetoo/invalid"
)

func TestStoreKeepsEverything(t *testing.T) {
	onEach(t, func(t *testing.T, s *Store) {
		want := New("email", "https://example.org/hook?x=1")
		want.Concurrency, want.Timeout = 12, 1500*time.Millisecond
		want.Retry = Retry{MaxAttempts: 3, MinBackoff: 2 * time.Second, MaxBackoff: 90 * time.Minute, NoJitter: true}
		want.Headers = map[string]string{"Authorization": "Bearer x", "X-Team": "örg"}
		want.Secrets = SecretsOf(NewSecret(), NewSecret())
		want.Retention = Retention{}
		want.Paused, want.PausedReason = true, "gone"
		want.Description = "Mail & <b>more</b>\u2028"
		got, created, err := s.Put(t.Context(), want, PutOptions{})
		if err != nil || !created {
			t.Fatal(created, err)
		}
		if got.Version == 0 || got.CreatedAt.IsZero() || !got.CreatedAt.Equal(got.UpdatedAt) {
			t.Errorf("version %d, created %v, updated %v", got.Version, got.CreatedAt, got.UpdatedAt)
		}
		read, err := s.Get(t.Context(), "email")
		if err != nil || !reflect.DeepEqual(read, got) {
			t.Errorf("read %#v, %v\nput  %#v", read.spec(), err, got.spec())
		}
		want.Version, want.CreatedAt, want.UpdatedAt, want.PausedAt = got.Version, got.CreatedAt, got.UpdatedAt, got.PausedAt
		if got.PausedAt.IsZero() || time.Since(got.PausedAt).Abs() > time.Minute {
			t.Errorf("paused at %v", got.PausedAt)
		}
		for i := range want.Secrets {
			if want.Secrets[i].CreatedAt = got.Secrets[i].CreatedAt; time.Since(got.Secrets[i].CreatedAt) > time.Hour {
				t.Errorf("secret made at %v", got.Secrets[i].CreatedAt)
			}
		}
		if !reflect.DeepEqual(read, want) {
			t.Errorf("read %+v\nwant %+v", read.spec(), want.spec())
		}
		list, err := s.List(t.Context())
		if err != nil || len(list) != 1 || !reflect.DeepEqual(list[0], want) {
			t.Errorf("list %v, %v", list, err)
		}
	})
}

func TestStoreVersions(t *testing.T) {
	onEach(t, func(t *testing.T, s *Store) {
		ctx := t.Context()
		if n, err := s.Revision(ctx); n != 0 || err != nil {
			t.Errorf("revision of nothing: %d, %v", n, err)
		}
		a := put(t, s, New("a", "http://x.test/"))
		b := put(t, s, New("b", "http://x.test/"))
		if b.Version <= a.Version {
			t.Errorf("versions %d, %d", a.Version, b.Version)
		}
		if same := put(t, s, a); same.Version != a.Version {
			t.Errorf("a change of nothing made version %d of %d", same.Version, a.Version)
		}
		a.Concurrency = 5
		a2, created, err := s.Put(ctx, a, PutOptions{IfMatch: a.Version})
		if err != nil || created || a2.Version <= b.Version || !a2.CreatedAt.Equal(a.CreatedAt) {
			t.Errorf("%+v, %v, %v", a2, created, err)
		}
		if n, err := s.Revision(ctx); n != a2.Version || err != nil {
			t.Errorf("revision %d, %v, want %d", n, err, a2.Version)
		}
		for name, o := range map[string]PutOptions{"stale": {IfMatch: a.Version}, "exists": {IfNoneMatch: true}} {
			_, _, err := s.Put(ctx, a, o)
			mismatch, ok := errors.AsType[*VersionMismatchError](err)
			if !ok || mismatch.Current != a2.Version || !errors.Is(err, ErrVersionMismatch) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if _, _, err := s.Put(ctx, New("c", "http://x.test/"), PutOptions{IfMatch: 1}); !errors.Is(err, ErrVersionMismatch) {
			t.Errorf("If-Match of what is not there: %v", err)
		}
		if err := s.Delete(ctx, "a", a.Version); !errors.Is(err, ErrVersionMismatch) {
			t.Errorf("stale delete: %v", err)
		}
		if err := s.Delete(ctx, "a", a2.Version); err != nil {
			t.Error(err)
		}
		if err := s.Delete(ctx, "a", 0); !errors.Is(err, ErrNotFound) {
			t.Errorf("second delete: %v", err)
		}
		if n, _ := s.Revision(ctx); n <= a2.Version {
			t.Errorf("deleting did not raise the revision: %d", n)
		}
		if again := put(t, s, New("a", "http://x.test/")); again.Version <= a2.Version+1 {
			t.Errorf("version %d repeats after %d and a delete", again.Version, a2.Version)
		}
	})
}

func TestStoreNotFoundNamesNeighbours(t *testing.T) {
	onEach(t, func(t *testing.T, s *Store) {
		for _, n := range []string{"email", "e-mail", "emails", "gmail", "payment"} {
			put(t, s, New(n, "http://x.test/"))
		}
		_, err := s.Get(t.Context(), "emil")
		missing, ok := errors.AsType[*NotFoundError](err)
		if !ok || !errors.Is(err, ErrNotFound) || fmt.Sprint(missing.Nearest) != "[email e-mail emails]" {
			t.Errorf("got %v", err)
		}
		for _, name := range []string{"", "a\nb", "{x}", strings.Repeat("x", 10_000)} {
			_, err := s.Get(t.Context(), name)
			if !errors.Is(err, ErrNotFound) || len(err.Error()) > 200 {
				t.Errorf("Get(%.20q): %v", name, err)
			}
			if err := s.Delete(t.Context(), name, 0); !errors.Is(err, ErrNotFound) {
				t.Errorf("Delete(%.20q): %v", name, err)
			}
		}
	})
}

func TestConcurrentWritersWithIfMatch(t *testing.T) {
	onEach(t, func(t *testing.T, s *Store) {
		first := put(t, s, New("a", "http://x.test/"))
		var won, lost atomic.Int32
		var wg sync.WaitGroup
		for i := range 16 {
			wg.Go(func() {
				mine := first.Clone()
				mine.Concurrency = 100 + i
				_, _, err := s.Put(t.Context(), mine, PutOptions{IfMatch: first.Version})
				switch {
				case err == nil:
					won.Add(1)
				case errors.Is(err, ErrVersionMismatch):
					lost.Add(1)
				default:
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if won.Load() != 1 || lost.Load() != 15 {
			t.Errorf("%d won, %d lost", won.Load(), lost.Load())
		}
	})
}

func TestConcurrentPatchesAllCount(t *testing.T) {
	onEach(t, func(t *testing.T, s *Store) {
		put(t, s, New("a", "http://x.test/"))
		var wg sync.WaitGroup
		for i := range 12 {
			wg.Go(func() {
				if _, err := s.Patch(t.Context(), "a", fmt.Appendf(nil, `{"headers":{"X-%d":"y"}}`, i), 0); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if got, err := s.Get(t.Context(), "a"); err != nil || len(got.Headers) != 12 {
			t.Errorf("%d of 12 changes are there, %v", len(got.Headers), err)
		}
	})
}

// lostReplies repeats each script, as go-redis does when an answer got lost.
type lostReplies struct{ repeated atomic.Int32 }

func (l *lostReplies) DialHook(next redis.DialHook) redis.DialHook { return next }
func (l *lostReplies) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}
func (l *lostReplies) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		if strings.HasPrefix(cmd.Name(), "eval") && err == nil {
			l.repeated.Add(1)
			return next(ctx, cmd)
		}
		return err
	}
}

func TestRepeatedRequestsGetTheirFirstAnswer(t *testing.T) {
	client, hook := inProcess(t), new(lostReplies)
	client.AddHook(hook)
	s := storeOn(t, client)
	a, created, err := s.Put(t.Context(), New("a", "http://x.test/"), PutOptions{IfNoneMatch: true})
	if err != nil || !created || a.Version != 1 {
		t.Fatalf("version %d, %v, %v", a.Version, created, err)
	}
	a.Concurrency = 99
	a, created, err = s.Put(t.Context(), a, PutOptions{IfMatch: 1})
	if err != nil || created || a.Version != 2 {
		t.Errorf("version %d, %v, %v", a.Version, created, err)
	}
	if err := s.Delete(t.Context(), "a", 2); err != nil {
		t.Error(err)
	}
	if n, err := s.Revision(t.Context()); n != 3 || err != nil {
		t.Errorf("revision %d, %v, want 3", n, err)
	}
	if hook.repeated.Load() != 3 {
		t.Errorf("%d scripts were repeated", hook.repeated.Load())
	}
}

func TestRepetitionAfterAnothersChange(t *testing.T) {
	onEach(t, func(t *testing.T, s *Store) {
		typ := New("a", "http://x.test/")
		typ.Secrets = SecretsOf(NewSecret())
		body, err := encodeBody(nil, &typ)
		if err != nil {
			t.Fatal(err)
		}
		first, err := s.runPut(t.Context(), "a", 0, "request-1", body)
		if err != nil || first.status != "created" {
			t.Fatal(first, err)
		}
		if err := s.Delete(t.Context(), "a", 0); err != nil {
			t.Fatal(err)
		}
		again, err := s.runPut(t.Context(), "a", 0, "request-1", body)
		if err != nil || again != first {
			t.Errorf("got %v, %v\nwant %v", again, err, first)
		}
		if _, err := s.Get(t.Context(), "a"); !errors.Is(err, ErrNotFound) {
			t.Errorf("the repetition undid a delete: %v", err)
		}
	})
}

func TestSetPaused(t *testing.T) {
	onEach(t, func(t *testing.T, s *Store) {
		put(t, s, New("a", "http://x.test/"))
		got, err := s.SetPaused(t.Context(), "a", true, "the endpoint answered 410"+strings.Repeat("é", 1000))
		if err != nil || !got.Paused || len(got.PausedReason) > 1024 || !strings.HasPrefix(got.PausedReason, "the endpoint") {
			t.Errorf("%v, %q, %v", got.Paused, got.PausedReason, err)
		}
		again, err := s.SetPaused(t.Context(), "a", true, "another")
		if err != nil || again.PausedReason != got.PausedReason || again.Version != got.Version {
			t.Errorf("%q, %v", again.PausedReason, err)
		}
		got, err = s.SetPaused(t.Context(), "a", false, "ignored")
		if err != nil || got.Paused || got.PausedReason != "" {
			t.Errorf("%v, %q, %v", got.Paused, got.PausedReason, err)
		}
		if _, err := s.SetPaused(t.Context(), "b", true, ""); !errors.Is(err, ErrNotFound) {
			t.Error(err)
		}
	})
}

func TestPutRefusesAndStoresNothing(t *testing.T) {
	onEach(t, func(t *testing.T, s *Store) {
		bad := New("a", "http://x.test/")
		bad.Concurrency = 0
		_, _, err := s.Put(t.Context(), bad, PutOptions{})
		if e, ok := errors.AsType[*invalid.Error](err); !ok || e.Field != "concurrency" {
			t.Errorf("got %v", err)
		}
		if n, _ := s.Revision(t.Context()); n != 0 {
			t.Errorf("revision %d", n)
		}
	})
}

func TestKeysShareOneSlot(t *testing.T) {
	s := storeOn(t, single)
	for _, key := range s.keys("request") {
		if !strings.HasPrefix(key, "{"+t.Name()+"}:types") {
			t.Errorf("key %s", key)
		}
	}
	for _, prefix := range []string{"a{b}", "a b", "a\n", strings.Repeat("x", 65)} {
		if _, err := NewStore(single, Options{Prefix: prefix}); err == nil {
			t.Errorf("prefix %q was accepted", prefix)
		}
	}
}

func TestRedisErrorsComeWrapped(t *testing.T) {
	client := inProcess(t)
	s := storeOn(t, client)
	_ = client.Close()
	_, getErr := s.Get(t.Context(), "a")
	_, _, putErr := s.Put(t.Context(), New("a", "http://x.test/"), PutOptions{})
	_, patchErr := s.Patch(t.Context(), "a", []byte(`{}`), 0)
	for _, err := range []error{getErr, putErr, patchErr, s.Delete(t.Context(), "a", 0)} {
		if !errors.Is(err, redis.ErrClosed) {
			t.Errorf("got %v", err)
		}
	}
}
