package queue

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/deetoo/deetoo/internal/jsonscan"
	"github.com/deetoo/deetoo/invalid"
)

// Validate reports the first rule a job to be pushed breaks, as an
// *invalid.Error that names the field as in the REST API.
func (j *Job) Validate() error {
	if err := ValidateType(j.Type); err != nil {
		return err
	}
	if j.ID != "" {
		if err := ValidateID(j.ID); err != nil {
			return err
		}
	}
	switch {
	case j.Group != "" && ValidateGroup(j.Group) != nil:
		return ValidateGroup(j.Group)
	case len(j.Title) > MaxTitleLength:
		return invalid.Errorf("title", "must be at most %d bytes", MaxTitleLength)
	case !printable(j.Title):
		return invalid.Errorf("title", "must be printable UTF-8")
	case len(j.Data) > MaxDataSize:
		return invalid.Errorf("data", "must be at most %d bytes", MaxDataSize)
	case len(j.Data) > 0 && !jsonscan.Valid(j.Data) && !json.Valid(j.Data): // the first is quick, the second takes more
		return invalid.Errorf("data", "must be valid JSON")
	case j.Priority < Lowest || j.Priority > Critical:
		return invalid.Errorf("priority", "must be one of critical, high, normal, low, lowest")
	case j.Delay < 0:
		return invalid.Errorf("delay", "must not be negative")
	case j.Delay > MaxDelay:
		return invalid.Errorf("delay", "must be at most ten years")
	case !j.RunAt.IsZero() && (j.RunAt.Year() < 1970 || j.RunAt.After(time.Now().Add(MaxDelay))):
		return invalid.Errorf("when", "must be between 1970 and ten years from now")
	case j.MaxAttempts < 0 || j.MaxAttempts > 100:
		return invalid.Errorf("max_attempts", "must be 1 to 100")
	case j.Timeout < 0 || j.Timeout > 24*time.Hour:
		return invalid.Errorf("timeout", "must be at most 24h")
	case len(j.Traceparent) > 128 || strings.ContainsAny(j.Traceparent, "\r\n\x00"):
		return invalid.Errorf("traceparent", "must be a W3C trace context")
	}
	if err := j.validateExtra(); err != nil {
		return err
	}
	if err := j.validateExpiry(); err != nil {
		return err
	}
	if j.Unique != nil {
		return j.Unique.validate(j)
	}
	return j.validateAfter()
}

// validateExpiry goes by this machine's clock, and only where that cannot do harm: the scripts go by Redis's.
func (j *Job) validateExpiry() error {
	switch {
	case j.TTL == 0 && j.ExpiresAt.IsZero():
		return nil
	case j.TTL != 0 && !j.ExpiresAt.IsZero():
		return invalid.Errorf("ttl", "must not be given together with expires_at")
	case j.TTL != 0 && (j.TTL < time.Millisecond || j.TTL > MaxDelay):
		return invalid.Errorf("ttl", "must be 1ms to ten years")
	case j.TTL != 0 && j.TTL <= j.Delay, j.TTL != 0 && !j.RunAt.IsZero() && j.TTL <= time.Until(j.RunAt):
		return invalid.Errorf("ttl", "must be longer than it takes until the job is due")
	case j.TTL != 0:
		return nil
	case j.ExpiresAt.Year() < 1970 || j.ExpiresAt.UnixMilli() <= 0 || j.ExpiresAt.After(time.Now().Add(2*MaxDelay)):
		return invalid.Errorf("expires_at", "must be between 1970 and twenty years from now")
	case !j.RunAt.IsZero() && !j.ExpiresAt.After(j.RunAt), j.RunAt.IsZero() && j.Delay > 0 && j.Delay >= time.Until(j.ExpiresAt):
		return invalid.Errorf("expires_at", "must be later than the job is due")
	}
	return nil
}

// ValidateType reports whether a name can be a job type's: 1 to 64 of letters,
// digits, '.', '_' and '-', beginning with a letter or digit.
func ValidateType(name string) error {
	if name == "" || len(name) > 64 || strings.Trim(name, nameChars) != "" || strings.ContainsAny(name[:1], "._-") {
		return invalid.Errorf("type", "must be 1 to 64 letters, digits, '.', '_' and '-', beginning with a letter or digit")
	}
	return nil
}

// ValidateID reports whether a string can be a job's ID: 1 to MaxIDLength
// printable ASCII characters without spaces; not "." or "..", which HTTP clients
// take out of a path (RFC 3986, 5.2.4), so that they would ask for the type instead.
func ValidateID(id string) error {
	if id == "" || len(id) > MaxIDLength {
		return invalid.Errorf("id", "must be 1 to %d characters", MaxIDLength)
	}
	for i := range len(id) {
		if id[i] <= ' ' || id[i] > '~' {
			return invalid.Errorf("id", "must be printable ASCII without spaces")
		}
	}
	if id == "." || id == ".." {
		return invalid.Errorf("id", `must not be "." or "..": no URL can name it`)
	}
	return nil
}

func printable(s string) bool {
	if !utf8.ValidString(s) {
		return false
	}
	for _, r := range s {
		if unicode.IsControl(r) {
			return false
		}
	}
	return true
}

// Push stores jobs. A job whose type and ID exist already replaces the old one
// in one step, unless that is running (ErrActive in its receipt); a finished or dead one
// begins anew. Receipts are in the order of the jobs.
//
// The error is not nil if any job's fate is unknown: it matches ErrFull or
// ErrUnavailable, and the receipts' Err say of which. A bad job is an
// *invalid.Error, and nothing is pushed at all. IDs are made before the first
// try and written into the given jobs, so pushing the same slice again makes no
// second job, unless the first has run in the meantime.
//
// Calls that push one small job of the same type at the same time share round trips.
func (q *Queue) Push(ctx context.Context, jobs ...Job) ([]Receipt, error) {
	for i := range jobs {
		if err := jobs[i].Validate(); err != nil {
			return nil, inBatch(err, i, len(jobs))
		}
	}
	return q.PushValid(ctx, jobs...)
}

// PushValid is Push for jobs that Validate has found nothing wrong with.
func (q *Queue) PushValid(ctx context.Context, jobs ...Job) ([]Receipt, error) {
	fresh := make([]bool, len(jobs))
	for i := range jobs {
		if jobs[i].ID == "" {
			jobs[i].ID = q.entropy.newID()
			fresh[i] = true
		}
	}
	if len(jobs) == 1 && jobs[0].size() <= blobSize {
		r := q.pushShared(ctx, &jobs[0], fresh[0])
		if r.Err != nil && !errors.Is(r.Err, ErrActive) && !errors.Is(r.Err, ErrDuplicate) {
			return []Receipt{r}, r.Err
		}
		return []Receipt{r}, nil
	}
	byType, types := grouped(jobs)
	receipts := make([]Receipt, len(jobs))
	var first error
	for _, typ := range types {
		for idx := byType[typ]; len(idx) > 0; {
			n := chunk(jobs, idx)
			if err := q.pushChunk(ctx, typ, jobs, fresh, idx[:n], receipts); err != nil {
				for _, i := range idx[:n] {
					receipts[i] = Receipt{ID: jobs[i].ID, Err: err}
				}
				if first == nil {
					first = err
				}
			}
			idx = idx[n:]
		}
	}
	return receipts, first
}

// grouped returns the indexes of the jobs of each type, and the types in the order they came.
func grouped(jobs []Job) (byType map[string][]int, types []string) {
	byType = map[string][]int{}
	for from := 0; from < len(jobs); {
		typ, to := jobs[from].Type, from
		for to < len(jobs) && jobs[to].Type == typ {
			to++
		}
		idx := byType[typ]
		if idx == nil {
			types = append(types, typ)
		}
		idx = slices.Grow(idx, to-from)
		for ; from < to; from++ {
			idx = append(idx, from)
		}
		byType[typ] = idx
	}
	return byType, types
}

func inBatch(err error, i, n int) error {
	if bad, ok := err.(*invalid.Error); ok && n > 1 {
		return bad.In("[" + strconv.Itoa(i) + "]")
	}
	return err
}

// chunk returns how many of the next jobs go into one script call: by number and by size.
func chunk(jobs []Job, idx []int) int {
	size := 0
	for n, i := range idx {
		size += jobs[i].size()
		if n > 0 && (n == chunkSize || size > 4<<20) {
			return n
		}
	}
	return len(idx)
}

func (q *Queue) pushChunk(ctx context.Context, typ string, jobs []Job, fresh []bool, idx []int, receipts []Receipt) error {
	args := make([]any, 0, len(idx)*argsPerJob)
	for _, i := range idx {
		var err error
		if args, err = appendJob(args, &jobs[i], fresh[i]); err != nil {
			return err
		}
	}
	got, err := q.callPush(ctx, typ, args)
	if err != nil {
		return err
	}
	for k, i := range idx {
		receipts[i] = got[k]
	}
	return nil
}

// argsPerJob is how many arguments of the script describe a job.
const argsPerJob = 6

func appendJob(args []any, j *Job, fresh bool) ([]any, error) {
	body, blob, err := encodeBody(j)
	if err != nil {
		return nil, err
	}
	var how any = "0" // constants: what goes into an interface is allocated
	if fresh {
		how = "1"
	}
	if more := j.more(); more != "" {
		how = how.(string) + more
	}
	when := ""
	switch {
	case !j.RunAt.IsZero():
		when = "@" + strconv.FormatInt(j.RunAt.UnixMilli(), 10)
	case j.Delay > 0:
		when = "+" + strconv.FormatInt(j.Delay.Milliseconds(), 10)
	}
	return append(args, j.ID, how, listOf(j.Priority), when, body, blob), nil
}

// more is what the script is told of jobs that expire, or have a unique key.
func (j *Job) more() (s string) {
	if j.TTL > 0 || !j.ExpiresAt.IsZero() {
		s = "e"
	}
	if j.Unique != nil {
		s += j.Unique.arg()
	}
	return s
}

// callPush runs the script for jobs as appendJob describes them, and returns a receipt each.
func (q *Queue) callPush(ctx context.Context, typ string, jobs []any) ([]Receipt, error) {
	answer, err := q.sendPush(ctx, typ, "push:"+nonce(), rememberPush, "", jobs)
	if err != nil {
		return nil, err
	}
	return decodePush(answer, len(jobs)/argsPerJob, func(i int) string { return jobs[i*argsPerJob].(string) })
}

// sendPush runs the script under a request key, which is remembered for ttl with the note.
func (q *Queue) sendPush(ctx context.Context, typ, request string, ttl time.Duration, note string, jobs []any) (string, error) {
	args := make([]any, 0, 5+len(jobs))
	args = append(args, q.wakeChannel(), typ, ttl.Milliseconds(), wakeInterval.Milliseconds(), note)
	args = append(args, jobs...)
	keys := q.typeKeys(typ, request)
	script := q.scripts.push
	if allNew(jobs) {
		script = q.scripts.pushNew
	}
	v, err := q.run(ctx, script, keys, args)
	if v == "" { // they may be there already
		v, err = q.run(ctx, q.scripts.push, keys, args)
	}
	if err != nil {
		return "", err
	}
	answer, ok := v.(string)
	if !ok {
		return "", fmt.Errorf("push: unexpected answer %v", v)
	}
	return answer, nil
}

// allNew reports whether jobs, as appendJob describes them, all have fresh IDs and no options.
func allNew(jobs []any) bool {
	for i := 0; i < len(jobs); i += argsPerJob {
		if body := jobs[i+4].([]byte); jobs[i+1].(string) != "1" || body[0] != '\n' {
			return false
		}
	}
	return true
}

// decodePush reads the script's answer to n jobs; id is the ID of each.
func decodePush(answer string, n int, id func(int) string) ([]Receipt, error) {
	f := strings.Fields(answer)
	if len(f) != 1+n {
		return nil, fmt.Errorf("push: unexpected answer %q", answer)
	}
	now, err := strconv.ParseInt(f[0], 10, 64)
	if err != nil {
		return nil, fmt.Errorf("push: unexpected answer %q", f[0])
	}
	receipts := make([]Receipt, len(f)-1)
	for i, a := range f[1:] {
		r := &receipts[i]
		r.ID = id(i)
		if a == "a" {
			r.Err = ErrActive
			continue
		}
		a, other, moved := strings.Cut(a, ":")
		if a[0] == 'x' || a[0] == 'i' {
			if err := r.decodeUnique(a, other); err != nil {
				return nil, err
			}
			continue
		}
		if moved {
			r.ID = other
		}
		wait, err := strconv.ParseInt(a[1:], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("push: unexpected answer %q", a)
		}
		r.Replaced = a[0] == 'r'
		r.RunAt = time.UnixMilli(now + wait)
		if r.State = Waiting; wait > 0 {
			r.State = Scheduled
		}
	}
	return receipts, nil
}
