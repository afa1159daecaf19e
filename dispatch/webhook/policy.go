package webhook

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/deetoo/deetoo/dispatch"
	"github.com/deetoo/deetoo/registry"
)

// policy returns what the first row of the type's answer policy that fits makes
// of an answer, and that row's index; -1 if none fits. whole says that body is
// all of the answer's body.
func (d *Deliverer) policy(typ *registry.Type, resp *http.Response, body []byte, whole bool) (dispatch.Outcome, int) {
	if len(typ.Answers) == 0 {
		return dispatch.Outcome{}, -1
	}
	read := lazyBody{bytes: body, whole: whole}
	i := slices.IndexFunc(typ.Answers, func(row registry.Answer) bool { return fits(row, resp, &read) })
	if i < 0 {
		return dispatch.Outcome{}, -1
	}
	row := typ.Answers[i]
	if row.Then == registry.ThenDone {
		return dispatch.Outcome{Verdict: dispatch.Done}, i
	}
	out := dispatch.Outcome{Err: fmt.Sprintf("%s: %s by answers[%d] of the type", statusLine(resp.StatusCode), row.Then, i)}
	switch row.Then {
	case registry.ThenDead:
		out.Verdict = dispatch.Dead
		return out, i
	case registry.ThenPause:
		out.Verdict = dispatch.Pause
		return out, i
	case registry.ThenSnooze:
		out.Verdict = dispatch.Snooze
	}
	if row.After != nil {
		out.Delay = time.Duration(*row.After)
		return out, i
	}
	after := d.askedFor(typ, resp)
	if slowDown(resp.StatusCode) {
		out.RetryAfter = after
	} else {
		out.Delay = after
	}
	if out.Verdict == dispatch.Snooze && after == 0 {
		out.Delay = registry.DefaultSnooze // also if it asked for no time at all: it would spin
	}
	return out, i
}

// slowDown reports whether a status with a Retry-After is about the endpoint,
// and not about one job.
func slowDown(status int) bool {
	return status == http.StatusTooManyRequests || status == http.StatusServiceUnavailable
}

// askedFor is how long the endpoint asked to be left alone; 0 if it did not.
func (d *Deliverer) askedFor(typ *registry.Type, resp *http.Response) time.Duration {
	limit := typ.MaxRetryAfter
	if limit <= 0 {
		limit = d.opts.MaxRetryAfter
	}
	now := d.opts.Now()
	if after, ok := parseRetryAfter(resp.Header.Get("Retry-After"), now, limit); ok {
		return after
	}
	// Many send the reset with every answer: it counts once nothing remains.
	if left := resp.Header.Get("X-RateLimit-Remaining"); left != "" && strings.Trim(left, "0 ") != "" {
		return 0
	}
	after, _ := parseReset(resp.Header.Get("X-RateLimit-Reset"), now, limit)
	return after
}

func fits(row registry.Answer, resp *http.Response, body *lazyBody) bool {
	if row.Status != nil && !row.Status.Contains(resp.StatusCode) {
		return false
	}
	if h := row.Header; h != nil && !slices.Contains(resp.Header.Values(h.Name), h.Equals) {
		return false
	}
	return row.JSON == nil || body.has(row.JSON)
}

// lazyBody is parsed when the first row looks into it.
type lazyBody struct {
	bytes  []byte
	whole  bool
	parsed bool
	value  any
	err    error
}

func (b *lazyBody) has(f *registry.AnswerField) bool {
	if !b.whole {
		return false
	}
	if !b.parsed {
		b.parsed = true
		b.value, b.err = parseJSON(b.bytes)
	}
	if b.err != nil {
		return false
	}
	found, ok := lookUp(b.value, f.Field)
	if !ok {
		return false
	}
	want, err := parseJSON(f.Equals)
	return err == nil && sameScalar(found, want)
}

// parseJSON keeps numbers as they are written: identifiers are longer than a float64 is exact.
func parseJSON(b []byte) (v any, err error) {
	if !json.Valid(b) { // a decoder would not mind what follows
		return nil, errNotJSON
	}
	decoder := json.NewDecoder(bytes.NewReader(b))
	decoder.UseNumber()
	err = decoder.Decode(&v)
	return v, err
}

var errNotJSON = errors.New("not JSON")

// lookUp follows a dotted path of member names and element numbers.
func lookUp(v any, path string) (any, bool) {
	for name := range strings.SplitSeq(path, ".") {
		switch in := v.(type) {
		case map[string]any:
			member, ok := in[name]
			if !ok {
				return nil, false
			}
			v = member
		case []any:
			i, err := strconv.Atoi(name)
			if err != nil || i < 0 || i >= len(in) {
				return nil, false
			}
			v = in[i]
		default:
			return nil, false
		}
	}
	return v, true
}

// sameScalar compares what parseJSON made. Numbers that are written differently are
// the same if they are as float64: 1 and 1.0, 1e3 and 1000.
func sameScalar(a, b any) bool {
	x, ok := a.(json.Number)
	y, ok2 := b.(json.Number)
	if ok && ok2 {
		if x == y {
			return true
		}
		if whole(x) && whole(y) {
			return false
		}
		f, err := x.Float64()
		g, err2 := y.Float64()
		return err == nil && err2 == nil && f == g
	}
	switch a.(type) {
	case map[string]any, []any:
		return false
	}
	return a == b
}

// whole reports whether a number is written without fraction and exponent.
func whole(n json.Number) bool { return !strings.ContainsAny(n.String(), ".eE") }
