package queue

import (
	"context"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/deetoo/deetoo/invalid"
)

// MaxGroupLength is the longest name of a group, in bytes.
const MaxGroupLength = 128

// ValidateGroup reports whether a string can be a group's name: 1 to MaxGroupLength
// printable ASCII characters, but no space, quotation mark or backslash.
func ValidateGroup(group string) error {
	bad := func(r rune) bool { return r <= ' ' || r > '~' || r == '"' || r == '\\' }
	if group == "" || len(group) > MaxGroupLength || strings.ContainsFunc(group, bad) {
		return invalid.Errorf("group", `must be 1 to %d printable ASCII characters, without spaces, '"' and '\'`, MaxGroupLength)
	}
	return nil
}

// GroupLimits hold for each group of a type. The zero value is no limits.
type GroupLimits struct {
	// Concurrency of one group in the whole cluster; 0: only the type's.
	Concurrency int
	// Rate of starts of one group.
	Rate Rate
}

// encode is the form that groups.lua reads.
func (g GroupLimits) encode() string {
	if g == (GroupLimits{}) {
		return ""
	}
	return strings.TrimSpace(strconv.Itoa(g.Concurrency) + " " + g.Rate.encode())
}

// Group is a group of a type that has jobs waiting or running.
type Group struct {
	Name string
	// Waiting and Active count its jobs.
	Waiting, Active int
	// Limited is how long its rate lets none of its jobs start; 0 if it does.
	Limited time.Duration
	// Full says that as many of its jobs run as may.
	Full bool
}

// Groups is a page of a type's groups.
type Groups struct {
	Groups []Group
	// Next is the cursor of the next page; empty if this was the last.
	Next string
	// At is when this was read, by Redis's clock.
	At time.Time
}

// Groups returns a page of the groups of a type that have jobs waiting or running, by name. The cursor is
// empty for the first page, then that of the page before. limit is 1 to MaxPage; 0 means 50.
func (q *Queue) Groups(ctx context.Context, typ, cursor string, limit int) (Groups, error) {
	if limit == 0 {
		limit = 50
	}
	if limit < 1 || limit > MaxPage {
		return Groups{}, invalid.Errorf("limit", "must be 1 to %d", MaxPage)
	}
	after, err := base64.RawURLEncoding.DecodeString(cursor)
	if err != nil || cursor != "" && ValidateGroup(string(after)) != nil {
		return Groups{}, invalid.Errorf("cursor", "must be the next_cursor of a page of the same list")
	}
	v, err := q.run(ctx, q.scripts.grouplist, q.typeKeys(typ, ""), []any{string(after), limit})
	if err != nil {
		return Groups{}, err
	}
	r := reply{values: asSlice(v)}
	page := Groups{At: time.UnixMilli(r.int())}
	next := r.str()
	for r.more() {
		page.Groups = append(page.Groups, Group{
			Name: r.str(), Waiting: int(r.int()), Active: int(r.int()),
			Limited: time.Duration(r.int()) * time.Millisecond, Full: r.int() == 1,
		})
	}
	if r.err != nil {
		return Groups{}, fmt.Errorf("groups: %w", r.err)
	}
	page.Next = base64.RawURLEncoding.EncodeToString([]byte(next))
	return page, nil
}
