// Package queue is DeeToo's job model and its Redis protocol: pushing jobs,
// leasing them to dispatchers, settling attempts, and looking after what is
// left behind. It knows nothing of HTTP or of targets.
//
// Every operation is one Lua script, so it is atomic, and every operation can
// be repeated safely, because the Redis client repeats commands whose answer
// got lost. docs/architecture.md describes the keys and the life of a job.
package queue

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// State says where a job is. A job is in exactly one state at any time.
type State string

const (
	// Waiting jobs are due and run as soon as there is a free slot.
	Waiting State = "waiting"
	// Scheduled jobs wait for their time: the one asked for, or the next try.
	Scheduled State = "scheduled"
	// Active jobs are leased to a dispatcher, which is running an attempt.
	Active State = "active"
	// Succeeded jobs are finished; kept as long as the type's retention says.
	Succeeded State = "succeeded"
	// Cancelled jobs were called off before they succeeded; kept like Succeeded.
	Cancelled State = "cancelled"
	// Dead jobs have used up their attempts, or failed for good. They stay
	// until somebody retries or purges them.
	Dead State = "dead"
)

// States lists every State in the order of a job's life.
func States() []State {
	return []State{Waiting, Scheduled, Active, Succeeded, Cancelled, Dead}
}

// ParseState returns the State of that name, or an error that lists them.
func ParseState(s string) (State, error) {
	for _, st := range States() {
		if string(st) == s {
			return st, nil
		}
	}
	return "", fmt.Errorf("state must be one of waiting, scheduled, active, succeeded, cancelled, dead; got %q", s)
}

// Terminal reports whether a job in this state is finished.
func (s State) Terminal() bool { return s == Succeeded || s == Cancelled || s == Dead }

// Priority orders waiting jobs of one type. Higher priorities go first; every
// eighth slot is kept for the others, so that none waits forever.
type Priority int8

// The five priorities. The zero value is Normal.
const (
	Critical Priority = 2
	High     Priority = 1
	Normal   Priority = 0
	Low      Priority = -1
	Lowest   Priority = -2
)

// Priorities lists the priorities, most urgent first.
func Priorities() []Priority { return []Priority{Critical, High, Normal, Low, Lowest} }

// ParsePriority returns the Priority of that name ("critical", "high",
// "normal", "low", "lowest"); the empty string is Normal.
func ParsePriority(s string) (Priority, error) {
	switch s {
	case "critical":
		return Critical, nil
	case "high":
		return High, nil
	case "normal", "":
		return Normal, nil
	case "low":
		return Low, nil
	case "lowest":
		return Lowest, nil
	}
	return Normal, fmt.Errorf("priority must be one of critical, high, normal, low, lowest; got %q", s)
}

// String returns the name of the priority.
func (p Priority) String() string {
	switch p {
	case Critical:
		return "critical"
	case High:
		return "high"
	case Normal:
		return "normal"
	case Low:
		return "low"
	case Lowest:
		return "lowest"
	}
	return fmt.Sprintf("Priority(%d)", int8(p))
}

// MarshalText writes the name.
func (p Priority) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText reads the name; see ParsePriority.
func (p *Priority) UnmarshalText(b []byte) error {
	v, err := ParsePriority(string(b))
	*p = v
	return err
}

// Job is one unit of work of a type. The first group of fields is what a
// producer sets, the second is kept by the queue and ignored by Push.
type Job struct {
	// Type is the job type's name. Required.
	Type string
	// ID is unique within the type. Empty: Push makes a ULID, which sorts by
	// time. See ValidateID.
	ID string
	// Data is the body the handler gets, verbatim. Empty: null.
	Data json.RawMessage
	// Title is shown to people instead of the ID. At most 256 bytes.
	Title string
	// RunAt is when the job becomes due, to the millisecond, on Redis's clock.
	// Zero, or in the past: now.
	RunAt time.Time
	// Delay is when the job becomes due, counted from the push. Ignored if
	// RunAt is set.
	Delay time.Duration
	// Priority among the waiting jobs of the type. Default: Normal.
	Priority Priority
	// Group is whose turn the job waits for, a tenant say: the groups of a type are served in
	// turn, and may have limits of their own; see Settings.Groups. Empty: none. See ValidateGroup.
	Group string
	// MaxAttempts overrides the type's retry policy when positive.
	MaxAttempts int
	// Timeout of one attempt overrides the type's when positive.
	Timeout time.Duration
	// Traceparent is the W3C trace context of the push, given to the handler.
	Traceparent string
	// ExpiresAt is when the job is not started any more, to the millisecond, on
	// Redis's clock: taken later, or if its next attempt would be due later, it ends as Cancelled, and
	// its history says that it expired. An attempt that runs by then goes on. Zero: never.
	ExpiresAt time.Time
	// TTL is the same, counted from the push; not both. Of a job that was read,
	// only ExpiresAt is known.
	TTL time.Duration
	// Target is the URL that the job goes to instead of its type's, if the type
	// allows it; that of a job which delivers a CallbackURL. Empty: the type's.
	Target string
	// Headers are sent with the job beside its type's, and replace those of the
	// same name. At most MaxHeaders of MaxHeadersSize.
	Headers map[string]string
	// Tags are for people and lists: at most MaxTags, of MaxTagLength, all different.
	Tags []string
	// Unique makes the job the only one of its type with a key; nil: it need
	// not be. Of a job that was read, only the Key is known.
	Unique *Unique
	// OnSuccess is pushed when this job has succeeded, and OnFailure when it is
	// dead; neither if it is cancelled, or replaced before it ran. Each may have all that a job
	// may have but RunAt. Its handler gets, as data, its own Data beside what became of this job; see
	// package relay.
	OnSuccess, OnFailure *Job
	// Then is a chain: each is pushed when the one before has succeeded, the first
	// when this job has. Those in it may have all that OnSuccess may have, but Then.
	Then []Job
	// CallbackURL is where what became of the job is POSTed to when it has ended,
	// signed with the secrets of its type. http or https, without user and fragment. At most 2,048 bytes.
	CallbackURL string
	// Parent is the job that this one follows. Set by the relay that pushes it.
	Parent *Parent
	// Workflow says whose the job is: its end counts there. Set by StartWorkflow.
	Workflow *Member

	// State is where the job is.
	State State
	// Attempt counts the attempts that count against MaxAttempts: for an
	// active job it includes the one running; 0 before the first.
	Attempt int
	// Lost counts the attempts whose dispatcher vanished; see MaxLost.
	Lost int
	// EnqueuedAt is when the job was pushed (or last replaced), by Redis's clock.
	EnqueuedAt time.Time
	// StartedAt is when the last attempt began; zero before the first.
	StartedAt time.Time
	// FinishedAt is when the job became terminal; zero until then.
	FinishedAt time.Time
	// LastError is the error of the last failed attempt, if any.
	LastError string
	// Result is what a succeeded handler answered, at most 64 KiB.
	Result []byte
	// Expired says of a Cancelled job that it was not called off, but expired.
	Expired bool
	// CancelRequested says that an active job will not get another attempt.
	CancelRequested bool
	// Accepted says that an active job's handler holds its lease; see Accept.
	Accepted bool
	// Unsure says that nobody knows what became of the last attempt: its answer
	// was lost, or its dispatcher vanished, or the handler that had accepted it fell silent. The work may have been done.
	Unsure bool
	// Progress is what the handler last said of how far it is, nil if nothing, and Log what it
	// logged: of the attempt that runs, else of the last one that said anything. Only from Get.
	Progress *Progress
	Log      []LogLine
}

// ResultJSON is a job's result as JSON: as it is, or else as a string; nil if there is none.
func ResultJSON(result []byte) json.RawMessage {
	if len(result) == 0 {
		return nil
	}
	if json.Valid(result) {
		return result
	}
	s, _ := json.Marshal(strings.ToValidUTF8(string(result), "\uFFFD")) // a string always can be written
	return s
}

// Receipt answers for one pushed job.
type Receipt struct {
	ID string
	// State is Waiting or Scheduled; that of the other job if it is a
	// Duplicate, empty if that has been deleted.
	State State
	// RunAt is when the job is due.
	RunAt time.Time
	// Replaced says that a job of that ID existed and was replaced; one of the
	// same unique key keeps its own ID.
	Replaced bool
	// Duplicate says that nothing was stored, because another job holds the
	// unique key: this is that job. See Ignore.
	Duplicate bool
	// Replayed says that this is the receipt of an earlier push under the same
	// key, and that nothing was done now; see PushOnce.
	Replayed bool
	// Err is nil if the job is safely in Redis. ErrActive: a job of that ID is
	// running now, and nothing was changed. *DuplicateError: another job holds
	// the unique key. Other errors: it is unknown whether
	// the job got in; pushing it again with the same ID is safe.
	Err error
}

// Lease is a job handed to a dispatcher for one attempt.
type Lease struct {
	Job
	// Token proves that this attempt holds the lease. It is random, and
	// settling with another token changes nothing.
	Token string
	// Deadline is when the lease ends unless renewed, on this process's
	// monotonic clock, counted from before the claim was sent.
	Deadline time.Time
	// Batch names the jobs that were claimed to go together, in one delivery;
	// empty if this one goes alone. Like the token, it is nobody else's business.
	Batch string
}

// Attempt is the record of one attempt.
type Attempt struct {
	// N counts from 1; a lost attempt has the number of the one it stands for.
	N int `json:"n"`
	// StartedAt is in milliseconds of Unix time, by Redis's clock.
	StartedAt int64 `json:"started_at"`
	// Duration is in milliseconds.
	Duration int64 `json:"duration_ms"`
	// Outcome is "succeeded", "failed", "dead", "lost", "expired", "released", "snoozed" or "cancelled".
	Outcome string `json:"outcome"`
	// Status is the HTTP status, 0 if there was no response.
	Status int `json:"status,omitempty"`
	// Error says what went wrong.
	Error string `json:"error,omitempty"`
	// Excerpt is the beginning of the response body, at most 1 KiB.
	Excerpt string `json:"excerpt,omitempty"`
	// Dispatcher names the process that ran it.
	Dispatcher string `json:"dispatcher,omitempty"`
}
