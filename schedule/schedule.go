// Package schedule keeps the schedules and makes jobs of them: at each tick of
// a schedule, by cron expression or every so long, one job of its type is pushed,
// exactly one however many dispatchers there are and whichever of them die.
//
// Timing says when a schedule ticks, Store keeps the schedules, and Clock fires
// the ticks that are due. docs/schedules.md describes all of it for users.
package schedule

import (
	"encoding/json"
	"time"
)

// Overlap says what a tick does while the job of the tick before is not finished.
type Overlap string

// The overlap policies.
const (
	// Queue pushes the job all the same. The default.
	Queue Overlap = "queue"
	// Skip pushes none: the tick is noted as skipped.
	Skip Overlap = "skip"
	// Replace withdraws the old job if it is waiting or scheduled; if it is running, the new one queues behind it.
	Replace Overlap = "replace"
)

// CatchUp says what becomes of the ticks that came while no dispatcher was there.
type CatchUp string

// The catch-up policies. A tick that is fired at most OnTime late was not missed.
const (
	// None fires none of them.
	None CatchUp = "none"
	// Last fires the last of them, unless a later one is on time. The default.
	Last CatchUp = "last"
	// All fires each, the MaxCatchUp newest at most.
	All CatchUp = "all"
)

const (
	// OnTime is how late a tick may be and still count as on time: what a restart takes.
	OnTime = 5 * time.Second
	// MaxCatchUp is how many missed ticks All fires at most.
	MaxCatchUp = 100
	// MaxHistory is how many firings are remembered per schedule.
	MaxHistory = 50
	// MinEvery is the shortest interval.
	MinEvery = 100 * time.Millisecond
)

// Schedule says when jobs of a type are pushed, and which.
type Schedule struct {
	// Name identifies the schedule: 1 to 64 of letters, digits, '.', '_' and '-',
	// beginning with a letter or digit.
	Name string
	// Type of the jobs.
	Type string
	// Cron is a cron expression; see Timing. Either this or Every.
	Cron string
	// TimeZone in which Cron is read, an IANA name. Default: UTC.
	TimeZone string
	// Every is the interval between two ticks, counted from Start or, without
	// one, from CreatedAt: 100ms to 8760h.
	Every time.Duration
	// Start and End bound the ticks, both inclusive. Zero: no bound.
	Start, End time.Time
	// Jitter makes each job due at a random time up to so long after its tick, at most 24h. Default: 0.
	Jitter time.Duration
	// Job is the job to push, as in the body of POST /v1/types/{type}/jobs,
	// but without what the tick decides: id, when and delay.
	Job json.RawMessage
	// Overlap policy. Default: Queue.
	Overlap Overlap
	// CatchUp policy. Default: Last.
	CatchUp CatchUp
	// Paused schedules do not tick, and ticks that pass meanwhile are not caught up.
	Paused bool
	// Description is for people. At most 1,024 bytes.
	Description string

	// Version rises with every change, across all schedules. It is the ETag.
	Version   int64
	CreatedAt time.Time
	UpdatedAt time.Time
	// Next is the next tick; zero if there is none, or it is not known (Put).
	Next time.Time
}

// Outcome is what became of a tick.
type Outcome string

// The outcomes.
const (
	// Fired: the job was pushed.
	Fired Outcome = "fired"
	// Skipped: the job before was not finished, and the overlap policy is Skip.
	Skipped Outcome = "skipped"
	// Missed: no dispatcher was there, and the catch-up policy leaves it at that.
	Missed Outcome = "missed"
	// Failed: the job could not be pushed; Firing.Error says why.
	Failed Outcome = "failed"
)

// Firing is one entry of a schedule's history.
type Firing struct {
	// Tick is the time the firing stands for; of missed ticks, the first.
	Tick time.Time
	// Until is the last of several missed ticks.
	Until time.Time
	// At is when it was dealt with.
	At      time.Time
	Outcome Outcome
	// Type and Job name the job that was pushed.
	Type, Job string
	// Manual says that somebody asked for it, outside the ticks.
	Manual bool
	// Error says why it failed.
	Error string
}

// New returns a schedule with every default set.
func New(name, typ string) Schedule {
	return Schedule{Name: name, Type: typ, TimeZone: "UTC", Overlap: Queue, CatchUp: Last}
}

// Clone returns a copy that shares nothing with s.
func (s *Schedule) Clone() Schedule {
	c := *s
	c.Job = append(json.RawMessage(nil), s.Job...)
	return c
}

// same reports whether two schedules differ in nothing that their owner can set.
func (s *Schedule) same(o *Schedule) bool {
	return s.sameTicks(o) && s.Type == o.Type && s.Jitter == o.Jitter && string(s.Job) == string(o.Job) &&
		s.Overlap == o.Overlap && s.CatchUp == o.CatchUp && s.Description == o.Description
}

// sameTicks reports whether two schedules tick at the same times.
func (s *Schedule) sameTicks(o *Schedule) bool {
	return s.Cron == o.Cron && s.TimeZone == o.TimeZone && s.Every == o.Every && s.Start.Equal(o.Start) && s.End.Equal(o.End) && s.Paused == o.Paused
}
