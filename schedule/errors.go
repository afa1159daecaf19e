package schedule

import (
	"errors"
	"fmt"
	"strconv"
)

// ErrNotFound says that no schedule has the name; see [NotFoundError].
var ErrNotFound = errors.New("schedule not found")

// ErrVersionMismatch says that a schedule has changed, exists, or is gone,
// against what was expected; see [VersionMismatchError].
var ErrVersionMismatch = errors.New("schedule version mismatch")

// NotFoundError is an [ErrNotFound] with the name.
type NotFoundError struct{ Name string }

// Error names the schedule.
func (e *NotFoundError) Error() string {
	name := e.Name
	if len(name) > 64 {
		name = name[:64] + "…"
	}
	return "schedule " + strconv.Quote(name) + " not found"
}

// Is makes errors.Is(err, ErrNotFound) true.
func (e *NotFoundError) Is(target error) bool { return target == ErrNotFound }

// VersionMismatchError is an [ErrVersionMismatch] with the version there is.
type VersionMismatchError struct {
	Name string
	// Current is the schedule's version; 0: it does not exist.
	Current int64
}

// Error says what is there.
func (e *VersionMismatchError) Error() string {
	if e.Current == 0 {
		return fmt.Sprintf("schedule %q does not exist (any more)", e.Name)
	}
	return fmt.Sprintf("schedule %q is at version %d", e.Name, e.Current)
}

// Is makes errors.Is(err, ErrVersionMismatch) true.
func (e *VersionMismatchError) Is(target error) bool { return target == ErrVersionMismatch }
