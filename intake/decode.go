package intake

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/deetoo/deetoo/internal/strictjson"
	"github.com/deetoo/deetoo/invalid"
	"github.com/deetoo/deetoo/queue"
	"github.com/deetoo/deetoo/registry"
)

// jobInput is a job as producers write it.
type jobInput struct {
	ID          *string            `json:"id"`
	Data        json.RawMessage    `json:"data"`
	Group       *string            `json:"group"`
	Title       string             `json:"title"`
	When        json.RawMessage    `json:"when"`
	Delay       *registry.Duration `json:"delay"`
	Priority    queue.Priority     `json:"priority"`
	MaxAttempts *int               `json:"max_attempts"`
	Timeout     *registry.Duration `json:"timeout"`
	Traceparent string             `json:"traceparent"`
	ExpiresAt   json.RawMessage    `json:"expires_at"`
	TTL         *registry.Duration `json:"ttl"`
	Headers     map[string]string  `json:"headers"`
	Target      *string            `json:"target"`
	Tags        []string           `json:"tags"`
	UniqueKey   *string            `json:"unique_key"`
	UniqueFor   *registry.Duration `json:"unique_for"`
	OnConflict  string             `json:"on_conflict"`
	DebounceMax *registry.Duration `json:"debounce_max"`
	OnSuccess   *followInput       `json:"on_success"`
	OnFailure   *followInput       `json:"on_failure"`
	Then        []followInput      `json:"then"`
	CallbackURL string             `json:"callback_url"`
}

// DecodeJob reads one job of a type: {"id"?, "data", "title"?, "when"? | "delay"?,
// "priority"?, "max_attempts"?, "timeout"?, "traceparent"?, "expires_at"? | "ttl"?, "headers"?, "target"?, "tags"?, "unique_key"?, "unique_for"?, "on_conflict"?,
// "debounce_max"?, "on_success"?, "on_failure"?, "then"?, "callback_url"?}. The error is an *invalid.Error.
// A job may have a "group", too.
func DecodeJob(typ string, data []byte) (queue.Job, error) {
	var in jobInput
	if in.scan(data) {
		in.Data = bytes.Clone(in.Data) // the rest is text, and copied already
		return in.job(typ)
	}
	var all jobInput // another, since this one's address is kept
	if err := strictjson.DecodeObject(data, &all); err != nil {
		return queue.Job{}, err
	}
	return all.job(typ)
}

func (in *jobInput) job(typ string) (queue.Job, error) {
	j := queue.Job{Type: typ}
	if in.Data == nil {
		return j, invalid.Errorf("data", "is required")
	}
	err := in.fill(&j)
	return j, err
}

// followInput is a job that follows another: of a type that it names, and its data may be absent.
type followInput struct {
	Type string `json:"type"`
	jobInput
}

func (in *followInput) job(field string) (*queue.Job, error) {
	j := &queue.Job{Type: in.Type}
	var err error
	switch {
	case in.Type == "":
		err = invalid.Errorf("type", "is required")
	case len(in.When) > 0:
		err = invalid.Errorf("when", "must not be given: a follow-up is due when the job before it has ended; give a delay")
	default:
		err = in.fill(j)
	}
	if bad, ok := err.(*invalid.Error); ok {
		err = bad.In(field)
	}
	return j, err
}

// fillAfter reads what follows the job.
func (in *jobInput) fillAfter(j *queue.Job) (err error) {
	j.CallbackURL = in.CallbackURL
	if in.OnSuccess != nil {
		if j.OnSuccess, err = in.OnSuccess.job("on_success"); err != nil {
			return err
		}
	}
	if in.OnFailure != nil {
		if j.OnFailure, err = in.OnFailure.job("on_failure"); err != nil {
			return err
		}
	}
	for i := range in.Then {
		next, err := in.Then[i].job("then[" + strconv.Itoa(i) + "]")
		if err != nil {
			return err
		}
		j.Then = append(j.Then, *next)
	}
	return nil
}

func (in *jobInput) fill(j *queue.Job) error {
	j.Data, j.Title, j.Priority, j.Traceparent = in.Data, in.Title, in.Priority, in.Traceparent
	if err := in.fillAfter(j); err != nil {
		return err
	}
	if in.ID != nil {
		if j.ID = *in.ID; j.ID == "" {
			return invalid.Errorf("id", "must be 1 to %d characters", queue.MaxIDLength)
		}
	}
	if in.Group != nil {
		j.Group = *in.Group
		if err := queue.ValidateGroup(j.Group); err != nil {
			return err
		}
	}
	if in.MaxAttempts != nil {
		if j.MaxAttempts = *in.MaxAttempts; j.MaxAttempts < 1 {
			return invalid.Errorf("max_attempts", "must be 1 to 100")
		}
	}
	if in.Timeout != nil {
		if j.Timeout = time.Duration(*in.Timeout); j.Timeout < 100*time.Millisecond {
			return invalid.Errorf("timeout", "must be 100ms to 24h")
		}
	}
	if in.Delay != nil {
		if j.Delay = time.Duration(*in.Delay); len(in.When) > 0 {
			return invalid.Errorf("delay", "must not be given together with when")
		}
	}
	if err := in.fillUnique(j); err != nil {
		return err
	}
	j.Headers, j.Tags = in.Headers, in.Tags
	if in.Target != nil {
		if j.Target = *in.Target; j.Target == "" {
			return invalid.Errorf("target", "must be an http or https URL, or absent")
		}
	}
	if in.TTL != nil {
		if j.TTL = time.Duration(*in.TTL); j.TTL < time.Millisecond {
			return invalid.Errorf("ttl", "must be 1ms to ten years")
		}
	}
	var err error
	if j.ExpiresAt, err = decodeTime("expires_at", in.ExpiresAt, 2*queue.MaxDelay); err != nil {
		return err
	}
	j.RunAt, err = decodeWhen(in.When)
	return err
}

func (in *jobInput) fillUnique(j *queue.Job) error {
	if in.UniqueKey == nil {
		switch {
		case in.UniqueFor != nil:
			return invalid.Errorf("unique_for", "must not be given without unique_key")
		case in.OnConflict != "":
			return invalid.Errorf("on_conflict", "must not be given without unique_key")
		case in.DebounceMax != nil:
			return invalid.Errorf("debounce_max", "must not be given without unique_key")
		}
		return nil
	}
	j.Unique = &queue.Unique{Key: *in.UniqueKey, OnConflict: queue.OnConflict(in.OnConflict)}
	for _, d := range []struct {
		field string
		from  *registry.Duration
		to    *time.Duration
	}{{"unique_for", in.UniqueFor, &j.Unique.For}, {"debounce_max", in.DebounceMax, &j.Unique.Longest}} {
		if d.from != nil {
			if *d.to = time.Duration(*d.from); *d.to < time.Millisecond {
				return invalid.Errorf(d.field, "must be at least 1ms")
			}
		}
	}
	return nil
}

// decodeWhen reads Unix milliseconds or RFC 3339; absent and null mean now.
func decodeWhen(raw json.RawMessage) (time.Time, error) {
	return decodeTime("when", raw, queue.MaxDelay)
}

// decodeTime reads a time as decodeWhen does, at most so far ahead.
func decodeTime(field string, raw json.RawMessage, ahead time.Duration) (time.Time, error) {
	if len(raw) == 0 || string(raw) == "null" {
		return time.Time{}, nil
	}
	bad := invalid.Errorf(field, "must be Unix milliseconds or an RFC 3339 time, between 1970 and %d years from now", int(ahead.Hours()/24/365))
	var at time.Time
	if raw[0] == '"' {
		var s string
		if json.Unmarshal(raw, &s) != nil {
			return at, bad
		}
		t, err := time.Parse(time.RFC3339, s)
		if err != nil {
			// deetoo's producers send the number as a string, too.
			ms, err := strconv.ParseInt(s, 10, 64)
			if err != nil {
				return at, bad
			}
			t = time.UnixMilli(ms)
		}
		at = t
	} else {
		ms, err := strconv.ParseFloat(string(raw), 64)
		if err != nil || math.Abs(ms) > 1<<53 {
			return at, bad
		}
		at = time.UnixMilli(int64(ms))
	}
	if at.UTC().Year() < 1970 || at.After(time.Now().Add(ahead)) {
		return time.Time{}, bad
	}
	if at.IsZero() || at.UnixMilli() <= 0 {
		at = time.UnixMilli(1) // long due: the zero time would mean that nothing was said
	}
	return at, nil
}

// ParseTime reads a time of a query: Unix milliseconds or RFC 3339. The error is an *invalid.Error of the field.
func ParseTime(field, s string) (time.Time, error) {
	at, err := time.Parse(time.RFC3339, s)
	if err != nil {
		ms, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			return at, invalid.Errorf(field, "must be Unix milliseconds or an RFC 3339 time")
		}
		at = time.UnixMilli(ms)
	}
	if at.UTC().Year() < 1970 || at.UTC().Year() > 9999 {
		return at, invalid.Errorf(field, "must be between 1970 and 9999")
	}
	return at, nil
}

// legacyInput is a job as deetoo's producers write it.
type legacyInput struct {
	ID      json.RawMessage `json:"id"`
	JobData json.RawMessage `json:"jobData"`
	When    json.RawMessage `json:"when"`
}

// DecodeLegacyJob reads one job in deetoo's own form: {"jobData", "when"?,
// "id"?}; jobData.title is the job's title. The id may be a number.
func DecodeLegacyJob(typ string, data []byte) (queue.Job, error) {
	var in legacyInput
	if err := strictjson.DecodeObject(data, &in); err != nil {
		return queue.Job{}, err
	}
	j := queue.Job{Type: typ, Data: in.JobData}
	if in.JobData == nil {
		return j, invalid.Errorf("jobData", "is required")
	}
	if id := string(in.ID); id != "" && id != "null" {
		if json.Unmarshal(in.ID, &j.ID) != nil {
			if _, err := strconv.ParseInt(id, 10, 64); err != nil {
				return j, invalid.Errorf("id", "must be a string or a whole number")
			}
			j.ID = id
		}
		if err := queue.ValidateID(j.ID); err != nil {
			return j, err
		}
	}
	var titled struct {
		Title string `json:"title"`
	}
	if json.Unmarshal(in.JobData, &titled) == nil {
		j.Title = titleOf(titled.Title)
	}
	at, err := decodeWhen(in.When)
	j.RunAt = at
	return j, err
}

// titleOf makes a valid title of a text that was not meant to be one: a job is
// not refused for it.
func titleOf(text string) string {
	text = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, "�"))
	if len(text) <= queue.MaxTitleLength {
		return text
	}
	end := queue.MaxTitleLength - len("…")
	for !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + "…"
}

// Item is one job of a batch, or why it is none.
type Item struct {
	Job queue.Job
	Err error
}

// DecodeBatch reads many jobs, each with decode: a JSON array, or if ndjson is
// true an object a line (blank lines are passed over). An item that is JSON but no valid job has
// its own error. The error of the call, an *invalid.Error, says that the whole is malformed
// (any line that is not JSON makes it so), empty, or more than limit.
func DecodeBatch(typ string, data []byte, ndjson bool, limit int, decode func(typ string, data []byte) (queue.Job, error)) ([]Item, error) {
	if ndjson {
		return decodeLines(typ, data, limit, decode)
	}
	raws, ok := split(data, limit)
	if !ok {
		raws = nil
		if err := strictjson.Decode(data, &raws); err != nil {
			return nil, err
		}
	}
	switch {
	case len(raws) == 0:
		return nil, errNoJobs()
	case len(raws) > limit:
		return nil, errTooMany(limit)
	}
	items := make([]Item, len(raws))
	for i, raw := range raws {
		items[i].Job, items[i].Err = decode(typ, raw)
	}
	return items, nil
}

func decodeLines(typ string, data []byte, limit int, decode func(typ string, data []byte) (queue.Job, error)) ([]Item, error) {
	items := make([]Item, 0, min(bytes.Count(data, []byte{'\n'})+1, limit))
	for line := range bytes.SplitSeq(data, []byte{'\n'}) {
		if line = bytes.TrimSpace(line); len(line) == 0 {
			continue
		}
		if len(items) == limit {
			return nil, errTooMany(limit)
		}
		job, err := decode(typ, line)
		if err != nil { // what was decoded is JSON: only what was not need be looked at again
			if malformed := strictjson.Valid(line); malformed != nil {
				return nil, InItem(malformed, len(items))
			}
		}
		items = append(items, Item{job, err})
	}
	if len(items) == 0 {
		return nil, errNoJobs()
	}
	return items, nil
}

func errNoJobs() error { return invalid.Errorf("", "must hold at least one job") }

func errTooMany(limit int) error {
	return invalid.Errorf("", "must be at most %d jobs in one request", limit)
}

// InItem is the error of one job of a batch as an error of the whole: an
// *invalid.Error then names the item ("[3].data").
func InItem(err error, i int) error {
	bad, ok := errors.AsType[*invalid.Error](err)
	switch item := "[" + strconv.Itoa(i) + "]"; {
	case !ok:
		return err
	case errors.Is(err, ErrTooLarge):
		return fmt.Errorf("%w: %w", ErrTooLarge, bad.In(item))
	default:
		return bad.In(item)
	}
}
