package intake

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/deetoo/deetoo/auth"
	"github.com/deetoo/deetoo/internal/strictjson"
	"github.com/deetoo/deetoo/invalid"
	"github.com/deetoo/deetoo/queue"
	"github.com/deetoo/deetoo/registry"
	"github.com/deetoo/deetoo/schedule"
)

// MaxNext is how many ticks NextTicks returns at most.
const MaxNext = 100

// Schedules lists the schedules of the types the caller reaches, sorted by name.
func (in *Intake) Schedules(ctx context.Context, who *auth.Identity) ([]schedule.Schedule, error) {
	if err := who.Require(auth.SchedulesRead, ""); err != nil {
		return nil, err
	}
	all, err := in.opts.Schedules.List(ctx)
	if err != nil {
		return nil, err
	}
	out := all[:0]
	for _, s := range all {
		if who.CanType(s.Type) {
			out = append(out, s)
		}
	}
	return out, nil
}

// Schedule returns a schedule, or a *schedule.NotFoundError; so it is with
// those of types that the caller does not reach.
func (in *Intake) Schedule(ctx context.Context, who *auth.Identity, name string) (*schedule.Schedule, error) {
	return in.schedule(ctx, who, auth.SchedulesRead, name)
}

func (in *Intake) schedule(ctx context.Context, who *auth.Identity, scope auth.Scope, name string) (*schedule.Schedule, error) {
	if err := who.Require(scope, ""); err != nil {
		return nil, err
	}
	s, err := in.opts.Schedules.Get(ctx, name)
	if err != nil {
		return nil, err
	}
	if !who.CanType(s.Type) {
		return nil, &schedule.NotFoundError{Name: name}
	}
	return &s, nil
}

// PutSchedule makes a schedule or replaces its settings; spec is the JSON that
// schedule.DecodeSpec reads. A pause that it does not mention stays. It returns the schedule, and whether it is new.
func (in *Intake) PutSchedule(ctx context.Context, who *auth.Identity, name string, spec []byte, opts schedule.PutOptions) (*schedule.Schedule, bool, error) {
	if err := who.Require(auth.SchedulesWrite, ""); err != nil {
		return nil, false, err
	}
	s, err := schedule.DecodeSpec(name, spec)
	if err != nil {
		return nil, false, err
	}
	return in.PutScheduleSpec(ctx, who, s, opts)
}

// PutScheduleSpec is PutSchedule for a spec that has been decoded.
func (in *Intake) PutScheduleSpec(ctx context.Context, who *auth.Identity, s schedule.Spec, opts schedule.PutOptions) (*schedule.Schedule, bool, error) {
	if err := who.Require(auth.SchedulesWrite, ""); err != nil {
		return nil, false, err
	}
	stored, created, err := in.opts.Schedules.Update(ctx, s.Name, opts, func(old *schedule.Schedule) (schedule.Schedule, error) {
		if old != nil && !who.CanType(old.Type) {
			return schedule.Schedule{}, &schedule.NotFoundError{Name: s.Name}
		}
		spec := s
		if spec.Paused == nil && old != nil {
			spec.Paused = &old.Paused
		}
		return in.checked(ctx, who, old, spec.Schedule)
	})
	return &stored, created, err
}

// PatchSchedule applies a JSON merge patch (RFC 7396) to a schedule's settings.
func (in *Intake) PatchSchedule(ctx context.Context, who *auth.Identity, name string, patch []byte, ifMatch int64) (*schedule.Schedule, error) {
	return in.modifySchedule(ctx, who, name, ifMatch, func(old *schedule.Schedule) (schedule.Schedule, error) {
		return in.checked(ctx, who, old, func(old *schedule.Schedule) (schedule.Schedule, error) { return schedule.Patched(old, patch) })
	})
}

// PauseSchedule stops a schedule's ticks, or lets them go on from now.
func (in *Intake) PauseSchedule(ctx context.Context, who *auth.Identity, name string, paused bool) (*schedule.Schedule, error) {
	return in.modifySchedule(ctx, who, name, 0, func(old *schedule.Schedule) (schedule.Schedule, error) {
		s := old.Clone()
		s.Paused = paused
		return s, who.Require(auth.JobsWrite, s.Type)
	})
}

func (in *Intake) modifySchedule(ctx context.Context, who *auth.Identity, name string, ifMatch int64, change func(old *schedule.Schedule) (schedule.Schedule, error)) (*schedule.Schedule, error) {
	if err := who.Require(auth.SchedulesWrite, ""); err != nil {
		return nil, err
	}
	s, err := in.opts.Schedules.Modify(ctx, name, ifMatch, func(old *schedule.Schedule) (schedule.Schedule, error) {
		if !who.CanType(old.Type) {
			return schedule.Schedule{}, &schedule.NotFoundError{Name: name}
		}
		return change(old)
	})
	return &s, err
}

// checked returns what make makes of a schedule, if the caller may push its
// jobs, there is such a type, and it would take them.
func (in *Intake) checked(ctx context.Context, who *auth.Identity, old *schedule.Schedule, make func(old *schedule.Schedule) (schedule.Schedule, error)) (schedule.Schedule, error) {
	s, err := make(old)
	if err != nil {
		return s, err
	}
	if err := in.CanPush(ctx, who, s.Type); err != nil {
		return s, err
	}
	j, err := in.template(s.Type, s.Job)
	if err == nil {
		err = in.canFollow(ctx, who, &j, map[string]bool{})
	}
	if bad, ok := errors.AsType[*invalid.Error](err); ok && !errors.Is(err, ErrTooLarge) {
		return s, bad.In("job")
	}
	return s, err
}

// template reads the job that a schedule pushes.
func (in *Intake) template(typ string, raw []byte) (queue.Job, error) {
	// What the tick decides is refused even as null.
	var names map[string]json.RawMessage
	if err := strictjson.Decode(raw, &names); err != nil {
		return queue.Job{}, err
	}
	for _, name := range []string{"id", "when", "delay", "expires_at"} {
		if _, given := names[name]; given {
			return queue.Job{}, invalid.Errorf(name, "must not be given: the tick decides it")
		}
	}
	j, err := DecodeJob(typ, raw)
	if err != nil {
		return j, err
	}
	return j, in.Check(&j)
}

// DeleteSchedule removes a schedule; jobs it has pushed stay.
func (in *Intake) DeleteSchedule(ctx context.Context, who *auth.Identity, name string, ifMatch int64) error {
	s, err := in.schedule(ctx, who, auth.SchedulesWrite, name)
	if err != nil {
		return err
	}
	if err := who.Require(auth.JobsWrite, s.Type); err != nil {
		return err
	}
	return in.opts.Schedules.Delete(ctx, name, ifMatch)
}

// RunSchedule pushes a schedule's job now, outside its ticks, whatever its
// overlap policy says and even if it is paused.
func (in *Intake) RunSchedule(ctx context.Context, who *auth.Identity, name string) (queue.Receipt, error) {
	s, err := in.schedule(ctx, who, auth.SchedulesWrite, name)
	if err != nil {
		return queue.Receipt{}, err
	}
	if _, err := in.known(ctx, who, auth.JobsWrite, s.Type); err != nil {
		return queue.Receipt{}, err
	}
	j, err := in.template(s.Type, s.Job)
	if err != nil {
		return queue.Receipt{}, err
	}
	now, err := in.opts.Schedules.Now(ctx)
	if err != nil {
		return queue.Receipt{}, err
	}
	j.ID = name + ":run-" + strings.ToLower(rand.Text()[:16])
	receipts, err := in.Push(ctx, who, []queue.Job{j})
	if err == nil {
		err = receipts[0].Err
	}
	if err != nil {
		return queue.Receipt{}, err
	}
	return receipts[0], in.opts.Schedules.Note(ctx, name, schedule.Firing{Tick: now, At: now, Outcome: schedule.Fired, Type: s.Type, Job: receipts[0].ID, Manual: true})
}

// NextTicks returns a schedule's next n ticks, from 1 to MaxNext: fewer if it ends
// before. Those of a paused one are when it would tick.
func (in *Intake) NextTicks(ctx context.Context, who *auth.Identity, name string, n int) ([]time.Time, error) {
	if n < 1 || n > MaxNext {
		return nil, invalid.Errorf("n", "must be 1 to %d", MaxNext)
	}
	s, err := in.schedule(ctx, who, auth.SchedulesRead, name)
	if err != nil {
		return nil, err
	}
	timing, err := s.Timing()
	if err != nil {
		return nil, err
	}
	at, err := in.opts.Schedules.Now(ctx)
	if err != nil {
		return nil, err
	}
	var out []time.Time
	for range n {
		if at = timing.Next(at); at.IsZero() {
			break
		}
		out = append(out, at)
	}
	return out, nil
}

// Firings returns what became of a schedule's last ticks, newest first.
func (in *Intake) Firings(ctx context.Context, who *auth.Identity, name string) ([]schedule.Firing, error) {
	if _, err := in.schedule(ctx, who, auth.SchedulesRead, name); err != nil {
		return nil, err
	}
	return in.opts.Schedules.History(ctx, name)
}

// CheckSchedules returns what is wrong with the schedules of a file, whose types are to be stored before them.
func (in *Intake) CheckSchedules(ctx context.Context, specs []schedule.Spec, types []registry.Spec) error {
	coming := map[string]bool{}
	for _, t := range types {
		coming[t.Name] = true
	}
	for _, spec := range specs {
		s, err := spec.Schedule(nil)
		if err == nil && !coming[s.Type] {
			_, err = in.known(ctx, auth.System(), auth.JobsWrite, s.Type)
		}
		if err == nil {
			_, err = in.template(s.Type, s.Job)
			if bad, ok := errors.AsType[*invalid.Error](err); ok {
				err = bad.In("job")
			}
		}
		if err != nil {
			return fmt.Errorf("schedule %s: %w", spec.Name, err)
		}
	}
	return nil
}

// SchedulesFrom makes the schedules of a file, or changes their settings; it is for the program that was
// started with the file, so nobody's rights are asked. It returns the names of those that changed.
func (in *Intake) SchedulesFrom(ctx context.Context, specs []schedule.Spec) ([]string, error) {
	var changed []string
	for _, spec := range specs {
		before, err := in.opts.Schedules.Get(ctx, spec.Name)
		if err != nil && !errors.Is(err, schedule.ErrNotFound) {
			return changed, err
		}
		now, _, err := in.PutScheduleSpec(ctx, auth.System(), spec, schedule.PutOptions{})
		if err != nil {
			return changed, fmt.Errorf("schedule %s: %w", spec.Name, err)
		}
		if now.Version != before.Version {
			changed = append(changed, spec.Name)
		}
	}
	return changed, nil
}

// noSchedules refuses to delete a type that schedules push to.
func (in *Intake) noSchedules(ctx context.Context, typ string) error {
	all, err := in.opts.Schedules.List(ctx)
	if err != nil {
		return err
	}
	var names []string
	for _, s := range all {
		if s.Type == typ {
			names = append(names, s.Name)
		}
	}
	if len(names) > 0 {
		return fmt.Errorf("%w, or would get them from schedules: %s", queue.ErrNotEmpty, strings.Join(names, ", "))
	}
	return nil
}

// Ticks returns the door through which the schedules' clock pushes: nobody's rights are asked.
func (in *Intake) Ticks() schedule.Jobs { return ticks{in} }

type ticks struct{ in *Intake }

// tickTTL is how long a tick's push is remembered, so that whoever finishes what a dispatcher that
// died left behind makes no second job. Others do so after seconds; it takes this long only if all are away.
const tickTTL = 48 * time.Hour

// PushOnce is schedule.Jobs'.
func (t ticks) PushOnce(ctx context.Context, key, typ, id string, job []byte, due time.Time) error {
	if _, err := t.in.known(ctx, auth.System(), auth.JobsWrite, typ); err != nil {
		return refusal(err)
	}
	j, err := t.in.template(typ, job)
	if err == nil {
		err = t.in.canFollow(ctx, auth.System(), &j, map[string]bool{})
	}
	if err != nil {
		return refusal(err)
	}
	j.ID, j.RunAt = id, due
	receipts, err := t.in.opts.Queue.PushOnce(ctx, queue.Once{Key: key, Fingerprint: "tick", TTL: tickTTL}, j)
	switch {
	case err != nil:
		return refusal(err)
	case receipts[0].Err != nil: // what has an answer of its own, gets the same each time
		return fmt.Errorf("%w: %w", schedule.ErrRefused, receipts[0].Err)
	case receipts[0].Duplicate:
		return fmt.Errorf("%w: job %s has its unique key", schedule.ErrRefused, receipts[0].ID)
	}
	t.in.opts.Wake(queue.Event{Type: typ})
	return nil
}

// refusal marks errors that no repetition will change.
func refusal(err error) error {
	_, bad := errors.AsType[*invalid.Error](err)
	if bad || errors.Is(err, registry.ErrNotFound) || errors.Is(err, queue.ErrKeyReused) {
		return fmt.Errorf("%w: %w", schedule.ErrRefused, err)
	}
	return err
}

// Finished is schedule.Jobs'.
func (t ticks) Finished(ctx context.Context, typ, id string) (bool, error) {
	j, err := t.in.opts.Queue.Get(ctx, typ, id)
	if errors.Is(err, queue.ErrNotFound) {
		return true, nil
	}
	return err == nil && j.State.Terminal(), err
}

// Withdraw is schedule.Jobs'.
func (t ticks) Withdraw(ctx context.Context, typ, id string) error {
	_, err := t.in.opts.Queue.Withdraw(ctx, typ, id)
	if errors.Is(err, queue.ErrNotFound) || errors.Is(err, queue.ErrConflict) {
		return nil
	}
	return err
}
