package ui

import (
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/deetoo/deetoo/auth"
	"github.com/deetoo/deetoo/invalid"
	"github.com/deetoo/deetoo/schedule"
)

// scheduleView is one schedule.
type scheduleView struct {
	schedule.Schedule
	CanWrite bool
	// Ticks are the next ones, Firings what became of the last.
	Ticks   []time.Time
	Firings []schedule.Firing
	// The form: Spec is JSON; Error is of all of it.
	New         bool
	Spec, Error string
}

// When says when it ticks, as it is written.
func (v scheduleView) When() string {
	switch {
	case v.Cron != "" && v.TimeZone != "" && v.TimeZone != "UTC":
		return v.Cron + "  " + v.TimeZone
	case v.Cron != "":
		return v.Cron + "  UTC"
	}
	return "every " + duration(v.Every)
}

// nextTicks is how many ticks ahead the page of a schedule shows.
const nextTicks = 5

func (u *UI) schedulesPage(r *request) error {
	list, err := u.in.Schedules(r.ctx, r.who)
	if err != nil {
		return err
	}
	v := struct {
		Schedules []scheduleView
		CanWrite  bool
	}{CanWrite: r.who.Can(auth.SchedulesWrite)}
	for _, s := range list {
		v.Schedules = append(v.Schedules, scheduleView{Schedule: s, CanWrite: r.may(auth.SchedulesWrite, s.Type)})
	}
	return u.render(r, fiber.StatusOK, "schedules", "Schedules", v)
}

func (u *UI) schedulePage(r *request) error {
	s, err := u.in.Schedule(r.ctx, r.who, r.query("name"))
	if err != nil {
		return err
	}
	return u.showSchedule(r, fiber.StatusOK, scheduleView{Schedule: *s})
}

func (u *UI) newSchedulePage(r *request) error {
	if err := r.who.Require(auth.SchedulesWrite, ""); err != nil {
		return err
	}
	return u.showSchedule(r, fiber.StatusOK, scheduleView{New: true, Spec: "{\n  \"name\": \"nightly-report\",\n  \"type\": \"report\",\n  \"cron\": \"30 3 * * *\",\n  \"timezone\": \"Europe/Berlin\",\n  \"job\": {\"data\": {}}\n}"})
}

func (u *UI) showSchedule(r *request, status int, v scheduleView) (err error) {
	title := "New schedule"
	if !v.New {
		title = v.Name
		v.CanWrite = r.may(auth.SchedulesWrite, v.Type)
		if v.Ticks, err = u.in.NextTicks(r.ctx, r.who, v.Name, nextTicks); err != nil {
			return err
		}
		if v.Firings, err = u.in.Firings(r.ctx, r.who, v.Name); err != nil {
			return err
		}
		if v.Spec == "" {
			text, err := json.MarshalIndent(v.View().Spec, "", "  ")
			if err != nil {
				return err
			}
			v.Spec = string(text)
		}
	}
	return u.render(r, status, "schedule", title, v)
}

// saveSchedule stores what the form says: a new one, or another in the place of the one shown.
func (u *UI) saveSchedule(r *request) error {
	text, name := strings.ReplaceAll(r.form.Get("spec"), "\r\n", "\n"), r.form.Get("name")
	v := scheduleView{New: name == "", Spec: text}
	spec, err := schedule.DecodeSpec(name, []byte(text))
	if err == nil {
		opts := schedule.PutOptions{IfNoneMatch: v.New}
		if !v.New {
			old, err := u.in.Schedule(r.ctx, r.who, name)
			if err != nil {
				return err
			}
			v.Schedule, opts.IfMatch = *old, old.Version
		}
		_, _, err = u.in.PutScheduleSpec(r.ctx, r.who, spec, opts)
	}
	var bad *invalid.Error
	switch {
	case errors.As(err, &bad):
		v.Error = sentence(bad.Error())
	case v.New && errors.Is(err, schedule.ErrVersionMismatch):
		v.Error = "A schedule of this name exists."
	case err != nil:
		return err
	default:
		r.flash("saved", 0)
		return r.redirect(scheduleURL(spec.Name))
	}
	return u.showSchedule(r, fiber.StatusUnprocessableEntity, v)
}

func (u *UI) scheduleAction(verb string) handler {
	return func(r *request) (err error) {
		name, to := r.form.Get("name"), "/ui/schedules"
		switch verb {
		case "pause", "resume":
			_, err = u.in.PauseSchedule(r.ctx, r.who, name, verb == "pause")
			to = scheduleURL(name)
		case "run":
			_, err = u.in.RunSchedule(r.ctx, r.who, name)
			to = scheduleURL(name)
		case "delete":
			err = u.in.DeleteSchedule(r.ctx, r.who, name, 0)
		}
		if err != nil {
			return err
		}
		r.flash("schedule-"+verb, 0)
		return r.redirect(to)
	}
}
