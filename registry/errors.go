package registry

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/agnivade/levenshtein"
)

// ErrNotFound says that no job type has the name; see [NotFoundError].
var ErrNotFound = errors.New("job type not found")

// ErrVersionMismatch says that a job type has changed, exists, or is gone,
// against what was expected; see [VersionMismatchError].
var ErrVersionMismatch = errors.New("job type version mismatch")

// NotFoundError is an [ErrNotFound] that helps with a misspelt name.
type NotFoundError struct {
	Name string
	// Nearest are the names that come closest, best first, at most three.
	Nearest []string
}

// Error names the type and its neighbours.
func (e *NotFoundError) Error() string {
	name := e.Name
	if len(name) > maxNameLength {
		name = name[:maxNameLength] + "…"
	}
	text := "job type " + strconv.Quote(name) + " not found"
	if len(e.Nearest) > 0 {
		text += "; did you mean " + strings.Join(e.Nearest, ", ") + "?"
	}
	return text
}

// Is makes errors.Is(err, ErrNotFound) true.
func (e *NotFoundError) Is(target error) bool { return target == ErrNotFound }

// VersionMismatchError is an [ErrVersionMismatch] with the version there is.
type VersionMismatchError struct {
	Name string
	// Current is the type's version; 0: it does not exist.
	Current int64
}

// Error says what is there.
func (e *VersionMismatchError) Error() string {
	if e.Current == 0 {
		return fmt.Sprintf("job type %q does not exist (any more)", e.Name)
	}
	return fmt.Sprintf("job type %q is at version %d", e.Name, e.Current)
}

// Is makes errors.Is(err, ErrVersionMismatch) true.
func (e *VersionMismatchError) Is(target error) bool { return target == ErrVersionMismatch }

// nearest returns up to three names within a few typing errors of name.
func nearest(name string, names []string) []string {
	if name == "" || len(name) > maxNameLength {
		return nil
	}
	type candidate struct {
		name     string
		distance int
	}
	bound := max(2, len(name)/3)
	var found []candidate
	for _, n := range names {
		d := levenshtein.ComputeDistance(strings.ToLower(name), strings.ToLower(n))
		if d <= bound && d < max(len(name), len(n)) {
			found = append(found, candidate{n, d})
		}
	}
	slices.SortFunc(found, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(a.distance, b.distance), strings.Compare(a.name, b.name))
	})
	var out []string
	for _, c := range found[:min(3, len(found))] {
		out = append(out, c.name)
	}
	return out
}
