// Package invalid says which field of an input breaks which rule, so that
// every way in can answer with both.
package invalid

import "fmt"

// Error is bad input: the field, as its author wrote it ("retry.max_attempts",
// "jobs[3].priority", "target"), and the rule it breaks. It never repeats a value that may be secret.
type Error struct {
	// Field is empty when the input as a whole is at fault.
	Field string
	// Rule completes the sentence "<field> …": "must be 1 to 100".
	Rule string
}

// Errorf makes an Error of a field and a formatted rule.
func Errorf(field, format string, args ...any) *Error {
	return &Error{Field: field, Rule: fmt.Sprintf(format, args...)}
}

// Error says field and rule in one sentence.
func (e *Error) Error() string {
	if e.Field == "" {
		return e.Rule
	}
	return e.Field + " " + e.Rule
}

// In returns the same error for a field inside another: In("retry") of
// "max_attempts" is "retry.max_attempts".
func (e *Error) In(parent string) *Error {
	switch {
	case e.Field == "":
		return &Error{Field: parent, Rule: e.Rule}
	case e.Field[0] == '[':
		return &Error{Field: parent + e.Field, Rule: e.Rule}
	default:
		return &Error{Field: parent + "." + e.Field, Rule: e.Rule}
	}
}
