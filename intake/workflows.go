package intake

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"

	"github.com/deetoo/deetoo/auth"
	"github.com/deetoo/deetoo/internal/strictjson"
	"github.com/deetoo/deetoo/invalid"
	"github.com/deetoo/deetoo/queue"
)

// workflowInput is a workflow as producers write it.
type workflowInput struct {
	ID          *string       `json:"id"`
	Jobs        []followInput `json:"jobs"`
	OnComplete  *followInput  `json:"on_complete"`
	OnSuccess   *followInput  `json:"on_success"`
	OnFailure   *followInput  `json:"on_failure"`
	CallbackURL string        `json:"callback_url"`
}

// DecodeWorkflow reads {"id"?, "jobs": [{"type", …as DecodeJob}], "on_complete"?, "on_success"?, "on_failure"?, "callback_url"?}.
// The data of its jobs may be absent. The error is an *invalid.Error.
func DecodeWorkflow(data []byte) (*queue.Workflow, error) {
	var in workflowInput
	if err := strictjson.DecodeObject(data, &in); err != nil {
		return nil, err
	}
	if len(in.Jobs) == 0 || len(in.Jobs) > queue.MaxWorkflowJobs {
		return nil, invalid.Errorf("jobs", "must be 1 to %d", queue.MaxWorkflowJobs)
	}
	w := &queue.Workflow{CallbackURL: in.CallbackURL, Jobs: make([]queue.Job, len(in.Jobs))}
	if in.ID != nil {
		if w.ID = *in.ID; w.ID == "" {
			return nil, invalid.Errorf("id", "must be 1 to %d characters", queue.MaxWorkflowID)
		}
	}
	for i := range in.Jobs {
		job := &in.Jobs[i]
		w.Jobs[i].Type = job.Type
		err := job.fill(&w.Jobs[i])
		if err == nil && job.Type == "" {
			err = invalid.Errorf("type", "is required")
		}
		if err != nil {
			return nil, inJobs(err, i)
		}
	}
	for _, f := range []struct {
		field string
		from  *followInput
		to    **queue.Job
	}{{"on_complete", in.OnComplete, &w.OnComplete}, {"on_success", in.OnSuccess, &w.OnSuccess}, {"on_failure", in.OnFailure, &w.OnFailure}} {
		if f.from == nil {
			continue
		}
		var err error
		if *f.to, err = f.from.job(f.field); err != nil {
			return nil, err
		}
	}
	return w, nil
}

// inJobs is the error of one job of a workflow, with its field.
func inJobs(err error, i int) error {
	bad, ok := errors.AsType[*invalid.Error](err)
	if !ok {
		return err
	}
	bad = bad.In("jobs[" + strconv.Itoa(i) + "]")
	if errors.Is(err, ErrTooLarge) {
		return fmt.Errorf("%w: %w", ErrTooLarge, bad)
	}
	return bad
}

// CreateWorkflow stores a workflow and pushes its jobs: all of them, or none if anything is wrong with any. created is
// false if there was the same before, which is returned as it is now.
// With other content under its ID, the error is queue.ErrWorkflowExists.
//
// key may be an idempotency key, which makes the ID of a workflow that has none; with other content the error is queue.ErrKeyReused then.
func (in *Intake) CreateWorkflow(ctx context.Context, who *auth.Identity, key string, w *queue.Workflow) (now *queue.Workflow, created bool, err error) {
	if len(w.Jobs) > in.opts.MaxBatch {
		return nil, false, invalid.Errorf("jobs", "must be at most %d", in.opts.MaxBatch)
	}
	if err := who.Require(auth.JobsWrite, ""); err != nil {
		return nil, false, err
	}
	keyed := w.ID == "" && key != ""
	switch {
	case keyed:
		if err := ValidateKey(key); err != nil {
			return nil, false, err
		}
		sum := sha256.Sum256(fmt.Appendf(nil, "%q %q\n%s", who.Issuer(), who.Subject(), key))
		w.ID = "key-" + hex.EncodeToString(sum[:16])
	case w.ID == "":
		w.ID = in.opts.Queue.NewID()
	}
	if err := in.checkWorkflow(ctx, who, w); err != nil {
		return nil, false, err
	}
	created, err = in.opts.Queue.CreateWorkflow(ctx, w)
	if err == nil {
		_, err = in.opts.Queue.StartWorkflow(ctx, w.ID)
	}
	if errors.Is(err, queue.ErrWorkflowExists) && keyed {
		err = queue.ErrKeyReused
	}
	if err != nil {
		return nil, false, err
	}
	last := ""
	for i := range w.Jobs {
		if typ := w.Jobs[i].Type; typ != last {
			in.opts.Wake(queue.Event{Type: typ})
			last = typ
		}
	}
	now, err = in.opts.Queue.Workflow(ctx, w.ID)
	return now, created, err
}

// checkWorkflow checks each job as a push does, and what follows as that of a job.
func (in *Intake) checkWorkflow(ctx context.Context, who *auth.Identity, w *queue.Workflow) error {
	seen := map[string]bool{}
	for i := range w.Jobs {
		typ := w.Jobs[i].Type
		if err := queue.ValidateType(typ); err != nil {
			return inJobs(err, i)
		}
		if seen[typ] {
			continue
		}
		if err := in.CanPush(ctx, who, typ); err != nil {
			return inJobs(err, i)
		}
		seen[typ] = true
	}
	if err := w.Validate(); err != nil {
		return err
	}
	for i := range w.Jobs {
		err := in.Check(&w.Jobs[i])
		if err == nil {
			err = in.canFollow(ctx, who, &w.Jobs[i], seen)
		}
		if err != nil {
			return inJobs(err, i)
		}
	}
	if err := in.checkCallback("callback_url", w.CallbackURL); err != nil {
		return err
	}
	return w.CheckFollowers(func(j *queue.Job) error { return in.canFollow(ctx, who, j, seen) })
}

// Workflow returns a workflow, or queue.ErrNoWorkflow; so it is with
// those that have jobs of types that the caller does not reach.
func (in *Intake) Workflow(ctx context.Context, who *auth.Identity, id string) (*queue.Workflow, error) {
	if err := who.Require(auth.JobsRead, ""); err != nil {
		return nil, err
	}
	if err := queue.ValidateID(id); err != nil {
		return nil, err
	}
	w, err := in.opts.Queue.Workflow(ctx, id)
	if err != nil {
		return nil, err
	}
	for i := range w.Jobs {
		if !who.CanType(w.Jobs[i].Type) {
			return nil, queue.ErrNoWorkflow
		}
	}
	return w, nil
}
