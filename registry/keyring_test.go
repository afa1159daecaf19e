package registry

import (
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/deetoo/deetoo/invalid"
)

func keyring(t testing.TB, text string) *Keyring {
	t.Helper()
	k, err := ParseKeyring(text)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestParseKeyring(t *testing.T) {
	a, b := NewKey(), NewKey()
	for _, text := range []string{"", " \n"} {
		if k := keyring(t, text); k != nil {
			t.Errorf("%q: %v", text, k)
		}
	}
	if k := keyring(t, "b:"+b+",\n a:"+a+"\n"); k.first != "b" || len(k.keys) != 2 {
		t.Errorf("%v", k)
	}
	for text, want := range map[string]string{
		a:                               "secrets_keys must be <id>:<base64>, separated by commas; number 1 is not",
		"a:" + a + ",:" + b:             "secrets_keys must be <id>:<base64>, separated by commas; number 2 is not",
		"a b:" + a:                      "secrets_keys must be <id>:<base64>",
		"é:" + a:                        "secrets_keys must be <id>:<base64>",
		"a:":                            `secrets_keys must have base64 of 32 bytes for the key "a"`,
		"a:" + a[:20]:                   `secrets_keys must have base64 of 32 bytes for the key "a"`,
		"a:CANARY!":                     `secrets_keys must have base64 of 32 bytes for the key "a"`,
		"a:" + a + ",a:" + b:            `secrets_keys has the key "a" twice`,
		strings.Repeat("a", 33):         "secrets_keys must be",
		"a:" + a + " CANARY:" + a + "=": `secrets_keys must have base64 of 32 bytes for the key "CANARY"`,
	} {
		_, err := ParseKeyring(text)
		if _, ok := errors.AsType[*invalid.Error](err); !ok || !strings.HasPrefix(err.Error(), want) || strings.Contains(err.Error(), a) || strings.Contains(err.Error(), "CANARY!") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// reopened is a store on the same keys of Redis with another keyring.
func reopened(s *Store, k *Keyring) *Store {
	return &Store{client: s.client, ring: k, log: slog.New(slog.DiscardHandler), scripts: s.scripts, typesKey: s.typesKey, revisionKey: s.revisionKey, channel: s.channel}
}

// What is encrypted is nowhere in Redis, and reads as before; the keys can be changed one after the other.
func TestSecretsAreEncryptedAtRest(t *testing.T) {
	onEach(t, func(t *testing.T, s *Store) {
		ctx := t.Context()
		k1, k2 := "k1:"+NewKey(), "k2:"+NewKey()
		plain := put(t, s, full())
		secret := plain.Secrets[0].Value
		holds := func(want bool, name string) {
			t.Helper()
			record, err := s.record(ctx, name)
			if err != nil || record == "" {
				t.Fatal(err)
			}
			for _, text := range []string{secret, "hunter2", "hunter3"} {
				if strings.Contains(record, text) != want {
					t.Errorf("Redis holds %s: %t", text, !want)
				}
			}
			if !strings.Contains(record, `"X-Team":"a"`) {
				t.Error("what is no secret is not readable")
			}
		}
		holds(true, "email")
		one := reopened(s, keyring(t, k1))
		if got, err := one.Get(ctx, "email"); err != nil || !got.same(&plain) {
			t.Fatalf("a plain record, with keys: %v", err)
		}
		if done, err := one.Reencrypt(ctx, "email"); !done || err != nil {
			t.Fatal(done, err)
		}
		holds(false, "email")
		got, err := one.Get(ctx, "email")
		if err != nil || !got.same(&plain) || got.Version <= plain.Version || !got.Secrets[1].CreatedAt.Equal(plain.Secrets[1].CreatedAt) {
			t.Fatalf("%v, %+v", err, got.spec())
		}
		if done, err := one.Reencrypt(ctx, "email"); done || err != nil {
			t.Errorf("encrypted twice: %t, %v", done, err)
		}
		// A change that differs in nothing leaves the version alone, though each write has another nonce.
		if again, _, err := one.Put(ctx, got, PutOptions{}); err != nil || again.Version != got.Version {
			t.Errorf("%v, version %d", err, again.Version)
		}
		if changed, err := one.Patch(ctx, "email", []byte(`{"concurrency":3}`), 0); err != nil || changed.Secrets[0].Value != secret || changed.Headers["Authorization"] != "Bearer hunter2" {
			t.Errorf("%v, %v", err, changed)
		}
		holds(false, "email")

		// With the old key alone, with none, and with another of its name.
		two := reopened(s, keyring(t, k2+","+k1))
		if _, err := two.Reencrypt(ctx, "email"); err != nil {
			t.Fatal(err)
		}
		for name, other := range map[string]*Store{"the old key": one, "no key": s} {
			var missing *MissingKeyError
			if _, err := other.CheckKeys(ctx); !errors.As(err, &missing) || missing.KeyID != "k2" || !strings.Contains(err.Error(), `"k2"`) {
				t.Errorf("%s: %v", name, err)
			}
			if _, err := other.Get(ctx, "email"); !errors.As(err, &missing) {
				t.Errorf("%s: %v", name, err)
			}
		}
		wrong := reopened(s, keyring(t, "k2:"+NewKey()))
		if _, err := wrong.Get(ctx, "email"); err == nil || !strings.Contains(err.Error(), "cannot be decrypted") {
			t.Errorf("another key of its name: %v", err)
		}
		if stale, err := two.CheckKeys(ctx); err != nil || len(stale) > 0 {
			t.Error(stale, err)
		}
		if stale, err := reopened(s, keyring(t, k1+","+k2)).CheckKeys(ctx); err != nil || len(stale) != 1 || stale[0] != "email" {
			t.Error(stale, err)
		}
		if _, err := s.Reencrypt(ctx, "email"); err == nil {
			t.Error("reencrypted without a key")
		}
		if _, err := two.Reencrypt(ctx, "other"); !errors.Is(err, ErrNotFound) {
			t.Error(err)
		}
		// Types stored now are encrypted at once, those stored before can be read.
		put(t, two, func() Type { n := full(); n.Name = "new"; return n }())
		holds(false, "new")
	})
}

// An encrypted secret is of no use in another place: not in another type, not as another secret or header.
func TestEncryptedSecretsCannotBeMoved(t *testing.T) {
	k := keyring(t, "k:"+NewKey())
	a := full()
	body, err := encodeBody(k, &a)
	if err != nil {
		t.Fatal(err)
	}
	read := func(name, body string) error {
		_, err := decodeRecord(k, name, "1 2 3 r\n"+body)
		return err
	}
	if err := read("email", body); err != nil {
		t.Fatal(err)
	}
	swapped := strings.NewReplacer(a.Secrets[0].ID(), a.Secrets[1].ID(), a.Secrets[1].ID(), a.Secrets[0].ID())
	for name, err := range map[string]error{
		"another type":   read("other", body),
		"another secret": read("email", swapped.Replace(body)),
		"another header": read("email", strings.Replace(body, `"X-Api-Key":`, `"X-Api-Kez":`, 1)),
		"cut short":      read("email", strings.Replace(body, `{"id":"`+a.Secrets[0].ID()+`"},`, "", 1)),
	} {
		if err == nil {
			t.Errorf("%s: it was read", name)
		}
	}
}
