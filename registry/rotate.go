package registry

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/deetoo/deetoo/invalid"
)

// ErrSecretNotFound: the type has no secret of that ID.
var ErrSecretNotFound = errors.New("secret not found")

// DefaultOverlap is how long the secrets there are go on signing beside a new one.
const DefaultOverlap = 24 * time.Hour

// SecretSpec is a secret to add to a type, as people write it.
type SecretSpec struct {
	// Secret is [Secret.Value]. Empty: one is made.
	Secret string `json:"secret"`
	// Kind of the one that is made: HMAC or Ed25519. Default: HMAC. Not together with Secret.
	Kind string `json:"kind"`
	// ExpiresIn is how long the secrets there are go on signing beside it: 0s (they
	// are deleted at once) to 8760h. Those that expire earlier anyway still do. Default: DefaultOverlap.
	ExpiresIn *Duration `json:"expires_in,omitzero"`
}

// resolve returns the value to add and the overlap.
func (s SecretSpec) resolve() (value string, overlap time.Duration, err error) {
	overlap = DefaultOverlap
	set(&overlap, (*time.Duration)(s.ExpiresIn))
	switch {
	case overlap < 0 || overlap > 365*day:
		return "", 0, invalid.Errorf("expires_in", "must be 0s to 8760h (365 days)")
	case s.Kind != "" && s.Kind != HMAC && s.Kind != Ed25519:
		return "", 0, invalid.Errorf("kind", "must be hmac or ed25519")
	case s.Secret != "" && s.Kind != "":
		return "", 0, invalid.Errorf("kind", "must not be given together with secret")
	case s.Secret != "":
		if rule := secretRule(s.Secret); rule != "" {
			return "", 0, invalid.Errorf("secret", "%s", rule)
		}
		return s.Secret, overlap, nil
	case s.Kind == Ed25519:
		return NewPrivateKey(), overlap, nil
	}
	return NewSecret(), overlap, nil
}

// AddSecret gives the type a new secret, which signs from now on, and has those
// there are expire. It returns the type and the secret. Adding one that is there makes it the newest,
// and takes its end away. A missing type is a *NotFoundError.
func (s *Store) AddSecret(ctx context.Context, name string, spec SecretSpec) (Type, Secret, error) {
	value, overlap, err := spec.resolve()
	if err != nil {
		return Type{}, Secret{}, err
	}
	t, err := s.modify(ctx, name, 0, func(old *Type) (Type, error) {
		now := time.Now().UTC().Truncate(time.Millisecond)
		end := now.Add(overlap)
		t := old.Clone()
		t.Secrets = SecretsOf(value)
		for _, o := range old.Secrets {
			if o.Value == value {
				continue
			}
			if o.ExpiresAt.IsZero() || o.ExpiresAt.After(end) {
				o.ExpiresAt = end
			}
			t.Secrets = append(t.Secrets, o)
		}
		if t.Secrets = liveSecrets(t.Secrets, now); len(t.Secrets) > maxSecrets {
			return Type{}, invalid.Errorf("secret", "is one too many: a type has at most %d that sign; delete one first", maxSecrets)
		}
		return t, nil
	})
	if err != nil {
		return Type{}, Secret{}, err
	}
	return t, t.Secrets[0], nil
}

// DeleteSecret deletes a secret by its ID: from now on it signs nothing. Without one
// left that does not expire it is refused as an *[invalid.Error]. The error is ErrSecretNotFound, or a
// *NotFoundError for the type.
func (s *Store) DeleteSecret(ctx context.Context, name, id string) (Type, error) {
	return s.modify(ctx, name, 0, func(old *Type) (Type, error) {
		i := slices.IndexFunc(liveSecrets(old.Secrets, time.Now()), func(o Secret) bool { return o.ID() == id })
		if i < 0 {
			return Type{}, fmt.Errorf("%w: job type %q has none of the ID %.80q", ErrSecretNotFound, name, id)
		}
		t := old.Clone()
		t.Secrets = slices.DeleteFunc(t.Secrets, func(o Secret) bool { return o.ID() == id })
		if !slices.ContainsFunc(t.Secrets, func(o Secret) bool { return o.ExpiresAt.IsZero() }) {
			return Type{}, invalid.Errorf("id", "is that of the only secret that does not expire; add another first")
		}
		return t, nil
	})
}

// DropExpired deletes from the store the secrets of a type that have expired. They
// sign no more anyway, and every other change of the type does the same. A missing type is a *NotFoundError.
func (s *Store) DropExpired(ctx context.Context, name string) error {
	_, err := s.modify(ctx, name, 0, func(old *Type) (Type, error) { return old.Clone(), nil })
	return err
}

// CheckKeys returns a *MissingKeyError if a type is encrypted with a key that is
// not configured; and the names of types, sorted, that are not encrypted with the first key, though there is one.
func (s *Store) CheckKeys(ctx context.Context) (stale []string, err error) {
	records, err := s.records(ctx)
	if err != nil {
		return nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(records)) {
		id, err := keyOf(name, records[name])
		switch {
		case err != nil:
			return nil, err
		case id != "" && (s.ring == nil || s.ring.keys[id] == nil):
			return nil, &MissingKeyError{Type: name, KeyID: id}
		case s.ring != nil && id != s.ring.first:
			stale = append(stale, name)
		}
	}
	return stale, nil
}

// Reencrypt writes the type anew if it is not encrypted with the first key, and
// reports whether it did. Without keys nothing can be written anew. A missing type is a *NotFoundError.
func (s *Store) Reencrypt(ctx context.Context, name string) (bool, error) {
	for range maxTries {
		record, err := s.record(ctx, name)
		if err != nil {
			return false, err
		}
		if record == "" {
			return false, s.notFound(ctx, name)
		}
		if s.ring == nil {
			return false, invalid.Errorf("secrets_keys", "must be configured: without a key there is nothing to encrypt with")
		}
		if id, err := keyOf(name, record); err != nil || id == s.ring.first {
			return false, err
		}
		t, err := decodeRecord(s.ring, name, record)
		if err != nil {
			return false, err
		}
		body, err := encodeBody(s.ring, t)
		if err != nil {
			return false, err
		}
		reply, err := s.runPut(ctx, name, t.Version, rand.Text(), body)
		if err != nil || reply.status != "mismatch" {
			return err == nil, err
		}
	}
	return false, fmt.Errorf("registry: type %q changed %d times meanwhile: %w", name, maxTries, ErrVersionMismatch)
}
