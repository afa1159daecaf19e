package e2e

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// signer is an issuer's key.
type signer struct {
	id  string
	key *rsa.PrivateKey
}

func newSigner(t *testing.T, id string) signer {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return signer{id, key}
}

// claims of a good admin token, changed by more.
func claims(more jwt.MapClaims) jwt.MapClaims {
	c := jwt.MapClaims{"exp": time.Now().Add(time.Hour).Unix(), "scope": "admin"}
	for k, v := range more {
		c[k] = v
	}
	return c
}

func (k signer) sign(t *testing.T, more jwt.MapClaims) string {
	t.Helper()
	token := jwt.NewWithClaims(jwt.SigningMethodRS256, claims(more))
	token.Header["kid"] = k.id
	s, err := token.SignedString(k.key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// publicFile writes the public key as PEM.
func (k signer) publicFile(t *testing.T) (path string, content []byte) {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(&k.key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	content = pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	path = filepath.Join(t.TempDir(), "key.pem")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path, content
}

// with is the status a token gets.
func (s *server) with(token, method, path string, body any) answer {
	as := *s
	as.token = token
	return as.call(method, path, body)
}

func TestPublicKeyFile(t *testing.T) {
	t.Parallel()
	key, stranger := newSigner(t, "k"), newSigner(t, "k")
	file, public := key.publicFile(t)
	s := serve(t, []string{"DEETOO_DATA_DIR=" + t.TempDir(), "DEETOO_JWT_PUBLIC_KEY_FILE=" + file, "DEETOO_JWT_AUDIENCE=deetoo", "DEETOO_JWT_ISSUER=us"})
	ours := jwt.MapClaims{"aud": "deetoo", "iss": "us"}
	good := key.sign(t, ours)
	if a := s.with(good, "GET", "/v1/types", nil); a.status != 200 {
		t.Fatalf("a good token: %d %s", a.status, a.body)
	}
	but := func(name string, value any) jwt.MapClaims {
		c := jwt.MapClaims{"aud": "deetoo", "iss": "us"}
		c[name] = value
		return c
	}
	sign := func(method jwt.SigningMethod, key any) string {
		token, err := jwt.NewWithClaims(method, claims(ours)).SignedString(key)
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	other := "A"
	if good[len(good)/2] == 'A' {
		other = "B"
	}
	for what, token := range map[string]string{
		"none at all":              "",
		"another key":              stranger.sign(t, ours),
		"expired":                  key.sign(t, but("exp", time.Now().Add(-time.Hour).Unix())),
		"another audience":         key.sign(t, but("aud", "others")),
		"another issuer":           key.sign(t, but("iss", "others")),
		"no exp":                   key.sign(t, but("exp", nil)),
		"alg none":                 sign(jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType),
		"HS256 by the public key":  sign(jwt.SigningMethodHS256, public),
		"HS256 by the test secret": adminToken(t),
		"rubbish":                  "rubbish",
		"a changed payload":        good[:len(good)/2] + other + good[len(good)/2+1:],
	} {
		a := s.with(token, "GET", "/v1/types", nil)
		if a.status != 401 || !strings.HasPrefix(a.header.Get("WWW-Authenticate"), "Bearer") {
			t.Errorf("%s: %d %s", what, a.status, a.body)
		}
		if token != "" && token != "rubbish" && strings.Contains(string(a.body)+s.stderr.String(), token) {
			t.Errorf("%s: the answer or the log holds the token", what)
		}
	}
	if strings.Contains(s.stdout.String(), "TOKEN=") {
		t.Error("a token was printed, though only the issuer can make any")
	}
}

func TestScopesAndJobTypes(t *testing.T) {
	t.Parallel()
	key := newSigner(t, "k")
	file, _ := key.publicFile(t)
	s := serve(t, []string{"DEETOO_DATA_DIR=" + t.TempDir(), "DEETOO_JWT_PUBLIC_KEY_FILE=" + file})
	s.token = key.sign(t, nil)
	h := handle(t, nil)
	s.register("mail-a", h.url, nil)
	s.register("sms", h.url, nil)

	reader := key.sign(t, jwt.MapClaims{"scope": "jobs:read types:read"})
	for _, c := range []struct{ method, path, scope string }{
		{"POST", "/v1/types/sms/jobs", "jobs:write"}, {"PUT", "/v1/types/sms", "types:write"}, {"DELETE", "/v1/types/sms", "types:write"},
	} {
		if a := s.with(reader, c.method, c.path, spec{"data": 1}); a.status != 403 || !strings.Contains(string(a.body), c.scope) {
			t.Errorf("%s %s: %d %s", c.method, c.path, a.status, a.body)
		}
	}
	mailer := key.sign(t, jwt.MapClaims{"scope": "jobs:write", "job_types": []string{"mail-*"}})
	if a := s.with(mailer, "POST", "/v1/types/mail-a/jobs", spec{"data": 1}); a.status != 201 {
		t.Errorf("mail-a: %d %s", a.status, a.body)
	}
	for _, typ := range []string{"sms", "no-such"} { // no telling which types there are
		if a := s.with(mailer, "POST", "/v1/types/"+typ+"/jobs", spec{"data": 1}); a.status != 403 || !strings.Contains(string(a.body), typ) {
			t.Errorf("%s: %d %s", typ, a.status, a.body)
		}
	}
}

// keySet publishes keys, and counts how often it was asked.
type keySet struct {
	mu   sync.Mutex
	keys []signer
}

func (k *keySet) publish(keys ...signer) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.keys = keys
}

// ServeHTTP is http.Handler's.
func (k *keySet) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	k.mu.Lock()
	defer k.mu.Unlock()
	set := []map[string]string{}
	for _, s := range k.keys {
		set = append(set, map[string]string{
			"kty": "RSA", "use": "sig", "alg": "RS256", "kid": s.id,
			"n": base64.RawURLEncoding.EncodeToString(s.key.N.Bytes()),
			"e": base64.RawURLEncoding.EncodeToString(big.NewInt(int64(s.key.E)).Bytes()),
		})
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{"keys": set})
}

func TestJWKSRotates(t *testing.T) {
	t.Parallel()
	first, second := newSigner(t, "first"), newSigner(t, "second")
	set := &keySet{}
	set.publish(first)
	issuer := httptest.NewServer(set)
	t.Cleanup(issuer.Close)
	s := serve(t, []string{"DEETOO_DATA_DIR=" + t.TempDir(), "DEETOO_JWKS_URL=" + issuer.URL + "/keys?canary=hidden"})
	if a := s.with(first.sign(t, nil), "GET", "/v1/types", nil); a.status != 200 {
		t.Fatalf("first key: %d %s", a.status, a.body)
	}
	if a := s.with(second.sign(t, nil), "GET", "/v1/types", nil); a.status != 401 {
		t.Errorf("a key that is not published: %d %s", a.status, a.body)
	}
	set.publish(first, second)
	token := second.sign(t, nil)
	eventually(t, "the second key is known", func() bool { return s.with(token, "GET", "/v1/types", nil).status == 200 })
	// While nobody tells the keys, who shows a new one must come again later.
	issuer.Close()
	third := newSigner(t, "third")
	if a := s.with(third.sign(t, nil), "GET", "/v1/types", nil); a.status != 503 && a.status != 401 {
		t.Errorf("without an issuer: %d %s", a.status, a.body)
	}
	if a := s.with(token, "GET", "/v1/types", nil); a.status != 200 {
		t.Errorf("a known key without an issuer: %d %s", a.status, a.body)
	}
	if strings.Contains(s.stderr.String(), "canary") {
		t.Error("the query of the JWKS URL was logged")
	}
}

// A dispatcher that comes before its issuer waits for it.
func TestIssuerAwayAtStart(t *testing.T) {
	t.Parallel()
	key := newSigner(t, "k")
	set := &keySet{}
	set.publish(key)
	var up atomic.Bool
	issuer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !up.Load() {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		set.ServeHTTP(w, r)
	}))
	t.Cleanup(issuer.Close)
	s := serve(t, []string{"DEETOO_DATA_DIR=" + t.TempDir(), "DEETOO_JWKS_URL=" + issuer.URL})
	token := key.sign(t, nil)
	if a := s.with(token, "GET", "/v1/types", nil); a.status != 503 || a.header.Get("Retry-After") == "" {
		t.Errorf("%d %s", a.status, a.body)
	}
	up.Store(true)
	eventually(t, "the key is known", func() bool { return s.with(token, "GET", "/v1/types", nil).status == 200 })
}

// With no key configured there is one of our own, which outlives a restart.
func TestGeneratedKey(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	env := []string{"DEETOO_DATA_DIR=" + dir}
	s := begin(t, env)
	eventually(t, "a token is printed", func() bool { return strings.Contains(s.stdout.String(), "export TOKEN=") })
	info, err := os.Stat(filepath.Join(dir, "jwt.key"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("key: %v %v", info, err)
	}
	out, stderr, code := run(t, env, "token", "--scope", "admin", "--ttl", "1h")
	token := strings.TrimSuffix(out, "\n")
	if code != 0 || stderr != "" || strings.Count(token, ".") != 2 || strings.ContainsAny(token, " \n") {
		t.Fatalf("token: %d %q %q", code, out, stderr)
	}
	if a := s.with(token, "GET", "/v1/types", nil); a.status != 200 {
		t.Errorf("%d %s", a.status, a.body)
	}
	s.stop()
	s = begin(t, env)
	eventually(t, "it is ready", func() bool { return s.status("GET", "/readyz") == 200 })
	if a := s.with(token, "GET", "/v1/types", nil); a.status != 200 {
		t.Errorf("after a restart: %d %s", a.status, a.body)
	}
	if strings.Contains(s.stdout.String(), "export TOKEN=") {
		t.Error("a token was printed again, unasked")
	}
}
