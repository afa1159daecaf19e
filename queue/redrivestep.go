package queue

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	jsonpatch "github.com/evanphx/json-patch/v5"
	"github.com/redis/go-redis/v9"
)

// StepRedrives makes a step of the type's redrives, of which an Exchange has
// said that it is due: of that whose turn it is, and a bounded one. It returns
// how long until the next; negative: none goes on. Steps are safe to repeat, and
// to make at the same time in several processes.
func (q *Queue) StepRedrives(ctx context.Context, typ string) (time.Duration, error) {
	ids, err := q.client.ZRange(ctx, q.keyBeside(typ, "redriving"), 0, 0).Result()
	if err != nil {
		return 0, Classify(err)
	}
	if len(ids) == 0 {
		return -1, nil
	}
	_, _, wait, err := q.stepRedrive(ctx, typ, ids[0])
	return wait, err
}

// candidate is a dead job that a redrive has come to.
type candidate struct {
	Job
	options string // as in its record
	cursor  string // behind it
}

// stepRedrive makes a step of one redrive. It returns the redrive as it was
// before, but for its State and what it has Placed, how long until its next step, and until that
// of any of the type's; negative: never.
func (q *Queue) stepRedrive(ctx context.Context, typ, id string) (r *Redrive, own, next time.Duration, err error) {
	r, err = q.GetRedrive(ctx, typ, id)
	if err != nil && !errors.Is(err, ErrNoRedrive) {
		return nil, 0, 0, err
	}
	if err != nil { // the step finds out as well
		r = &Redrive{ID: id, State: RedriveStopped}
	}
	args := []any{id, r.cursor, flag(r.ended), q.wakeChannel(), typ}
	var jobs []candidate
	if want := r.want(); want > 0 {
		if jobs, args[1], args[2], err = q.candidates(ctx, typ, r, want); err != nil {
			return nil, 0, 0, err
		}
	}
	for i := range jobs {
		j := &jobs[i]
		var body, blob []byte
		if len(r.Spec.Patch) > 0 {
			if body, blob, err = patched(j, r.Spec.Patch); err != nil {
				return r, 0, 0, q.stopRedrive(ctx, typ, id, fmt.Sprintf("job %s cannot be patched: %s", j.ID, err))
			}
		}
		args = append(args, j.ID, j.FinishedAt.UnixMilli(), j.cursor, body, blob)
	}
	v, err := q.run(ctx, q.scripts.redrive, q.typeKeys(typ, ""), args)
	if err != nil {
		return nil, 0, 0, err
	}
	answer := reply{values: asSlice(v)}
	r.State = RedriveState(answer.str())
	own, next = time.Duration(answer.int())*time.Millisecond, time.Duration(answer.int())*time.Millisecond
	if answer.err != nil {
		return nil, 0, 0, fmt.Errorf("redrive: %w", answer.err)
	}
	r.Placed += len(jobs)
	return r, own, next, nil
}

// want is how many jobs the next step may make to wait at most.
func (r *Redrive) want() int {
	n := chunkSize
	switch rate := r.Spec.Rate; {
	case r.State.Ended() || r.ended:
		return 0
	case r.State == RedriveCanary:
		return r.Spec.Canary - r.Placed
	case rate.Jobs > 0: // about a second's worth
		n = min(n, int(math.Ceil(float64(rate.Jobs)/rate.Period.Seconds()))+1)
	}
	if len(r.Spec.Patch) > 0 {
		n = min(n, 100)
	}
	return n
}

// candidates returns the next dead jobs for a redrive, the cursor behind all
// that were looked at, and "1" if none is behind that.
func (q *Queue) candidates(ctx context.Context, typ string, r *Redrive, want int) (jobs []candidate, cursor, ended string, err error) {
	if len(r.Spec.IDs) > 0 {
		return q.candidatesByID(ctx, typ, r, want)
	}
	f := r.Spec.DeadFilter
	if began := r.StartedAt.Add(time.Millisecond); f.Before.IsZero() || f.Before.After(began) {
		f.Before = began // those that die meanwhile are left alone
	}
	filter, err := f.encode()
	if err != nil {
		return nil, "", "", err
	}
	v, err := q.run(ctx, q.scripts.list, q.typeKeys(typ, ""), []any{"D", want, r.cursor, "", filter, flag(len(r.Spec.Patch) > 0)})
	if err != nil {
		return nil, "", "", err
	}
	answer := reply{values: asSlice(v)}
	if cursor = answer.str(); cursor == "" {
		ended = "1"
	}
	for answer.more() {
		id := answer.str()
		rec, died, _, _, blob := answer.str(), answer.str(), answer.str(), answer.str(), answer.str()
		if answer.err != nil {
			break
		}
		c := candidate{Job: Job{ID: id}, cursor: died + " " + id}
		if err := c.read(rec, blob); err != nil {
			return nil, "", "", fmt.Errorf("job %s of %s: %w", id, typ, err)
		}
		jobs = append(jobs, c)
	}
	if answer.err != nil {
		return nil, "", "", fmt.Errorf("redrive: %w", answer.err)
	}
	return jobs, cursor, ended, nil
}

// candidatesByID is candidates of a redrive that names its jobs; its cursor is how many are behind it.
func (q *Queue) candidatesByID(ctx context.Context, typ string, r *Redrive, want int) (jobs []candidate, cursor, ended string, err error) {
	first := 0
	if r.cursor != "" {
		if first, err = strconv.Atoi(r.cursor); err != nil {
			return nil, "", "", fmt.Errorf("damaged redrive %s: %w", r.ID, err)
		}
	}
	last := min(first+want, len(r.Spec.IDs))
	if last == len(r.Spec.IDs) {
		ended = "1"
	}
	ids := r.Spec.IDs[first:last]
	keys := q.typeKeys(typ, "")
	recs, err := q.client.HMGet(ctx, keys[keyJobs], ids...).Result()
	if err != nil {
		return nil, "", "", Classify(err)
	}
	for i, id := range ids {
		rec, ok := recs[i].(string)
		if !ok || rec == "" || rec[0] != 'd' {
			continue
		}
		blob := ""
		if len(r.Spec.Patch) > 0 && strings.HasPrefix(rec[2:], "b") {
			if blob, err = q.client.HGet(ctx, keys[keyBlobs], id).Result(); err != nil && !errors.Is(err, redis.Nil) {
				return nil, "", "", Classify(err)
			}
		}
		c := candidate{Job: Job{ID: id}, cursor: strconv.Itoa(first + i + 1)}
		if err := c.read(rec, blob); err != nil {
			return nil, "", "", fmt.Errorf("job %s of %s: %w", id, typ, err)
		}
		jobs = append(jobs, c)
	}
	return jobs, strconv.Itoa(last), ended, nil
}

func (c *candidate) read(rec, blob string) error {
	if _, err := decodeRecord(&c.Job, rec, blob); err != nil {
		return err
	}
	_, tail, _ := strings.Cut(rec, "\n")
	c.options, _, _ = strings.Cut(tail, "\n")
	return nil
}

// patched returns a job's options and data after a merge patch, as in its
// record, and the data apart if it is large. What the patch does not name stays byte for byte.
func patched(c *candidate, patch []byte) (body, blob []byte, err error) {
	data := []byte(c.Data)
	if !isObject(data) {
		data = []byte("{}") // RFC 7396 section 2: what is no object is replaced by one
	}
	if data, err = jsonpatch.MergePatch(data, patch); err != nil {
		return nil, nil, err
	}
	if len(data) > MaxDataSize {
		return nil, nil, fmt.Errorf("its data would be larger than %d bytes", MaxDataSize)
	}
	body = append([]byte(c.options), '\n')
	if len(data) > blobSize {
		return body, data, nil
	}
	return append(body, data...), nil, nil
}

// isObject reports whether JSON is an object, if it is valid.
func isObject(data []byte) bool {
	return bytes.HasPrefix(bytes.TrimLeft(data, " \t\r\n"), []byte("{"))
}
