package relay

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/deetoo/deetoo/queue"
	"github.com/deetoo/deetoo/registry"
)

// Workflows is what a relay needs to know of them.
type Workflows interface {
	// WorkflowJobEnded returns the workflow if what follows it is to be pushed now.
	WorkflowJobEnded(ctx context.Context, e *queue.Ending, detail queue.WorkflowDetail) (*queue.Workflow, error)
	WorkflowCompleted(ctx context.Context, id string) error
	// ResumeWorkflows returns those that nobody else brings to their end.
	ResumeWorkflows(ctx context.Context) ([]*queue.Workflow, error)
}

// WorkflowOutcome is what became of a workflow, as its followers and its callback are told.
type WorkflowOutcome struct {
	ID    string              `json:"id"`
	State queue.WorkflowState `json:"state"`
	// Total counts the jobs, and the others those that ended so.
	Total     int `json:"total"`
	Succeeded int `json:"succeeded"`
	Dead      int `json:"dead"`
	Cancelled int `json:"cancelled"`
	// CreatedAt and FinishedAt are by Redis's clock, RFC 3339 to the millisecond.
	CreatedAt  string `json:"created_at"`
	FinishedAt string `json:"finished_at"`
	// Jobs in the order in which they were given. Their results and errors are there as far as they fit into queue.MaxWorkflowDetails.
	Jobs []WorkflowJob `json:"jobs"`
}

// WorkflowJob is what became of a job of a workflow.
type WorkflowJob struct {
	Type  string      `json:"type"`
	ID    string      `json:"id"`
	State queue.State `json:"state"`
	queue.WorkflowDetail
}

// workflowEnvelope is the data of a job that follows a workflow.
type workflowEnvelope struct {
	Workflow WorkflowOutcome `json:"workflow"`
	Data     json.RawMessage `json:"data"`
}

func workflowOutcome(w *queue.Workflow) WorkflowOutcome {
	o := WorkflowOutcome{
		ID: w.ID, State: w.State(), Total: len(w.Jobs), Succeeded: w.Succeeded, Dead: w.Dead, Cancelled: w.Cancelled,
		CreatedAt: stamp(w.CreatedAt), FinishedAt: stamp(w.FinishedAt), Jobs: make([]WorkflowJob, len(w.Jobs)),
	}
	for i, j := range w.Jobs {
		o.Jobs[i] = WorkflowJob{Type: j.Type, ID: j.ID, State: w.Ends[i].State, WorkflowDetail: w.Ends[i].WorkflowDetail}
	}
	return o
}

// stepsAfterWorkflow says what is to be pushed now that all jobs of a workflow have ended.
func stepsAfterWorkflow(w *queue.Workflow) ([]step, error) {
	outcome := workflowOutcome(w)
	var steps []step
	add := func(which string, next queue.Job, data any) error {
		b, err := json.Marshal(data)
		if err != nil {
			return err
		}
		next.Data = b
		if next.Traceparent == "" {
			next.Traceparent = w.Traceparent
		}
		steps = append(steps, step{queue.Once{Key: "workflow:" + w.ID + ":" + which, Fingerprint: which, TTL: keyLife}, next})
		return nil
	}
	followers := map[string]*queue.Job{"on_complete": w.OnComplete, "on_failure": w.OnFailure}
	if outcome.State == queue.WorkflowSucceeded {
		followers = map[string]*queue.Job{"on_complete": w.OnComplete, "on_success": w.OnSuccess}
	}
	for which, next := range followers {
		if next != nil {
			if err := add(which, *next, workflowEnvelope{outcome, orNull(next.Data)}); err != nil {
				return nil, err
			}
		}
	}
	if w.CallbackURL == "" {
		return steps, nil
	}
	title := string(outcome.State) + ": workflow " + w.ID
	return steps, add("callback", queue.Job{
		Type: registry.CallbackType, ID: w.ID + "-callback", Target: w.CallbackURL, Title: title[:min(len(title), queue.MaxTitleLength)],
		Parent: &queue.Parent{Type: w.Jobs[0].Type, ID: w.Jobs[0].ID}, // whose type's secrets it is signed with
	}, outcome)
}

// workflowJobEnded notes the end of a job in its workflow, and pushes what follows that if it was the last.
func (r *Relay) workflowJobEnded(ctx context.Context, e *queue.Ending) error {
	if e.Job.Workflow == nil {
		return nil
	}
	w, err := r.opts.Workflows.WorkflowJobEnded(ctx, e, queue.WorkflowDetail{Result: queue.ResultJSON(e.Job.Result), Error: e.Job.LastError, Status: e.Status})
	if err != nil || w == nil {
		return err
	}
	return r.complete(ctx, w)
}

// complete pushes what follows a workflow. Others may do the same at the same time.
func (r *Relay) complete(ctx context.Context, w *queue.Workflow) error {
	steps, err := stepsAfterWorkflow(w)
	if err != nil {
		return err
	}
	var failed []error
	for _, s := range steps {
		failed = append(failed, r.opts.Pusher.PushFollowUp(ctx, s.once, s.job))
	}
	if err := errors.Join(failed...); err != nil {
		return err
	}
	return r.opts.Workflows.WorkflowCompleted(ctx, w.ID)
}

// resume brings workflows to their end whose creator died before all their jobs were pushed, or which
// nobody else will complete.
func (r *Relay) resume(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	workflows, err := r.opts.Workflows.ResumeWorkflows(ctx)
	for _, w := range workflows {
		err = errors.Join(err, r.complete(ctx, w))
	}
	if err != nil && ctx.Err() == nil {
		r.opts.Logger.Warn("workflows cannot be brought to their end; trying on", "error", err)
	}
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }
