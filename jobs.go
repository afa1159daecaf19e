package deetoo

import (
	"context"

	"github.com/deetoo/deetoo/auth"
	"github.com/deetoo/deetoo/queue"
)

// Jobs are the jobs of all types, as this program itself may handle them.
type Jobs struct{ d *Deetoo }

// Jobs returns the jobs. Use it between Start and Shutdown.
func (d *Deetoo) Jobs() *Jobs { return &Jobs{d} }

// Push stores jobs of registered types; see queue.Queue.Push. Each job's own
// error is in its receipt; the error is for the call as a whole.
func (j *Jobs) Push(ctx context.Context, jobs ...Job) ([]Receipt, error) {
	return j.d.intake.Push(ctx, auth.System(), jobs)
}

// Get returns a job with its data and result, or queue.ErrNotFound.
func (j *Jobs) Get(ctx context.Context, typ, id string) (*Job, error) {
	return j.d.intake.Job(ctx, auth.System(), typ, id)
}

// Attempts returns a job's history, oldest first.
func (j *Jobs) Attempts(ctx context.Context, typ, id string) ([]queue.Attempt, error) {
	return j.d.intake.Attempts(ctx, auth.System(), typ, id)
}

// Cancel calls a job off; see queue.Queue.Cancel.
func (j *Jobs) Cancel(ctx context.Context, typ, id string) (queue.State, error) {
	return j.d.intake.Cancel(ctx, auth.System(), typ, id)
}

// Retry makes a finished or dead job wait again.
func (j *Jobs) Retry(ctx context.Context, typ, id string) error {
	return j.d.intake.Retry(ctx, auth.System(), typ, id)
}

// List returns a page of the jobs of a type in a state; see queue.Queue.List.
func (j *Jobs) List(ctx context.Context, typ string, state queue.State, cursor string, limit int) (queue.Page, error) {
	return j.d.intake.Jobs(ctx, auth.System(), typ, state, cursor, limit)
}
