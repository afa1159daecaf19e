package ui

import (
	"errors"
	"slices"
	"strconv"
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/deetoo/deetoo/auth"
	"github.com/deetoo/deetoo/queue"
)

// jobView is the page of one job.
type jobView struct {
	queue.Job
	Why string
	// Fingerprint of a dead job's failure, and how many are dead of it.
	Fingerprint string
	SameFailure int
	Timeline    *timeline
	// Curl is the line that pushes it again; "" if it is too large for one.
	Curl     string
	CanPush  bool
	Attempts []attempt // newest first
	Can      map[string]bool
	// Stamp tells whether something has happened to the job.
	Stamp   string
	Changed bool
	Gone    bool
	OOB     bool
}

type attempt struct {
	queue.Attempt
	Began time.Time
	Took  time.Duration
}

// StateWord is the state as people say it.
func (v jobView) StateWord() string { return stateWord(v.State) }

// jobVerbs are what can be done with a job in a state.
func jobVerbs(s queue.State) []string {
	switch s {
	case queue.Waiting, queue.Active:
		return []string{"cancel"}
	case queue.Scheduled:
		return []string{"promote", "cancel"}
	default:
		return []string{"retry", "remove"}
	}
}

func (u *UI) jobPage(r *request) error {
	typ, id := r.typ(), r.query("id")
	why, err := u.in.Why(r.ctx, r.who, typ, id)
	if err != nil {
		return err
	}
	attempts, err := u.in.Attempts(r.ctx, r.who, typ, id)
	if err != nil {
		return err
	}
	j := why.Job
	v := jobView{
		Job: *j, Why: why.Text, Stamp: jobStamp(j), Can: map[string]bool{}, Fingerprint: why.Fingerprint, SameFailure: why.SameFailure,
		Timeline: timelineOf(j, attempts, r.now), Curl: curlOf(curlOrigin(r.origin()), j), CanPush: r.may(auth.JobsWrite, typ),
	}
	for _, a := range slices.Backward(attempts) {
		v.Attempts = append(v.Attempts, attempt{a, time.UnixMilli(a.StartedAt), time.Duration(a.Duration) * time.Millisecond})
	}
	if r.may(auth.JobsWrite, typ) {
		for _, verb := range jobVerbs(j.State) {
			v.Can[verb] = true
		}
		if j.CancelRequested {
			v.Can["cancel"] = false
		}
	}
	title := j.Title
	if title == "" {
		title = j.ID
	}
	return u.render(r, fiber.StatusOK, "job", title, v)
}

// jobLive says anew how the job does. When that has changed, the page offers
// to show it, instead of changing the buttons under somebody's finger.
func (u *UI) jobLive(r *request) (fresh, error) {
	why, err := u.in.Why(r.ctx, r.who, r.typ(), r.query("id"))
	if errors.Is(err, queue.ErrNotFound) {
		return fresh{page: "job", body: jobView{Gone: true, OOB: true}}, nil
	}
	if err != nil {
		return fresh{}, err
	}
	v := jobView{Job: *why.Job, Why: why.Text, Stamp: jobStamp(why.Job), OOB: true}
	v.Changed = v.Stamp != r.query("stamp")
	return fresh{page: "job", body: v}, nil
}

func jobStamp(j *queue.Job) string {
	s := string(j.State) + strconv.Itoa(j.Attempt) + "." + strconv.Itoa(j.Lost)
	if j.CancelRequested {
		s += "c"
	}
	return s
}

// jobData is a job's data or result as it is, to keep.
func (u *UI) jobData(r *request) error {
	j, err := u.in.Job(r.ctx, r.who, r.typ(), r.query("id"))
	if err != nil {
		return err
	}
	data, name := []byte(j.Data), "data.json"
	if r.query("of") == "result" {
		data, name = j.Result, "result"
	}
	// Never shown by the browser, whatever it may hold.
	r.c.Set(fiber.HeaderContentType, fiber.MIMEOctetStream)
	r.c.Set(fiber.HeaderContentDisposition, `attachment; filename="`+name+`"`)
	return r.c.Send(data)
}

func (u *UI) jobAction(verb string) handler {
	return func(r *request) error {
		typ, id, code := r.typ(), r.form.Get("id"), verb
		to := jobURL(typ, id)
		var err error
		switch verb {
		case "retry":
			err = u.in.Retry(r.ctx, r.who, typ, id)
		case "promote":
			err = u.in.Promote(r.ctx, r.who, typ, id)
		case "cancel":
			var was queue.State
			was, err = u.in.Cancel(r.ctx, r.who, typ, id)
			if code = "cancelled"; was == queue.Active {
				code = "cancelling"
			}
		case "remove":
			code, to = "removed", typeURL(typ)
			err = u.opts.Remove(r.ctx, r.who, typ, id)
		}
		u.counts.forget(typ)
		if err != nil {
			return err
		}
		r.flash(code, 0)
		return r.redirect(to)
	}
}
