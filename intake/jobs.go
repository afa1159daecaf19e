package intake

import (
	"context"
	"errors"
	"fmt"

	"github.com/deetoo/deetoo/auth"
	"github.com/deetoo/deetoo/invalid"
	"github.com/deetoo/deetoo/queue"
	"github.com/deetoo/deetoo/registry"
)

// Push stores jobs, of one type or several. It returns a receipt for each;
// the Err of a receipt is that job's own: invalid, or running under that ID at the moment.
// Other jobs of the same call are stored all the same. The error is for the
// call as a whole: nothing was stored then, but for queue.ErrFull and queue.ErrUnavailable, where
// the receipts say what is known.
func (in *Intake) Push(ctx context.Context, who *auth.Identity, jobs []queue.Job) ([]queue.Receipt, error) {
	if len(jobs) > in.opts.MaxBatch {
		return nil, errTooMany(in.opts.MaxBatch)
	}
	var last string
	for i := range jobs {
		if typ := jobs[i].Type; i == 0 || typ != last {
			if err := in.CanPush(ctx, who, typ); err != nil {
				return nil, err
			}
			last = typ
		}
	}
	chosen, err := in.sift(ctx, who, len(jobs), func(i int) (*queue.Job, error) { return &jobs[i], nil })
	if err != nil || len(chosen.jobs) == 0 {
		return chosen.receipts, err
	}
	pushed, err := in.opts.Queue.PushValid(ctx, chosen.jobs...)
	if pushed == nil && err != nil {
		return nil, err
	}
	chosen.stored(pushed)
	last = ""
	for k, r := range pushed {
		if typ := chosen.jobs[k].Type; r.Err == nil && typ != last {
			in.opts.Wake(queue.Event{Type: typ})
			last = typ
		}
	}
	return chosen.receipts, err
}

// sifted are the jobs of a call that may be stored, and the receipts of all: those of the others say why not.
type sifted struct {
	jobs     []queue.Job
	index    []int // of the jobs among the receipts
	receipts []queue.Receipt
}

// stored puts the receipts of the jobs that were pushed among the others.
func (s *sifted) stored(pushed []queue.Receipt) {
	for k, r := range pushed {
		s.receipts[s.index[k]] = r
	}
}

// sift asks of n items whether each may be stored: item returns the job, or why it is none. The error is for the call as a whole.
func (in *Intake) sift(ctx context.Context, who *auth.Identity, n int, item func(i int) (*queue.Job, error)) (sifted, error) {
	s := sifted{make([]queue.Job, 0, n), make([]int, 0, n), make([]queue.Receipt, n)}
	followed := map[string]bool{}
	for i := range n {
		j, err := item(i)
		if err == nil {
			err = in.Check(j)
		}
		if err == nil {
			if err = in.canFollow(ctx, who, j, followed); !isInvalid(err) {
				return sifted{}, err
			}
		}
		if err != nil {
			s.receipts[i] = queue.Receipt{ID: j.ID, Err: err}
			continue
		}
		s.jobs = append(s.jobs, *j)
		s.index = append(s.index, i)
	}
	return s, nil
}

// CanPush returns nil if the caller may push jobs of the type and there is such
// a type. Push asks the same; this is for those who would first have to read a large body.
func (in *Intake) CanPush(ctx context.Context, who *auth.Identity, typ string) error {
	if err := reserved("type", typ); err != nil {
		return err
	}
	_, err := in.known(ctx, who, auth.JobsWrite, typ)
	return err
}

// Check returns what is wrong with a job by itself, or as one of its type: an
// *invalid.Error, or ErrTooLarge. Push asks the same of each job.
func (in *Intake) Check(j *queue.Job) error {
	if len(j.Data) > in.opts.MaxJobSize {
		return in.tooLarge("data")
	}
	if err := j.Validate(); err != nil {
		return err
	}
	return in.checkOwn("", j)
}

// checkOwn returns what is wrong with the headers and the target that a job,
// whose field that is, has of its own. Its type has been looked up.
func (in *Intake) checkOwn(field string, j *queue.Job) error {
	if len(j.Headers) == 0 && j.Target == "" {
		return nil
	}
	t, ok := in.opts.Directory.Get(j.Type)
	if !ok {
		return &registry.NotFoundError{Name: j.Type}
	}
	err := t.CheckJob(j.Headers, j.Target)
	if err == nil && j.Target != "" {
		err = in.opts.CheckTarget(j.Target)
	}
	if bad, ok := errors.AsType[*invalid.Error](err); ok && field != "" {
		return bad.In(field)
	}
	return err
}

func (in *Intake) tooLarge(field string) error {
	return fmt.Errorf("%w: %w", ErrTooLarge, invalid.Errorf(field, "must be at most %d bytes", in.opts.MaxJobSize))
}

// Job returns a job with its data and result.
func (in *Intake) Job(ctx context.Context, who *auth.Identity, typ, id string) (*queue.Job, error) {
	if _, err := in.knownJob(ctx, who, auth.JobsRead, typ, id); err != nil {
		return nil, err
	}
	return in.opts.Queue.Get(ctx, typ, id)
}

// Attempts returns a job's history, oldest first.
func (in *Intake) Attempts(ctx context.Context, who *auth.Identity, typ, id string) ([]queue.Attempt, error) {
	if _, err := in.knownJob(ctx, who, auth.JobsRead, typ, id); err != nil {
		return nil, err
	}
	return in.opts.Queue.Attempts(ctx, typ, id)
}

// Jobs returns a page of the jobs in a state; see queue.Queue.List.
func (in *Intake) Jobs(ctx context.Context, who *auth.Identity, typ string, state queue.State, cursor string, limit int) (queue.Page, error) {
	if _, err := in.known(ctx, who, auth.JobsRead, typ); err != nil {
		return queue.Page{}, err
	}
	return in.opts.Queue.List(ctx, typ, state, cursor, limit)
}

// TaggedJobs returns a page of the jobs in a state that have a tag; see queue.Queue.ListTagged.
func (in *Intake) TaggedJobs(ctx context.Context, who *auth.Identity, typ string, state queue.State, tag, cursor string, limit int) (queue.Page, error) {
	if _, err := in.known(ctx, who, auth.JobsRead, typ); err != nil {
		return queue.Page{}, err
	}
	return in.opts.Queue.ListTagged(ctx, typ, state, tag, cursor, limit)
}

// Cancel calls a job off; see queue.Queue.Cancel.
func (in *Intake) Cancel(ctx context.Context, who *auth.Identity, typ, id string) (queue.State, error) {
	if _, err := in.knownJob(ctx, who, auth.JobsWrite, typ, id); err != nil {
		return "", err
	}
	state, err := in.opts.Queue.Cancel(ctx, typ, id)
	if err == nil && state == queue.Active {
		in.opts.Wake(queue.Event{Type: typ, Cancel: id})
	}
	return state, err
}

// Retry makes a finished or dead job wait again, or a scheduled one run now.
func (in *Intake) Retry(ctx context.Context, who *auth.Identity, typ, id string) error {
	return in.requeue(ctx, who, typ, id, in.opts.Queue.RetryNow)
}

// Promote makes a scheduled job due now.
func (in *Intake) Promote(ctx context.Context, who *auth.Identity, typ, id string) error {
	return in.requeue(ctx, who, typ, id, in.opts.Queue.Promote)
}

func (in *Intake) requeue(ctx context.Context, who *auth.Identity, typ, id string, do func(ctx context.Context, typ, id string) error) error {
	if _, err := in.knownJob(ctx, who, auth.JobsWrite, typ, id); err != nil {
		return err
	}
	if err := do(ctx, typ, id); err != nil {
		return err
	}
	in.opts.Wake(queue.Event{Type: typ})
	return nil
}

// Remove deletes a finished or dead job; see queue.Queue.Remove.
func (in *Intake) Remove(ctx context.Context, who *auth.Identity, typ, id string) error {
	if _, err := in.known(ctx, who, auth.JobsWrite, typ); err != nil {
		return err
	}
	return in.opts.Queue.Remove(ctx, typ, id)
}

// Purge deletes the jobs of a type in a state, and returns how many.
func (in *Intake) Purge(ctx context.Context, who *auth.Identity, typ string, state queue.State) (int, error) {
	if _, err := in.known(ctx, who, auth.JobsWrite, typ); err != nil {
		return 0, err
	}
	return in.opts.Queue.Purge(ctx, typ, state)
}
