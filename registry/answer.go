package registry

import (
	"bytes"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/deetoo/deetoo/invalid"
)

// Answer is a row of a type's answer policy: what an answer that fits every
// condition given means, before the contract's own rules. The first row that fits counts.
type Answer struct {
	// Status is the status, or the range of them, that fits. Nil: any.
	Status *StatusRange `json:"status,omitzero"`
	// Header is a header that the answer must have. Nil: any.
	Header *AnswerHeader `json:"header,omitzero"`
	// JSON is a field that the answer's body must have. Nil: any.
	JSON *AnswerField `json:"json,omitzero"`
	// Then is one of the Then constants. Required.
	Then string `json:"then"`
	// After is when the job is tried again, with ThenRetry and ThenSnooze: 1s to
	// 7 days. Nil: when the answer's Retry-After says, or X-RateLimit-Reset; else
	// ThenRetry waits for the type's backoff, and ThenSnooze DefaultSnooze.
	After *Duration `json:"after,omitzero"`
}

// What an answer means for its job; see [Answer.Then].
const (
	// ThenDone: it succeeded, and the body is its result.
	ThenDone = "done"
	// ThenRetry: the attempt failed.
	ThenRetry = "retry"
	// ThenDead: it failed for good.
	ThenDead = "dead"
	// ThenPause: the job is kept at no cost of an attempt, and its type paused.
	ThenPause = "pause"
	// ThenSnooze: the job waits, at no cost of an attempt.
	ThenSnooze = "snooze"
)

// DefaultSnooze is how long a snoozed job waits if neither its row nor the answer says.
const DefaultSnooze = 30 * time.Second

// MaxAnswers is how many rows an answer policy may have.
const MaxAnswers = 20

// StatusRange are the HTTP statuses from From to To, both included: 100 to 599.
// In JSON it is 409, "409" or "500-599".
type StatusRange struct{ From, To int }

// Contains reports whether a status is among them.
func (r StatusRange) Contains(status int) bool { return r.From <= status && status <= r.To }

// MarshalJSON writes the shortest form as a string.
func (r StatusRange) MarshalJSON() ([]byte, error) {
	s := strconv.Itoa(r.From)
	if r.To != r.From {
		s += "-" + strconv.Itoa(r.To)
	}
	return json.Marshal(s)
}

// UnmarshalJSON reads a number, or a string of one or two numbers.
func (r *StatusRange) UnmarshalJSON(b []byte) error {
	text := string(b)
	if len(b) > 0 && b[0] == '"' {
		if err := json.Unmarshal(b, &text); err != nil {
			return err
		}
	}
	from, to, ranged := strings.Cut(text, "-")
	if !ranged {
		to = from
	}
	var err, err2 error
	r.From, err = strconv.Atoi(strings.TrimSpace(from))
	r.To, err2 = strconv.Atoi(strings.TrimSpace(to))
	if err != nil || err2 != nil {
		return invalid.Errorf("", `must be a status such as 409, or a range such as "500-599"`)
	}
	return nil
}

// AnswerHeader is a header of an answer: one of its values must be Equals, byte
// for byte. Name is at most 128 bytes, in any case; Equals at most 1,024.
type AnswerHeader struct {
	Name   string `json:"name"`
	Equals string `json:"equals"`
}

// AnswerField is a field of an answer's JSON body, of which the first 64 KiB are
// looked at: a longer body does not fit.
type AnswerField struct {
	// Field is where it is: names of members, and numbers of elements from 0,
	// separated by full stops ("error.code", "errors.0.code"). At most 256 bytes.
	Field string `json:"field"`
	// Equals is the string, number, boolean or null that it must be: at most 1,024 bytes of JSON.
	Equals json.RawMessage `json:"equals"`
}

func (c *checks) answers(rows []Answer) {
	if len(rows) > MaxAnswers {
		c.rule("answers", "must be at most 20 rows")
		return
	}
	for i, row := range rows {
		at := "answers[" + strconv.Itoa(i) + "]"
		c.that(row.Status != nil || row.Header != nil || row.JSON != nil, at, "must have a condition: status, header or json")
		if s := row.Status; s != nil {
			c.that(s.From >= 100 && s.From <= s.To && s.To <= 599, at+".status", "must be within 100 to 599, the smaller first")
		}
		if h := row.Header; h != nil {
			c.that(h.Name != "" && len(h.Name) <= maxHeaderName && !strings.ContainsFunc(h.Name, notToken), at+".header.name", "must be a header name of at most 128 bytes")
			c.that(len(h.Equals) <= 1024, at+".header.equals", "must be at most 1,024 bytes")
		}
		if f := row.JSON; f != nil {
			c.that(f.Field != "" && len(f.Field) <= 256 && !slices.Contains(strings.Split(f.Field, "."), ""), at+".json.field", `must be names separated by full stops, such as "error.code", of at most 256 bytes`)
			c.that(isScalar(f.Equals), at+".json.equals", "must be a string, number, boolean or null of at most 1,024 bytes")
		}
		switch row.Then {
		case ThenDone, ThenDead, ThenPause:
			c.that(row.After == nil, at+".after", "goes with retry and snooze only")
		case ThenRetry, ThenSnooze:
			if row.After != nil {
				after := time.Duration(*row.After)
				c.that(after >= time.Second && after <= 7*day, at+".after", "must be 1s to 168h (7 days)")
			}
		default:
			c.rule(at+".then", "must be done, retry, dead, pause or snooze")
		}
	}
}

// isScalar reports whether v is one, and not too long.
func isScalar(v json.RawMessage) bool {
	v = bytes.TrimSpace(v)
	return len(v) > 0 && len(v) <= 1024 && v[0] != '{' && v[0] != '[' && json.Valid(v)
}

func cloneAnswers(rows []Answer) []Answer {
	out := slices.Clone(rows)
	for i, row := range out {
		out[i].Status, out[i].Header, out[i].After = clone(row.Status), clone(row.Header), clone(row.After)
		if out[i].JSON = clone(row.JSON); row.JSON != nil {
			out[i].JSON.Equals = slices.Clone(row.JSON.Equals)
		}
	}
	return out
}

func clone[T any](p *T) *T {
	if p == nil {
		return nil
	}
	v := *p
	return &v
}

func sameAnswers(a, b []Answer) bool {
	return slices.EqualFunc(a, b, func(x, y Answer) bool {
		return x.Then == y.Then && equal(x.Status, y.Status) && equal(x.Header, y.Header) && equal(x.After, y.After) &&
			(x.JSON == nil) == (y.JSON == nil) && (x.JSON == nil || x.JSON.Field == y.JSON.Field && bytes.Equal(x.JSON.Equals, y.JSON.Equals))
	})
}

func equal[T comparable](a, b *T) bool {
	return (a == nil) == (b == nil) && (a == nil || *a == *b)
}
