package webhook

import (
	"context"

	"github.com/deetoo/deetoo/dispatch"
	"github.com/deetoo/deetoo/queue"
	"github.com/deetoo/deetoo/registry"
)

// DeliverCallback makes one attempt at a job of registry.CallbackType: it POSTs
// what became of another job, its Parent, to the callback URL that this had, which is the lease's Target. It is
// signed with the secrets of the parent's type, but has none of that type's headers: these are for its own target.
//
// The answer means what it does for any job, save that any 2xx is success, and
// that no answer says anything of other callbacks: 410 makes this one dead, and Retry-After is for this one.
func (d *Deliverer) DeliverCallback(ctx context.Context, lease *queue.Lease) (out dispatch.Outcome) {
	defer d.rescue(lease, &out)
	if lease.Parent == nil || lease.Target == "" {
		return dispatch.Outcome{Verdict: dispatch.Dead, Err: "it is no callback: only ended jobs make those"}
	}
	parent, ok := d.opts.Types.Get(lease.Parent.Type)
	if !ok {
		return dispatch.Outcome{Err: "type " + lease.Parent.Type + " is not registered any more: there is no secret to sign with"}
	}
	typ := registry.New(lease.Type, lease.Target)
	typ.Secrets, typ.Completion = parent.Secrets, registry.Sync
	if own, ok := d.opts.Types.Get(lease.Type); ok {
		typ.Timeout, typ.Retry = own.Timeout, own.Retry
	}
	out = d.attempt(ctx, &typ, lease, nil)
	out.Delay, out.RetryAfter = max(out.Delay, out.RetryAfter), 0
	if out.Verdict == dispatch.Pause {
		out.Verdict, out.Err = dispatch.Dead, "the callback URL answered 410: it is gone"
	}
	return out
}
