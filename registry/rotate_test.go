package registry

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/deetoo/deetoo/invalid"
)

func TestRotateSecret(t *testing.T) {
	onEach(t, func(t *testing.T, s *Store) {
		ctx := t.Context()
		first := put(t, s, New("a", "http://x.test/")).Secrets[0]
		typ, second, err := s.AddSecret(ctx, "a", SecretSpec{})
		if err != nil || len(typ.Secrets) != 2 || typ.Secrets[0].Value != second.Value || typ.Secrets[1].Value != first.Value || second.Value == first.Value {
			t.Fatalf("%v, %v", typ.Secrets, err)
		}
		if left := time.Until(typ.Secrets[1].ExpiresAt); left < 23*time.Hour || left > 24*time.Hour || !second.ExpiresAt.IsZero() || time.Since(second.CreatedAt) > time.Hour {
			t.Errorf("the old one expires in %v; %v", left, second.View())
		}
		// What expires earlier still does; what expires later no longer.
		hour := duration(time.Hour)
		typ, third, err := s.AddSecret(ctx, "a", SecretSpec{Kind: Ed25519, ExpiresIn: hour})
		if err != nil || len(typ.Secrets) != 3 || third.Kind() != Ed25519 || !strings.HasPrefix(third.PublicKey(), "whpk_") {
			t.Fatalf("%v, %v", typ.Secrets, err)
		}
		for _, old := range typ.Secrets[1:] {
			if left := time.Until(old.ExpiresAt); left > time.Hour || left < 59*time.Minute {
				t.Errorf("%v expires in %v", old, left)
			}
		}
		shown := string(must(json.Marshal(typ)))
		for _, secret := range typ.Secrets {
			if strings.Contains(shown, secret.Value) || !strings.Contains(shown, secret.ID()) || strings.Contains(fmt.Sprintf("%v %+v %#v", secret, typ, typ), secret.Value) {
				t.Errorf("shown: %s", shown)
			}
		}
		if !strings.Contains(shown, third.PublicKey()) {
			t.Errorf("no public key: %s", shown)
		}
		// Everything of it is kept, and nothing of it changes with other settings.
		read, err := s.Get(ctx, "a")
		if err != nil || !read.same(&typ) {
			t.Errorf("%v, %v", read.Secrets, err)
		}
		if patched, err := s.Patch(ctx, "a", []byte(`{"concurrency":3}`), 0); err != nil || !sameSecrets(patched.Secrets, typ.Secrets) || !patched.Secrets[0].CreatedAt.Equal(third.CreatedAt) {
			t.Errorf("%v, %v", patched.Secrets, err)
		}
		// One that is there becomes the newest.
		typ, again, err := s.AddSecret(ctx, "a", SecretSpec{Secret: first.Value})
		if err != nil || len(typ.Secrets) != 3 || again.Value != first.Value || !again.ExpiresAt.IsZero() || !again.CreatedAt.Equal(first.CreatedAt) {
			t.Errorf("%v, %v", typ.Secrets, err)
		}
		// At once.
		typ, fourth, err := s.AddSecret(ctx, "a", SecretSpec{ExpiresIn: duration(0)})
		if err != nil || len(typ.Secrets) != 1 || typ.Secrets[0].Value != fourth.Value {
			t.Errorf("%v, %v", typ.Secrets, err)
		}
		for range 4 {
			if _, _, err := s.AddSecret(ctx, "a", SecretSpec{}); err != nil {
				t.Fatal(err)
			}
		}
		if _, _, err := s.AddSecret(ctx, "a", SecretSpec{}); err == nil || !strings.Contains(err.Error(), "one too many") {
			t.Error(err)
		}
		if _, _, err := s.AddSecret(ctx, "b", SecretSpec{}); !errors.Is(err, ErrNotFound) {
			t.Error(err)
		}
	})
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestSecretSpecBounds(t *testing.T) {
	for _, tc := range []struct {
		spec SecretSpec
		want string
	}{
		{SecretSpec{Kind: "rsa"}, "kind must be hmac or ed25519"},
		{SecretSpec{Kind: HMAC, Secret: someSecret}, "kind must not be given together"},
		{SecretSpec{Secret: "hunter2"}, `secret must be "whsec_"`},
		{SecretSpec{Secret: "whsk_aHVudGVyMg=="}, `secret must be "whsk_"`},
		{SecretSpec{ExpiresIn: duration(-1)}, "expires_in must be 0s to 8760h"},
		{SecretSpec{ExpiresIn: duration(366 * day)}, "expires_in must be 0s to 8760h"},
	} {
		_, _, err := tc.spec.resolve()
		if _, ok := errors.AsType[*invalid.Error](err); !ok || !strings.HasPrefix(err.Error(), tc.want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%v", err)
		}
	}
}

func TestPrivateKeys(t *testing.T) {
	whole := NewPrivateKey()
	key := privateKey(whole)
	if key == nil || secretRule(whole) != "" {
		t.Fatal("a new key is not valid")
	}
	seed := privatePrefix + encode(key.Seed())
	if secretRule(seed) != "" || (Secret{Value: seed}).PublicKey() != (Secret{Value: whole}).PublicKey() {
		t.Error("the seed alone is another key")
	}
	other := privateKey(NewPrivateKey())
	for name, value := range map[string]string{
		"halves that do not fit": privatePrefix + encode(append(key.Seed(), other[32:]...)),
		"too short":              privatePrefix + encode(key[:31]),
		"too long":               privatePrefix + encode(append(key[:64:64], 0)),
		"not base64":             privatePrefix + "!",
		"a public key":           (Secret{Value: whole}).PublicKey(),
	} {
		if secretRule(value) == "" {
			t.Errorf("%s is accepted", name)
		}
	}
}

func TestDeleteSecret(t *testing.T) {
	onEach(t, func(t *testing.T, s *Store) {
		ctx := t.Context()
		first := put(t, s, New("a", "http://x.test/")).Secrets[0]
		_, second, err := s.AddSecret(ctx, "a", SecretSpec{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.DeleteSecret(ctx, "a", second.ID()); err == nil || !strings.HasPrefix(err.Error(), "id is that of the only secret") {
			t.Errorf("the only one that stays: %v", err)
		}
		if typ, err := s.DeleteSecret(ctx, "a", first.ID()); err != nil || len(typ.Secrets) != 1 || typ.Secrets[0].Value != second.Value {
			t.Errorf("%v, %v", typ.Secrets, err)
		}
		for _, id := range []string{first.ID(), "", "ffffffff", second.Value} {
			if _, err := s.DeleteSecret(ctx, "a", id); !errors.Is(err, ErrSecretNotFound) {
				t.Errorf("%q: %v", id, err)
			}
		}
		if _, err := s.DeleteSecret(ctx, "b", second.ID()); !errors.Is(err, ErrNotFound) {
			t.Error(err)
		}
	})
}

// An expired secret is not shown, and the next write deletes it.
func TestExpiredSecretsGo(t *testing.T) {
	onEach(t, func(t *testing.T, s *Store) {
		ctx := t.Context()
		put(t, s, New("a", "http://x.test/"))
		typ, second, err := s.AddSecret(ctx, "a", SecretSpec{ExpiresIn: duration(300 * time.Millisecond)})
		if err != nil || len(typ.Secrets) != 2 {
			t.Fatal(typ.Secrets, err)
		}
		eventually(t, "the old one is not shown", func() bool { return len(typ.View().SigningSecrets) == 1 })
		if v := typ.View(); v.SigningSecrets[0].ID != second.ID() || len(v.SecretFingerprints) != 1 {
			t.Errorf("%+v", v)
		}
		if err := s.DropExpired(ctx, "a"); err != nil {
			t.Fatal(err)
		}
		now, err := s.Get(ctx, "a")
		if err != nil || len(now.Secrets) != 1 || now.Secrets[0].Value != second.Value {
			t.Errorf("%v, %v", now.Secrets, err)
		}
		if err := s.DropExpired(ctx, "a"); err != nil {
			t.Fatal(err)
		}
		if again, err := s.Get(ctx, "a"); err != nil || again.Version != now.Version {
			t.Errorf("it was written for nothing: %v", err)
		}
	})
}

// A record of before that was kept has no times, and gets none by itself.
func TestSecretsOfOldRecords(t *testing.T) {
	s := storeOn(t, inProcess(t))
	body := `{"name":"a","target":"http://x.test/","secrets":["` + someSecret + `"]}`
	if _, err := s.runPut(t.Context(), "a", 0, "r", body); err != nil {
		t.Fatal(err)
	}
	old, err := s.Get(t.Context(), "a")
	if err != nil || len(old.Secrets) != 1 || old.Secrets[0].Value != someSecret || !old.Secrets[0].CreatedAt.IsZero() {
		t.Fatal(old.Secrets, err)
	}
	now, err := s.Patch(t.Context(), "a", []byte(`{"concurrency":3}`), 0)
	if err != nil || now.Secrets[0] != old.Secrets[0] {
		t.Errorf("%v, %v", now.Secrets, err)
	}
}

func encode(b []byte) string { return base64.StdEncoding.EncodeToString(b) }
