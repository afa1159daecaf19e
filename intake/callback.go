package intake

import (
	"cmp"
	"context"
	"errors"

	"github.com/deetoo/deetoo/auth"
	"github.com/deetoo/deetoo/queue"
	"github.com/deetoo/deetoo/registry"
)

// Report takes what the handler of an attempt says while it works; see
// queue.Queue.Report. Who has the attempt's callback token may, and needs no other right.
func (in *Intake) Report(ctx context.Context, typ, id, token string, r queue.Report) (queue.Answer, error) {
	if err := in.hasType(ctx, typ); err != nil {
		return queue.Answer{}, err
	}
	return in.opts.Queue.Report(ctx, typ, id, token, r)
}

// Conclude ends an attempt as its handler says; see queue.Queue.Conclude and Report.
func (in *Intake) Conclude(ctx context.Context, typ, id, token string, c queue.Conclusion) error {
	if err := in.hasType(ctx, typ); err != nil {
		return err
	}
	if err := in.opts.Queue.Conclude(ctx, typ, id, token, c); err != nil {
		return err
	}
	outcome := map[queue.Verdict]string{queue.Done: "succeeded", queue.Bury: "dead"}[c.Verdict]
	in.opts.Ended(typ, cmp.Or(outcome, "failed"))
	in.opts.Wake(queue.Event{Type: typ}) // there is a free slot
	return nil
}

// hasType returns queue.ErrEnded if there is no such type: who holds no good
// token does not learn which types there are.
func (in *Intake) hasType(ctx context.Context, typ string) error {
	_, err := in.known(ctx, auth.System(), auth.JobsWrite, typ)
	if missing := (*registry.NotFoundError)(nil); errors.As(err, &missing) {
		return queue.ErrEnded
	}
	return err
}
