package deetoo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/deetoo/deetoo/auth"
	"github.com/deetoo/deetoo/registry"
)

// Secret signs deliveries; see registry.Secret.
type Secret = registry.Secret

// SecretSpec is a secret to add to a type; see registry.SecretSpec.
type SecretSpec = registry.SecretSpec

// AddSecret rotates: it gives a type another signing secret, made if the spec has none, and
// has those there are expire after the spec's overlap. It returns the secret, its value included.
func (t *Types) AddSecret(ctx context.Context, name string, spec SecretSpec) (Secret, error) {
	in, err := t.d.door()
	if err != nil {
		return Secret{}, err
	}
	_, secret, err := in.AddSecret(ctx, auth.System(), name, spec)
	return secret, err
}

// DeleteSecret deletes a type's signing secret by its ID. The last one that does not
// expire is refused; the error for an ID that is not there is registry.ErrSecretNotFound.
func (t *Types) DeleteSecret(ctx context.Context, name, id string) error {
	in, err := t.d.door()
	if err != nil {
		return err
	}
	_, err = in.DeleteSecret(ctx, auth.System(), name, id)
	return err
}

// Reencrypt writes a type anew if its secrets are not encrypted with the first of
// Options.SecretsKeys, and reports whether it did.
func (t *Types) Reencrypt(ctx context.Context, name string) (bool, error) {
	in, err := t.d.door()
	if err != nil {
		return false, err
	}
	return in.Reencrypt(ctx, auth.System(), name)
}

// keyring reads the keys that the options name.
func keyring(o Options) (*registry.Keyring, error) {
	text := o.SecretsKeys
	if o.SecretsKeysFile != "" {
		b, err := os.ReadFile(o.SecretsKeysFile)
		if err != nil {
			return nil, fmt.Errorf("secrets_keys_file: %w", err)
		}
		text = string(b)
	}
	k, err := registry.ParseKeyring(text)
	switch {
	case err != nil && o.SecretsKeysFile != "":
		return nil, fmt.Errorf("%s: %w", o.SecretsKeysFile, err)
	case err == nil && k == nil && o.SecretsKeysFile != "":
		// Whoever names a file wants encryption: an empty one is a mistake.
		return nil, fmt.Errorf("secrets_keys_file: %s holds no key", o.SecretsKeysFile)
	}
	return k, err
}

// expiryEvery is how often expired secrets are looked for.
const expiryEvery = 10 * time.Minute

// dropExpiredSecrets deletes secrets from the store some time after they have expired.
// They sign nothing meanwhile; but what is of no use any more should not lie around.
func (d *Deetoo) dropExpiredSecrets(ctx context.Context) {
	every := time.NewTicker(expiryEvery)
	defer every.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-every.C:
			d.dropExpired(ctx, now)
		}
	}
}

func (d *Deetoo) dropExpired(ctx context.Context, now time.Time) {
	for _, t := range d.directory.List() {
		if !slices.ContainsFunc(t.Secrets, func(s Secret) bool { return s.Expired(now) }) {
			continue
		}
		if err := d.store.DropExpired(ctx, t.Name); err != nil && !errors.Is(err, registry.ErrNotFound) && ctx.Err() == nil {
			d.opts.Logger.Warn("expired secrets could not be deleted; trying again later", "type", t.Name, "error", err)
		}
	}
}
