package deetoo

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/deetoo/deetoo/auth"
	"github.com/deetoo/deetoo/intake"
	"github.com/deetoo/deetoo/invalid"
	"github.com/deetoo/deetoo/queue"
)

// Jobs are the jobs of all types, as this program itself may handle them.
type Jobs struct{ d *Deetoo }

// Jobs returns the jobs. Before Start and after Shutdown its methods return ErrNotRunning.
func (d *Deetoo) Jobs() *Jobs { return &Jobs{d} }

// door is the way to the jobs and types, while it is open.
func (d *Deetoo) door() (*intake.Intake, error) {
	if !d.Running() {
		return nil, ErrNotRunning
	}
	return d.intake, nil
}

// Push stores jobs of registered types; see queue.Queue.Push. Each job's own
// error is in its receipt; the error is for the call as a whole.
func (j *Jobs) Push(ctx context.Context, jobs ...Job) ([]Receipt, error) {
	in, err := j.d.door()
	if err != nil {
		return nil, err
	}
	return in.Push(ctx, auth.System(), jobs)
}

// PushOnce is Push for jobs of one type under an idempotency key of 1 to 255
// printable ASCII characters: the first call with the key stores them, and each repetition with
// the same jobs within 24 hours, from any process, changes nothing and gets the receipts of the first, marked
// as Replayed. With other jobs it is queue.ErrKeyReused; a RunAt that is computed anew makes them others, a Delay does not.
func (j *Jobs) PushOnce(ctx context.Context, key string, jobs ...Job) ([]Receipt, error) {
	in, err := j.d.door()
	if err != nil {
		return nil, err
	}
	content, err := json.Marshal(jobs)
	if err != nil {
		return nil, fmt.Errorf("jobs: %w", err)
	}
	if len(jobs) == 0 {
		return nil, nil
	}
	items := make([]intake.Item, len(jobs))
	for i, job := range jobs {
		items[i].Job = job
		if job.Type != jobs[0].Type {
			items[i].Err = invalid.Errorf("type", "must be the same for all jobs under one key")
		}
	}
	return in.PushOnce(ctx, auth.System(), jobs[0].Type, intake.Once{Key: key, Scope: "library", Content: content}, items)
}

// Get returns a job with its data and result, or queue.ErrNotFound.
func (j *Jobs) Get(ctx context.Context, typ, id string) (*Job, error) {
	in, err := j.d.door()
	if err != nil {
		return nil, err
	}
	return in.Job(ctx, auth.System(), typ, id)
}

// Attempts returns a job's history, oldest first.
func (j *Jobs) Attempts(ctx context.Context, typ, id string) ([]queue.Attempt, error) {
	in, err := j.d.door()
	if err != nil {
		return nil, err
	}
	return in.Attempts(ctx, auth.System(), typ, id)
}

// Cancel calls a job off; see queue.Queue.Cancel.
func (j *Jobs) Cancel(ctx context.Context, typ, id string) (queue.State, error) {
	in, err := j.d.door()
	if err != nil {
		return "", err
	}
	return in.Cancel(ctx, auth.System(), typ, id)
}

// Retry makes a finished or dead job wait again.
func (j *Jobs) Retry(ctx context.Context, typ, id string) error {
	in, err := j.d.door()
	if err != nil {
		return err
	}
	return in.Retry(ctx, auth.System(), typ, id)
}

// List returns a page of the jobs of a type in a state; see queue.Queue.List.
func (j *Jobs) List(ctx context.Context, typ string, state queue.State, cursor string, limit int) (queue.Page, error) {
	in, err := j.d.door()
	if err != nil {
		return queue.Page{}, err
	}
	return in.Jobs(ctx, auth.System(), typ, state, cursor, limit)
}

// Tagged returns a page of the jobs of a type in a state that have a tag; see queue.Queue.ListTagged.
func (j *Jobs) Tagged(ctx context.Context, typ string, state queue.State, tag, cursor string, limit int) (queue.Page, error) {
	in, err := j.d.door()
	if err != nil {
		return queue.Page{}, err
	}
	return in.TaggedJobs(ctx, auth.System(), typ, state, tag, cursor, limit)
}

// DeadGroups returns a page of a type's groups of dead jobs; see queue.Queue.ListDeadGroups.
func (j *Jobs) DeadGroups(ctx context.Context, typ, cursor string, limit int) (queue.GroupPage, error) {
	in, err := j.d.door()
	if err != nil {
		return queue.GroupPage{}, err
	}
	return in.DeadGroups(ctx, auth.System(), typ, cursor, limit)
}

// Dead returns a page of the dead jobs that a filter lets through; see queue.Queue.ListDead.
func (j *Jobs) Dead(ctx context.Context, typ string, f queue.DeadFilter, cursor string, limit int) (queue.Page, error) {
	in, err := j.d.door()
	if err != nil {
		return queue.Page{}, err
	}
	return in.DeadJobs(ctx, auth.System(), typ, f, cursor, limit)
}

// ExportDead returns a page of dead jobs with all of their data; see queue.Queue.ExportDead.
func (j *Jobs) ExportDead(ctx context.Context, typ string, f queue.DeadFilter, cursor string, limit int) (jobs []queue.DeadJob, next string, err error) {
	in, err := j.d.door()
	if err != nil {
		return nil, "", err
	}
	return in.ExportDead(ctx, auth.System(), typ, f, cursor, limit)
}

// Redrive begins to make dead jobs wait again; see intake.Intake.Redrive.
func (j *Jobs) Redrive(ctx context.Context, typ string, s queue.RedriveSpec) (*queue.Redrive, error) {
	in, err := j.d.door()
	if err != nil {
		return nil, err
	}
	return in.Redrive(ctx, auth.System(), typ, s)
}

// GetRedrive returns a redrive, or queue.ErrNoRedrive.
func (j *Jobs) GetRedrive(ctx context.Context, typ, id string) (*queue.Redrive, error) {
	in, err := j.d.door()
	if err != nil {
		return nil, err
	}
	return in.GetRedrive(ctx, auth.System(), typ, id)
}

// StopRedrive stops a redrive, unless it has ended; see queue.Queue.StopRedrive.
func (j *Jobs) StopRedrive(ctx context.Context, typ, id string) (*queue.Redrive, error) {
	in, err := j.d.door()
	if err != nil {
		return nil, err
	}
	return in.StopRedrive(ctx, auth.System(), typ, id)
}

// Why says why a job is not running now, or what became of it; see intake.Why.
func (j *Jobs) Why(ctx context.Context, typ, id string) (*intake.Why, error) {
	in, err := j.d.door()
	if err != nil {
		return nil, err
	}
	return in.Why(ctx, auth.System(), typ, id)
}

// Workflow stores a group of jobs, of one registered type or several, and what is to be pushed when all of
// them have ended; see queue.Workflow. Its ID, and those of its jobs, are made if they are missing and written into w. A repetition with the same ID
// and content changes nothing, and returns the workflow as it is by then; with other content it is queue.ErrWorkflowExists.
func (j *Jobs) Workflow(ctx context.Context, w *queue.Workflow) (*queue.Workflow, error) {
	in, err := j.d.door()
	if err != nil {
		return nil, err
	}
	now, _, err := in.CreateWorkflow(ctx, auth.System(), "", w)
	return now, err
}

// GetWorkflow returns a workflow as it is now, or queue.ErrNoWorkflow: it is kept for queue.WorkflowKept after its end.
func (j *Jobs) GetWorkflow(ctx context.Context, id string) (*queue.Workflow, error) {
	in, err := j.d.door()
	if err != nil {
		return nil, err
	}
	return in.Workflow(ctx, auth.System(), id)
}
