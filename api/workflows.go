package api

import (
	"net/url"

	"github.com/gofiber/fiber/v2"

	"github.com/deetoo/deetoo/intake"
	"github.com/deetoo/deetoo/queue"
)

// workflowView is a workflow as it is now.
type workflowView struct {
	ID        string              `json:"id"`
	State     queue.WorkflowState `json:"state"`
	Total     int                 `json:"total"`
	Pending   int                 `json:"pending"`
	Succeeded int                 `json:"succeeded"`
	Dead      int                 `json:"dead"`
	Cancelled int                 `json:"cancelled"`
	CreatedAt timestamp           `json:"created_at"`
	// FinishedAt is when all jobs had ended, CompletedAt when all that follows was pushed.
	FinishedAt  timestamp         `json:"finished_at,omitzero"`
	CompletedAt timestamp         `json:"completed_at,omitzero"`
	Jobs        []workflowJobView `json:"jobs"`
	OnComplete  *followView       `json:"on_complete,omitempty"`
	OnSuccess   *followView       `json:"on_success,omitempty"`
	OnFailure   *followView       `json:"on_failure,omitempty"`
	CallbackURL string            `json:"callback_url,omitempty"`
}

// workflowJobView is a job of a workflow; its state is pending until it has ended.
type workflowJobView struct {
	Type  string `json:"type"`
	ID    string `json:"id"`
	State string `json:"state"`
	queue.WorkflowDetail
}

func viewWorkflow(w *queue.Workflow) workflowView {
	v := workflowView{
		ID: w.ID, State: w.State(), Total: len(w.Jobs), Pending: len(w.Jobs) - w.Succeeded - w.Dead - w.Cancelled,
		Succeeded: w.Succeeded, Dead: w.Dead, Cancelled: w.Cancelled,
		CreatedAt: timestamp(w.CreatedAt), FinishedAt: timestamp(w.FinishedAt), CompletedAt: timestamp(w.CompletedAt),
		Jobs:       make([]workflowJobView, len(w.Jobs)),
		OnComplete: viewFollow(w.OnComplete), OnSuccess: viewFollow(w.OnSuccess), OnFailure: viewFollow(w.OnFailure), CallbackURL: viewURL(w.CallbackURL),
	}
	for i, j := range w.Jobs {
		end := w.Ends[i]
		v.Jobs[i] = workflowJobView{Type: j.Type, ID: j.ID, State: "pending", WorkflowDetail: end.WorkflowDetail}
		if end.State != "" {
			v.Jobs[i].State = string(end.State)
		}
	}
	return v
}

func (a *API) createWorkflow(r *request) error {
	body, _, err := r.body(a.opts.MaxBatchBody, mediaJSON)
	if err != nil {
		return err
	}
	once, err := r.once(body)
	if err != nil {
		return err
	}
	key := ""
	if once != nil {
		key = once.Key
	}
	in, err := intake.DecodeWorkflow(body)
	if err != nil {
		return err
	}
	in.Traceparent = r.traceparent()
	w, created, err := a.intake.CreateWorkflow(r.ctx, r.who, key, in)
	if err != nil {
		return err
	}
	status := fiber.StatusCreated
	if !created {
		status = fiber.StatusOK
	}
	r.Response().Header.Set(fiber.HeaderLocation, "/v1/workflows/"+url.PathEscape(w.ID))
	return r.json(status, viewWorkflow(w))
}

func (a *API) getWorkflow(r *request) error {
	id, err := r.param("id")
	if err != nil {
		return err
	}
	w, err := a.intake.Workflow(r.ctx, r.who, id)
	if err != nil {
		return err
	}
	return r.json(fiber.StatusOK, viewWorkflow(w))
}
