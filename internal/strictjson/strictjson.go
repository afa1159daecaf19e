// Package strictjson decodes JSON that strangers wrote. What it accepts means
// the same to every parser (I-JSON, RFC 7493), and what it refuses it names:
// the field as its author wrote it, and the rule it breaks.
package strictjson

import (
	"bytes"
	stdjson "encoding/json"

	"github.com/deetoo/deetoo/invalid"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// DefaultMaxDepth is how many arrays and objects may be nested in each other.
const DefaultMaxDepth = 64

// Options of a Decoder. The zero value is ready to use.
type Options struct {
	// MaxDepth is how many arrays and objects may be nested in each other,
	// counted from the outermost of the document: 1 to 10,000. Default: DefaultMaxDepth.
	MaxDepth int
}

// Validate names the option that is out of bounds.
func (o Options) Validate() error {
	if o.MaxDepth < 0 || o.MaxDepth > 10_000 {
		return invalid.Errorf("max_depth", "must be 1 to 10,000")
	}
	return nil
}

// Decoder decodes strictly. It is immutable and safe for concurrent use.
type Decoder struct {
	maxDepth int
	verbatim *json.Unmarshalers
}

// New returns a Decoder, or the option that is wrong.
func New(o Options) (*Decoder, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	return newDecoder(o), nil
}

func newDecoder(o Options) *Decoder {
	if o.MaxDepth == 0 {
		o.MaxDepth = DefaultMaxDepth
	}
	return &Decoder{maxDepth: o.MaxDepth, verbatim: json.JoinUnmarshalers(
		json.UnmarshalFromFunc(func(d *jsontext.Decoder, v *stdjson.RawMessage) error {
			return readVerbatim(d, (*jsontext.Value)(v))
		}),
		json.UnmarshalFromFunc(readVerbatim),
	)}
}

// readVerbatim copies the next value byte for byte. Names may repeat in it: it
// is another's data, which is passed on and never interpreted here.
func readVerbatim(d *jsontext.Decoder, v *jsontext.Value) error {
	return json.UnmarshalDecode(d, v, jsontext.AllowDuplicateNames(true), json.WithUnmarshalers(nil))
}

// standard has the default options; it never changes.
var standard = newDecoder(Options{})

// Decode decodes with the default options; see [Decoder.Decode].
func Decode(data []byte, v any) error { return standard.Decode(data, v) }

// DecodeObject is Decode for what must be an object: null, which leaves all fields zero, is refused as well.
func DecodeObject(data []byte, v any) error {
	if err := Decode(data, v); err != nil {
		return err
	}
	if bytes.TrimLeft(data, " \t\r\n")[0] != '{' { // what is no JSON has been refused
		return invalid.Errorf("", "must be an object")
	}
	return nil
}

// Valid checks with the default options; see [Decoder.Valid].
func Valid(data []byte) error { return standard.Valid(data) }

// Decode stores the one JSON value that data consists of in v, a non-nil
// pointer. The error is an *[invalid.Error]; v is then partly written.
//
// Refused are: malformed and trailing data, invalid UTF-8, escaped surrogates
// without their other half, too deep nesting, values of another type than the
// field's, numbers out of its range, names that no field has, and names given
// twice. Names are compared exactly; null leaves a field zero.
//
// Fields of type json.RawMessage (or jsontext.Value) get their bytes verbatim.
// They are checked like the rest, except that names may repeat in them.
// An error of a field's UnmarshalText becomes that field's rule, so it should
// read like one ("must be …") and not repeat the value.
func (d *Decoder) Decode(data []byte, v any) error {
	if err := d.checkDepth(data); err != nil {
		return err
	}
	err := json.Unmarshal(data, v, json.RejectUnknownMembers(true), json.WithUnmarshalers(d.verbatim))
	if err != nil {
		return explain(data, err)
	}
	return nil
}

// Valid checks that data is one JSON value which Decode would put into a
// json.RawMessage. The error is an *[invalid.Error].
func (d *Decoder) Valid(data []byte) error {
	if err := d.checkDepth(data); err != nil {
		return err
	}
	if jsontext.Value(data).IsValid(jsontext.AllowDuplicateNames(true)) {
		return nil
	}
	var v jsontext.Value
	return explain(data, json.Unmarshal(data, &v, jsontext.AllowDuplicateNames(true)))
}

// checkDepth refuses deep nesting before a parser, which may recurse, sees it.
// On malformed input it may miscount; the parser refuses that anyway.
func (d *Decoder) checkDepth(data []byte) error {
	depth := 0
	for i := 0; i < len(data); i++ {
		switch data[i] {
		case '{', '[':
			if depth++; depth > d.maxDepth {
				return invalid.Errorf(fieldAt(data, int64(i), ""), "is nested deeper than %d levels", d.maxDepth)
			}
		case '}', ']':
			depth--
		case '"':
			i = endOfString(data, i)
		}
	}
	return nil
}

// endOfString returns the index of the quote that ends the string beginning at
// i, or len(data).
func endOfString(data []byte, i int) int {
	for i++; i < len(data); i++ {
		n := bytes.IndexByte(data[i:], '"')
		if n < 0 {
			return len(data)
		}
		esc := bytes.IndexByte(data[i:i+n], '\\')
		if esc < 0 {
			return i + n
		}
		i += esc + 1 // the escaped byte, then on
	}
	return i
}
