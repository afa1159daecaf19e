package intake

import (
	"context"

	"github.com/deetoo/deetoo/auth"
	"github.com/deetoo/deetoo/queue"
	"github.com/deetoo/deetoo/registry"
)

// AddSecret gives a type another signing secret and has those there are expire. It
// returns the type and the secret, which has to be shown now or never.
func (in *Intake) AddSecret(ctx context.Context, who *auth.Identity, name string, spec registry.SecretSpec) (*registry.Type, registry.Secret, error) {
	if err := who.Require(auth.TypesWrite, name); err != nil {
		return nil, registry.Secret{}, err
	}
	t, secret, err := in.opts.Store.AddSecret(ctx, name, spec)
	if err != nil {
		return nil, registry.Secret{}, in.hideNames(who, queue.Classify(err))
	}
	return &t, secret, in.changed(ctx, t)
}

// DeleteSecret deletes a type's secret by its ID; see registry.Store.DeleteSecret.
func (in *Intake) DeleteSecret(ctx context.Context, who *auth.Identity, name, id string) (*registry.Type, error) {
	if err := who.Require(auth.TypesWrite, name); err != nil {
		return nil, err
	}
	t, err := in.opts.Store.DeleteSecret(ctx, name, id)
	if err != nil {
		return nil, in.hideNames(who, queue.Classify(err))
	}
	return &t, in.changed(ctx, t)
}

// Reencrypt writes a type anew if its secrets are not encrypted with the first of the
// configured keys, and reports whether it did.
func (in *Intake) Reencrypt(ctx context.Context, who *auth.Identity, name string) (bool, error) {
	if err := who.Require(auth.TypesWrite, name); err != nil {
		return false, err
	}
	changed, err := in.opts.Store.Reencrypt(ctx, name)
	return changed, in.hideNames(who, queue.Classify(err))
}
