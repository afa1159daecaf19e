package queue

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/deetoo/deetoo/invalid"
)

// DeadGroup is the dead jobs of a type that failed in the same way: the same
// status, and the same error but for what differs from job to job (numbers,
// addresses, IDs, quoted words).
type DeadGroup struct {
	// Fingerprint names the failure: the first 16 hexadecimal digits of the SHA-1 of its status and Failure. Or
	// "other": a type has 1,000 groups at most, and those with still other errors share this one.
	Fingerprint string
	// Count is how many dead jobs it has now. A group without any is gone.
	Count int
	// FirstAt and LastAt are when the first and the last job of it died, since it began.
	FirstAt, LastAt time.Time
	// Status is the HTTP status of the last attempt, 0 if there was no response.
	Status int
	// Failure is what the errors have in common: "#" stands for numbers and the like.
	Failure string
	// Example is the ID of the job that died last; empty if that is dead no more.
	Example string
	// Error is the error of that job's last attempt.
	Error string
}

// DeadGroups returns a type's groups of dead jobs, the largest first.
func (q *Queue) DeadGroups(ctx context.Context, typ string) ([]DeadGroup, error) {
	v, err := q.run(ctx, q.scripts.deadGroups, q.typeKeys(typ, ""), nil)
	if err != nil {
		return nil, err
	}
	r := reply{values: asSlice(v)}
	var groups []DeadGroup
	for r.more() {
		fingerprint, value := r.str(), r.str()
		g, err := decodeGroup(fingerprint, value)
		if err != nil {
			return nil, err
		}
		groups = append(groups, g)
	}
	if r.err != nil {
		return nil, fmt.Errorf("groups: %w", r.err)
	}
	sort.Slice(groups, func(i, k int) bool { return groups[i].before(groups[k].Count, groups[k].Fingerprint) })
	return groups, nil
}

// before reports whether the group comes before one with that count and fingerprint.
func (g *DeadGroup) before(count int, fingerprint string) bool {
	return g.Count > count || g.Count == count && g.Fingerprint < fingerprint
}

func decodeGroup(fingerprint, value string) (DeadGroup, error) {
	head, rest, _ := strings.Cut(value, "\n")
	failure, last, ok := strings.Cut(rest, "\n")
	f := strings.Fields(head)
	if !ok || len(f) != 5 {
		return DeadGroup{}, fmt.Errorf("damaged group of dead jobs %s: %q", fingerprint, head)
	}
	g := DeadGroup{Fingerprint: fingerprint, FirstAt: parseMs(f[1]), LastAt: parseMs(f[2]), Failure: failure, Error: last}
	var err error
	if g.Count, err = strconv.Atoi(f[0]); err == nil {
		g.Status, err = strconv.Atoi(f[3])
	}
	if err != nil {
		return DeadGroup{}, fmt.Errorf("damaged group of dead jobs %s: %w", fingerprint, err)
	}
	if f[4] != "-" {
		g.Example = f[4]
	}
	return g, nil
}

// GroupPage is a page of a type's groups of dead jobs.
type GroupPage struct {
	Groups []DeadGroup
	// Next is the cursor of the next page; empty if this was the last.
	Next string
}

// ListDeadGroups returns a page of DeadGroups. The cursor is empty for the first
// page, then that of the page before. limit is 1 to MaxPage; 0 means 50. A group whose count
// changes between two pages may be on both, or on neither.
func (q *Queue) ListDeadGroups(ctx context.Context, typ, cursor string, limit int) (GroupPage, error) {
	if limit == 0 {
		limit = 50
	}
	if limit < 1 || limit > MaxPage {
		return GroupPage{}, invalid.Errorf("limit", "must be 1 to %d", MaxPage)
	}
	count, after, err := decodeGroupCursor(cursor)
	if err != nil {
		return GroupPage{}, err
	}
	groups, err := q.DeadGroups(ctx, typ)
	if err != nil {
		return GroupPage{}, err
	}
	if cursor != "" {
		last := DeadGroup{Count: count, Fingerprint: after}
		groups = groups[sort.Search(len(groups), func(i int) bool { return last.before(groups[i].Count, groups[i].Fingerprint) }):]
	}
	if len(groups) <= limit {
		return GroupPage{Groups: groups}, nil
	}
	last := groups[limit-1]
	next := base64.RawURLEncoding.EncodeToString([]byte("g" + strconv.Itoa(last.Count) + " " + last.Fingerprint))
	return GroupPage{Groups: groups[:limit], Next: next}, nil
}

func decodeGroupCursor(cursor string) (count int, fingerprint string, err error) {
	if cursor == "" {
		return 0, "", nil
	}
	bad := invalid.Errorf("cursor", "must be the next_cursor of a page of the same list")
	raw, err := base64.RawURLEncoding.DecodeString(cursor)
	if err != nil || len(raw) < 2 || raw[0] != 'g' {
		return 0, "", bad
	}
	n, fingerprint, _ := strings.Cut(string(raw[1:]), " ")
	if count, err = strconv.Atoi(n); err != nil || !validFingerprint(fingerprint) {
		return 0, "", bad
	}
	return count, fingerprint, nil
}

// DeadFilter chooses dead jobs; the zero value is all of them.
type DeadFilter struct {
	// Fingerprint of the failure; see DeadGroup.
	Fingerprint string
	// Error is a part of the last attempt's error, in letters of either case. At most 256 bytes.
	Error string
	// Tag that the job has.
	Tag string
	// After and Before are when they died, to the millisecond: from After on, and before Before.
	After, Before time.Time
}

// Validate names the field that is wrong, as an *invalid.Error.
func (f DeadFilter) Validate() error {
	switch {
	case f.Fingerprint != "" && !validFingerprint(f.Fingerprint):
		return invalid.Errorf("fingerprint", "must be one of a group: 16 hexadecimal digits, or other")
	case len(f.Error) > 256:
		return invalid.Errorf("error", "must be at most 256 bytes")
	case len(f.Tag) > MaxTagLength:
		return invalid.Errorf("tag", "must be at most %d bytes", MaxTagLength)
	case !f.After.IsZero() && !f.Before.IsZero() && !f.After.Before(f.Before):
		return invalid.Errorf("before", "must be later than after")
	}
	return nil
}

func validFingerprint(s string) bool {
	return s == "other" || len(s) == 16 && strings.Trim(s, "0123456789abcdef") == ""
}

// encode writes the filter as the scripts read it, "" for all.
func (f DeadFilter) encode() (string, error) {
	if f == (DeadFilter{}) {
		return "", nil
	}
	in := struct {
		Fingerprint string `json:"fingerprint,omitempty"`
		Error       string `json:"error,omitempty"`
		Tag         string `json:"tag,omitempty"`
		After       int64  `json:"after,omitempty"`
		Before      int64  `json:"before,omitempty"`
	}{Fingerprint: f.Fingerprint, Error: lower(f.Error), Tag: f.Tag}
	if !f.After.IsZero() {
		in.After = f.After.UnixMilli()
	}
	if !f.Before.IsZero() {
		in.Before = f.Before.UnixMilli()
	}
	b, err := json.Marshal(in)
	return string(b), err
}

// lower changes A to Z alone, as Lua does.
func lower(s string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, s)
}

// ListDead is List of the dead jobs that a filter lets through. A page looks at
// a bounded number of jobs, so it may hold fewer than limit, or none, though there is a next.
func (q *Queue) ListDead(ctx context.Context, typ string, f DeadFilter, cursor string, limit int) (Page, error) {
	page, _, err := q.listDead(ctx, typ, f, false, cursor, limit)
	return page, err
}

// DeadJob is a dead job with its data, and its attempts, oldest first.
type DeadJob struct {
	Job
	Attempts []Attempt
}

// ExportDead is ListDead with all of the jobs' data, and their attempts. A page
// holds some 4 MiB, or one job if that is larger.
func (q *Queue) ExportDead(ctx context.Context, typ string, f DeadFilter, cursor string, limit int) (jobs []DeadJob, next string, err error) {
	page, histories, err := q.listDead(ctx, typ, f, true, cursor, limit)
	for i := range page.Jobs {
		jobs = append(jobs, DeadJob{page.Jobs[i], histories[i]})
	}
	return jobs, page.Next, err
}

func (q *Queue) listDead(ctx context.Context, typ string, f DeadFilter, whole bool, cursor string, limit int) (Page, [][]Attempt, error) {
	if err := f.Validate(); err != nil {
		return Page{}, nil, err
	}
	if limit == 0 {
		limit = 50
	}
	if limit < 1 || limit > MaxPage {
		return Page{}, nil, invalid.Errorf("limit", "must be 1 to %d", MaxPage)
	}
	filter, err := f.encode()
	if err != nil {
		return Page{}, nil, err
	}
	return q.list(ctx, typ, Dead, listOptions{filter: filter, whole: whole}, cursor, limit)
}

// PurgeDead deletes the dead jobs that a filter lets through, and returns how many.
func (q *Queue) PurgeDead(ctx context.Context, typ string, f DeadFilter) (int, error) {
	if f == (DeadFilter{}) {
		return q.Purge(ctx, typ, Dead)
	}
	s, err := q.Stats(ctx, typ)
	if err != nil {
		return 0, err
	}
	if until := s.At.Add(time.Millisecond); f.Before.IsZero() || f.Before.After(until) {
		f.Before = until // those that die meanwhile are left alone
	}
	for total, cursor := 0, ""; ; {
		page, err := q.ListDead(ctx, typ, f, cursor, chunkSize)
		if err != nil {
			return total, err
		}
		args := make([]any, 0, 2*len(page.Jobs))
		for _, j := range page.Jobs {
			args = append(args, j.ID, j.FinishedAt.UnixMilli())
		}
		if len(args) > 0 {
			v, err := q.run(ctx, q.scripts.purgeDead, q.typeKeys(typ, "once:"+nonce()), args)
			if err != nil {
				return total, err
			}
			r := reply{values: []any{v}}
			if total += int(r.int()); r.err != nil {
				return total, fmt.Errorf("purge: %w", r.err)
			}
		}
		if cursor = page.Next; cursor == "" {
			return total, nil
		}
	}
}
