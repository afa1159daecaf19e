package queue

import (
	"fmt"
	"strconv"
)

// reply reads a script's array answer from left to right; the first value that
// is not as expected is kept as the error.
type reply struct {
	values []any
	err    error
}

func asSlice(v any) []any {
	s, _ := v.([]any)
	return s
}

func (r *reply) more() bool { return r.err == nil && len(r.values) > 0 }

func (r *reply) next() any {
	if len(r.values) == 0 {
		if r.err == nil {
			r.err = fmt.Errorf("answer too short")
		}
		return nil
	}
	v := r.values[0]
	r.values = r.values[1:]
	return v
}

// str reads a string; the engine may send numbers as such.
func (r *reply) str() string {
	switch v := r.next().(type) {
	case string:
		return v
	case int64:
		return strconv.FormatInt(v, 10)
	case nil:
		if r.err == nil {
			r.err = fmt.Errorf("answer holds nil")
		}
	default:
		r.err = fmt.Errorf("answer holds a %T", v)
	}
	return ""
}

func (r *reply) int() int64 {
	if len(r.values) > 0 {
		if n, ok := r.values[0].(int64); ok {
			r.values = r.values[1:]
			return n
		}
	}
	s := r.str()
	if r.err != nil {
		return 0
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		r.err = fmt.Errorf("answer holds %q for a number", s)
	}
	return n
}
