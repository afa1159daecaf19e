package api

import (
	"bytes"
	"encoding/json"
	"strconv"
	"time"
)

// What is answered to pushes is written by hand: an answer to many jobs has a thousand of these, and
// reflection would take longer for it than their decoding.

// itemView answers for one job of a batch: a receipt, or why there is none.
type itemView struct {
	receiptView
	Error *problem
}

// batchView answers for a batch, in the order of the jobs.
type batchView struct {
	Accepted, Rejected int
	Results            []itemView
}

// appendJSON writes {"accepted", "rejected", "results": […]} and a newline: the receipts, and {"error"} for the others.
func (v batchView) appendJSON(b []byte) ([]byte, error) {
	const each = len(`{"id":"01ARZ3NDEKTSV4RRFFQ69G5FAV","state":"scheduled","run_at":"2006-01-02T15:04:05.000Z","replaced":false},`)
	b = append(make([]byte, 0, len(b)+64+each*len(v.Results)), b...)
	b = strconv.AppendInt(append(b, `{"accepted":`...), int64(v.Accepted), 10)
	b = strconv.AppendInt(append(b, `,"rejected":`...), int64(v.Rejected), 10)
	b = append(b, `,"results":[`...)
	var at clockface
	for i := range v.Results {
		if i > 0 {
			b = append(b, ',')
		}
		item := &v.Results[i]
		if item.Error == nil {
			b = appendReceipt(b, item.receiptView, &at)
			continue
		}
		p, err := plainJSON(item.Error)
		if err != nil {
			return nil, err
		}
		b = append(append(append(b, `{"error":`...), p...), '}')
	}
	return append(b, ']', '}', '\n'), nil
}

func appendReceipt(b []byte, v receiptView, at *clockface) []byte {
	b = appendString(append(b, `{"id":`...), v.ID)
	if v.State != "" {
		b = appendString(append(b, `,"state":`...), string(v.State))
	}
	if !v.RunAt.IsZero() {
		b = append(append(append(b, `,"run_at":"`...), at.text(time.Time(v.RunAt))...), '"')
	}
	b = strconv.AppendBool(append(b, `,"replaced":`...), v.Replaced)
	if v.Duplicate {
		b = append(b, `,"duplicate":true`...)
	}
	return append(b, '}')
}

// clockface remembers how a time is written: the jobs of a request are mostly due at the same one.
type clockface struct {
	at      time.Time
	written []byte
}

func (c *clockface) text(at time.Time) []byte {
	if c.written == nil || !at.Equal(c.at) {
		c.at, c.written = at, timestamp(at).append(c.written[:0])
	}
	return c.written
}

// appendString writes a string. IDs are of printable ASCII, so that a quote or a backslash is all there is to
// escape; whatever else there may be, the package json knows.
func appendString(b []byte, s string) []byte {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' || s[i] == '"' || s[i] == '\\' {
			quoted, _ := plainJSON(s) // a string can always be written
			return append(b, quoted...)
		}
	}
	return append(append(append(b, '"'), s...), '"')
}

// plainJSON is v as JSON, with <, > and & as they are: it is no HTML.
func plainJSON(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return bytes.TrimSuffix(b.Bytes(), []byte{'\n'}), err
}
