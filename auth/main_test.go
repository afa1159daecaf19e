package auth

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv("AUTH_TEST_SECRET_DIR"); dir != "" {
		os.Exit(secretProcess(dir, os.Stdin, os.Stdout))
	}
	goleak.VerifyTestMain(m)
}

// now is when the tests take place.
var now = time.Unix(1_800_000_000, 0)

func clock() time.Time { return now }

var secret = []byte("0123456789abcdef0123456789abcdef")

// keyring has a private key of every kind.
type keyring struct {
	rsa              *rsa.PrivateKey
	p256, p384, p521 *ecdsa.PrivateKey
	ed               ed25519.PrivateKey
}

func newKeyring() *keyring {
	r, err := rsa.GenerateKey(rand.Reader, 2048)
	must(err)
	return &keyring{rsa: r, p256: newEC(elliptic.P256()), p384: newEC(elliptic.P384()), p521: newEC(elliptic.P521()), ed: newEd()}
}

func newEC(c elliptic.Curve) *ecdsa.PrivateKey {
	k, err := ecdsa.GenerateKey(c, rand.Reader)
	must(err)
	return k
}

func newEd() ed25519.PrivateKey {
	_, k, err := ed25519.GenerateKey(rand.Reader)
	must(err)
	return k
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// Generated once: RSA keys are slow to make.
var ours, theirs = sync.OnceValue(newKeyring), sync.OnceValue(newKeyring)

// signers says which of the keys signs with which algorithm.
func (k *keyring) signers() map[string]crypto.Signer {
	return map[string]crypto.Signer{
		"RS256": k.rsa, "RS384": k.rsa, "RS512": k.rsa, "PS256": k.rsa, "PS384": k.rsa, "PS512": k.rsa,
		"ES256": k.p256, "ES384": k.p384, "ES512": k.p521, "EdDSA": k.ed,
	}
}

// sign makes a token of any claims, right or wrong.
func sign(alg string, key any, claims map[string]any, header ...string) string {
	t := jwt.NewWithClaims(jwt.GetSigningMethod(alg), jwt.MapClaims(claims))
	for i := 0; i+1 < len(header); i += 2 {
		t.Header[header[i]] = header[i+1]
	}
	s, err := t.SignedString(key)
	must(err)
	return s
}

// signRaw makes an HS256 token of a header and a payload that need not be JSON.
func signRaw(key []byte, header, payload string) string {
	text := b64(header) + "." + b64(payload)
	sig, err := jwt.SigningMethodHS256.Sign(text, key)
	must(err)
	return text + "." + b64(string(sig))
}

func b64(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

const hs256 = `{"alg":"HS256","typ":"JWT"}`

// good are claims that are valid now.
func good() map[string]any {
	return map[string]any{"sub": "leia", "exp": now.Unix() + 3600, "scope": "jobs:write"}
}

func newVerifier(t testing.TB, o Options) *Verifier {
	t.Helper()
	if o.Clock == nil {
		o.Clock = clock
	}
	v, err := New(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(v.Close)
	return v
}

// pemFile writes a public key as PKIX.
func pemFile(t testing.TB, pub any) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		t.Fatal(err)
	}
	return writePEM(t, "PUBLIC KEY", der)
}

func writePEM(t testing.TB, kind string, der []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "key.pem")
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// quotes reports whether an error repeats any part of a token.
func quotes(err error, token string) bool {
	for part := range strings.SplitSeq(token, ".") {
		if len(part) >= 4 && strings.Contains(err.Error(), part) {
			return true
		}
	}
	return false
}
