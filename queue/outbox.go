package queue

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Ending is the end of a job that something follows, as it lies in its type's outbox until a
// relay has pushed that: in the step that ended the job it was put there.
type Ending struct {
	// Key tells the ends of a type's jobs apart, also those of one job that was retried by hand.
	Key string
	// Job is what ended, without its data: State, Attempt, EnqueuedAt and FinishedAt, LastError and
	// Result, and its options.
	Job Job
	// Status is the HTTP status of a last attempt that failed; 0 if there was none.
	Status int
	// Replaced says that the job ended because another took its place before it
	// ran; its State is Cancelled then.
	Replaced bool
	// Tries counts the tries to relay it that failed, and Trouble says what was wrong at the last.
	Tries   int
	Trouble string
	// Err is not nil if the ending cannot be read; then only ID and Key may be known.
	Err error
}

// takeEndings is how many endings a relay takes at once: their results are up to 64 KiB each.
const takeEndings = 50

// TakeEndings takes endings of a type's jobs out of its outbox: they are this
// relay's for the time given, after which another gets them, unless they
// are Relayed or deferred. next is how long until there is another ending to take; negative: none is known to come.
func (q *Queue) TakeEndings(ctx context.Context, typ string, lease time.Duration) (endings []Ending, next time.Duration, err error) {
	v, err := q.run(ctx, q.scripts.outbox, q.typeKeys(typ, "once:"+nonce()), []any{"take", takeEndings, lease.Milliseconds()})
	if err != nil {
		return nil, 0, err
	}
	r := reply{values: asSlice(v)}
	next = time.Duration(r.int()) * time.Millisecond
	for r.more() {
		key, ending, trouble := r.str(), r.str(), r.str()
		if r.err != nil {
			break
		}
		e, err := decodeEnding(typ, key, ending, trouble)
		e.Err = err // the others go on
		endings = append(endings, e)
	}
	if r.err != nil {
		return nil, 0, fmt.Errorf("outbox of %s: %w", typ, r.err)
	}
	return endings, next, nil
}

// Relayed takes endings away for good: all that follows them has been pushed.
func (q *Queue) Relayed(ctx context.Context, typ string, keys ...string) error {
	if len(keys) == 0 {
		return nil
	}
	args := []any{"done"}
	for _, key := range keys {
		args = append(args, key)
	}
	_, err := q.run(ctx, q.scripts.outbox, q.typeKeys(typ, ""), args)
	return err
}

// DeferEnding puts an ending back that could not be relayed, for another try after a delay.
func (q *Queue) DeferEnding(ctx context.Context, typ string, e *Ending, delay time.Duration, why string) error {
	_, err := q.run(ctx, q.scripts.outbox, q.typeKeys(typ, ""), []any{"defer", e.Key, delay.Milliseconds(), e.Tries + 1, clip(why, MaxExcerptSize)})
	return err
}

// decodeEnding reads an ending; see lua/after.lua.
func decodeEnding(typ, key, ending, trouble string) (Ending, error) {
	e := Ending{Key: key, Job: Job{Type: typ}}
	if tries, why, ok := strings.Cut(trouble, " "); ok {
		e.Tries, _ = strconv.Atoi(tries)
		e.Trouble = why
	}
	head, rest, _ := strings.Cut(ending, "\n")
	opts, what, ok := strings.Cut(rest, "\n")
	f := strings.Fields(head)
	if !ok || len(f) != 5 {
		return e, fmt.Errorf("%w: ending %q", errRecord, head)
	}
	var n [3]int64
	for i := range n {
		var err error
		if n[i], err = strconv.ParseInt(f[2+i], 10, 64); err != nil {
			return e, fmt.Errorf("%w: ending %q", errRecord, head)
		}
	}
	e.Job.ID, e.Job.EnqueuedAt, e.Job.Attempt, e.Job.FinishedAt = f[0], time.UnixMilli(n[0]), int(n[1]), time.UnixMilli(n[2])
	switch f[1] {
	case "s":
		e.Job.State = Succeeded
	case "d":
		e.Job.State = Dead
	case "c":
		e.Job.State = Cancelled
	case "r":
		e.Job.State, e.Replaced = Cancelled, true
	default:
		return e, fmt.Errorf("%w: ending %q", errRecord, head)
	}
	var o options
	if err := json.Unmarshal([]byte(opts), &o); err != nil {
		return e, fmt.Errorf("%w: options of an ending: %w", errRecord, err)
	}
	o.fill(&e.Job)
	switch {
	case e.Job.State == Succeeded && what != "":
		e.Job.Result = []byte(what)
	case e.Job.State != Succeeded && what != "":
		var last Attempt
		if err := json.Unmarshal([]byte(what), &last); err != nil {
			return e, fmt.Errorf("%w: history of an ending: %w", errRecord, err)
		}
		e.Job.LastError, e.Status = last.Error, last.Status
	}
	return e, nil
}
