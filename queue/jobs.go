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

// Get returns a job with its data and result, or ErrNotFound.
func (q *Queue) Get(ctx context.Context, typ, id string) (*Job, error) {
	j, _, err := q.get(ctx, typ, id)
	return j, err
}

// Attempts returns a job's history, oldest first: the last 25 attempts at
// most. ErrNotFound if there is no such job.
func (q *Queue) Attempts(ctx context.Context, typ, id string) ([]Attempt, error) {
	_, attempts, err := q.get(ctx, typ, id)
	return attempts, err
}

func (q *Queue) get(ctx context.Context, typ, id string) (*Job, []Attempt, error) {
	v, err := q.run(ctx, q.scripts.get, q.typeKeys(typ, ""), []any{id})
	if err != nil {
		return nil, nil, err
	}
	if len(asSlice(v)) == 0 {
		return nil, nil, fmt.Errorf("%w: %s", ErrNotFound, id)
	}
	r := reply{values: asSlice(v)}
	place, rec, score, lease, blob, result, history, report := r.str(), r.str(), r.str(), r.str(), r.str(), r.str(), r.str(), r.str()
	if r.err != nil {
		return nil, nil, fmt.Errorf("get: %w", r.err)
	}
	j := &Job{Type: typ, ID: id}
	if _, err := decodeRecord(j, rec, blob); err != nil {
		return nil, nil, fmt.Errorf("job %s of %s: %w", id, typ, err)
	}
	attempts, err := decodeHistory(history)
	if err != nil {
		return nil, nil, fmt.Errorf("job %s of %s: %w", id, typ, err)
	}
	if err := j.decodeReport(report); err != nil {
		return nil, nil, fmt.Errorf("job %s of %s: %w", id, typ, err)
	}
	if result != "" {
		j.Result = []byte(result)
	}
	j.place(placeState(place), score, lease, attempts)
	// A first success writes no history: its record says it all.
	if n := len(attempts); j.State == Succeeded && (n == 0 || attempts[n-1].Outcome != "succeeded" || attempts[n-1].StartedAt != j.StartedAt.UnixMilli()) {
		attempts = append(attempts, Attempt{
			N: j.Attempt, StartedAt: j.StartedAt.UnixMilli(), Duration: j.FinishedAt.Sub(j.StartedAt).Milliseconds(),
			Outcome: "succeeded", Status: lastStatus(rec),
		})
		attempts = attempts[max(0, len(attempts)-maxHistory):]
	}
	return j, attempts, nil
}

// place fills in what is not in the record: where the job is, since when or
// until when, and how its last attempt went.
func (j *Job) place(s State, score, lease string, attempts []Attempt) {
	j.State = s
	if n := len(attempts); n > 0 {
		last := attempts[n-1]
		j.LastError = last.Error
		j.Expired = s == Cancelled && last.Outcome == "expired"
		if last.Outcome != "expired" && (!s.Terminal() || j.StartedAt.IsZero()) {
			j.StartedAt = time.UnixMilli(last.StartedAt)
		}
	}
	switch s {
	case Scheduled:
		j.RunAt = parseMs(score)
	case Active:
		j.Attempt++
		if f := strings.Fields(lease); len(f) >= 3 {
			j.StartedAt = parseMs(f[1])
			for _, mark := range f[3:] {
				j.CancelRequested = j.CancelRequested || mark == "c"
				j.Accepted = j.Accepted || mark[0] == 'h'
			}
		}
	case Succeeded:
		j.LastError = ""
	}
}

// Page is one page of a list.
type Page struct {
	// Jobs have no Result, and no Data where that is larger than 4 KiB.
	Jobs []Job
	// Next is the cursor of the next page; empty if this was the last.
	Next string
}

// MaxPage is the largest page List gives.
const MaxPage = 1000

// List returns a page of the jobs in a state. Waiting jobs come by priority: those without a
// group in the order they are taken in, then those of each group. Scheduled and active ones by time, dead and finished ones
// newest first. The cursor is empty for the first page, then that of the page
// before; it keeps its place while jobs come and go. limit is 1 to MaxPage; 0 means 50.
func (q *Queue) List(ctx context.Context, typ string, state State, cursor string, limit int) (Page, error) {
	return q.listState(ctx, typ, state, listOptions{}, cursor, limit)
}

// ListTagged is List of the jobs that have a tag; "" is all of them. A page looks at a bounded number
// of jobs, so it may hold fewer than limit, or none, though there is a next.
func (q *Queue) ListTagged(ctx context.Context, typ string, state State, tag, cursor string, limit int) (Page, error) {
	f := DeadFilter{Tag: tag}
	if err := f.Validate(); err != nil {
		return Page{}, err
	}
	filter, err := f.encode()
	if err != nil {
		return Page{}, err
	}
	return q.listState(ctx, typ, state, listOptions{filter: filter}, cursor, limit)
}

func (q *Queue) listState(ctx context.Context, typ string, state State, o listOptions, cursor string, limit int) (Page, error) {
	if limit == 0 {
		limit = 50
	}
	if limit < 1 || limit > MaxPage {
		return Page{}, invalid.Errorf("limit", "must be 1 to %d", MaxPage)
	}
	if _, err := ParseState(string(state)); err != nil {
		return Page{}, invalid.Errorf("state", "%s", strings.TrimPrefix(err.Error(), "state "))
	}
	page, _, err := q.list(ctx, typ, state, o, cursor, limit)
	return page, err
}

// listOptions of list.
type listOptions struct {
	filter string // a DeadFilter as JSON, of a tag alone unless the jobs are dead; "" for all
	whole  bool   // with all of their data, and their histories
}

// list is List with options. Of whole jobs it returns the histories, too.
func (q *Queue) list(ctx context.Context, typ string, state State, o listOptions, cursor string, limit int) (Page, [][]Attempt, error) {
	at, err := decodeCursor(state, cursor)
	if err != nil {
		return Page{}, nil, err
	}
	letters := ""
	switch state {
	case Succeeded:
		letters = "s"
	case Cancelled:
		letters = "c"
	}
	v, err := q.run(ctx, q.scripts.list, q.typeKeys(typ, ""), []any{statePlace(state), limit, at, letters, o.filter, flag(o.whole)})
	if err != nil {
		return Page{}, nil, err
	}
	r := reply{values: asSlice(v)}
	var page Page
	var histories [][]Attempt
	if next := r.str(); next != "" {
		page.Next = encodeCursor(state, next)
	}
	for r.more() {
		j := Job{Type: typ, ID: r.str()}
		rec, score, lease, history, blob := r.str(), r.str(), r.str(), r.str(), r.str()
		if r.err != nil {
			break
		}
		if _, err := decodeRecord(&j, rec, blob); err != nil {
			return Page{}, nil, fmt.Errorf("job %s of %s: %w", j.ID, typ, err)
		}
		attempts, err := decodeHistory(history)
		if err != nil {
			return Page{}, nil, fmt.Errorf("job %s of %s: %w", j.ID, typ, err)
		}
		j.place(state, score, lease, attempts)
		page.Jobs = append(page.Jobs, j)
		if o.whole {
			histories = append(histories, attempts)
		}
	}
	if r.err != nil {
		return Page{}, nil, fmt.Errorf("list: %w", r.err)
	}
	return page, histories, nil
}

func encodeCursor(s State, at string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(statePlace(s) + at))
}

// decodeCursor refuses what encodeCursor could not have made: cursors come from outside.
func decodeCursor(s State, cursor string) (string, error) {
	if cursor == "" {
		return "", nil
	}
	bad := invalid.Errorf("cursor", "must be the next_cursor of a page of the same list")
	raw, err := base64.RawURLEncoding.DecodeString(cursor)
	if err != nil || len(raw) < 2 || string(raw[:1]) != statePlace(s) {
		return "", bad
	}
	at := string(raw[1:])
	first, second, two := strings.Cut(at, " ")
	n, err := strconv.ParseInt(first, 10, 64)
	switch statePlace(s) {
	case "f":
		if err != nil || two {
			return "", bad
		}
	case "W":
		second, group, grouped := strings.Cut(second, " ")
		if _, err2 := strconv.ParseInt(second, 10, 64); err != nil || err2 != nil || n < 1 || n > 5 || grouped && ValidateGroup(group) != nil {
			return "", bad
		}
	default:
		if err != nil || n < 0 || ValidateID(second) != nil {
			return "", bad
		}
	}
	return at, nil
}

// Cancel calls a job off. A waiting or scheduled job is Cancelled at once. A
// running one returns Active: it gets no further attempt, its dispatcher is told to abort the
// attempt, and it ends as Cancelled unless that attempt still succeeds. A job
// cancelled before returns Cancelled; one finished otherwise is a *StateError. ErrNotFound.
func (q *Queue) Cancel(ctx context.Context, typ, id string) (State, error) {
	return q.cancel(ctx, typ, id, typ+" "+id)
}

// Withdraw is Cancel that leaves a running job alone: it returns Active then, and nothing has changed.
func (q *Queue) Withdraw(ctx context.Context, typ, id string) (State, error) {
	return q.cancel(ctx, typ, id, "")
}

// cancel runs the script; announce is what to publish if the job is running, "" not to cancel it then.
func (q *Queue) cancel(ctx context.Context, typ, id, announce string) (State, error) {
	v, err := q.run(ctx, q.scripts.cancel, q.typeKeys(typ, "once:"+nonce()), []any{id, q.wakeChannel(), announce, typ})
	if err != nil {
		return "", err
	}
	switch was := placeState(fmt.Sprint(v)); was {
	case "":
		return "", fmt.Errorf("%w: %s", ErrNotFound, id)
	case Active:
		return Active, nil
	case Succeeded, Dead:
		return was, &StateError{ID: id, State: was, Want: "cancel"}
	default:
		return Cancelled, nil
	}
}

// Promote makes a scheduled job due now. A job that waits already is left
// alone. ErrNotFound, ErrActive, or a *StateError.
func (q *Queue) Promote(ctx context.Context, typ, id string) error {
	return q.requeue(ctx, typ, id, "S", "promote")
}

// RetryNow makes a dead, succeeded or cancelled job wait again, with all its attempts before
// it and its history kept; a scheduled one becomes due. ErrNotFound or ErrActive.
func (q *Queue) RetryNow(ctx context.Context, typ, id string) error {
	return q.requeue(ctx, typ, id, "Sscd", "retry")
}

func (q *Queue) requeue(ctx context.Context, typ, id, from, want string) error {
	v, err := q.run(ctx, q.scripts.requeue, q.typeKeys(typ, "once:"+nonce()), []any{id, from, q.wakeChannel(), typ})
	if err != nil {
		return err
	}
	place := fmt.Sprint(v)
	switch {
	case place == "":
		return fmt.Errorf("%w: %s", ErrNotFound, id)
	case place == "A":
		return ErrActive
	case place == "W" || strings.Contains(from, place):
		return nil
	}
	return &StateError{ID: id, State: placeState(place), Want: want}
}

// Remove deletes a succeeded, cancelled or dead job. ErrNotFound, ErrActive or a *StateError.
func (q *Queue) Remove(ctx context.Context, typ, id string) error {
	v, err := q.run(ctx, q.scripts.remove, q.typeKeys(typ, "once:"+nonce()), []any{id})
	if err != nil {
		return err
	}
	switch was := placeState(fmt.Sprint(v)); {
	case was == "":
		return fmt.Errorf("%w: %s", ErrNotFound, id)
	case was == Active:
		return ErrActive
	case !was.Terminal():
		return &StateError{ID: id, State: was, Want: "remove"}
	}
	return nil
}
