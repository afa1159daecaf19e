package webhook

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/deetoo/deetoo/dispatch"
	"github.com/deetoo/deetoo/registry"
)

// Test 1 of RFC 8032, section 7.1, as a key of Standard Webhooks: the public key must come out.
func TestKnownPublicKey(t *testing.T) {
	seed := []byte("\x9d\x61\xb1\x9d\xef\xfd\x5a\x60\xba\x84\x4a\xf4\x92\xec\x2c\xc4\x44\x49\xc5\x69\x7b\x32\x69\x19\x70\x3b\xac\x03\x1c\xae\x7f\x60")
	public := []byte("\xd7\x5a\x98\x01\x82\xb1\x0a\xb7\xd5\x4b\xfe\xd3\xc9\x64\x07\x3a\x0e\xe1\x72\xf3\xda\xa6\x23\x25\xaf\x02\x1a\x68\xf7\x07\x51\x1a")
	s := registry.Secret{Value: "whsk_" + base64.StdEncoding.EncodeToString(seed)}
	if want := "whpk_" + base64.StdEncoding.EncodeToString(public); s.PublicKey() != want {
		t.Errorf("%s, want %s", s.PublicKey(), want)
	}
}

// verifyByTheText checks a signature as the specification of Standard Webhooks says, with nothing of ours.
func verifyByTheText(public string, h http.Header, body []byte) bool {
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(public, "whpk_"))
	if err != nil || len(key) != ed25519.PublicKeySize {
		return false
	}
	message := []byte(h.Get("webhook-id") + "." + h.Get("webhook-timestamp") + "." + string(body))
	for _, s := range strings.Split(h.Get("webhook-signature"), " ") {
		version, encoded, _ := strings.Cut(s, ",")
		sig, err := base64.StdEncoding.DecodeString(encoded)
		if version == "v1a" && err == nil && ed25519.Verify(key, message, sig) {
			return true
		}
	}
	return false
}

// One delivery is signed with secrets of both kinds, each of which can be verified alone; expired ones do not sign.
func TestDeliverySignedByBothKinds(t *testing.T) {
	var h http.Header
	var body []byte
	s := serve(t, func(_ http.ResponseWriter, r *http.Request) { h = r.Header.Clone(); body, _ = io.ReadAll(r.Body) })
	now := time.Now()
	key, gone := registry.Secret{Value: registry.NewPrivateKey()}, registry.Secret{Value: registry.NewPrivateKey(), ExpiresAt: now.Add(-time.Second)}
	old := registry.Secret{Value: testSecretOld, ExpiresAt: now.Add(time.Hour)}
	typ := testType(s.URL)
	typ.Secrets = []registry.Secret{key, {Value: testSecret}, old, gone}
	clock := now
	d := newTestDeliverer(t, Options{Now: func() time.Time { return clock }})
	send := func() {
		t.Helper()
		if out, _ := d.Send(context.Background(), typ, testLease()); out.Verdict != dispatch.Done {
			t.Fatalf("%+v", out)
		}
	}
	fits := func(secret string) bool {
		hook, err := standardwebhooks.NewWebhook(secret)
		if err != nil {
			t.Fatal(err)
		}
		return hook.VerifyIgnoringTimestamp(body, h) == nil
	}
	send()
	if sigs := strings.Fields(h.Get("webhook-signature")); len(sigs) != 3 || !strings.HasPrefix(sigs[0], "v1a,") {
		t.Errorf("%v", sigs)
	}
	if !verifyByTheText(key.PublicKey(), h, body) || verifyByTheText(gone.PublicKey(), h, body) || !fits(testSecret) || !fits(testSecretOld) {
		t.Errorf("%v", h)
	}
	if err := Verify(h, body, 0, gone.PublicKey(), key.PublicKey()); err != nil {
		t.Error(err)
	}
	if err := Verify(h, body, 0, gone.PublicKey()); !errors.Is(err, ErrSignature) {
		t.Error(err)
	}
	if err := Verify(h, append(body, ' '), 0, key.PublicKey()); !errors.Is(err, ErrSignature) {
		t.Error(err)
	}
	// The overlap ends while the type stays prepared.
	clock = now.Add(2 * time.Hour)
	send()
	if len(strings.Fields(h.Get("webhook-signature"))) != 2 || fits(testSecretOld) || !fits(testSecret) || !verifyByTheText(key.PublicKey(), h, body) {
		t.Errorf("%v", h)
	}
}

func TestSignAndVerifyRefuseMalformedKeys(t *testing.T) {
	sig, err := Sign(registry.NewPrivateKey(), "id", time.Now(), nil)
	if err != nil || !strings.HasPrefix(sig, "v1a,") {
		t.Errorf("%q, %v", sig, err)
	}
	h := signedHeaders(t, "id", time.Now(), nil, registry.NewPrivateKey())
	for _, key := range []string{"whpk_", "whpk_CANARY!", "whpk_Q0FOQVJZ", registry.NewPrivateKey()} {
		if err := Verify(h, nil, 0, key); !errors.Is(err, ErrSecret) || strings.Contains(err.Error(), "CANARY") {
			t.Errorf("%q: %v", key, err)
		}
	}
	if _, err := Sign("whsk_CANARY!", "id", time.Now(), nil); !errors.Is(err, ErrSecret) || strings.Contains(err.Error(), "CANARY") {
		t.Error(err)
	}
}
