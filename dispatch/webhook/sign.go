package webhook

import (
	"bytes"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/deetoo/deetoo/registry"
)

// DefaultTolerance is how far a webhook-timestamp may be from now, either way.
const DefaultTolerance = 5 * time.Minute

const (
	secretPrefix  = "whsec_"
	publicPrefix  = "whpk_"
	minSecretSize = 24 // bytes; both from the Standard Webhooks specification
	maxSecretSize = 64
)

// Errors of Sign and Verify.
var (
	// ErrSecret: a secret is not "whsec_" and the base64 of 24 to 64 bytes, nor an
	// Ed25519 key: "whsk_" to sign with, "whpk_" to verify with.
	ErrSecret = errors.New("secret must be whsec_ and the base64 of 24 to 64 bytes, or whsk_ to sign, whpk_ to verify, and the base64 of an Ed25519 key")
	// ErrHeaders: webhook-id, webhook-timestamp or webhook-signature is missing or malformed.
	ErrHeaders = errors.New("webhook-id, webhook-timestamp or webhook-signature is missing or malformed")
	// ErrTimestamp: the message was sent too long ago, or too far in the future.
	ErrTimestamp = errors.New("webhook-timestamp is too far from now")
	// ErrSignature: no signature fits the message and any of the secrets.
	ErrSignature = errors.New("no webhook-signature fits")
)

// Sign returns the signature of a message as Standard Webhooks
// (https://www.standardwebhooks.com) has it: "v1," and the base64 of the
// HMAC-SHA256 of "id.timestamp.body", the timestamp in Unix seconds, if the secret
// is "whsec_" and the base64 of the key; "v1a," and the base64 of the Ed25519 signature of the
// same, if it is "whsk_" and the private key. If it is neither, the error is ErrSecret.
// An id with a full stop is ErrHeaders, as it would not be clear where it ends.
func Sign(secret, id string, ts time.Time, body []byte) (string, error) {
	s, err := newSigner(registry.Secret{Value: secret})
	if err != nil {
		return "", err
	}
	if !validMessageID(id) {
		return "", ErrHeaders
	}
	return string(s.append(nil, []byte(id), strconv.AppendInt(nil, ts.Unix(), 10), body)), nil
}

// Verify checks that a delivery was signed with one of the secrets, for
// handlers in Go: "whsec_…", or the public key "whpk_…" of an Ed25519 secret. The body must be the bytes received, not parsed and printed
// again. A tolerance of 0 is DefaultTolerance. It returns nil, ErrSecret,
// ErrHeaders, ErrTimestamp or ErrSignature. The signatures are compared in
// constant time. Verify does not notice a repeated message: deliveries are at
// least once, and webhook-id tells them apart.
func Verify(h http.Header, body []byte, tolerance time.Duration, secrets ...string) error {
	if tolerance == 0 {
		tolerance = DefaultTolerance
	}
	id, ts, sigs := h.Get(headerID), h.Get(headerTimestamp), h.Get(headerSignature)
	sec, err := strconv.ParseInt(ts, 10, 64)
	if err != nil || strconv.FormatInt(sec, 10) != ts || sigs == "" || !validMessageID(id) {
		return ErrHeaders
	}
	if age := time.Since(time.Unix(sec, 0)); age > tolerance || age < -tolerance {
		return ErrTimestamp
	}
	for i, secret := range secrets {
		fits, err := newVerifier(secret, id, ts, body)
		if err != nil {
			return fmt.Errorf("secret %d: %w", i+1, err)
		}
		for sig := range strings.SplitSeq(sigs, " ") {
			if fits(sig) {
				return nil
			}
		}
	}
	return ErrSignature
}

// newVerifier returns what tells whether a signature is that of a message.
func newVerifier(secret, id, ts string, body []byte) (func(sig string) bool, error) {
	if encoded, ok := strings.CutPrefix(secret, publicPrefix); ok {
		key, err := base64.StdEncoding.DecodeString(encoded)
		if err != nil || len(key) != ed25519.PublicKeySize {
			return nil, ErrSecret
		}
		message := signed([]byte(id), []byte(ts), body)
		return func(sig string) bool {
			encoded, ok := strings.CutPrefix(sig, "v1a,")
			raw, err := base64.StdEncoding.DecodeString(encoded)
			return ok && err == nil && ed25519.Verify(key, message, raw)
		}, nil
	}
	key, err := decodeSecret(secret)
	if err != nil {
		return nil, err
	}
	want := appendSignature(nil, hmac.New(sha256.New, key), []byte(id), []byte(ts), body)
	return func(sig string) bool { return hmac.Equal(want, []byte(sig)) }, nil
}

// signed is what is signed of a message.
func signed(id, ts, body []byte) []byte {
	return bytes.Join([][]byte{id, ts, body}, []byte("."))
}

// appendAsymmetric signs with a private key.
func appendAsymmetric(b []byte, key ed25519.PrivateKey, id, ts, body []byte) []byte {
	return base64.StdEncoding.AppendEncode(append(b, "v1a,"...), ed25519.Sign(key, signed(id, ts, body)))
}

// appendSignature finishes a MAC that has seen nothing but its key.
func appendSignature(b []byte, mac hash.Hash, id, ts, body []byte) []byte {
	// What is signed is put together in b: it is there already, and has room.
	at := len(b)
	b = append(append(append(append(b, id...), '.'), ts...), '.')
	mac.Write(b[at:])
	mac.Write(body)
	b = mac.Sum(b[:at])
	var sum [sha256.Size]byte
	copy(sum[:], b[at:])
	return base64.StdEncoding.AppendEncode(append(b[:at], "v1,"...), sum[:])
}

func decodeSecret(secret string) ([]byte, error) {
	enc, ok := strings.CutPrefix(secret, secretPrefix)
	if !ok {
		return nil, ErrSecret
	}
	key, err := base64.StdEncoding.DecodeString(enc)
	if err != nil || len(key) < minSecretSize || len(key) > maxSecretSize {
		return nil, ErrSecret // without the cause, which would quote the secret
	}
	return key, nil
}

func validMessageID(id string) bool {
	return id != "" && isHeaderValue(id) && !strings.Contains(id, ".")
}
