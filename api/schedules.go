package api

import (
	"strconv"

	"github.com/gofiber/fiber/v2"

	"github.com/deetoo/deetoo/invalid"
	"github.com/deetoo/deetoo/schedule"
)

func (a *API) listSchedules(r *request) error {
	all, err := a.intake.Schedules(r.ctx, r.who)
	if err != nil {
		return err
	}
	view := struct {
		Schedules []schedule.View `json:"schedules"`
	}{make([]schedule.View, len(all))}
	for i := range all {
		view.Schedules[i] = all[i].View()
	}
	return r.json(fiber.StatusOK, view)
}

func (a *API) getSchedule(r *request) error {
	name, err := r.param("name")
	if err != nil {
		return err
	}
	s, err := a.intake.Schedule(r.ctx, r.who, name)
	if err != nil {
		return err
	}
	return showSchedule(r, fiber.StatusOK, s)
}

func (a *API) putSchedule(r *request) error {
	name, err := r.param("name")
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
	s, created, err := a.intake.PutSchedule(r.ctx, r.who, name, body, o)
	if err != nil {
		return err
	}
	status := fiber.StatusOK
	if created {
		status = fiber.StatusCreated
	}
	return showSchedule(r, status, s)
}

func (a *API) patchSchedule(r *request) error {
	name, err := r.param("name")
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
	s, err := a.intake.PatchSchedule(r.ctx, r.who, name, body, version)
	if err != nil {
		return err
	}
	return showSchedule(r, fiber.StatusOK, s)
}

func (a *API) deleteSchedule(r *request) error {
	name, err := r.param("name")
	if err != nil {
		return err
	}
	version, err := r.ifMatch()
	if err != nil {
		return err
	}
	if err := a.intake.DeleteSchedule(r.ctx, r.who, name, version); err != nil {
		return err
	}
	return r.SendStatus(fiber.StatusNoContent)
}

func (a *API) pauseSchedule(r *request) error  { return a.setSchedulePaused(r, true) }
func (a *API) resumeSchedule(r *request) error { return a.setSchedulePaused(r, false) }

func (a *API) setSchedulePaused(r *request, paused bool) error {
	name, err := r.param("name")
	if err != nil {
		return err
	}
	if err := r.noBody(); err != nil {
		return err
	}
	s, err := a.intake.PauseSchedule(r.ctx, r.who, name, paused)
	if err != nil {
		return err
	}
	return showSchedule(r, fiber.StatusOK, s)
}

// runSchedule answers with the receipt of the job, as a push does.
func (a *API) runSchedule(r *request) error {
	name, err := r.param("name")
	if err != nil {
		return err
	}
	if err := r.noBody(); err != nil {
		return err
	}
	receipt, err := a.intake.RunSchedule(r.ctx, r.who, name)
	if err != nil {
		return err
	}
	return r.json(fiber.StatusCreated, viewReceipt(receipt))
}

func (a *API) nextTicks(r *request) error {
	name, err := r.param("name")
	if err != nil {
		return err
	}
	n := 10
	if text := r.query("n"); text != "" {
		if n, err = strconv.Atoi(text); err != nil {
			return invalid.Errorf("n", "must be a whole number")
		}
	}
	ticks, err := a.intake.NextTicks(r.ctx, r.who, name, n)
	if err != nil {
		return err
	}
	view := struct {
		Next []timestamp `json:"next"`
	}{make([]timestamp, len(ticks))}
	for i, at := range ticks {
		view.Next[i] = timestamp(at)
	}
	return r.json(fiber.StatusOK, view)
}

// firingView is what became of a tick.
type firingView struct {
	Tick    timestamp        `json:"tick"`
	Until   timestamp        `json:"until,omitzero"`
	At      timestamp        `json:"at"`
	Outcome schedule.Outcome `json:"outcome"`
	Type    string           `json:"type,omitempty"`
	Job     string           `json:"job,omitempty"`
	Manual  bool             `json:"manual"`
	Error   string           `json:"error,omitempty"`
}

func (a *API) listFirings(r *request) error {
	name, err := r.param("name")
	if err != nil {
		return err
	}
	all, err := a.intake.Firings(r.ctx, r.who, name)
	if err != nil {
		return err
	}
	view := struct {
		Firings []firingView `json:"firings"`
	}{make([]firingView, len(all))}
	for i, f := range all {
		view.Firings[i] = firingView{
			Tick: timestamp(f.Tick), Until: timestamp(f.Until), At: timestamp(f.At), Outcome: f.Outcome,
			Type: f.Type, Job: f.Job, Manual: f.Manual, Error: f.Error,
		}
	}
	return r.json(fiber.StatusOK, view)
}

func showSchedule(r *request, status int, s *schedule.Schedule) error {
	r.Response().Header.Set(fiber.HeaderETag, etag(s.Version))
	return r.json(status, s.View())
}
