package api

import (
	"github.com/gofiber/fiber/v2"

	"github.com/deetoo/deetoo/intake"
	"github.com/deetoo/deetoo/queue"
)

// stateView is what became of a job.
type stateView struct {
	ID              string      `json:"id"`
	State           queue.State `json:"state"`
	CancelRequested bool        `json:"cancel_requested"`
}

// countView is how many jobs something was done to.
type countView struct {
	Count int `json:"count"`
}

func (a *API) getJob(r *request) error {
	typ, id, err := r.typAndID()
	if err != nil {
		return err
	}
	job, err := a.intake.Job(r.ctx, r.who, typ, id)
	if err != nil {
		return err
	}
	return r.json(fiber.StatusOK, viewJob(job))
}

func (a *API) listJobs(r *request) error {
	typ, err := r.typ()
	if err != nil {
		return err
	}
	state, err := r.state(queue.Waiting)
	if err != nil {
		return err
	}
	limit, err := r.limit()
	if err != nil {
		return err
	}
	var page queue.Page
	if print := r.query("fingerprint"); print == "" {
		page, err = a.intake.TaggedJobs(r.ctx, r.who, typ, state, r.query("tag"), r.query("cursor"), limit)
	} else if err = checkDeadOnly(state, print); err == nil {
		page, err = a.intake.DeadJobs(r.ctx, r.who, typ, queue.DeadFilter{Fingerprint: print, Tag: r.query("tag")}, r.query("cursor"), limit)
	}
	if err != nil {
		return err
	}
	view := struct {
		Jobs       []jobView `json:"jobs"`
		NextCursor string    `json:"next_cursor,omitempty"`
	}{make([]jobView, len(page.Jobs)), page.Next}
	for i := range page.Jobs {
		view.Jobs[i] = viewJob(&page.Jobs[i])
	}
	return r.json(fiber.StatusOK, view)
}

// cancelJob answers 200 when the job is cancelled, and 202 when it is running
// and has been told.
func (a *API) cancelJob(r *request) error {
	typ, id, err := r.typAndID()
	if err != nil {
		return err
	}
	state, err := a.intake.Cancel(r.ctx, r.who, typ, id)
	if err != nil {
		return err
	}
	if state == queue.Active {
		return r.json(fiber.StatusAccepted, stateView{ID: id, State: state, CancelRequested: true})
	}
	return r.json(fiber.StatusOK, stateView{ID: id, State: state})
}

func (a *API) retryJob(r *request) error {
	typ, id, err := r.typAndID()
	if err != nil {
		return err
	}
	if err := r.noBody(); err != nil {
		return err
	}
	if err := a.intake.Retry(r.ctx, r.who, typ, id); err != nil {
		return err
	}
	return r.json(fiber.StatusOK, stateView{ID: id, State: queue.Waiting})
}

func (a *API) promoteJob(r *request) error {
	typ, id, err := r.typAndID()
	if err != nil {
		return err
	}
	if err := r.noBody(); err != nil {
		return err
	}
	if err := a.intake.Promote(r.ctx, r.who, typ, id); err != nil {
		return err
	}
	return r.json(fiber.StatusOK, stateView{ID: id, State: queue.Waiting})
}

func (a *API) listAttempts(r *request) error {
	typ, id, err := r.typAndID()
	if err != nil {
		return err
	}
	attempts, err := a.intake.Attempts(r.ctx, r.who, typ, id)
	if err != nil {
		return err
	}
	view := struct {
		Attempts []attemptView `json:"attempts"`
	}{make([]attemptView, len(attempts))}
	for i, at := range attempts {
		view.Attempts[i] = viewAttempt(at)
	}
	return r.json(fiber.StatusOK, view)
}

func (a *API) explainJob(r *request) error {
	typ, id, err := r.typAndID()
	if err != nil {
		return err
	}
	why, err := a.intake.Why(r.ctx, r.who, typ, id)
	if err != nil {
		return err
	}
	return r.json(fiber.StatusOK, viewWhy(why))
}

func (a *API) purgeJobs(r *request) error {
	state, err := r.state("")
	if err != nil {
		return err
	}
	return a.purge(r, state)
}

func (a *API) purge(r *request, state queue.State) error {
	typ, err := r.typ()
	if err != nil {
		return err
	}
	if err := r.noBody(); err != nil {
		return err
	}
	n, err := a.intake.Purge(r.ctx, r.who, typ, state)
	if err != nil {
		return err
	}
	return r.json(fiber.StatusOK, countView{n})
}

func (a *API) typeStats(r *request) error {
	typ, err := r.typ()
	if err != nil {
		return err
	}
	s, err := a.intake.Stats(r.ctx, r.who, typ)
	if err != nil {
		return err
	}
	return r.json(fiber.StatusOK, viewStats(intake.TypeStats{Type: typ, Stats: s}))
}

func (a *API) allStats(r *request) error {
	stats, err := a.intake.AllStats(r.ctx, r.who)
	if err != nil {
		return err
	}
	view := struct {
		Types []statsView `json:"types"`
	}{make([]statsView, len(stats))}
	for i, s := range stats {
		view.Types[i] = viewStats(s)
	}
	return r.json(fiber.StatusOK, view)
}
