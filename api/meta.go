package api

import "github.com/gofiber/fiber/v2"

// healthz says that the process answers. It asks nobody else: a store that is
// away is no reason to restart this.
func (a *API) healthz(r *request) error {
	return r.json(fiber.StatusOK, struct {
		Status  string `json:"status"`
		Version string `json:"version"`
	}{"ok", a.opts.Version})
}

// readyz says that requests can be served: the store answers, the types are loaded.
func (a *API) readyz(r *request) error {
	if err := a.intake.Ready(r.ctx); err != nil {
		return err
	}
	return r.json(fiber.StatusOK, struct {
		Status string `json:"status"`
	}{"ready"})
}

// openAPI answers with the contract.
func (a *API) openAPI(r *request) error {
	r.Response().Header.SetContentType("application/yaml")
	r.Response().SetBodyRaw(a.opts.Spec)
	return nil
}
