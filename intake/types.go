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

// Type returns a job type.
func (in *Intake) Type(ctx context.Context, who *auth.Identity, name string) (*registry.Type, error) {
	if err := who.Require(auth.TypesRead, name); err != nil {
		return nil, err
	}
	// From Redis: who has just changed it elsewhere wants to see that.
	t, err := in.opts.Store.Get(ctx, name)
	if err != nil {
		return nil, in.hideNames(who, queue.Classify(err))
	}
	return &t, nil
}

// Types lists the job types the caller reaches, sorted by name.
func (in *Intake) Types(ctx context.Context, who *auth.Identity) ([]*registry.Type, error) {
	if err := who.Require(auth.TypesRead, ""); err != nil {
		return nil, err
	}
	var out []*registry.Type
	for _, t := range in.opts.Directory.List() {
		if who.CanType(t.Name) {
			out = append(out, t)
		}
	}
	return out, nil
}

// TypeToTest returns a job type whose target the caller may send data to, as a test.
func (in *Intake) TypeToTest(ctx context.Context, who *auth.Identity, name string, data []byte) (*registry.Type, error) {
	if len(data) > in.opts.MaxJobSize {
		return nil, in.tooLarge("data")
	}
	return in.known(ctx, who, auth.TypesWrite, name)
}

// PutType registers a type or replaces its settings; spec is the JSON that
// registry.DecodeSpec reads. It returns the type, whether it is new, and
// whether its secret was generated and so has to be shown now or never.
func (in *Intake) PutType(ctx context.Context, who *auth.Identity, name string, spec []byte, opts registry.PutOptions) (t *registry.Type, created, generated bool, err error) {
	if err := who.Require(auth.TypesWrite, name); err != nil {
		return nil, false, false, err
	}
	s, err := registry.DecodeSpec(name, spec)
	if err != nil {
		return nil, false, false, err
	}
	if err := in.checkURLs(s); err != nil {
		return nil, false, false, err
	}
	stored, created, err := in.opts.Store.PutSpec(ctx, s, opts)
	if err != nil {
		return nil, false, false, queue.Classify(err)
	}
	return &stored, created, created && !s.HasSecret(), in.changed(ctx, stored)
}

// PatchType applies a JSON merge patch (RFC 7396) to a type's settings.
func (in *Intake) PatchType(ctx context.Context, who *auth.Identity, name string, patch []byte, ifMatch int64) (*registry.Type, error) {
	if err := who.Require(auth.TypesWrite, name); err != nil {
		return nil, err
	}
	if s, err := registry.DecodeSpec(name, patch); err == nil {
		if err := in.checkURLs(s); err != nil {
			return nil, err
		}
	}
	stored, err := in.opts.Store.Patch(ctx, name, patch, ifMatch)
	if err != nil {
		return nil, in.hideNames(who, queue.Classify(err))
	}
	return &stored, in.changed(ctx, stored)
}

// SetPaused pauses or resumes a type; the reason is for people.
func (in *Intake) SetPaused(ctx context.Context, who *auth.Identity, name string, paused bool, reason string) (*registry.Type, error) {
	if err := who.Require(auth.TypesWrite, name); err != nil {
		return nil, err
	}
	if reason == "" && paused {
		reason = "paused by " + orUnknown(who.Subject())
	}
	t, err := in.setPaused(ctx, name, paused, reason)
	return t, in.hideNames(who, err)
}

// PauseGone pauses a type whose endpoint said that it is gone. It is for the
// dispatcher, so nobody's rights are asked.
func (in *Intake) PauseGone(ctx context.Context, name, reason string) error {
	_, err := in.setPaused(ctx, name, true, reason)
	return err
}

func (in *Intake) setPaused(ctx context.Context, name string, paused bool, reason string) (*registry.Type, error) {
	stored, err := in.opts.Store.SetPaused(ctx, name, paused, reason)
	if err != nil {
		return nil, queue.Classify(err)
	}
	return &stored, in.changed(ctx, stored)
}

// DeleteType removes a type and its queue. While jobs are waiting, scheduled,
// running or dead, or schedules push to it, it refuses with queue.ErrNotEmpty, unless force is given:
// then the jobs are deleted too, and the schedules stay, whose ticks fail.
func (in *Intake) DeleteType(ctx context.Context, who *auth.Identity, name string, ifMatch int64, force bool) error {
	if err := who.Require(auth.TypesWrite, name); err != nil {
		return err
	}
	if !force {
		s, err := in.opts.Queue.Stats(ctx, name)
		if err != nil {
			return err
		}
		if n := s.Waiting + s.Scheduled + s.Active + s.Dead; n > 0 {
			return fmt.Errorf("%w: %d waiting, %d scheduled, %d running, %d dead", queue.ErrNotEmpty, s.Waiting, s.Scheduled, s.Active, s.Dead)
		}
		if err := in.noSchedules(ctx, name); err != nil {
			return err
		}
	}
	if err := in.opts.Store.Delete(ctx, name, ifMatch); err != nil {
		return in.hideNames(who, queue.Classify(err))
	}
	in.opts.Directory.Forget(name)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), applyTimeout)
	defer cancel()
	// A push may have come in between: those jobs stay, and are there again if
	// the type is registered anew.
	if err := in.opts.Queue.Destroy(ctx, name, force); err != nil && !errors.Is(err, queue.ErrNotEmpty) {
		return err
	}
	return nil
}

// TypesFrom registers the types of a file's specs; it is for the program that was
// started with the file, so nobody's rights are asked. It returns the names of the types that changed.
func (in *Intake) TypesFrom(ctx context.Context, specs []registry.Spec) ([]string, error) {
	for _, s := range specs {
		if err := in.checkURLs(s); err != nil {
			return nil, fmt.Errorf("type %s: %w", s.Name, err)
		}
	}
	names, err := registry.Apply(ctx, in.opts.Store, specs)
	if err != nil {
		return names, queue.Classify(err)
	}
	for _, name := range names {
		t, err := in.opts.Store.Get(ctx, name)
		if err != nil {
			return names, queue.Classify(err)
		}
		if err := in.changed(ctx, t); err != nil {
			return names, err
		}
	}
	return names, nil
}

// Stats counts the jobs of a type.
func (in *Intake) Stats(ctx context.Context, who *auth.Identity, name string) (queue.Stats, error) {
	if _, err := in.known(ctx, who, auth.JobsRead, name); err != nil {
		return queue.Stats{}, err
	}
	return in.opts.Queue.Stats(ctx, name)
}

// Groups returns a page of the groups of a type that have jobs waiting or running; see queue.Queue.Groups.
func (in *Intake) Groups(ctx context.Context, who *auth.Identity, name, cursor string, limit int) (queue.Groups, error) {
	if _, err := in.known(ctx, who, auth.JobsRead, name); err != nil {
		return queue.Groups{}, err
	}
	return in.opts.Queue.Groups(ctx, name, cursor, limit)
}

// TypeStats are the counts of one type.
type TypeStats struct {
	Type string
	queue.Stats
}

// AllStats counts the jobs of every type the caller reaches, sorted by name.
func (in *Intake) AllStats(ctx context.Context, who *auth.Identity) ([]TypeStats, error) {
	if err := who.Require(auth.JobsRead, ""); err != nil {
		return nil, err
	}
	var names []string
	for _, t := range in.opts.Directory.List() {
		if who.CanType(t.Name) {
			names = append(names, t.Name)
		}
	}
	stats, err := in.opts.Queue.StatsOf(ctx, names)
	if err != nil {
		return nil, err
	}
	var out []TypeStats
	for _, name := range names {
		out = append(out, TypeStats{name, stats[name]})
	}
	return out, nil
}

// changed makes a stored change seen in this process and in force in the queue.
func (in *Intake) changed(ctx context.Context, t registry.Type) error {
	in.opts.Directory.Note(t)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), applyTimeout)
	defer cancel()
	return in.Apply(ctx, &t)
}

// checkURLs refuses the URLs of a spec that deliveries could not call. Those
// that are absent are the registry's to judge.
func (in *Intake) checkURLs(s registry.Spec) error {
	for _, u := range []struct{ field, url string }{{"target", s.Target}, {"reconcile_url", s.ReconcileURL}} {
		if u.url == "" {
			continue
		}
		if err := in.opts.CheckTarget(u.url); err != nil {
			return invalid.Errorf(u.field, "cannot be called: %s", err)
		}
	}
	return nil
}

func orUnknown(subject string) string {
	if subject == "" {
		return "a token without a subject"
	}
	return subject
}
