package queue

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// options are what a producer may set beside the data, as stored in a record:
// short names, nothing for defaults, since each queued job pays for them.
type options struct {
	Unsure      int    `json:"?,omitempty"` // 1 or 0; kept by the scripts, and first: see doubt in prelude.lua
	Group       string `json:"g,omitempty"` // the first but for that: groups.lua looks for it there
	Title       string `json:"t,omitempty"`
	MaxAttempts int    `json:"m,omitempty"`
	Timeout     int64  `json:"o,omitempty"` // ms
	Traceparent string `json:"p,omitempty"`
	UniqueKey   string `json:"k,omitempty"` // looked for by lua/unique.lua as text
	ExpiresAt   int64  `json:"x,omitempty"` // ms; this and the next looked for by lua/expiry.lua
	TTL         int64  `json:"l,omitempty"` // ms after the push
	// After is looked for by lua/after.lua as text: nothing else may be "a" and an object.
	After  *after  `json:"a,omitempty"`
	Parent *Parent `json:"q,omitempty"`
	Target string  `json:"u,omitempty"`
	Extra  *extra  `json:"e,omitempty"`
}

func optionsOf(j *Job) options {
	o := options{
		Group: j.Group, Title: j.Title, MaxAttempts: j.MaxAttempts, Timeout: j.Timeout.Milliseconds(), Traceparent: j.Traceparent,
		After: afterOf(j), Parent: j.Parent, Target: j.Target,
	}
	if j.Unique != nil {
		o.UniqueKey = j.Unique.Key
	}
	if !j.ExpiresAt.IsZero() {
		o.ExpiresAt = j.ExpiresAt.UnixMilli()
	}
	o.TTL, o.Extra = j.TTL.Milliseconds(), extraOf(j)
	return o
}

// fill sets what a job's options say.
func (o *options) fill(j *Job) {
	j.Group = o.Group
	j.Title, j.MaxAttempts, j.Timeout, j.Traceparent = o.Title, o.MaxAttempts, time.Duration(o.Timeout)*time.Millisecond, o.Traceparent
	j.Unsure = o.Unsure != 0
	o.Extra.fill(j)
	if o.UniqueKey != "" {
		j.Unique = &Unique{Key: o.UniqueKey}
	}
	switch {
	case o.ExpiresAt > 0:
		j.ExpiresAt = time.UnixMilli(o.ExpiresAt)
	case o.TTL > 0:
		j.ExpiresAt = j.EnqueuedAt.Add(time.Duration(o.TTL) * time.Millisecond)
	}
	j.Parent, j.Target = o.Parent, o.Target
	o.After.fill(j)
}

// encodeBody returns a record's tail without its first newline: options, a
// newline and the data, and the data apart if it is large.
func encodeBody(j *Job) (body, blob []byte, err error) {
	data := []byte(j.Data)
	if len(data) == 0 {
		data = []byte("null")
	}
	if o := optionsOf(j); o != (options{}) {
		if body, err = encodeOptions(o); err != nil {
			return nil, nil, err
		}
	}
	if len(data) > blobSize {
		return append(body, '\n'), data, nil
	}
	out := make([]byte, 0, len(body)+1+len(data))
	out = append(append(append(out, body...), '\n'), data...)
	return out, nil, nil
}

// encodeOptions leaves a group as it is, for scripts to read.
func encodeOptions(o options) ([]byte, error) {
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	if err := e.Encode(o); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(out.Bytes(), []byte{'\n'}), nil
}

// listOf is the number of a priority's waiting list.
func listOf(p Priority) int { return 3 - int(p) }

var errRecord = errors.New("damaged job record")

// decodeRecord fills a job from its record and, if the data is apart, its
// blob; large says that the data is apart and no blob was given.
func decodeRecord(j *Job, rec, blob string) (large bool, err error) {
	head, tail, ok := strings.Cut(rec, "\n")
	opts, data, ok2 := strings.Cut(tail, "\n")
	f := strings.Fields(head)
	if !ok || !ok2 || len(f) < 5 || len(f[0]) != 3 {
		return false, fmt.Errorf("%w: %q", errRecord, head)
	}
	var n [7]int64
	for i, s := range f[1:] {
		if i >= len(n) {
			break
		}
		if n[i], err = strconv.ParseInt(s, 10, 64); err != nil {
			return false, fmt.Errorf("%w: %q", errRecord, head)
		}
	}
	if f[0][1] < '1' || f[0][1] > '5' {
		return false, fmt.Errorf("%w: %q", errRecord, head)
	}
	j.Priority = Priority(3 - int(f[0][1]-'0'))
	j.Attempt, j.Lost = int(n[0]), int(n[1])
	j.EnqueuedAt = time.UnixMilli(n[2])
	j.RunAt = time.UnixMilli(n[2] + n[3])
	switch f[0][0] {
	case 's':
		j.State = Succeeded
	case 'c':
		j.State = Cancelled
	case 'd':
		j.State = Dead
	case 'q':
		j.State = Waiting
	default:
		return false, fmt.Errorf("%w: %q", errRecord, head)
	}
	if j.State.Terminal() && len(f) >= 8 {
		if n[4] > 0 {
			j.StartedAt = time.UnixMilli(n[4])
		}
		j.FinishedAt = time.UnixMilli(n[5])
	}
	if opts != "" {
		var o options
		if err := json.Unmarshal([]byte(opts), &o); err != nil {
			return false, fmt.Errorf("%w: options: %w", errRecord, err)
		}
		o.fill(j)
	}
	switch {
	case f[0][2] != 'b':
		j.Data = json.RawMessage(data)
	case blob != "":
		j.Data = json.RawMessage(blob)
	default:
		return true, nil
	}
	return false, nil
}

// lastStatus returns the HTTP status in a finished record, 0 if there is none.
func lastStatus(rec string) int {
	head, _, _ := strings.Cut(rec, "\n")
	f := strings.Fields(head)
	if len(f) < 8 {
		return 0
	}
	n, _ := strconv.Atoi(f[7])
	return n
}

// decodeHistory reads the lines of a job's history.
func decodeHistory(history string) ([]Attempt, error) {
	if history == "" {
		return nil, nil
	}
	var out []Attempt
	for line := range bytes.SplitSeq([]byte(history), []byte("\n")) {
		var a Attempt
		if err := json.Unmarshal(line, &a); err != nil {
			return nil, fmt.Errorf("damaged history: %w", err)
		}
		out = append(out, a)
	}
	return out, nil
}

// placeState is the State of a place as scripts name it.
func placeState(place string) State {
	switch place {
	case "W":
		return Waiting
	case "S":
		return Scheduled
	case "A":
		return Active
	case "s":
		return Succeeded
	case "c":
		return Cancelled
	case "d":
		return Dead
	}
	return ""
}

// statePlace is the place scripts look for a State in; f holds both kinds of finished jobs.
func statePlace(s State) string {
	switch s {
	case Waiting:
		return "W"
	case Scheduled:
		return "S"
	case Active:
		return "A"
	case Dead:
		return "d"
	}
	return "f"
}

func parseMs(s string) time.Time {
	ms, err := strconv.ParseFloat(s, 64)
	if err != nil {
		return time.Time{}
	}
	return time.UnixMilli(int64(ms))
}
