package queue

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/deetoo/deetoo/invalid"
)

// OnConflict says what becomes of a push whose unique key is held by another job.
type OnConflict string

// The policies. The zero value is Reject.
const (
	// Reject refuses the push with a *DuplicateError.
	Reject OnConflict = "reject"
	// Replace gives the other job the new data, time and options, as a push
	// under its ID does. If it runs, or has ended within its window, it is a *DuplicateError.
	Replace OnConflict = "replace"
	// Ignore changes nothing, and the receipt is the other job's.
	Ignore OnConflict = "ignore"
	// Debounce gives the other job the new data, options and delay, counted
	// from now, but not beyond Unique.Longest. One that runs has what it was pushed with: a new job
	// is stored then, and has the key from there on.
	Debounce OnConflict = "debounce"
)

// MaxUniqueKey is the longest unique key, in bytes.
const MaxUniqueKey = 255

// Unique makes a job the only one of its type with a key.
type Unique struct {
	// Key is what no two jobs share: up to MaxUniqueKey printable bytes.
	Key string
	// For is the window: how long the key is held, counted from the push,
	// whatever becomes of the job; to the millisecond, up to a year. 0: as long as the job has not ended.
	For time.Duration
	// OnConflict is what happens if the key is held. Default: Reject.
	OnConflict OnConflict
	// Longest, for Debounce, is how long after the first push the job is due
	// however often it is pushed again, up to ten years. 0: there is no end.
	Longest time.Duration
}

// maxUniqueFor bounds Unique.For.
const maxUniqueFor = 365 * 24 * time.Hour

// validate names fields as in the REST API.
func (u *Unique) validate(j *Job) error {
	switch {
	case u.Key == "" || len(u.Key) > MaxUniqueKey || !printable(u.Key):
		return invalid.Errorf("unique_key", "must be 1 to %d bytes of printable UTF-8", MaxUniqueKey)
	case u.For != 0 && (u.For < time.Millisecond || u.For > maxUniqueFor):
		return invalid.Errorf("unique_for", "must be 1ms to 8760h (365 days)")
	case u.OnConflict.letter() == "":
		return invalid.Errorf("on_conflict", "must be one of reject, replace, ignore, debounce")
	case u.Longest != 0 && u.OnConflict != Debounce:
		return invalid.Errorf("debounce_max", "must not be given without on_conflict: debounce")
	case u.Longest != 0 && (u.Longest < time.Millisecond || u.Longest > MaxDelay):
		return invalid.Errorf("debounce_max", "must be 1ms to ten years")
	case u.OnConflict == Debounce && (j.Delay <= 0 || !j.RunAt.IsZero()):
		return invalid.Errorf("delay", "is required by on_conflict: debounce")
	case u.OnConflict == Debounce && u.For != 0:
		return invalid.Errorf("unique_for", "must not be given with on_conflict: debounce: the key is held until the job starts")
	}
	return nil
}

// letter is the policy in the script.
func (c OnConflict) letter() string {
	switch c {
	case Reject, "":
		return "j"
	case Replace:
		return "p"
	case Ignore:
		return "i"
	case Debounce:
		return "b"
	}
	return ""
}

// arg is how the push script takes it.
func (u *Unique) arg() string {
	return u.OnConflict.letter() + " " + strconv.FormatInt(u.For.Milliseconds(), 10) + " " + strconv.FormatInt(u.Longest.Milliseconds(), 10) + " " + u.Key
}

// ErrDuplicate: the unique key of a job is held by another; the error is a
// *DuplicateError, which says by which.
var ErrDuplicate = errors.New("a job with this unique key is there already")

// DuplicateError says which job holds the unique key of one that was pushed. It matches ErrDuplicate.
type DuplicateError struct {
	// ID of the job that holds the key.
	ID string
	// State it is in; empty if it has been deleted, and its window lasts.
	State State
}

// Error names the job and its state.
func (e *DuplicateError) Error() string {
	if e.State == "" {
		return fmt.Sprintf("the unique key is held by job %s, which has ended, until its window does", e.ID)
	}
	return fmt.Sprintf("the unique key is held by job %s, which is %s", e.ID, e.State)
}

// Is makes errors.Is(err, ErrDuplicate) true.
func (e *DuplicateError) Is(target error) bool { return target == ErrDuplicate }

// decodeUnique reads the script's answer to a job that was not stored because
// of its unique key: "x<place>:<id>" or "i<place><ms>:<id>". The ID is that behind the colon.
func (r *Receipt) decodeUnique(answer, id string) error {
	if len(answer) < 2 || id == "" {
		return fmt.Errorf("push: unexpected answer %q", answer)
	}
	state := placeState(answer[1:2])
	if answer[0] == 'x' {
		r.Err = &DuplicateError{ID: id, State: state}
		return nil
	}
	r.ID, r.State, r.Duplicate = id, state, true
	ms, err := strconv.ParseInt(answer[2:], 10, 64)
	if err != nil {
		return fmt.Errorf("push: unexpected answer %q", answer)
	}
	if ms > 0 {
		r.RunAt = time.UnixMilli(ms)
	}
	return nil
}

// uniqueKeys is one reading of the unique keys of a type and of who holds them, for Fsck.
type uniqueKeys struct {
	of   map[string]string // job -> its key
	held map[string]string // key -> "till since id"
	ends map[string]float64
}

// note remembers the unique key in a record's tail, its options and data.
func (u *uniqueKeys) note(id, tail string) {
	line, _, _ := strings.Cut(tail, "\n")
	var o options
	if strings.Contains(line, `"k":`) && json.Unmarshal([]byte(line), &o) == nil && o.UniqueKey != "" {
		if u.of == nil {
			u.of = map[string]string{}
		}
		u.of[id] = o.UniqueKey
	}
}

func (u *uniqueKeys) load(ctx context.Context, client redis.UniversalClient, control string) (err error) {
	name := strings.TrimSuffix(control, "control") + "unique"
	u.held = map[string]string{}
	if err = scanHash(ctx, client, name, func(key, value string) { u.held[key] = value }); err == nil {
		u.ends, err = readSet(ctx, client, name+":ends")
	}
	return err
}

func (u *uniqueKeys) check(c *checker) {
	for key, value := range u.held {
		f := strings.Fields(value)
		if len(f) != 3 {
			c.problem("the unique key %q has a damaged holder", key)
			continue
		}
		till, err := strconv.ParseFloat(f[0], 64)
		end, windowed := u.ends[key]
		head := c.heads[f[2]]
		switch {
		case err != nil || windowed != (till > 0) || end != till:
			c.problem("the unique key %q and the end of its window disagree", key)
		case till == 0 && (head == "" || head[0] != 'q'):
			c.problem("the unique key %q is held by %s, which is no job or has ended", key, f[2])
		case till == 0 && u.of[f[2]] != key:
			c.problem("the unique key %q is held by %s, which has another", key, f[2])
		}
	}
	for key := range u.ends {
		if _, ok := u.held[key]; !ok {
			c.problem("the unique key %q has a window, but no holder", key)
		}
	}
}
