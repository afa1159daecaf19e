package api

import (
	"encoding/json"
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/deetoo/deetoo/intake"
	"github.com/deetoo/deetoo/invalid"
	"github.com/deetoo/deetoo/queue"
	"github.com/deetoo/deetoo/registry"
)

// rateView is so many jobs in so long.
type rateView struct {
	Jobs   int               `json:"jobs"`
	Period registry.Duration `json:"period"`
}

// redriveSpec is what a redrive is asked for, and how it is shown.
type redriveSpec struct {
	Fingerprint string          `json:"fingerprint,omitempty"`
	Error       string          `json:"error,omitempty"`
	Tag         string          `json:"tag,omitempty"`
	After       string          `json:"after,omitempty"`
	Before      string          `json:"before,omitempty"`
	IDs         []string        `json:"ids,omitempty"`
	Patch       json.RawMessage `json:"patch,omitempty"`
	Canary      int             `json:"canary,omitempty"`
	Rate        *rateView       `json:"rate,omitempty"`
}

// redriveView is a redrive as it is shown.
type redriveView struct {
	ID    string             `json:"id"`
	State queue.RedriveState `json:"state"`
	// Count is how many jobs it has made to wait.
	Count     int           `json:"count"`
	Canaries  *canariesView `json:"canaries,omitempty"`
	Reason    string        `json:"reason,omitempty"`
	By        string        `json:"by"`
	StartedAt timestamp     `json:"started_at"`
	UpdatedAt timestamp     `json:"updated_at"`
	Spec      redriveSpec   `json:"spec"`
}

// canariesView is how the canaries of a redrive fare.
type canariesView struct {
	Started   int `json:"started"`
	Succeeded int `json:"succeeded"`
}

func viewRedrive(r *queue.Redrive) redriveView {
	s := r.Spec
	v := redriveView{
		ID: r.ID, State: r.State, Count: r.Count, Reason: r.Reason, By: r.By, StartedAt: timestamp(r.StartedAt), UpdatedAt: timestamp(r.UpdatedAt),
		Spec: redriveSpec{Fingerprint: s.Fingerprint, Error: s.Error, Tag: s.Tag, After: shownTime(s.After), Before: shownTime(s.Before), IDs: s.IDs, Patch: s.Patch, Canary: s.Canary},
	}
	if s.Canary > 0 {
		v.Canaries = &canariesView{r.Placed, r.Succeeded}
	}
	if s.Rate.Jobs > 0 {
		v.Spec.Rate = &rateView{s.Rate.Jobs, registry.Duration(s.Rate.Period)}
	}
	return v
}

func shownTime(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	b, _ := timestamp(t).MarshalText() // it knows no error
	return string(b)
}

// redriveDead makes dead jobs wait again: 200 if that is done, 202 if it goes on.
func (a *API) redriveDead(r *request) error {
	typ, err := r.typ()
	if err != nil {
		return err
	}
	var in redriveSpec
	if err := r.optional(maxSettingsBody, &in); err != nil {
		return err
	}
	spec, err := in.spec()
	if err != nil {
		return err
	}
	redrive, err := a.intake.Redrive(r.ctx, r.who, typ, spec)
	if err != nil {
		return err
	}
	status := fiber.StatusOK
	if !redrive.State.Ended() {
		status = fiber.StatusAccepted
	}
	return r.json(status, viewRedrive(redrive))
}

func (in *redriveSpec) spec() (queue.RedriveSpec, error) {
	s := queue.RedriveSpec{
		DeadFilter: queue.DeadFilter{Fingerprint: in.Fingerprint, Error: in.Error, Tag: in.Tag},
		IDs:        in.IDs, Patch: in.Patch, Canary: in.Canary,
	}
	for _, t := range []struct {
		name, text string
		at         *time.Time
	}{{"after", in.After, &s.After}, {"before", in.Before, &s.Before}} {
		if t.text != "" {
			var err error
			if *t.at, err = intake.ParseTime(t.name, t.text); err != nil {
				return s, err
			}
		}
	}
	if in.Rate != nil {
		if in.Rate.Jobs < 1 { // which the queue takes for none at all
			return s, invalid.Errorf("rate.jobs", "must be 1 to 1000000")
		}
		s.Rate = queue.RedriveRate{Jobs: in.Rate.Jobs, Period: time.Duration(in.Rate.Period)}
	}
	return s, s.Validate()
}

// purgeDead deletes dead jobs, all or those of a filter.
func (a *API) purgeDead(r *request) error {
	typ, err := r.typ()
	if err != nil {
		return err
	}
	if err := r.noBody(); err != nil {
		return err
	}
	f, err := r.deadFilter()
	if err != nil {
		return err
	}
	n, err := a.intake.PurgeDead(r.ctx, r.who, typ, f)
	if err != nil {
		return err
	}
	return r.json(fiber.StatusOK, countView{n})
}

func (a *API) listRedrives(r *request) error {
	typ, err := r.typ()
	if err != nil {
		return err
	}
	all, err := a.intake.Redrives(r.ctx, r.who, typ)
	if err != nil {
		return err
	}
	view := struct {
		Redrives []redriveView `json:"redrives"`
	}{make([]redriveView, len(all))}
	for i := range all {
		view.Redrives[i] = viewRedrive(&all[i])
	}
	return r.json(fiber.StatusOK, view)
}

func (a *API) getRedrive(r *request) error { return a.oneRedrive(r, false) }

func (a *API) stopRedrive(r *request) error { return a.oneRedrive(r, true) }

func (a *API) oneRedrive(r *request, stop bool) error {
	typ, err := r.typ()
	if err != nil {
		return err
	}
	id, err := r.param("redrive")
	if err != nil {
		return err
	}
	do := a.intake.GetRedrive
	if stop {
		do = a.intake.StopRedrive
	}
	redrive, err := do(r.ctx, r.who, typ, id)
	if err != nil {
		return err
	}
	return r.json(fiber.StatusOK, viewRedrive(redrive))
}
