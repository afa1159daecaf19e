package api

import (
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/deetoo/deetoo/invalid"
	"github.com/deetoo/deetoo/queue"
	"github.com/deetoo/deetoo/registry"
)

// outageView is the state of a type's outage hold.
type outageView struct {
	// State is "open", "ramp", or "closed" if all is well.
	State  string    `json:"state"`
	Since  timestamp `json:"since,omitzero"`
	Reason string    `json:"reason,omitempty"`
	// Forced: a person opened it; Until: until then.
	Forced     bool              `json:"forced,omitempty"`
	Until      timestamp         `json:"until,omitzero"`
	Canary     string            `json:"canary,omitempty"`
	NextCanary timestamp         `json:"next_canary,omitzero"`
	Interval   registry.Duration `json:"interval,omitzero"`
	Ramp       int               `json:"ramp,omitempty"`
}

func viewOutage(o *queue.Outage) outageView {
	if o == nil {
		return outageView{State: "closed"}
	}
	v := outageView{
		State: "ramp", Since: timestamp(o.Since), Reason: o.Reason, Forced: o.Forced, Until: timestamp(o.Until),
		Canary: o.Canary, NextCanary: timestamp(o.NextCanary), Ramp: o.Ramp,
	}
	if o.Open {
		v.State, v.Interval = "open", registry.Duration(o.Interval)
	}
	return v
}

// adaptiveView is what is in force of an adaptive concurrency, and its last move.
type adaptiveView struct {
	Concurrency int       `json:"concurrency"`
	BaselineMs  float64   `json:"baseline_ms,omitempty"`
	MovedAt     timestamp `json:"moved_at,omitzero"`
	MovedFrom   int       `json:"moved_from,omitempty"`
	Reason      string    `json:"reason,omitempty"`
}

func viewAdaptive(a *queue.Adaptive) adaptiveView {
	return adaptiveView{
		Concurrency: a.Limit, BaselineMs: float64(a.Baseline) / float64(time.Millisecond), MovedAt: timestamp(a.MovedAt), MovedFrom: a.From, Reason: a.Reason,
	}
}

// holdType opens a type's outage hold by hand.
func (a *API) holdType(r *request) error {
	name, err := r.typ()
	if err != nil {
		return err
	}
	var in struct {
		Reason string             `json:"reason"`
		For    *registry.Duration `json:"for"`
	}
	if err := r.optional(maxSettingsBody, &in); err != nil {
		return err
	}
	var d time.Duration
	if in.For != nil {
		if d = time.Duration(*in.For); d < time.Millisecond {
			return invalid.Errorf("for", "must be at least 1ms, or absent: until it is closed by hand")
		}
	}
	o, err := a.intake.Hold(r.ctx, r.who, name, in.Reason, d)
	if err != nil {
		return err
	}
	return r.json(fiber.StatusOK, viewOutage(o))
}

// unholdType closes it, or ends the ramp that follows.
func (a *API) unholdType(r *request) error {
	name, err := r.typ()
	if err != nil {
		return err
	}
	if err := r.noBody(); err != nil {
		return err
	}
	o, err := a.intake.Unhold(r.ctx, r.who, name)
	if err != nil {
		return err
	}
	return r.json(fiber.StatusOK, viewOutage(o))
}
