package registry

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/redis/go-redis/v9"

	"github.com/deetoo/deetoo/invalid"
)

// DefaultPrefix begins the name of every key.
const DefaultPrefix = "deetoo"

// maxTries bounds how often a change is computed anew because another came
// first. Each time somebody's change got in.
const maxTries = 100

// Options of a Store. The zero value is ready to use.
type Options struct {
	// Prefix begins the name of every key: 1 to 64 of letters, digits, '.',
	// '_', '-' and ':'. Default: DefaultPrefix.
	Prefix string
	// Keys encrypt what types keep secret. Nil: it is stored as it is.
	Keys *Keyring
	// Logger hears of each change made here. Default: slog.Default().
	Logger *slog.Logger
}

// Validate names the option that is out of bounds.
func (o Options) Validate() error {
	bad := func(r rune) bool { return !isAlphanumeric(r) && !strings.ContainsRune("._-:", r) }
	if len(o.Prefix) > 64 || strings.ContainsFunc(o.Prefix, bad) {
		return invalid.Errorf("prefix", "must be 1 to 64 of letters, digits, '.', '_', '-' and ':'")
	}
	return nil
}

// Store keeps the job types in Redis: all in one hash, beside a revision that
// changes with each of them, written by scripts that compare versions. The
// client must read from masters, or a change may not see the one before it.
//
// Errors of Redis come wrapped; what they leave unknown (a lost answer) can be
// tried again.
type Store struct {
	client      redis.UniversalClient
	ring        *Keyring
	log         *slog.Logger
	scripts     scripts
	typesKey    string
	revisionKey string
	channel     string
}

// NewStore returns a Store, or the option that is wrong.
func NewStore(client redis.UniversalClient, o Options) (*Store, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	if o.Prefix == "" {
		o.Prefix = DefaultPrefix
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	return &Store{
		client: client, ring: o.Keys, log: o.Logger, scripts: newScripts(),
		typesKey: "{" + o.Prefix + "}:types", revisionKey: "{" + o.Prefix + "}:types:rev", channel: o.Prefix + ":types",
	}, nil
}

// PutOptions are the conditions of a change. The zero value has none.
type PutOptions struct {
	// IfMatch is the version that what is changed must have; 0: any.
	IfMatch int64
	// IfNoneMatch is true if it must not exist.
	IfNoneMatch bool
}

// Validate refuses conditions that contradict each other.
func (o PutOptions) Validate() error {
	if o.IfMatch < 0 || o.IfMatch != 0 && o.IfNoneMatch {
		return invalid.Errorf("if_match", "must be a version, and not be given together with if_none_match")
	}
	return nil
}

// Met reports whether the conditions hold at that version; 0: it does not exist.
func (o PutOptions) Met(version int64) bool {
	return o.IfMatch == version || o.IfMatch == 0 && !o.IfNoneMatch
}

// check returns a *VersionMismatchError if the conditions do not hold for what is stored.
func check(o PutOptions, name string, old *Type) error {
	var version int64
	if old != nil {
		version = old.Version
	}
	if !o.Met(version) {
		return &VersionMismatchError{Name: name, Current: version}
	}
	return nil
}

// Get returns the type of that name, or a *NotFoundError.
func (s *Store) Get(ctx context.Context, name string) (Type, error) {
	t, err := s.lookup(ctx, name)
	if err != nil {
		return Type{}, err
	}
	if t == nil {
		return Type{}, s.notFound(ctx, name)
	}
	return *t, nil
}

// List returns all types, sorted by name.
func (s *Store) List(ctx context.Context) ([]Type, error) {
	records, err := s.records(ctx)
	if err != nil {
		return nil, err
	}
	types := make([]Type, 0, len(records))
	for name, record := range records {
		t, err := decodeRecord(s.ring, name, record)
		if err != nil {
			return nil, err
		}
		types = append(types, *t)
	}
	slices.SortFunc(types, func(a, b Type) int { return strings.Compare(a.Name, b.Name) })
	return types, nil
}

// Revision returns a number that rises with every change of any type; 0 before
// the first.
func (s *Store) Revision(ctx context.Context) (int64, error) {
	revision, err := s.revision(ctx)
	if err != nil || revision == "" {
		return 0, err
	}
	var n int64
	if _, err := fmt.Sscan(revision, &n); err != nil {
		return 0, fmt.Errorf("registry: the revision is damaged: %w", err)
	}
	return n, nil
}

// Update stores what change makes of the type (nil: there is none), provided
// that the conditions hold, and returns what is now stored and whether it is new.
// If others come first, change is called again. A change that differs in nothing
// leaves the version alone. A type without secrets keeps the stored ones or gets
// one. What change returns must be valid, or the error is an *[invalid.Error];
// a failed condition is a *[VersionMismatchError]; errors of change come as they are.
func (s *Store) Update(ctx context.Context, name string, o PutOptions, change func(old *Type) (Type, error)) (Type, bool, error) {
	if err := o.Validate(); err != nil {
		return Type{}, false, err
	}
	for range maxTries {
		old, err := s.lookup(ctx, name)
		if err != nil {
			return Type{}, false, err
		}
		if err := check(o, name, old); err != nil {
			return Type{}, false, err
		}
		t, err := change(old)
		if err != nil {
			return Type{}, false, err
		}
		var expected int64
		if old != nil {
			expected = old.Version
		}
		if err := complete(&t, name, old); err != nil {
			return Type{}, false, err
		}
		if old != nil && old.same(&t) {
			return *old, false, nil
		}
		body, err := encodeBody(s.ring, &t)
		if err != nil {
			return Type{}, false, err
		}
		reply, err := s.runPut(ctx, name, expected, rand.Text(), body)
		if err != nil {
			return Type{}, false, err
		}
		if reply.status == "mismatch" {
			continue
		}
		now, err := decodeRecord(s.ring, name, reply.value)
		if err != nil {
			return Type{}, false, err
		}
		s.log.Info("job type stored", "type", *now)
		return *now, reply.status == "created", nil
	}
	return Type{}, false, fmt.Errorf("registry: type %q changed %d times meanwhile: %w", name, maxTries, ErrVersionMismatch)
}

// complete checks a changed type, adds the secrets that it does not mention, and drops expired ones.
func complete(t *Type, name string, old *Type) error {
	if t.Name != name {
		return invalid.Errorf("name", "cannot be changed")
	}
	if len(t.Secrets) == 0 {
		if old != nil {
			t.Secrets = slices.Clone(old.Secrets)
		} else {
			t.Secrets = SecretsOf(NewSecret())
		}
	}
	now := time.Now().UTC().Truncate(time.Millisecond)
	t.Secrets = liveSecrets(t.Secrets, now)
	var known []Secret
	if old != nil {
		known = old.Secrets
	}
	dateSecrets(t.Secrets, known, now)
	switch {
	case !t.Paused:
		t.PausedReason, t.PausedAt = "", time.Time{}
	case old != nil && old.Paused:
		t.PausedAt = old.PausedAt
	default:
		t.PausedAt = now
	}
	return t.Validate()
}

// Put stores the type as it is, in the place of one of the same name; see
// [Store.Update].
func (s *Store) Put(ctx context.Context, t Type, o PutOptions) (Type, bool, error) {
	return s.Update(ctx, t.Name, o, func(*Type) (Type, error) { return t.Clone(), nil })
}

// PutSpec stores what the spec describes; see [Spec.Type] for what it takes
// over from the stored type, and [Store.Update]. If the type is new and
// spec.HasSecret is false, its secret has been generated.
func (s *Store) PutSpec(ctx context.Context, spec Spec, o PutOptions) (Type, bool, error) {
	return s.Update(ctx, spec.Name, o, spec.Type)
}

// Patch applies an RFC 7396 merge patch to the type's output form: null resets a
// field to its default, secrets stay unless given. ifMatch is the version it must have;
// 0: any. A missing type is a *NotFoundError.
func (s *Store) Patch(ctx context.Context, name string, patch []byte, ifMatch int64) (Type, error) {
	return s.modify(ctx, name, ifMatch, func(old *Type) (Type, error) {
		spec, err := mergePatch(old, patch)
		if err != nil {
			return Type{}, err
		}
		return spec.Type(old)
	})
}

// SetPaused pauses or resumes the type. The reason, cut to 1,024 bytes, is for
// people; a type that is paused already keeps the first reason. A missing type is a *NotFoundError.
func (s *Store) SetPaused(ctx context.Context, name string, paused bool, reason string) (Type, error) {
	return s.modify(ctx, name, 0, func(old *Type) (Type, error) {
		t := old.Clone()
		if t.Paused != paused {
			t.Paused, t.PausedReason = paused, cut(reason, maxDescriptionLength)
		}
		return t, nil
	})
}

// modify is Update of a type that must exist.
func (s *Store) modify(ctx context.Context, name string, ifMatch int64, change func(old *Type) (Type, error)) (Type, error) {
	t, _, err := s.Update(ctx, name, PutOptions{}, func(old *Type) (Type, error) {
		if old == nil {
			return Type{}, s.notFound(ctx, name)
		}
		if err := check(PutOptions{IfMatch: ifMatch}, name, old); err != nil {
			return Type{}, err
		}
		return change(old)
	})
	return t, err
}

// Delete removes the type, its jobs aside. ifMatch is the version it must have;
// 0: any. A missing type is a *NotFoundError.
func (s *Store) Delete(ctx context.Context, name string, ifMatch int64) error {
	if nameRule(name) != "" {
		return s.notFound(ctx, name)
	}
	reply, err := s.runDelete(ctx, name, ifMatch, rand.Text())
	if err != nil {
		return err
	}
	switch reply.status {
	case "deleted":
		s.log.Info("job type deleted", "type", name)
		return nil
	case "missing":
		return s.notFound(ctx, name)
	default:
		mismatch := &VersionMismatchError{Name: name}
		_, _ = fmt.Sscan(reply.value, &mismatch.Current)
		return mismatch
	}
}

// lookup returns the type, or nil if there is none.
func (s *Store) lookup(ctx context.Context, name string) (*Type, error) {
	record, err := s.record(ctx, name)
	if err != nil || record == "" {
		return nil, err
	}
	return decodeRecord(s.ring, name, record)
}

// record returns the type's record, "" if there is none.
func (s *Store) record(ctx context.Context, name string) (string, error) {
	if nameRule(name) != "" {
		return "", nil
	}
	record, err := s.client.HGet(ctx, s.typesKey, name).Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		return "", fmt.Errorf("registry: %w", err)
	}
	return record, nil
}

func (s *Store) notFound(ctx context.Context, name string) error {
	names, err := s.client.HKeys(ctx, s.typesKey).Result()
	if err != nil {
		return fmt.Errorf("registry: %w", err)
	}
	return &NotFoundError{Name: name, Nearest: nearest(name, names)}
}

// revision returns the whole revision, which never repeats even if a failover
// rolls the counter back; "" before the first change.
func (s *Store) revision(ctx context.Context) (string, error) {
	revision, err := s.client.Get(ctx, s.revisionKey).Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		return "", fmt.Errorf("registry: %w", err)
	}
	return revision, nil
}

// records returns all records by name.
func (s *Store) records(ctx context.Context) (map[string]string, error) {
	records, err := s.client.HGetAll(ctx, s.typesKey).Result()
	if err != nil {
		return nil, fmt.Errorf("registry: %w", err)
	}
	return records, nil
}

func cut(text string, limit int) string {
	text = strings.ToValidUTF8(text, "�")
	if len(text) <= limit {
		return text
	}
	for !utf8.RuneStart(text[limit]) {
		limit--
	}
	return text[:limit]
}
