package deetoo

import (
	"context"
	"time"

	"github.com/deetoo/deetoo/auth"
	"github.com/deetoo/deetoo/schedule"
)

// Schedule pushes jobs at certain times; see schedule.Schedule.
type Schedule = schedule.Schedule

// ScheduleSpec is a schedule as one makes it; see schedule.Spec.
type ScheduleSpec = schedule.Spec

// Schedules are the schedules, as this program itself may handle them.
type Schedules struct{ d *Deetoo }

// Schedules returns the schedules. Before Start and after Shutdown its methods return ErrNotRunning.
func (d *Deetoo) Schedules() *Schedules { return &Schedules{d} }

// Put makes a schedule, or changes the settings of one. A pause that the spec does not mention
// stays. A spec that differs in nothing changes nothing, so a
// program may Put its schedules at each start. A bad field is an *invalid.Error.
func (s *Schedules) Put(ctx context.Context, spec ScheduleSpec) (*Schedule, error) {
	in, err := s.d.door()
	if err != nil {
		return nil, err
	}
	stored, _, err := in.PutScheduleSpec(ctx, auth.System(), spec, schedule.PutOptions{})
	return stored, err
}

// Get returns a schedule, or a *schedule.NotFoundError.
func (s *Schedules) Get(ctx context.Context, name string) (*Schedule, error) {
	in, err := s.d.door()
	if err != nil {
		return nil, err
	}
	return in.Schedule(ctx, auth.System(), name)
}

// List returns all schedules, sorted by name.
func (s *Schedules) List(ctx context.Context) ([]Schedule, error) {
	in, err := s.d.door()
	if err != nil {
		return nil, err
	}
	return in.Schedules(ctx, auth.System())
}

// SetPaused stops a schedule's ticks, or lets them go on from now.
func (s *Schedules) SetPaused(ctx context.Context, name string, paused bool) (*Schedule, error) {
	in, err := s.d.door()
	if err != nil {
		return nil, err
	}
	return in.PauseSchedule(ctx, auth.System(), name, paused)
}

// Run pushes a schedule's job now, outside its ticks, even if it is paused.
func (s *Schedules) Run(ctx context.Context, name string) (Receipt, error) {
	in, err := s.d.door()
	if err != nil {
		return Receipt{}, err
	}
	return in.RunSchedule(ctx, auth.System(), name)
}

// Next returns a schedule's next n ticks, 1 to 100: fewer if it ends before.
func (s *Schedules) Next(ctx context.Context, name string, n int) ([]time.Time, error) {
	in, err := s.d.door()
	if err != nil {
		return nil, err
	}
	return in.NextTicks(ctx, auth.System(), name, n)
}

// Firings returns what became of a schedule's last ticks, newest first, at most 50.
func (s *Schedules) Firings(ctx context.Context, name string) ([]schedule.Firing, error) {
	in, err := s.d.door()
	if err != nil {
		return nil, err
	}
	return in.Firings(ctx, auth.System(), name)
}

// Delete removes a schedule; jobs it has pushed stay.
func (s *Schedules) Delete(ctx context.Context, name string) error {
	in, err := s.d.door()
	if err != nil {
		return err
	}
	return in.DeleteSchedule(ctx, auth.System(), name, 0)
}
