package ui

import (
	"errors"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/deetoo/deetoo/auth"
	"github.com/deetoo/deetoo/internal/strictjson"
	"github.com/deetoo/deetoo/invalid"
	"github.com/deetoo/deetoo/queue"
)

// enqueueView is the form that makes a job.
type enqueueView struct {
	Type                             string
	Like                             string // the ID of the job that it began as
	Data, ID, Title, Delay, Priority string
	Priorities                       []queue.Priority
	MaxSize                          int
	Errors                           map[string]string
	General                          string
}

func (u *UI) enqueuePage(r *request) error {
	typ := r.typ()
	if err := r.who.Require(auth.JobsWrite, typ); err != nil {
		return err
	}
	v := enqueueView{Type: typ, Data: "{}", Priority: "normal"}
	if id := r.query("like"); id != "" { // another job, to be changed and run as a new one
		j, err := u.in.Job(r.ctx, r.who, typ, id)
		if err != nil {
			return err
		}
		v.Data, v.Title, v.Priority, v.Like = pretty(j.Data).Text, j.Title, j.Priority.String(), id
		if p := pretty(j.Data); p.Cut || p.Binary {
			v.Data = string(j.Data)
		}
	}
	return u.showEnqueue(r, fiber.StatusOK, v)
}

func (u *UI) showEnqueue(r *request, status int, v enqueueView) error {
	v.Priorities, v.MaxSize = queue.Priorities(), u.in.MaxJobSize()
	return u.render(r, status, "enqueue", "New job of "+v.Type, v)
}

func (u *UI) enqueue(r *request) error {
	v := enqueueView{
		Type: r.typ(), Data: r.form.Get("data"), ID: strings.TrimSpace(r.form.Get("id")), Title: strings.TrimSpace(r.form.Get("title")),
		Delay: strings.TrimSpace(r.form.Get("delay")), Priority: r.form.Get("priority"), Errors: map[string]string{},
	}
	if err := r.who.Require(auth.JobsWrite, v.Type); err != nil {
		return err
	}
	job := v.job()
	if len(v.Errors) > 0 {
		return u.showEnqueue(r, fiber.StatusUnprocessableEntity, v)
	}
	receipts, err := u.in.Push(r.ctx, r.who, []queue.Job{job})
	if err == nil {
		err = receipts[0].Err
	}
	var bad *invalid.Error
	switch {
	case errors.As(err, &bad):
		v.note(bad)
		return u.showEnqueue(r, fiber.StatusUnprocessableEntity, v)
	case errors.Is(err, queue.ErrActive):
		v.Errors["id"] = "A job of this ID is running at the moment; it cannot be replaced until it has ended."
		return u.showEnqueue(r, fiber.StatusConflict, v)
	case errors.Is(err, queue.ErrFull):
		v.General = explain(err).Text
		return u.showEnqueue(r, fiber.StatusServiceUnavailable, v)
	case err != nil:
		return err
	}
	u.counts.forget(v.Type)
	code := "enqueued"
	if receipts[0].Replaced {
		code = "replaced"
	}
	r.flash(code, 0)
	return r.redirect(jobURL(v.Type, receipts[0].ID))
}

// job is what the form says, with every mistake noted.
func (v *enqueueView) job() queue.Job {
	data := strings.ReplaceAll(v.Data, "\r\n", "\n") // forms send line breaks so
	j := queue.Job{Type: v.Type, ID: v.ID, Title: v.Title, Data: []byte(data)}
	if strings.TrimSpace(data) == "" {
		v.Errors["data"] = "Is required: any JSON value, for instance {}."
	} else if err := strictjson.Valid([]byte(data)); err != nil {
		v.Errors["data"] = sentence(err.Error())
	}
	if v.ID != "" {
		if err := queue.ValidateID(v.ID); err != nil {
			v.noteErr(err)
		}
	}
	if v.Delay != "" {
		d, err := time.ParseDuration(v.Delay)
		if err != nil {
			v.Errors["delay"] = "Must be a duration such as 500ms, 30s or 1h30m."
		}
		j.Delay = d
	}
	p, err := queue.ParsePriority(v.Priority)
	if err != nil {
		v.Errors["priority"] = "Must be one of the list."
	}
	j.Priority = p
	return j
}

func (v *enqueueView) noteErr(err error) {
	var bad *invalid.Error
	if errors.As(err, &bad) {
		v.note(bad)
	}
}

func (v *enqueueView) note(bad *invalid.Error) {
	switch bad.Field {
	case "data", "id", "title", "delay", "priority":
		v.Errors[bad.Field] = sentence(bad.Rule)
	default:
		v.General = sentence(bad.Error())
	}
}
