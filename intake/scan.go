package intake

import (
	"bytes"
	"encoding/json"
	"strconv"

	"github.com/deetoo/deetoo/internal/jsonscan"
	"github.com/deetoo/deetoo/queue"
	"github.com/deetoo/deetoo/registry"
)

// scan reads a job as most producers write it, in one pass. It returns false if there is anything about it
// that is seldom, or wrong: then nothing is known, and strictjson, which can read all and explain what
// is wrong, decides. Data shares the memory of the input.
func (in *jobInput) scan(data []byte) bool {
	i := jsonscan.Space(data, 0)
	if i == len(data) || data[i] != '{' {
		return false
	}
	var seen uint32 // the members that came, a bit each
	for i = jsonscan.Space(data, i+1); ; i = jsonscan.Space(data, i+1) {
		name, after, ok := text(data, i)
		if !ok {
			return false
		}
		if i = jsonscan.Space(data, after); i == len(data) || data[i] != ':' {
			return false
		}
		i = jsonscan.Space(data, i+1)
		end := jsonscan.Value(data, i, jsonscan.MaxDepth-1)
		if end < 0 {
			return false
		}
		bit, ok := in.member(string(name), data[i:end:end])
		if !ok || seen&bit != 0 {
			return false
		}
		seen |= bit
		if i = jsonscan.Space(data, end); i == len(data) {
			return false
		}
		if data[i] == '}' {
			return jsonscan.Space(data, i+1) == len(data)
		}
		if data[i] != ',' {
			return false
		}
	}
}

// text returns what is in the string that begins at i, and the index behind it; not one with escapes.
func text(data []byte, i int) (s []byte, end int, ok bool) {
	if i >= len(data) || data[i] != '"' {
		return nil, 0, false
	}
	if end = jsonscan.String(data, i); end < 0 {
		return nil, 0, false
	}
	s = data[i+1 : end-1]
	return s, end, bytes.IndexByte(s, '\\') < 0
}

// member sets what a member says, if it is one that scan knows and is well written, and returns a bit of its own.
func (in *jobInput) member(name string, value []byte) (bit uint32, ok bool) {
	if name == "data" {
		in.Data = value
		return 1, true
	}
	if string(value) == "null" { // as if it were absent; but for raw ones
		switch name {
		case "id", "title", "priority", "delay", "max_attempts", "timeout", "traceparent", "ttl", "group":
			value = nil
		}
	}
	switch name {
	case "id":
		return 2, pointer(&in.ID, value)
	case "title":
		return 4, plain(&in.Title, value)
	case "when":
		in.When = value
		return 8, true
	case "delay":
		return 16, duration(&in.Delay, value)
	case "priority":
		var s string
		if !plain(&s, value) {
			return 0, false
		}
		p, err := queue.ParsePriority(s)
		in.Priority = p
		return 32, err == nil
	case "max_attempts":
		if value == nil {
			return 64, true
		}
		n, err := strconv.ParseInt(string(value), 10, 32)
		in.MaxAttempts = new(int(n))
		return 64, err == nil
	case "timeout":
		return 128, duration(&in.Timeout, value)
	case "traceparent":
		return 256, plain(&in.Traceparent, value)
	case "expires_at":
		in.ExpiresAt = value
		return 512, true
	case "ttl":
		return 1024, duration(&in.TTL, value)
	case "group":
		return 2048, pointer(&in.Group, value)
	}
	return 0, false
}

// plain reads a string; nil is none.
func plain(to *string, value []byte) bool {
	if value == nil {
		return true
	}
	s, _, ok := text(value, 0)
	*to = string(s)
	return ok
}

func pointer(to **string, value []byte) bool {
	if value == nil {
		return true
	}
	var s string
	ok := plain(&s, value)
	*to = &s
	return ok
}

func duration(to **registry.Duration, value []byte) bool {
	if value == nil {
		return true
	}
	s, _, ok := text(value, 0)
	if !ok {
		return false
	}
	d := new(registry.Duration)
	*to = d
	return d.UnmarshalText(s) == nil
}

// split returns the items of a JSON array, but no more than one over the limit; false if it is none, or
// malformed anywhere. Items share the memory of data.
func split(data []byte, limit int) ([]json.RawMessage, bool) {
	i := jsonscan.Space(data, 0)
	if i == len(data) || data[i] != '[' {
		return nil, false
	}
	// About as many as there would be if all were as long as the first.
	var raws []json.RawMessage
	for i = jsonscan.Space(data, i+1); ; i = jsonscan.Space(data, i+1) {
		end := jsonscan.Value(data, i, jsonscan.MaxDepth-1)
		if end < 0 {
			return nil, false
		}
		if raws == nil {
			raws = make([]json.RawMessage, 0, min(len(data)/(end-i+1)+1, limit))
		}
		if len(raws) <= limit { // those beyond are looked at, not kept: nothing is bounded by their number
			raws = append(raws, data[i:end:end])
		}
		if i = jsonscan.Space(data, end); i == len(data) {
			return nil, false
		}
		if data[i] == ']' {
			return raws, jsonscan.Space(data, i+1) == len(data)
		}
		if data[i] != ',' {
			return nil, false
		}
	}
}
