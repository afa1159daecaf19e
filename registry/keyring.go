package registry

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"strings"

	"github.com/deetoo/deetoo/invalid"
)

// Keyring holds the keys that encrypt, in the store, what types keep secret: their
// signing secrets, and headers that are credentials. By AES-256-GCM, with a random nonce of 96 bits at
// each write (NIST SP 800-38D allows 2^32 of them a key), bound to the type and the
// secret's ID, or the header's name, so that nothing can be moved to another place. A nil Keyring encrypts nothing.
type Keyring struct {
	first string
	keys  map[string]cipher.AEAD
}

// ParseKeyring reads keys as "<id>:<base64 of 32 bytes>", separated by commas or
// white space. The first encrypts, and all decrypt. An ID is 1 to 32 of letters, digits, '.', '_'
// and '-'. Nothing at all is a nil Keyring. An error is an *invalid.Error, and quotes no key.
func ParseKeyring(text string) (*Keyring, error) {
	k := &Keyring{keys: map[string]cipher.AEAD{}}
	bad := func(r rune) bool { return !isAlphanumeric(r) && !strings.ContainsRune("._-", r) }
	for i, entry := range strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune(", \t\r\n", r) }) {
		id, encoded, ok := strings.Cut(entry, ":")
		if !ok || id == "" || len(id) > 32 || strings.ContainsFunc(id, bad) {
			return nil, invalid.Errorf("secrets_keys", "must be <id>:<base64>, separated by commas; number %d is not", i+1)
		}
		key, err := base64.StdEncoding.DecodeString(encoded)
		if err != nil || len(key) != 32 {
			return nil, invalid.Errorf("secrets_keys", "must have base64 of 32 bytes for the key %q", id)
		}
		if k.keys[id] != nil {
			return nil, invalid.Errorf("secrets_keys", "has the key %q twice", id)
		}
		block, err := aes.NewCipher(key)
		if err != nil {
			return nil, err
		}
		if k.keys[id], err = cipher.NewGCMWithRandomNonce(block); err != nil {
			return nil, err
		}
		if k.first == "" {
			k.first = id
		}
	}
	if k.first == "" {
		return nil, nil
	}
	return k, nil
}

// NewKey makes a key for ParseKeyring: base64 of 32 random bytes.
func NewKey() string {
	key := make([]byte, 32)
	_, _ = rand.Read(key)
	return base64.StdEncoding.EncodeToString(key)
}

// MissingKeyError says that a type is encrypted with a key that is not configured.
type MissingKeyError struct{ Type, KeyID string }

// Error names the key's ID.
func (e *MissingKeyError) Error() string {
	return fmt.Sprintf("the secrets of job type %q are encrypted with the key %q, which is not among the configured ones (--secrets-keys)", e.Type, e.KeyID)
}

// sealed is what a record has in the place of secrets and credentials. All of
// it is encrypted with one key.
type sealed struct {
	Key     string            `json:"key"`
	Secrets []string          `json:"secrets"`
	Headers map[string]string `json:"headers,omitzero"`
}

// seal moves secrets and credentials of the stored form into its sealed part.
func (k *Keyring) seal(s *stored) {
	out := &sealed{Key: k.first, Headers: map[string]string{}}
	for i, secret := range s.Secrets {
		out.Secrets = append(out.Secrets, k.encrypt(secret, boundTo(s.Name, "secret", s.SecretInfo[i].ID)))
	}
	for name, value := range s.Headers {
		if isCredential(name) {
			out.Headers[name] = k.encrypt(value, boundTo(s.Name, "header", name))
			delete(s.Headers, name)
		}
	}
	s.Secrets, s.Sealed = nil, out
}

// unseal is the reverse of seal, for the type of that name.
func (k *Keyring) unseal(name string, s *stored) error {
	in := s.Sealed
	if k == nil || k.keys[in.Key] == nil {
		return &MissingKeyError{Type: name, KeyID: in.Key}
	}
	if len(in.Secrets) != len(s.SecretInfo) {
		return fmt.Errorf("registry: the record of type %q is damaged", name)
	}
	for i, text := range in.Secrets {
		secret, ok := k.decrypt(in.Key, text, boundTo(name, "secret", s.SecretInfo[i].ID))
		if !ok {
			return undecipherable(name, in.Key)
		}
		s.Secrets = append(s.Secrets, secret)
	}
	for header, text := range in.Headers {
		value, ok := k.decrypt(in.Key, text, boundTo(name, "header", header))
		if !ok {
			return undecipherable(name, in.Key)
		}
		if s.Headers == nil {
			s.Headers = map[string]string{}
		}
		s.Headers[header] = value
	}
	return nil
}

func undecipherable(name, keyID string) error {
	return fmt.Errorf("registry: the secrets of type %q cannot be decrypted with the key %q: it is another key of that name, or the record was changed", name, keyID)
}

// boundTo is the additional data: where a text belongs. No part has a NUL.
func boundTo(typ, kind, name string) []byte {
	return []byte("deetoo\x00" + typ + "\x00" + kind + "\x00" + name)
}

func (k *Keyring) encrypt(text string, where []byte) string {
	return base64.StdEncoding.EncodeToString(k.keys[k.first].Seal(nil, nil, []byte(text), where))
}

func (k *Keyring) decrypt(keyID, text string, where []byte) (string, bool) {
	b, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return "", false
	}
	b, err = k.keys[keyID].Open(nil, nil, b, where)
	return string(b), err == nil
}
