package intake

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/deetoo/deetoo/auth"
	"github.com/deetoo/deetoo/invalid"
	"github.com/deetoo/deetoo/queue"
	"github.com/deetoo/deetoo/registry"
)

// isInvalid reports whether there is nothing wrong but with the job itself.
func isInvalid(err error) bool {
	_, bad := errors.AsType[*invalid.Error](err)
	return err == nil || bad
}

// canFollow checks what follows a job: the types are there, and the caller may
// push jobs of them; callbacks go where deliveries may go. seen are the types known to be all right.
// An error that is no *invalid.Error is one of the whole request.
func (in *Intake) canFollow(ctx context.Context, who *auth.Identity, j *queue.Job, seen map[string]bool) error {
	if err := in.checkCallback("callback_url", j.CallbackURL); err != nil {
		return err
	}
	if j.OnSuccess == nil && j.OnFailure == nil && len(j.Then) == 0 { // most jobs
		return nil
	}
	return j.Followers(func(field string, f *queue.Job) error {
		if err := in.checkCallback(field+".callback_url", f.CallbackURL); err != nil {
			return err
		}
		if len(f.Data) > in.opts.MaxJobSize {
			return in.tooLarge(field + ".data")
		}
		if seen[f.Type] {
			return in.checkOwn(field, f)
		}
		if err := reserved(field+".type", f.Type); err != nil {
			return err
		}
		if _, err := in.known(ctx, who, auth.JobsWrite, f.Type); err != nil {
			return err
		}
		seen[f.Type] = true
		return in.checkOwn(field, f)
	})
}

// reserved refuses jobs of types that only the dispatcher pushes.
func reserved(field, typ string) error {
	if typ == registry.CallbackType {
		return invalid.Errorf(field, "must not be %s: its jobs come from callback_url alone", registry.CallbackType)
	}
	return nil
}

func (in *Intake) checkCallback(field, url string) error {
	if url == "" {
		return nil
	}
	if err := in.opts.CheckTarget(url); err != nil {
		return invalid.Errorf(field, "cannot be called: %s", err)
	}
	return nil
}

// PushFollowUp pushes a job that follows another, once under its key; see queue.Queue.PushOnce. It is for
// the relay, so nobody's rights are asked: those of who pushed the first job were, at that time. A job of
// CallbackType has it registered. A *registry.NotFoundError says that the type has gone.
func (in *Intake) PushFollowUp(ctx context.Context, o queue.Once, j queue.Job) error {
	if err := in.followable(ctx, j.Type); err != nil {
		return err
	}
	receipts, err := in.opts.Queue.PushOnce(ctx, o, j)
	if err != nil {
		return err
	}
	if err := receipts[0].Err; err != nil {
		// Nothing was pushed, and that must not be what the next try is answered.
		return errors.Join(err, in.opts.Queue.ReleaseOnce(ctx, j.Type, o.Key, 0))
	}
	in.opts.Wake(queue.Event{Type: j.Type})
	return nil
}

func (in *Intake) followable(ctx context.Context, typ string) error {
	if _, ok := in.opts.Directory.Get(typ); ok {
		return nil
	}
	t, err := in.opts.Store.Get(ctx, typ)
	var missing *registry.NotFoundError
	switch {
	case err == nil:
		in.opts.Directory.Note(t)
		return nil
	case !errors.As(err, &missing) || typ != registry.CallbackType:
		return queue.Classify(err)
	}
	t, _, err = in.opts.Store.Update(ctx, typ, registry.PutOptions{}, func(old *registry.Type) (registry.Type, error) {
		if old != nil {
			return old.Clone(), nil
		}
		t := registry.New(typ, registry.LocalTarget)
		t.Concurrency = callbackConcurrency
		t.Description = "Delivers the callback_url of jobs of all types, each signed with the secrets of its job's type."
		return t, nil
	})
	if err != nil {
		return fmt.Errorf("type %s: %w", typ, queue.Classify(err))
	}
	return in.changed(ctx, t)
}

// callbackConcurrency is how many callbacks are delivered at once, unless the type is given another.
const callbackConcurrency = 50

// keyRest is how long the key of a push is remembered that will not be repeated, but for
// a relay that was slow.
const keyRest = 15 * time.Minute

// FollowUpDone says that PushFollowUp will not be called again for this job and key.
func (in *Intake) FollowUpDone(ctx context.Context, o queue.Once, j queue.Job) {
	// If that fails, the key is remembered for longer: nothing worse.
	_ = in.opts.Queue.ReleaseOnce(ctx, j.Type, o.Key, keyRest)
}
