package intake

import (
	"context"
	"time"

	"github.com/deetoo/deetoo/auth"
	"github.com/deetoo/deetoo/queue"
)

// Hold opens a type's outage hold by hand; the reason is for people. See queue.Hold.
func (in *Intake) Hold(ctx context.Context, who *auth.Identity, name, reason string, d time.Duration) (*queue.Outage, error) {
	if _, err := in.known(ctx, who, auth.TypesWrite, name); err != nil {
		return nil, err
	}
	if reason == "" {
		reason = "held by " + orUnknown(who.Subject())
	}
	return in.opts.Queue.Hold(ctx, name, reason, d)
}

// Unhold closes a type's outage hold, or ends the ramp that follows. See queue.Unhold.
func (in *Intake) Unhold(ctx context.Context, who *auth.Identity, name string) (*queue.Outage, error) {
	if _, err := in.known(ctx, who, auth.TypesWrite, name); err != nil {
		return nil, err
	}
	return in.opts.Queue.Unhold(ctx, name)
}
