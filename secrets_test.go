package deetoo

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/deetoo/deetoo/registry"
)

func TestSecretsOfAProgram(t *testing.T) {
	ctx := t.Context()
	d := New(WithOptions(Options{DataDir: t.TempDir(), SecretsKeys: "k:" + registry.NewKey(), Logger: slog.New(slog.DiscardHandler)}))
	if _, err := d.Types().AddSecret(ctx, "email", SecretSpec{}); !errors.Is(err, ErrNotRunning) {
		t.Error(err)
	}
	if err := d.Start(ctx); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := d.Shutdown(ctx); err != nil {
			t.Error(err)
		}
	}()
	typ, err := d.Types().Put(ctx, TypeSpec{Name: "email", Target: "https://example.org/"})
	if err != nil {
		t.Fatal(err)
	}
	first, overlap := typ.Secrets[0], registry.Duration(time.Hour)
	second, err := d.Types().AddSecret(ctx, "email", SecretSpec{Kind: registry.Ed25519, ExpiresIn: &overlap})
	if err != nil || second.Kind() != registry.Ed25519 {
		t.Fatal(second, err)
	}
	if changed, err := d.Types().Reencrypt(ctx, "email"); changed || err != nil {
		t.Errorf("encrypted before: %t, %v", !changed, err)
	}
	secrets := func() []Secret {
		t.Helper()
		typ, err := d.Types().Get(ctx, "email")
		if err != nil {
			t.Fatal(err)
		}
		return typ.Secrets
	}
	if got := secrets(); len(got) != 2 || got[1].Value != first.Value {
		t.Errorf("%v", got)
	}
	if err := d.Types().DeleteSecret(ctx, "email", second.ID()); err == nil {
		t.Error("the only secret that does not expire was deleted")
	}
	// What has expired by the store's own writes goes; what only a clock far ahead calls expired stays.
	d.dropExpired(ctx, time.Now().Add(100*24*time.Hour))
	if got := secrets(); len(got) != 2 {
		t.Errorf("%v", got)
	}
	soon := registry.Duration(time.Millisecond)
	third, err := d.Types().AddSecret(ctx, "email", SecretSpec{ExpiresIn: &soon})
	if err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(10 * time.Second); len(secrets()) > 1; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("expired secrets stay in the store")
		}
		d.dropExpired(ctx, time.Now())
	}
	if got := secrets(); got[0].Value != third.Value {
		t.Errorf("%v", got)
	}
	if err := d.Types().DeleteSecret(ctx, "email", first.ID()); !errors.Is(err, registry.ErrSecretNotFound) {
		t.Error(err)
	}
}

func TestSecretsKeysOptions(t *testing.T) {
	file := func(text string) string {
		path := filepath.Join(t.TempDir(), "keys")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	key := registry.NewKey()
	for _, o := range []Options{{SecretsKeys: "a:" + key}, {SecretsKeysFile: file("a:" + key + "\nb:" + registry.NewKey() + "\n")}} {
		if k, err := keyring(o); k == nil || err != nil {
			t.Errorf("%v", err)
		}
	}
	if k, err := keyring(Options{}); k != nil || err != nil {
		t.Errorf("%v, %v", k, err)
	}
	for want, o := range map[string]Options{
		"secrets_keys must be <id>:<base64>": {SecretsKeys: key},
		"holds no key":                       {SecretsKeysFile: file("\n")},
		`keys: secrets_keys must have base64 of 32 bytes for the key "a"`: {SecretsKeysFile: file("a:" + key[:9])},
	} {
		if _, err := keyring(o); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), key[:9]) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	if _, err := keyring(Options{SecretsKeysFile: filepath.Join(t.TempDir(), "none")}); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	if err := (Options{SecretsKeys: "a:" + key, SecretsKeysFile: "b"}).Validate(); err == nil || !strings.HasPrefix(err.Error(), "secrets_keys ") {
		t.Error(err)
	}
}
