package auth

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"strings"
	"testing"
)

// FuzzVerify: whatever comes in, Verify returns; and what it accepts carries an
// HMAC that only a holder of the secret can have made.
func FuzzVerify(f *testing.F) {
	valid := sign("HS256", secret, good())
	f.Add(valid)
	f.Add(valid + "A")
	f.Add("")
	f.Add("..")
	f.Add(sign("HS256", []byte(strings.Repeat("x", 32)), good()))
	f.Add(b64(`{"alg":"none"}`) + "." + b64(`{"exp":1800003600}`) + ".")
	f.Add(signRaw(secret, hs256, `null`))
	f.Add(signRaw(secret, hs256, `{"exp":1e400}`))
	v := newVerifier(f, Options{Secret: secret})
	f.Fuzz(func(t *testing.T, token string) {
		id, err := v.Verify(t.Context(), token)
		if err != nil {
			if id != nil || !errors.Is(err, ErrUnauthenticated) {
				t.Fatalf("got %v, %v", id, err)
			}
			return
		}
		cut := strings.LastIndexByte(token, '.')
		sig, err := base64.RawURLEncoding.Strict().DecodeString(token[cut+1:])
		mac := hmac.New(sha256.New, secret)
		mac.Write([]byte(token[:cut]))
		if err != nil || !hmac.Equal(sig, mac.Sum(nil)) {
			t.Fatalf("accepted a token that the secret did not sign: %q", token)
		}
	})
}

// FuzzClaims signs whatever payload comes in: a token that is signed but
// wrong must neither panic nor be valid without an expiry in the future.
func FuzzClaims(f *testing.F) {
	for _, s := range []string{
		`null`, `{}`, `[]`, `{"exp":1800003600}`, `{"exp":1800003600,"scope":["admin"],"job_types":["a*",null]}`,
		`{"exp":1e300}`, `{"exp":1800003600,"nbf":-1}`, `{"exp":1800003600,"aud":[null]}`, "{\"exp\":1,\"exp\":2}",
	} {
		f.Add(s)
	}
	v := newVerifier(f, Options{Secret: secret, CacheSize: -1})
	f.Fuzz(func(t *testing.T, payload string) {
		id, err := v.Verify(t.Context(), signRaw(secret, hs256, payload))
		if err != nil {
			if !errors.Is(err, ErrUnauthenticated) {
				t.Fatal(err)
			}
			return
		}
		if !id.ExpiresAt().Add(defaultLeeway).After(now) {
			t.Fatalf("accepted an expiry at %s", id.ExpiresAt())
		}
	})
}
