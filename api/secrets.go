package api

import (
	"github.com/gofiber/fiber/v2"

	"github.com/deetoo/deetoo/registry"
)

// addedSecretView is a secret that was added, and all there are now.
type addedSecretView struct {
	registry.SecretView
	// Secret is its value, if it was made here: shown this once.
	Secret  string                `json:"secret,omitempty"`
	Secrets []registry.SecretView `json:"signing_secrets"`
}

// addSecret rotates: what is given or made signs from now on, and the others for a while yet.
func (a *API) addSecret(r *request) error {
	name, err := r.typ()
	if err != nil {
		return err
	}
	var spec registry.SecretSpec
	if err := r.optional(maxSettingsBody, &spec); err != nil {
		return err
	}
	t, secret, err := a.intake.AddSecret(r.ctx, r.who, name, spec)
	if err != nil {
		return err
	}
	view := addedSecretView{SecretView: secret.View(), Secrets: t.View().SigningSecrets}
	if spec.Secret == "" {
		view.Secret = secret.Value
	}
	r.Response().Header.Set(fiber.HeaderETag, etag(t.Version))
	return r.json(fiber.StatusCreated, view)
}

func (a *API) deleteSecret(r *request) error {
	name, err := r.typ()
	if err != nil {
		return err
	}
	id, err := r.param("secret")
	if err != nil {
		return err
	}
	if _, err := a.intake.DeleteSecret(r.ctx, r.who, name, id); err != nil {
		return err
	}
	return r.SendStatus(fiber.StatusNoContent)
}

// reencryptSecrets puts the first of the configured keys in force for a type that was stored before.
func (a *API) reencryptSecrets(r *request) error {
	name, err := r.typ()
	if err != nil {
		return err
	}
	if err := r.noBody(); err != nil {
		return err
	}
	changed, err := a.intake.Reencrypt(r.ctx, r.who, name)
	if err != nil {
		return err
	}
	return r.json(fiber.StatusOK, struct {
		Changed bool `json:"changed"`
	}{changed})
}
