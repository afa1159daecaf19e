package auth

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"time"
	"unsafe"

	"github.com/golang-jwt/jwt/v5"
	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/deetoo/deetoo/invalid"
)

// Verifier checks tokens. It is safe for concurrent use.
type Verifier struct {
	clock     func() time.Time
	leeway    time.Duration
	issuer    string
	keys      keySource
	parser    *jwt.Parser
	validator *jwt.Validator
	// cache is nil if there is to be none. Its keys are hashes: neither are
	// tokens kept in memory, nor does a caller's buffer become a map key.
	cache *lru.Cache[[sha256.Size]byte, verified]
}

// keySource finds the key, or the jwt.VerificationKeySet, for a token.
type keySource interface {
	keyFor(context.Context, *jwt.Token) (any, error)
	// methods lists the algorithms any of the keys can have.
	methods() []string
	// version changes whenever a key may have been withdrawn.
	version() uint64
	close()
}

// verified is a cache entry: good until a time, as long as the keys have not changed.
type verified struct {
	identity *Identity
	until    time.Time
	version  uint64
}

// New makes a Verifier. The error is an *invalid.Error that names the field,
// or wraps one if the public key cannot be read.
//
// With a JWKS URL, New does not wait for the endpoint. The keys are fetched in
// the background: at once, then every 5 minutes, after failures sooner, and
// when a token names an unknown key, but for that reason at most twice and then
// once in 10 seconds. When the endpoint fails, the keys it last gave stay good.
// A key that it no longer lists stops verifying with the next fetch, also for
// tokens verified before. Symmetric keys, keys for encryption and keys whose
// algorithm does not fit them are ignored; headers that point elsewhere (jku,
// x5u) are not followed. Of several keys with one ID the first counts.
//
// The background work ends with Close, or with ctx.
func New(ctx context.Context, o Options) (*Verifier, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	o = o.withDefaults()
	v := &Verifier{clock: o.Clock, leeway: o.Leeway, issuer: o.Issuer}
	if o.CacheSize > 0 {
		var err error
		if v.cache, err = lru.New[[sha256.Size]byte, verified](o.CacheSize); err != nil {
			return nil, fmt.Errorf("token cache: %w", err)
		}
	}
	switch {
	case len(o.Secret) > 0:
		v.keys = fixedKey{slices.Clone(o.Secret)}
	case o.PublicKeyFile != "":
		key, err := readPublicKey(o.PublicKeyFile)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", invalid.Errorf("PublicKeyFile", "must be a PEM file with a public key"), err)
		}
		v.keys = fixedKey{key}
	default:
		keys, err := newRemoteKeys(ctx, o)
		if err != nil {
			return nil, err
		}
		v.keys = keys
	}
	checks := []jwt.ParserOption{
		jwt.WithExpirationRequired(), jwt.WithIssuedAt(), jwt.WithLeeway(o.Leeway), jwt.WithTimeFunc(o.Clock),
	}
	if o.Issuer != "" {
		checks = append(checks, jwt.WithIssuer(o.Issuer))
	}
	if o.Audience != "" {
		checks = append(checks, jwt.WithAudience(o.Audience))
	}
	v.validator = jwt.NewValidator(checks...)
	// The claims are validated in verify: the parser would validate none at all,
	// and panic, when the payload is null.
	v.parser = jwt.NewParser(jwt.WithValidMethods(v.keys.methods()), jwt.WithStrictDecoding(), jwt.WithoutClaimsValidation())
	return v, nil
}

// Close ends the background work. Tokens can still be verified, with the keys
// known so far.
func (v *Verifier) Close() { v.keys.close() }

// Verify returns who the token stands for. The error wraps ErrUnauthenticated
// (401) and is one of the errors beside it, or is ErrKeysUnavailable (503).
//
// ctx limits how long it waits for a JWKS endpoint, which is at most 2 seconds
// anyway; without one it never waits. The token's memory may be reused once
// Verify has returned.
func (v *Verifier) Verify(ctx context.Context, token string) (*Identity, error) {
	switch {
	case token == "":
		return nil, ErrMissingToken
	case len(token) > MaxTokenSize:
		return nil, ErrTooLarge
	}
	if v.cache == nil {
		return v.verify(ctx, token)
	}
	// Read before the key is chosen: if the keys change in between, the entry is
	// already stale.
	version := v.keys.version()
	// Without a copy: a conversion would allocate, and Sum256 only reads.
	hash := sha256.Sum256(unsafe.Slice(unsafe.StringData(token), len(token)))
	if e, ok := v.cache.Get(hash); ok {
		if e.version == version && v.clock().Before(e.until) {
			return e.identity, nil
		}
		v.cache.Remove(hash)
	}
	id, err := v.verify(ctx, token)
	if err != nil {
		return nil, err
	}
	v.cache.Add(hash, verified{id, id.expiresAt.Add(v.leeway), version})
	return id, nil
}

func (v *Verifier) verify(ctx context.Context, token string) (*Identity, error) {
	var c claims
	t, err := v.parser.ParseWithClaims(token, &c, func(t *jwt.Token) (any, error) {
		// RFC 7515 section 4.1.11: an extension marked critical must be
		// understood, and we understand none.
		if _, ok := t.Header["crit"]; ok {
			return nil, ErrMalformed
		}
		return v.keys.keyFor(ctx, t)
	})
	if err != nil {
		return nil, v.reason(t, err)
	}
	if err := v.validate(&c); err != nil {
		return nil, err
	}
	id, err := c.identity()
	if err != nil {
		return nil, ErrMalformed
	}
	return id, nil
}

// reason translates the parser's error, whose text may quote the token, into
// one of ours.
func (v *Verifier) reason(t *jwt.Token, err error) error {
	for _, ours := range []error{ErrKeysUnavailable, ErrAlgorithm, ErrMalformed} {
		if errors.Is(err, ours) {
			return ours
		}
	}
	switch {
	case errors.Is(err, jwt.ErrTokenMalformed):
		return ErrMalformed
	case t == nil || t.Method == nil || !slices.Contains(v.keys.methods(), t.Method.Alg()):
		return ErrAlgorithm
	default:
		return ErrSignature
	}
}

// validate checks the claims of a token whose signature is good.
func (v *Verifier) validate(c *claims) error {
	err := v.validator.Validate(c)
	switch {
	case err == nil:
		return nil
	case c.ExpiresAt == nil:
		return ErrMissingExpiry
	case errors.Is(err, jwt.ErrTokenExpired):
		return ErrExpired
	case errors.Is(err, jwt.ErrTokenNotValidYet), errors.Is(err, jwt.ErrTokenUsedBeforeIssued):
		return ErrNotYetValid
	case v.issuer != "" && c.Issuer != v.issuer:
		return ErrIssuer
	default:
		return ErrAudience
	}
}
