package deetoo

import (
	"context"

	"github.com/deetoo/deetoo/auth"
	"github.com/deetoo/deetoo/intake"
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
