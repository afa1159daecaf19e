package api

import (
	"strings"

	"github.com/gofiber/fiber/v2"

	"github.com/deetoo/deetoo/intake"
)

// deetoo, the Node worker, spoke this dialect: one job or an array of them as
// {"jobData", "when", "id"}, answered by 200 and "OK" once they are stored. Its
// clients look at the status, some at that word. Who asks for JSON in Accept
// gets the IDs instead.

// legacyView is the answer to those who accept JSON.
type legacyView struct {
	OK bool `json:"ok"`
	// ID is that of the job, IDs are those of an array.
	ID  string   `json:"id,omitempty"`
	IDs []string `json:"ids,omitempty"`
}

// legacyPush takes one job or an array. An array is stored only if all its jobs
// are valid, since the answer cannot say which were.
func (a *API) legacyPush(r *request) error {
	typ, err := r.typ()
	if err != nil {
		return err
	}
	if err := a.intake.CanPush(r.ctx, r.who, typ); err != nil {
		return err
	}
	body, _, err := r.body(a.opts.MaxBatchBody, mediaJSON)
	if err != nil {
		return err
	}
	if !isArray(body) {
		job, err := a.oneJob(r, typ, body, intake.DecodeLegacyJob)
		if err != nil {
			return err
		}
		receipt, err := a.push1(r, body, job)
		if err != nil {
			return err
		}
		return r.legacyOK(legacyView{ID: receipt.ID})
	}
	items, err := a.batch(r, typ, body, false, intake.DecodeLegacyJob)
	if err != nil {
		return err
	}
	for i := range items {
		if items[i].Err == nil {
			items[i].Err = a.intake.Check(&items[i].Job)
		}
		if items[i].Err != nil {
			return intake.InItem(items[i].Err, i)
		}
	}
	receipts, err := a.push(r, typ, body, items)
	if err != nil {
		return err
	}
	view := legacyView{IDs: make([]string, len(receipts))}
	for i, receipt := range receipts {
		if receipt.Err != nil {
			return receipt.Err
		}
		view.IDs[i] = receipt.ID
	}
	return r.legacyOK(view)
}

// legacyPushID takes one job under the ID in the path.
func (a *API) legacyPushID(r *request) error {
	job, body, err := a.jobOfPath(r, intake.DecodeLegacyJob)
	if err != nil {
		return err
	}
	receipt, err := a.push1(r, body, job)
	if err != nil {
		return err
	}
	return r.legacyOK(legacyView{ID: receipt.ID})
}

// legacyRemove calls a job off; deetoo deleted it.
func (a *API) legacyRemove(r *request) error {
	typ, id, err := r.typAndID()
	if err != nil {
		return err
	}
	if _, err := a.intake.Cancel(r.ctx, r.who, typ, id); err != nil {
		return err
	}
	return r.legacyOK(legacyView{ID: id})
}

func (r *request) legacyOK(v legacyView) error {
	if strings.Contains(r.Get(fiber.HeaderAccept), mediaJSON) {
		v.OK = true
		return r.json(fiber.StatusOK, v)
	}
	r.Response().SetStatusCode(fiber.StatusOK)
	r.Response().Header.SetContentType("text/plain; charset=utf-8")
	r.Response().SetBodyString("OK")
	return nil
}
