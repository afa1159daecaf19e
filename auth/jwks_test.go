package auth

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/MicahParks/jwkset"
)

// issuer is a JWKS endpoint whose answer can be changed.
type issuer struct {
	fetches atomic.Int64
	mu      sync.Mutex
	answer  http.HandlerFunc
}

func (s *issuer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.fetches.Add(1)
	s.mu.Lock()
	answer := s.answer
	s.mu.Unlock()
	answer(w, r)
}

// publish makes the endpoint answer with these keys.
func (s *issuer) publish(keys ...string) {
	s.set(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprintf(w, `{"keys":[%s]}`, strings.Join(keys, ","))
	})
}

// fail makes the endpoint answer with an error.
func (s *issuer) fail() {
	s.set(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "down", http.StatusBadGateway) })
}

func (s *issuer) set(h http.HandlerFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = h
}

// start serves the issuer on loopback.
func (s *issuer) start(t testing.TB) string {
	t.Helper()
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	return server.URL + "/jwks"
}

// jwk writes a public key as a JWK with further members.
func jwk(kid string, key any, more ...string) string {
	k, err := jwkset.NewJWKFromKey(key, jwkset.JWKOptions{Metadata: jwkset.JWKMetadataOptions{KID: kid}})
	must(err)
	m := k.Marshal()
	m.ALG = ""
	text, err := json.Marshal(m)
	must(err)
	if len(more) == 0 {
		return string(text)
	}
	return strings.TrimSuffix(string(text), "}") + "," + strings.Join(more, ",") + "}"
}

// expect verifies a token and compares the error.
func expect(t *testing.T, v *Verifier, token string, want error) {
	t.Helper()
	id, err := v.Verify(t.Context(), token)
	if !errors.Is(err, want) || (want == nil) != (id != nil) {
		t.Fatalf("got %v, %v; want %v", id, err, want)
	}
	if err != nil && quotes(err, token) {
		t.Errorf("%v repeats the token", err)
	}
	if errors.Is(err, ErrKeysUnavailable) && errors.Is(err, ErrUnauthenticated) {
		t.Errorf("%v is both 401 and 503", err)
	}
}

func TestJWKSVerifiesEveryAlgorithm(t *testing.T) {
	k, other := ours(), theirs()
	s := &issuer{}
	s.publish(jwk("RS", k.rsa.Public()), jwk("ES256", k.p256.Public(), `"alg":"ES256"`, `"use":"sig"`),
		jwk("ES384", k.p384.Public(), `"key_ops":["verify"]`), jwk("ES512", k.p521.Public()), jwk("EdDSA", k.ed.Public()))
	v := newVerifier(t, Options{JWKSURL: s.start(t)})
	for alg, key := range k.signers() {
		kid := alg
		if alg[1] == 'S' && alg[0] != 'E' {
			kid = "RS"
		}
		expect(t, v, sign(alg, key, good(), "kid", kid), nil)
		expect(t, v, sign(alg, other.signers()[alg], good(), "kid", kid), ErrSignature)
		// Without a kid all keys of the algorithm are tried.
		expect(t, v, sign(alg, key, good()), nil)
		expect(t, v, sign(alg, other.signers()[alg], good()), ErrSignature)
	}
	// The kid of another key's family.
	expect(t, v, sign("EdDSA", k.ed, good(), "kid", "RS"), ErrAlgorithm)
	expect(t, v, sign("ES384", k.p384, good(), "kid", "ES512"), ErrAlgorithm)
	// A public key is no HMAC secret.
	expect(t, v, sign("HS256", []byte(k.ed.Public().(ed25519.PublicKey)), good(), "kid", "EdDSA"), ErrAlgorithm)
	if n := s.fetches.Load(); n != 1 {
		t.Errorf("%d fetches", n)
	}
}

func TestJWKSKeysThatAreIgnored(t *testing.T) {
	k := ours()
	oct := base64.RawURLEncoding.EncodeToString(secret)
	priv, err := jwkset.NewJWKFromKey(k.ed, jwkset.JWKOptions{
		Marshal: jwkset.JWKMarshalOptions{Private: true}, Metadata: jwkset.JWKMetadataOptions{KID: "private"},
	})
	must(err)
	private, err := json.Marshal(priv.Marshal())
	must(err)
	var x5u atomic.Bool
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { x5u.Store(true) }))
	t.Cleanup(elsewhere.Close)
	s := &issuer{}
	s.publish(
		`{"kty":"oct","kid":"oct","alg":"HS256","k":"`+oct+`"}`,
		jwk("enc", k.ed.Public(), `"use":"enc"`),
		jwk("sign", k.ed.Public(), `"key_ops":["sign"]`),
		jwk("wrong-alg", k.p256.Public(), `"alg":"RS256"`),
		jwk("hmac-alg", k.rsa.Public(), `"alg":"HS256"`),
		jwk("pinned", k.rsa.Public(), `"alg":"RS512"`),
		`7`, `{"kty":"RSA"}`, `{"kty":"EC","kid":"off","crv":"P-256","x":"AQ","y":"AQ"}`, `{"kty":"new"}`,
		jwk("x5u", k.p384.Public(), `"x5u":"`+elsewhere.URL+`/cert"`),
		string(private),
	)
	var log bytes.Buffer
	v := newVerifier(t, Options{JWKSURL: s.start(t), Logger: slog.New(slog.NewTextHandler(&log, nil))})
	expect(t, v, sign("RS512", k.rsa, good(), "kid", "pinned"), nil)
	expect(t, v, sign("ES384", k.p384, good(), "kid", "x5u"), nil)
	// An issuer that publishes its private key is not ours to punish, but only the public half is kept.
	expect(t, v, sign("EdDSA", k.ed, good(), "kid", "private"), nil)
	expect(t, v, sign("HS256", secret, good(), "kid", "oct"), ErrAlgorithm)
	for _, kid := range []string{"enc", "sign"} {
		expect(t, v, sign("EdDSA", k.ed, good(), "kid", kid), ErrSignature)
	}
	expect(t, v, sign("ES256", k.p256, good(), "kid", "wrong-alg"), ErrSignature)
	expect(t, v, sign("RS256", k.rsa, good(), "kid", "hmac-alg"), ErrSignature)
	expect(t, v, sign("RS256", k.rsa, good(), "kid", "pinned"), ErrSignature)
	v.Close()
	if n := strings.Count(log.String(), "ignored a key"); n < 9 {
		t.Errorf("%d of 9 ignored keys were logged:\n%s", n, log.String())
	}
	if x5u.Load() {
		t.Error("x5u was followed")
	}
	if strings.Contains(log.String(), oct) {
		t.Error("the log tells the symmetric key")
	}
}

func TestJWKSRotation(t *testing.T) {
	k, other := ours(), theirs()
	s := &issuer{}
	s.publish(jwk("1", k.ed.Public()))
	v := newVerifier(t, Options{JWKSURL: s.start(t)})
	first, second := sign("EdDSA", k.ed, good(), "kid", "1"), sign("EdDSA", other.ed, good(), "kid", "2")
	expect(t, v, first, nil)
	expect(t, v, second, ErrSignature) // the first fetch for an unknown kid
	s.publish(jwk("2", other.ed.Public()))
	expect(t, v, second, nil) // the second
	// Withdrawing a key also withdraws what was verified with it, though cached.
	expect(t, v, first, ErrSignature)
	if n := s.fetches.Load(); n != 3 {
		t.Errorf("%d fetches", n)
	}
}

// All who wait for a new key share one fetch, and all get it.
func TestJWKSConcurrentRotation(t *testing.T) {
	k, other := ours(), theirs()
	s := &issuer{}
	s.publish(jwk("1", k.ed.Public()))
	v := newVerifier(t, Options{JWKSURL: s.start(t)})
	expect(t, v, sign("EdDSA", k.ed, good(), "kid", "1"), nil)
	s.publish(jwk("1", k.ed.Public()), jwk("2", other.ed.Public()))
	token := sign("EdDSA", other.ed, good(), "kid", "2")
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			if _, err := v.Verify(t.Context(), token); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if n := s.fetches.Load(); n != 2 {
		t.Errorf("%d fetches", n)
	}
}

func TestJWKSUnknownKidsCannotFlood(t *testing.T) {
	k := ours()
	s := &issuer{}
	s.publish(jwk("1", k.ed.Public()))
	v := newVerifier(t, Options{JWKSURL: s.start(t)})
	start := time.Now()
	var all sync.WaitGroup
	for worker := range 10 {
		all.Go(func() {
			for i := range 50 {
				_, err := v.Verify(t.Context(), sign("EdDSA", k.ed, good(), "kid", fmt.Sprint("x", worker, "-", i)))
				if !errors.Is(err, ErrSignature) {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	expect(t, v, sign("EdDSA", k.ed, good(), "kid", "1"), nil)
	// The first, the burst, and what the time it took allows.
	if n, most := s.fetches.Load(), 1+jwksKickBurst+int64(time.Since(start)/jwksKickEvery); n > most {
		t.Errorf("%d fetches, at most %d are allowed", n, most)
	}
}

func TestJWKSHeadersThatPointElsewhereAreIgnored(t *testing.T) {
	k, evil := ours(), theirs()
	attacker := &issuer{}
	attacker.publish(jwk("1", evil.ed.Public()), jwk("9", evil.ed.Public()))
	url := attacker.start(t)
	s := &issuer{}
	s.publish(jwk("1", k.ed.Public()))
	v := newVerifier(t, Options{JWKSURL: s.start(t)})
	embedded := jwk("1", evil.ed.Public())
	for _, kid := range []string{"1", "9"} {
		expect(t, v, sign("EdDSA", evil.ed, good(), "kid", kid, "jku", url, "x5u", url, "jwk", embedded), ErrSignature)
	}
	expect(t, v, sign("EdDSA", k.ed, good(), "kid", "1", "jku", url), nil)
	if n := attacker.fetches.Load(); n != 0 {
		t.Errorf("the token's URLs were fetched %d times", n)
	}
}

func TestJWKSDownThenUp(t *testing.T) {
	k := ours()
	s := &issuer{}
	s.set(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }) // drops the connection
	v := newVerifier(t, Options{JWKSURL: s.start(t)})
	token := sign("EdDSA", k.ed, good(), "kid", "1")
	expect(t, v, token, ErrKeysUnavailable)
	s.fail()
	expect(t, v, sign("EdDSA", k.ed, good()), ErrKeysUnavailable)
	// What can be refused without keys is refused without keys.
	expect(t, v, "garbage", ErrMalformed)
	expect(t, v, sign("HS256", secret, good()), ErrAlgorithm)
	s.publish(jwk("1", k.ed.Public()))
	deadline := time.Now().Add(15 * time.Second)
	for {
		_, err := v.Verify(t.Context(), token)
		if err == nil {
			break
		}
		if !errors.Is(err, ErrKeysUnavailable) || time.Now().After(deadline) {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Millisecond)
	}
	s.fail()
	expect(t, v, sign("EdDSA", k.ed, good(), "kid", "1", "x", "y"), nil)
}

func TestJWKSAnswersThatAreNone(t *testing.T) {
	k := ours()
	key := jwk("1", k.ed.Public())
	many := strings.TrimSuffix(strings.Repeat(key+",", maxJWKSKeys+1), ",")
	for name, answer := range map[string]http.HandlerFunc{
		"HTML":          func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>")) },
		"other JSON":    func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`{"error":"x"}`)) },
		"null":          func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`null`)) },
		"too many keys": func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprintf(w, `{"keys":[%s]}`, many) },
		"endless": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = fmt.Fprintf(w, `{"keys":[%s]}%s`, key, strings.Repeat(" ", maxJWKSBytes))
		},
		"dropped": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"cut short": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			_, _ = fmt.Fprintf(w, `{"keys":[%s]}`, key)
		},
		"another status": func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusNotFound)
			_, _ = fmt.Fprintf(w, `{"keys":[%s]}`, key)
		},
		"a redirect": func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/moved" {
				_, _ = fmt.Fprintf(w, `{"keys":[%s]}`, key)
				return
			}
			http.Redirect(w, r, "/moved", http.StatusFound)
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := &issuer{}
			s.set(answer)
			var log bytes.Buffer
			url := strings.Replace(s.start(t), "http://", "http://user:hunter2@", 1) + "?key=hunter3"
			v := newVerifier(t, Options{JWKSURL: url, Logger: slog.New(slog.NewTextHandler(&log, nil))})
			expect(t, v, sign("EdDSA", k.ed, good(), "kid", "1"), ErrKeysUnavailable)
			v.Close()
			if text := log.String(); !strings.Contains(text, "cannot fetch the JWKS") || strings.Contains(text, "hunter") {
				t.Errorf("the log says nothing, or a password:\n%s", text)
			}
		})
	}
}

// Every key withdrawn is an answer, and not the same as no answer.
func TestJWKSWithoutKeys(t *testing.T) {
	s := &issuer{}
	s.publish()
	v := newVerifier(t, Options{JWKSURL: s.start(t)})
	expect(t, v, sign("EdDSA", ours().ed, good(), "kid", "1"), ErrSignature)
	expect(t, v, sign("EdDSA", ours().ed, good()), ErrSignature)
}
