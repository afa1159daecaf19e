package schedule

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/deetoo/deetoo/invalid"
)

const (
	// takeover is how long a process has for what it has taken; then others finish it.
	takeover = 5 * time.Second
	// dueLimit is how many schedules one look returns.
	dueLimit = 200
	// atOnce is how many schedules are fired at once.
	atOnce = 8
)

// ErrRefused says that a job cannot be pushed, now or later: its type is gone,
// or does not take it. The tick is noted as failed.
var ErrRefused = errors.New("the job is refused")

// Jobs is what ticks become. *intake.Intake is one.
type Jobs interface {
	// PushOnce pushes the job of a tick: job is as in Schedule.Job, due is when it becomes due, and
	// key the same each time this is repeated, by any process, so that one job comes of it.
	// An error that matches ErrRefused is final; after any other it is tried again.
	PushOnce(ctx context.Context, key, typ, id string, job []byte, due time.Time) error
	// Finished reports whether a job has ended, or is not there.
	Finished(ctx context.Context, typ, id string) (bool, error)
	// Withdraw cancels a job that is waiting or scheduled, and leaves any other alone.
	Withdraw(ctx context.Context, typ, id string) error
}

// ClockOptions of a Clock. Store and Jobs are required.
type ClockOptions struct {
	Store *Store
	Jobs  Jobs
	// Logger hears of what fails. Default: slog.Default().
	Logger *slog.Logger
	// Poll is the longest sleep: a change of which no announcement arrives shows that late. Default: 5s.
	Poll time.Duration
}

// Clock fires what is due. Any number of them may run on one Redis.
type Clock struct {
	store *Store
	jobs  Jobs
	log   *slog.Logger
	poll  time.Duration
}

// NewClock makes a Clock, or returns the option that is wrong as an *invalid.Error.
func NewClock(o ClockOptions) (*Clock, error) {
	switch {
	case o.Store == nil:
		return nil, invalid.Errorf("store", "is required")
	case o.Jobs == nil:
		return nil, invalid.Errorf("jobs", "is required")
	case o.Poll < 0:
		return nil, invalid.Errorf("poll", "must be positive")
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.Poll == 0 {
		o.Poll = 5 * time.Second
	}
	return &Clock{store: o.Store, jobs: o.Jobs, log: o.Logger, poll: o.Poll}, nil
}

// Run fires ticks until ctx ends. It sleeps until the next tick there is, and looks
// again when a schedule changes. What it has begun then, it finishes, if that takes no longer than 5s.
func (c *Clock) Run(ctx context.Context) {
	changes := c.store.client.Subscribe(ctx, c.store.channel)
	defer func() { _ = changes.Close() }()
	messages := changes.Channel()
	timer := time.NewTimer(0)
	defer timer.Stop()
	failing := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-messages:
		case <-timer.C:
		}
		wait, err := c.round(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil && !failing:
			c.log.Warn("schedules cannot be fired at present; what is missed is caught up with as each schedule says", "error", err)
		case err == nil && failing:
			c.log.Info("schedules are fired again")
		}
		if failing = err != nil; failing {
			wait = time.Second
		}
		timer.Reset(wait)
	}
}

// round fires what is due, and returns how long there is nothing more to do.
func (c *Clock) round(ctx context.Context) (time.Duration, error) {
	d, err := c.store.due(ctx)
	if err != nil {
		return 0, err
	}
	// A firing is not broken off in the middle: another process would finish it, but later.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), takeover)
	defer cancel()
	// Those who woke at the same time should not all begin with the same one.
	rand.Shuffle(len(d.ticks), func(i, j int) { d.ticks[i], d.ticks[j] = d.ticks[j], d.ticks[i] })
	var work []func() error
	for _, t := range d.ticks {
		work = append(work, func() error { return c.tick(ctx, t, d.now) })
	}
	bySchedule := map[string][]*entry{}
	for _, e := range d.taken {
		bySchedule[e.schedule] = append(bySchedule[e.schedule], e)
	}
	for _, entries := range bySchedule {
		slices.SortFunc(entries, func(a, b *entry) int { return a.tick.Compare(b.tick) })
		work = append(work, func() error { return c.fireAll(ctx, entries) })
	}
	if err := inParallel(atOnce, work); err != nil {
		return 0, err
	}
	switch {
	case len(work) > 0: // another tick may have come meanwhile
		return 0, nil
	case d.next.IsZero():
		return c.poll, nil
	}
	// A little of chance, so that polls of many processes do not come together.
	return max(time.Millisecond, min(d.next.Sub(d.now), c.poll-rand.N(c.poll/4))), nil
}

// inParallel does all work, some of it at once, and returns all errors.
func inParallel(limit int, work []func() error) error {
	errs := make([]error, len(work))
	slots := make(chan struct{}, limit)
	var wg sync.WaitGroup
	for i, do := range work {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			errs[i] = do()
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// tick takes the ticks of a schedule that have come, and fires those that are to be fired.
func (c *Clock) tick(ctx context.Context, t dueTick, now time.Time) error {
	s, err := decodeRecord(t.name, t.record)
	if err != nil {
		return err
	}
	timing, err := s.Timing()
	if err != nil {
		return err
	}
	fire, missed := plan(timing, s.CatchUp, t.tick, now)
	if missed != nil {
		missed.Type = s.Type
	}
	entries := make([]*entry, len(fire))
	for i, at := range fire {
		entries[i] = &entry{schedule: s.Name, tick: at, typ: s.Type, created: ms(s.CreatedAt), record: t.record}
	}
	took, err := c.store.advance(ctx, t, s.Version, timing.Next(now), missed, entries)
	if err != nil || !took {
		return err
	}
	if missed != nil {
		c.log.Warn("a schedule has missed ticks", "schedule", s.Name, "from", missed.Tick, "until", missed.Until, "catch_up", s.CatchUp, "fired", len(fire))
	}
	return c.fireAll(ctx, entries)
}

// plan says which of the ticks from first until now are fired, and which are noted as missed.
func plan(timing *Timing, policy CatchUp, first, now time.Time) (fire []time.Time, missed *Firing) {
	ticks := timing.newest(first, now, MaxCatchUp)
	if len(ticks) == 0 { // first is none any more: the rules have changed with the program
		return nil, &Firing{Tick: first, Until: first, At: now, Outcome: Missed}
	}
	onTime := slices.IndexFunc(ticks, func(at time.Time) bool { return now.Sub(at) <= OnTime })
	if onTime < 0 {
		onTime = len(ticks)
	}
	begin := 0 // of what is fired
	switch {
	case policy == None:
		begin = onTime
	case policy == Last:
		begin = min(onTime, len(ticks)-1)
	}
	if begin == 0 && ticks[0].Equal(first) {
		return ticks, nil
	}
	missed = &Firing{Tick: first, At: now, Outcome: Missed}
	if begin > 0 {
		missed.Until = ticks[begin-1]
	} else { // more than MaxCatchUp
		missed.Until = timing.newest(first, ticks[0].Add(-time.Millisecond), 1)[0]
	}
	return ticks[begin:], missed
}

// fireAll makes jobs of a schedule's ticks, in order.
func (c *Clock) fireAll(ctx context.Context, entries []*entry) error {
	for _, e := range entries {
		if err := c.fire(ctx, e); err != nil {
			return err
		}
	}
	return nil
}

// fire makes a job of a tick, or notes why not. Whatever point it stops at, another process goes on from there.
func (c *Clock) fire(ctx context.Context, e *entry) error {
	firing := Firing{Tick: e.tick, Outcome: Fired, Type: e.typ, Job: e.job()}
	s, err := decodeRecord(e.schedule, e.record)
	if e.record == "" || err == nil && ms(s.CreatedAt) != e.created { // deleted since
		return c.end(ctx, e, Firing{Tick: e.tick, Outcome: Skipped})
	}
	if err != nil {
		return err
	}
	if s.Overlap != Queue {
		if !e.decided {
			if skip, err := c.overlaps(ctx, s, e); err != nil {
				return err
			} else if skip {
				return c.end(ctx, e, Firing{Tick: e.tick, Outcome: Skipped, Type: e.typ})
			}
		}
		if e, err = c.store.decide(ctx, e); err != nil || e == nil {
			return err
		}
	}
	if s.Overlap == Replace && e.before.id != "" {
		if err := c.jobs.Withdraw(ctx, e.before.typ, e.before.id); err != nil {
			return err
		}
	}
	err = c.jobs.PushOnce(ctx, e.key(), e.typ, firing.Job, s.Job, e.tick.Add(jitter(e, s.Jitter)))
	if errors.Is(err, ErrRefused) {
		firing.Outcome, firing.Job, firing.Error = Failed, "", err.Error()
		c.log.Warn("a schedule's job cannot be pushed", "schedule", e.schedule, "type", e.typ, "error", err)
	} else if err != nil {
		return err
	} else if s.Overlap == Replace && e.latest.tick.After(e.tick) { // left behind by another, and replaced since
		if err := c.jobs.Withdraw(ctx, e.typ, firing.Job); err != nil {
			return err
		}
	}
	return c.end(ctx, e, firing)
}

// overlaps reports whether a tick is to be skipped: because the job before has
// not ended or, if that is to be replaced, because a later tick did so already.
func (c *Clock) overlaps(ctx context.Context, s *Schedule, e *entry) (bool, error) {
	l, pending, err := c.store.last(ctx, e)
	switch {
	case err != nil:
		return false, err
	case s.Overlap == Replace:
		return l.tick.After(e.tick), nil
	case pending || l.id == "":
		return pending, nil
	}
	finished, err := c.jobs.Finished(ctx, l.typ, l.id)
	return !finished, err
}

// end finishes an entry.
func (c *Clock) end(ctx context.Context, e *entry, f Firing) error {
	now, err := c.store.Now(ctx)
	if err != nil {
		return err
	}
	f.At = now
	answer, err := c.store.finish(ctx, e.field(), e.schedule, f)
	if err == nil && answer == "push" { // another process has decided that it is not skipped, and may be dead
		if e, err = c.store.decide(ctx, e); err != nil || e == nil {
			return err
		}
		return c.fire(ctx, e)
	}
	return err
}

// jitter is how long after its tick a job is due: the same, whoever asks.
func jitter(e *entry, most time.Duration) time.Duration {
	if most <= 0 {
		return 0
	}
	seed := uint64(e.tick.UnixMilli())
	for _, b := range []byte(e.schedule) {
		seed = seed*1099511628211 + uint64(b) // the prime of FNV-1
	}
	return time.Duration(rand.New(rand.NewPCG(seed, seed)).Int64N(int64(most))).Truncate(time.Millisecond)
}
