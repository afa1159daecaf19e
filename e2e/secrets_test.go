package e2e

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

// signedBy checks a delivery against a public key, as the specification of Standard Webhooks says.
func (d delivery) signedBy(public string) bool {
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(public, "whpk_"))
	if err != nil || len(key) != ed25519.PublicKeySize {
		return false
	}
	message := d.header.Get("webhook-id") + "." + d.header.Get("webhook-timestamp") + "." + string(d.body)
	for _, s := range strings.Fields(d.header.Get("webhook-signature")) {
		sig, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(s, "v1a,"))
		if err == nil && strings.HasPrefix(s, "v1a,") && ed25519.Verify(key, []byte(message), sig) {
			return true
		}
	}
	return false
}

// fits reports whether a delivery was signed with an HMAC secret.
func (d delivery) fits(t testing.TB, secret string) bool {
	t.Helper()
	hook, err := standardwebhooks.NewWebhook(secret)
	if err != nil {
		t.Fatal(err)
	}
	return hook.VerifyIgnoringTimestamp(d.body, d.header) == nil
}

// onDisk reports whether a text is in a file of a folder.
func onDisk(t testing.TB, dir, text string) (found bool) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		found = found || strings.Contains(string(b), text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// Secrets are rotated by the command line, sign side by side, are not on the disk, and outlive a change of the key.
func TestSecretsRotateAndAreEncrypted(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	key := func(id string) string {
		out, stderr, code := run(t, nil, "types", "new-key", id)
		if code != 0 {
			t.Fatal(stderr)
		}
		return strings.TrimSpace(out)
	}
	k1, k2 := key("k1"), key("k2")
	with := func(keys string) []string { return append(inDir(dir), "DEETOO_SECRETS_KEYS="+keys) }
	h := handle(t, nil)
	s := serve(t, with(k1))
	first := s.register("email", h.url, spec{"headers": spec{"authorization": "Bearer hunter2"}})
	var second struct {
		ID, Secret string
		PublicKey  string `json:"public_key"`
	}
	if err := json.Unmarshal([]byte(s.ok("types", "rotate-secret", "email", "--kind=ed25519", "--expires-in=1h")), &second); err != nil || !strings.HasPrefix(second.Secret, "whsk_") {
		t.Fatalf("%+v, %v", second, err)
	}
	delivers := func(n int) delivery {
		t.Helper()
		s.push("email", spec{"data": n})
		d := h.awaits(t, n)
		if d.header.Get("Authorization") != "Bearer hunter2" {
			t.Errorf("delivery %d: %v", n, d.header)
		}
		return d
	}
	if d := delivers(1); !d.signedBy(second.PublicKey) || !d.fits(t, first) {
		t.Errorf("%v", d.header)
	}
	if shown := s.ok("types", "show", "email"); strings.Contains(shown, second.Secret) || strings.Contains(shown, first) || !strings.Contains(shown, second.PublicKey) || !strings.Contains(shown, "expires_at") {
		t.Errorf("%s", shown)
	}
	s.stop()
	for _, text := range []string{first, second.Secret, "hunter2", strings.TrimPrefix(k1, "k1:")} {
		if onDisk(t, dir, text) || strings.Contains(s.stderr.String(), text) {
			t.Errorf("%.10s… is on the disk, or in the log", text)
		}
	}

	// Without the key nothing starts, and it says which one is missing.
	for name, env := range map[string][]string{"no key": inDir(dir), "another key": with(k2)} {
		_, stderr, code := run(t, append(env, "DEETOO_LISTEN=127.0.0.1:0"), "serve")
		if code == 0 || !strings.Contains(stderr, `"k1"`) && !strings.Contains(stderr, `\"k1\"`) || strings.Contains(stderr, strings.TrimPrefix(k2, "k2:")) {
			t.Errorf("%s: exit code %d, %s", name, code, stderr)
		}
	}
	s = serve(t, with(k2+","+k1))
	s.logs("not encrypted with the first key")
	if out := s.ok("types", "reencrypt"); !strings.Contains(out, "1 were not before") {
		t.Errorf("%s", out)
	}
	if out := s.ok("types", "reencrypt"); !strings.Contains(out, "0 were not before") {
		t.Errorf("%s", out)
	}
	s.stop()
	s = serve(t, with(k2))
	if d := delivers(2); !d.signedBy(second.PublicKey) || !d.fits(t, first) {
		t.Errorf("%v", d.header)
	}
	// A secret of one's own, in a file; and the others are called off at once.
	file := filepath.Join(t.TempDir(), "secret")
	own := "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
	if err := os.WriteFile(file, []byte(own+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if out := s.ok("types", "rotate-secret", "email", "--secret-file", file); strings.Contains(out, own) {
		t.Errorf("it is printed: %s", out)
	}
	s.ok("types", "delete-secret", "email", second.ID)
	if d := delivers(3); d.signedBy(second.PublicKey) || !d.fits(t, first) || !d.fits(t, own) {
		t.Errorf("%v", d.header)
	}
	if _, stderr, code := s.command("types", "delete-secret", "email", second.ID); code == 0 || !strings.Contains(stderr, "secret not found") {
		t.Errorf("deleted twice: %d, %s", code, stderr)
	}
}
