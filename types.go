package deetoo

import (
	"context"
	"time"

	"github.com/deetoo/deetoo/auth"
	"github.com/deetoo/deetoo/queue"
	"github.com/deetoo/deetoo/registry"
)

// Type is a registered job type; see registry.Type.
type Type = registry.Type

// TypeSpec is a job type as one registers it; see registry.Spec.
type TypeSpec = registry.Spec

// Types are the job types, as this program itself may handle them.
type Types struct{ d *Deetoo }

// Types returns the job types. Before Start and after Shutdown its methods return ErrNotRunning.
func (d *Deetoo) Types() *Types { return &Types{d} }

// Put registers a webhook, or changes the settings of a type, and returns the
// type, its secrets included. Secrets and a pause that the spec does not
// mention stay; a new type without a secret gets one. A spec that differs in nothing changes nothing, so a
// program may Put its types at each start. A bad field is an *invalid.Error.
func (t *Types) Put(ctx context.Context, spec TypeSpec) (*Type, error) {
	in, err := t.d.door()
	if err != nil {
		return nil, err
	}
	if _, err := in.TypesFrom(ctx, []registry.Spec{spec}); err != nil {
		return nil, err
	}
	return in.Type(ctx, auth.System(), spec.Name)
}

// Get returns a type, its secrets included, or a *registry.NotFoundError.
func (t *Types) Get(ctx context.Context, name string) (*Type, error) {
	in, err := t.d.door()
	if err != nil {
		return nil, err
	}
	return in.Type(ctx, auth.System(), name)
}

// List returns all types, sorted by name.
func (t *Types) List(ctx context.Context) ([]*Type, error) {
	in, err := t.d.door()
	if err != nil {
		return nil, err
	}
	return in.Types(ctx, auth.System())
}

// SetPaused pauses or resumes a type; the reason is for people.
func (t *Types) SetPaused(ctx context.Context, name string, paused bool, reason string) (*Type, error) {
	in, err := t.d.door()
	if err != nil {
		return nil, err
	}
	return in.SetPaused(ctx, auth.System(), name, paused, reason)
}

// Hold opens a type's outage hold by hand, for so long (0: until Unhold), whether its
// settings have one or not: its jobs stay where they are, and those that run end as they do. Then
// one job at a time is tried. The reason is for people.
func (t *Types) Hold(ctx context.Context, name, reason string, d time.Duration) (*queue.Outage, error) {
	in, err := t.d.door()
	if err != nil {
		return nil, err
	}
	return in.Hold(ctx, auth.System(), name, reason, d)
}

// Unhold closes a type's outage hold: its concurrency rises step by step. While it does, that
// ends at once. The answer is nil if all is well then.
func (t *Types) Unhold(ctx context.Context, name string) (*queue.Outage, error) {
	in, err := t.d.door()
	if err != nil {
		return nil, err
	}
	return in.Unhold(ctx, auth.System(), name)
}

// Delete removes a type and its finished jobs. While it has others it refuses
// with queue.ErrNotEmpty, unless force is given: then they are deleted too.
func (t *Types) Delete(ctx context.Context, name string, force bool) error {
	in, err := t.d.door()
	if err != nil {
		return err
	}
	return in.DeleteType(ctx, auth.System(), name, 0, force)
}
