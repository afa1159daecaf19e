package dispatch

import (
	"context"
	"time"
)

// Redriver makes a step of a type's redrives, and returns how long until the
// next; negative: none goes on. *queue.Queue's StepRedrives is one.
type Redriver func(ctx context.Context, typ string) (time.Duration, error)

// redrive makes the step that this lane was told to make. If it fails, or this
// process dies, somebody is told again.
func (l *lane) redrive() {
	if l.d.opts.Redrive == nil || l.stopping() {
		return
	}
	ctx, cancel := context.WithTimeout(l.d.life, l.patience())
	next, err := l.d.opts.Redrive(ctx, l.name)
	cancel()
	if err != nil {
		l.log().Warn("a step of a redrive failed; it will be made again", "error", err)
		return
	}
	if at := time.Now().Add(next); next >= 0 && at.Before(l.lookAt) {
		l.lookAt = at
	}
}
