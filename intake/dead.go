package intake

import (
	"context"
	"time"

	"github.com/deetoo/deetoo/auth"
	"github.com/deetoo/deetoo/queue"
)

// DeadJobs returns a page of the dead jobs that a filter lets through; see queue.Queue.ListDead.
func (in *Intake) DeadJobs(ctx context.Context, who *auth.Identity, typ string, f queue.DeadFilter, cursor string, limit int) (queue.Page, error) {
	if _, err := in.known(ctx, who, auth.JobsRead, typ); err != nil {
		return queue.Page{}, err
	}
	return in.opts.Queue.ListDead(ctx, typ, f, cursor, limit)
}

// DeadGroups returns a page of the groups of dead jobs; see queue.Queue.ListDeadGroups.
func (in *Intake) DeadGroups(ctx context.Context, who *auth.Identity, typ, cursor string, limit int) (queue.GroupPage, error) {
	if _, err := in.known(ctx, who, auth.JobsRead, typ); err != nil {
		return queue.GroupPage{}, err
	}
	return in.opts.Queue.ListDeadGroups(ctx, typ, cursor, limit)
}

// ExportDead returns a page of dead jobs with all of their data; see queue.Queue.ExportDead.
func (in *Intake) ExportDead(ctx context.Context, who *auth.Identity, typ string, f queue.DeadFilter, cursor string, limit int) (jobs []queue.DeadJob, next string, err error) {
	if _, err := in.known(ctx, who, auth.JobsRead, typ); err != nil {
		return nil, "", err
	}
	return in.opts.Queue.ExportDead(ctx, typ, f, cursor, limit)
}

// PurgeDead deletes the dead jobs that a filter lets through, and returns how many.
func (in *Intake) PurgeDead(ctx context.Context, who *auth.Identity, typ string, f queue.DeadFilter) (int, error) {
	if _, err := in.known(ctx, who, auth.JobsWrite, typ); err != nil {
		return 0, err
	}
	return in.opts.Queue.PurgeDead(ctx, typ, f)
}

// redrivePatience is how long Redrive goes on itself before it leaves the rest to the dispatchers.
const redrivePatience = 5 * time.Second

// Redrive begins to make dead jobs of a type wait again. Some thousands, without
// canaries and rate, all do when it returns; with more the dispatchers go on. queue.ErrRedriving.
func (in *Intake) Redrive(ctx context.Context, who *auth.Identity, typ string, s queue.RedriveSpec) (*queue.Redrive, error) {
	if _, err := in.known(ctx, who, auth.JobsWrite, typ); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, redrivePatience)
	defer cancel()
	r, err := in.opts.Queue.StartRedrive(ctx, typ, s, orUnknown(who.Subject()))
	in.opts.Wake(queue.Event{Type: typ})
	return r, err
}

// Redrives returns a type's redrives, the latest first; see queue.Queue.Redrives.
func (in *Intake) Redrives(ctx context.Context, who *auth.Identity, typ string) ([]queue.Redrive, error) {
	if _, err := in.known(ctx, who, auth.JobsRead, typ); err != nil {
		return nil, err
	}
	return in.opts.Queue.Redrives(ctx, typ)
}

// GetRedrive returns a redrive, or queue.ErrNoRedrive.
func (in *Intake) GetRedrive(ctx context.Context, who *auth.Identity, typ, id string) (*queue.Redrive, error) {
	if _, err := in.known(ctx, who, auth.JobsRead, typ); err != nil {
		return nil, err
	}
	return in.opts.Queue.GetRedrive(ctx, typ, id)
}

// StopRedrive stops a redrive, unless it has ended; see queue.Queue.StopRedrive.
func (in *Intake) StopRedrive(ctx context.Context, who *auth.Identity, typ, id string) (*queue.Redrive, error) {
	if _, err := in.known(ctx, who, auth.JobsWrite, typ); err != nil {
		return nil, err
	}
	return in.opts.Queue.StopRedrive(ctx, typ, id, orUnknown(who.Subject()))
}
