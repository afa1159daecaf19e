package api

import (
	"github.com/gofiber/fiber/v2"

	"github.com/deetoo/deetoo/auth"
	"github.com/deetoo/deetoo/invalid"
	"github.com/deetoo/deetoo/registry"
)

func (a *API) listTypes(r *request) error {
	types, err := a.intake.Types(r.ctx, r.who)
	if err != nil {
		return err
	}
	view := struct {
		Types []registry.View `json:"types"`
	}{make([]registry.View, len(types))}
	for i, t := range types {
		view.Types[i] = viewType(r, t)
	}
	return r.json(fiber.StatusOK, view)
}

func (a *API) getType(r *request) error {
	name, err := r.typ()
	if err != nil {
		return err
	}
	t, err := a.intake.Type(r.ctx, r.who, name)
	if err != nil {
		return err
	}
	return showType(r, fiber.StatusOK, t)
}

// putType registers a type or replaces its settings. A secret made here is
// shown in this answer, and never again.
func (a *API) putType(r *request) error {
	name, err := r.typ()
	if err != nil {
		return err
	}
	body, _, err := r.body(maxSettingsBody, mediaJSON)
	if err != nil {
		return err
	}
	o, err := r.conditions()
	if err != nil {
		return err
	}
	t, created, generated, err := a.intake.PutType(r.ctx, r.who, name, body, o)
	if err != nil {
		return err
	}
	status := fiber.StatusOK
	if created {
		status = fiber.StatusCreated
	}
	if generated {
		r.Response().Header.Set(fiber.HeaderETag, etag(t.Version))
		return r.json(status, t.Reveal())
	}
	return showType(r, status, t)
}

func (a *API) patchType(r *request) error {
	name, err := r.typ()
	if err != nil {
		return err
	}
	body, _, err := r.body(maxSettingsBody, mediaMergePatch, mediaJSON)
	if err != nil {
		return err
	}
	version, err := r.ifMatch()
	if err != nil {
		return err
	}
	t, err := a.intake.PatchType(r.ctx, r.who, name, body, version)
	if err != nil {
		return err
	}
	return showType(r, fiber.StatusOK, t)
}

func (a *API) deleteType(r *request) error {
	name, err := r.typ()
	if err != nil {
		return err
	}
	version, err := r.ifMatch()
	if err != nil {
		return err
	}
	force := false
	switch r.query("force") {
	case "true":
		force = true
	case "false", "":
	default:
		return invalid.Errorf("force", "must be true or false")
	}
	if err := a.intake.DeleteType(r.ctx, r.who, name, version, force); err != nil {
		return err
	}
	return r.SendStatus(fiber.StatusNoContent)
}

// pauseType takes an optional reason, which is shown to people.
func (a *API) pauseType(r *request) error {
	name, err := r.typ()
	if err != nil {
		return err
	}
	var in struct {
		Reason string `json:"reason"`
	}
	if err := r.optional(maxSettingsBody, &in); err != nil {
		return err
	}
	t, err := a.intake.SetPaused(r.ctx, r.who, name, true, in.Reason)
	if err != nil {
		return err
	}
	return showType(r, fiber.StatusOK, t)
}

func (a *API) resumeType(r *request) error {
	name, err := r.typ()
	if err != nil {
		return err
	}
	if err := r.noBody(); err != nil {
		return err
	}
	t, err := a.intake.SetPaused(r.ctx, r.who, name, false, "")
	if err != nil {
		return err
	}
	return showType(r, fiber.StatusOK, t)
}

func showType(r *request, status int, t *registry.Type) error {
	r.Response().Header.Set(fiber.HeaderETag, etag(t.Version))
	return r.json(status, viewType(r, t))
}

// viewType is how a caller sees a type: the queries of its URLs, which may hold a
// key, are shown to those alone who may set it.
func viewType(r *request, t *registry.Type) registry.View {
	v := t.View()
	if !r.who.Can(auth.TypesWrite) {
		v.Target, v.ReconcileURL = t.RedactedTarget(), t.RedactedReconcileURL()
	}
	return v
}
