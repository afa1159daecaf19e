package intake

import (
	"context"

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
