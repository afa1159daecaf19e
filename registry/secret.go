package registry

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"log/slog"
	"slices"
	"strings"
	"time"
)

// Redacted stands for a header's value that is not shown. Given back in a PUT
// or PATCH it keeps the stored value.
const Redacted = "[redacted]"

// The prefixes of Standard Webhooks: a secret that both sides know, a private
// key, and the public key that fits it.
const (
	secretPrefix  = "whsec_"
	privatePrefix = "whsk_"
	publicPrefix  = "whpk_"
)

// The kinds of secrets: what they sign with.
const (
	HMAC    = "hmac"    // HMAC-SHA256, "v1,"
	Ed25519 = "ed25519" // "v1a,"
)

// Secret signs deliveries, as Standard Webhooks has it.
type Secret struct {
	// Value is "whsec_" and base64 of 24 to 64 bytes; or "whsk_" and base64 of an
	// Ed25519 private key: its seed of 32 bytes (RFC 8032), or seed and public key, 64.
	Value string
	// CreatedAt is when it was stored first. Zero: before that was kept.
	CreatedAt time.Time
	// ExpiresAt is when it stops signing, and is deleted. Zero: never.
	ExpiresAt time.Time
}

// SecretsOf returns secrets that do not expire, the newest first.
func SecretsOf(values ...string) []Secret {
	if values == nil {
		return nil
	}
	out := make([]Secret, len(values))
	for i, v := range values {
		out[i].Value = v
	}
	return out
}

// NewSecret makes a signing secret: "whsec_" and base64 of 32 random bytes.
func NewSecret() string {
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails: crypto/rand ends the process instead
	return secretPrefix + base64.StdEncoding.EncodeToString(key)
}

// NewPrivateKey makes an Ed25519 signing key: "whsk_" and base64 of seed and public key.
func NewPrivateKey() string {
	_, key, _ := ed25519.GenerateKey(nil) // fails only if the source of randomness does
	return privatePrefix + base64.StdEncoding.EncodeToString(key)
}

// ID is Fingerprint of the value.
func (s Secret) ID() string { return Fingerprint(s.Value) }

// Kind is HMAC or Ed25519.
func (s Secret) Kind() string {
	if strings.HasPrefix(s.Value, privatePrefix) {
		return Ed25519
	}
	return HMAC
}

// PublicKey verifies what the secret signs: "whpk_" and base64 of 32 bytes. Empty
// for HMAC, where handlers need the secret itself.
func (s Secret) PublicKey() string {
	key := privateKey(s.Value)
	if key == nil {
		return ""
	}
	return publicPrefix + base64.StdEncoding.EncodeToString(key[ed25519.SeedSize:])
}

// Expired reports whether it has stopped signing.
func (s Secret) Expired(now time.Time) bool { return !s.ExpiresAt.IsZero() && !now.Before(s.ExpiresAt) }

// SecretView is a secret as it is shown: never its value.
type SecretView struct {
	ID   string `json:"id"`
	Kind string `json:"kind"`
	// PublicKey is empty unless the kind is Ed25519.
	PublicKey string `json:"public_key,omitzero"`
	// CreatedAt and ExpiresAt are RFC 3339, to the millisecond; empty if unknown, and if never.
	CreatedAt string `json:"created_at,omitzero"`
	ExpiresAt string `json:"expires_at,omitzero"`
}

// View returns the form to show.
func (s Secret) View() SecretView {
	v := SecretView{ID: s.ID(), Kind: s.Kind(), PublicKey: s.PublicKey()}
	if !s.CreatedAt.IsZero() {
		v.CreatedAt = s.CreatedAt.UTC().Format(timeLayout)
	}
	if !s.ExpiresAt.IsZero() {
		v.ExpiresAt = s.ExpiresAt.UTC().Format(timeLayout)
	}
	return v
}

// MarshalJSON writes the View, so that no encoder meets the value.
func (s Secret) MarshalJSON() ([]byte, error) { return json.Marshal(s.View()) }

// String says the ID, so that no format verb meets the value.
func (s Secret) String() string { return "secret " + s.ID() }

// GoString is String.
func (s Secret) GoString() string { return s.String() }

// LogValue says what a log may know.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// Fingerprint identifies a secret without telling it: the first 8 hexadecimal
// digits of its SHA-256.
func Fingerprint(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:4])
}

// secretRule returns the rule that a secret breaks, or "".
func secretRule(secret string) string {
	if strings.HasPrefix(secret, privatePrefix) {
		if privateKey(secret) == nil {
			return `must be "whsk_" and base64 of an Ed25519 private key of 32 or 64 bytes`
		}
		return ""
	}
	encoded, ok := strings.CutPrefix(secret, secretPrefix)
	if key, err := base64.StdEncoding.DecodeString(encoded); !ok || err != nil || len(key) < 24 || len(key) > 64 {
		return `must be "whsec_" and base64 of 24 to 64 bytes, or "whsk_" and an Ed25519 private key`
	}
	return ""
}

// privateKey returns the key in a secret, nil if it is none, or if its halves do not fit.
func privateKey(secret string) ed25519.PrivateKey {
	encoded, ok := strings.CutPrefix(secret, privatePrefix)
	b, err := base64.StdEncoding.DecodeString(encoded)
	if !ok || err != nil || len(b) != ed25519.SeedSize && len(b) != ed25519.PrivateKeySize {
		return nil
	}
	key := ed25519.NewKeyFromSeed(b[:ed25519.SeedSize])
	if len(b) == ed25519.PrivateKeySize && !bytes.Equal(b, key) {
		return nil
	}
	return key
}

// PrivateKey returns the Ed25519 key of a secret of that kind; nil of another.
func (s Secret) PrivateKey() ed25519.PrivateKey { return privateKey(s.Value) }

func sameSecrets(a, b []Secret) bool {
	return slices.EqualFunc(a, b, func(x, y Secret) bool { return x.Value == y.Value && x.ExpiresAt.Equal(y.ExpiresAt) })
}

// liveSecrets returns those that still sign.
func liveSecrets(secrets []Secret, now time.Time) []Secret {
	return slices.DeleteFunc(slices.Clone(secrets), func(s Secret) bool { return s.Expired(now) })
}

// dateSecrets gives secrets the time they were stored first: what old knows, else now.
func dateSecrets(secrets, old []Secret, now time.Time) {
	for i := range secrets {
		s := &secrets[i]
		known := slices.IndexFunc(old, func(o Secret) bool { return o.Value == s.Value })
		switch {
		case known >= 0:
			s.CreatedAt = old[known].CreatedAt
		case s.CreatedAt.IsZero():
			s.CreatedAt = now
		}
	}
}

// isCredential guesses from a header's name whether its value is a secret.
func isCredential(header string) bool {
	header = strings.ToLower(header)
	for _, part := range []string{"auth", "token", "key", "secret", "cookie", "passw", "credential"} {
		if strings.Contains(header, part) {
			return true
		}
	}
	return false
}

// redactHeaders returns a copy without credentials. It is never nil.
func redactHeaders(headers map[string]string) map[string]string {
	out := make(map[string]string, len(headers))
	for name, value := range headers {
		if isCredential(name) {
			value = Redacted
		}
		out[name] = value
	}
	return out
}
