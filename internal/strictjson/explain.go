package strictjson

import (
	"bytes"
	"encoding"
	"errors"
	"io"
	"reflect"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/agnivade/levenshtein"
	"github.com/deetoo/deetoo/invalid"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// maxNameShown bounds how much of a stranger's name an error repeats, in bytes.
const maxNameShown = 64

// explain turns an error of the json package into a field and a rule.
func explain(data []byte, err error) *invalid.Error {
	if len(bytes.TrimLeft(data, " \t\r\n")) == 0 {
		return invalid.Errorf("", "body is empty")
	}
	if semantic, ok := errors.AsType[*json.SemanticError](err); ok {
		return explainSemantic(data, semantic)
	}
	if syntactic, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		return explainSyntactic(data, syntactic)
	}
	return invalid.Errorf("", "malformed JSON")
}

func explainSyntactic(data []byte, err *jsontext.SyntacticError) *invalid.Error {
	field := fieldAt(data, err.ByteOffset, err.JSONPointer)
	switch reason := err.Err.Error(); {
	case errors.Is(err, jsontext.ErrDuplicateName):
		return invalid.Errorf(field, "is given twice")
	case errors.Is(err, io.ErrUnexpectedEOF):
		return malformed(field, len(data), "unexpected end")
	case strings.Contains(reason, "after top-level value"):
		return invalid.Errorf("", "unexpected data after the JSON value, at byte %d", err.ByteOffset)
	case strings.Contains(reason, "invalid UTF-8"):
		return invalid.Errorf(field, "has invalid UTF-8 at byte %d", err.ByteOffset)
	case strings.Contains(reason, "surrogate"), strings.Contains(reason, `escape sequence "\\u`):
		return invalid.Errorf(field, `has an invalid \u escape (half a surrogate pair?) at byte %d`, err.ByteOffset)
	default:
		return malformed(field, int(err.ByteOffset), reason)
	}
}

func malformed(field string, offset int, reason string) *invalid.Error {
	if field != "" {
		reason += ", in " + field
	}
	return invalid.Errorf("", "malformed JSON at byte %d: %s", offset, reason)
}

func explainSemantic(data []byte, err *json.SemanticError) *invalid.Error {
	field := fieldAt(data, err.ByteOffset, err.JSONPointer)
	if errors.Is(err, json.ErrUnknownName) {
		name := err.JSONPointer.LastToken()
		if near := nearestField(err.GoType, name); near != "" {
			return invalid.Errorf(field, "is not a known field; did you mean %s?", near)
		}
		return invalid.Errorf(field, "is not a known field")
	}
	if inner, ok := errors.AsType[*invalid.Error](err.Err); ok {
		if field == "" {
			return inner
		}
		return inner.In(field)
	}
	switch {
	case errors.Is(err, strconv.ErrRange):
		return invalid.Errorf(field, "is out of range: %s", mustBe(err.GoType))
	case err.JSONKind == jsontext.KindString && isText(err.GoType) && err.Err != nil:
		// Say "priority must be …", not "priority priority must be …".
		rule := err.Err.Error()
		if last := err.JSONPointer.LastToken(); last != "" {
			rule = strings.TrimPrefix(rule, last+" ")
		}
		return invalid.Errorf(field, "%s", rule)
	default:
		return invalid.Errorf(field, "%s", mustBe(err.GoType))
	}
}

func isText(t reflect.Type) bool {
	if t == nil {
		return false
	}
	return t.Implements(reflect.TypeFor[encoding.TextUnmarshaler]()) ||
		reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextUnmarshaler]())
}

// mustBe says in JSON's words what a Go type wants.
func mustBe(t reflect.Type) string {
	if isText(t) {
		return "must be a string"
	}
	for t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t == nil {
		return "has the wrong type"
	}
	switch t.Kind() {
	case reflect.String:
		return "must be a string"
	case reflect.Bool:
		return "must be true or false"
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return "must be a whole number of at most " + strconv.Itoa(t.Bits()) + " bits"
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return "must be a whole number from 0, of at most " + strconv.Itoa(t.Bits()) + " bits"
	case reflect.Float32, reflect.Float64:
		return "must be a number"
	case reflect.Slice, reflect.Array:
		if t.Elem().Kind() == reflect.Uint8 {
			return "must be a string of base64"
		}
		return "must be an array"
	case reflect.Struct, reflect.Map:
		return "must be an object"
	default:
		return "has the wrong type"
	}
}

// nearestField returns the JSON name of a field of t that was probably meant.
func nearestField(t reflect.Type, name string) string {
	if t == nil || t.Kind() != reflect.Struct || len(name) > maxNameShown {
		return ""
	}
	fold := strings.NewReplacer("_", "", "-", "")
	best, bound := "", 1+min(len(name)/3, 2)
	for _, f := range reflect.VisibleFields(t) {
		known, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if known == "" {
			known = f.Name
		}
		if known == "-" || !f.IsExported() || f.Anonymous {
			continue
		}
		if strings.EqualFold(fold.Replace(name), fold.Replace(known)) {
			return known
		}
		if n := levenshtein.ComputeDistance(name, known); n < bound || (n == bound && best == "") {
			best, bound = known, n
		}
	}
	return best
}

// fieldAt writes the JSON Pointer of the value at the byte offset the way a
// person would: jobs[2].data. A pointer does not tell "2" the name from 2 the
// index, so the document is read up to there. An empty pointer stands for
// whatever is at the offset.
func fieldAt(data []byte, offset int64, pointer jsontext.Pointer) string {
	d := jsontext.NewDecoder(bytes.NewReader(data), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	for d.InputOffset() <= offset {
		if _, err := d.ReadToken(); err != nil {
			break
		}
	}
	if pointer == "" {
		pointer = d.StackPointer()
	}
	path, level := "", 0
	for token := range pointer.Tokens() {
		level++
		isIndex := false
		if level <= d.StackDepth() {
			kind, _ := d.StackIndex(level)
			isIndex = kind == jsontext.KindBeginArray
		}
		if isIndex {
			path += "[" + token + "]"
		} else {
			path = Member(path, token)
		}
	}
	return path
}

// Member returns the path of a member of the object at parent ("" for the whole
// input). A name that would blur the path is quoted, a long one cut.
func Member(parent, name string) string {
	switch {
	case !plain(name):
		return parent + "[" + strconv.Quote(shorten(name)) + "]"
	case parent == "":
		return shorten(name)
	default:
		return parent + "." + shorten(name)
	}
}

// plain reports whether a name can stand in a path without quotes.
func plain(name string) bool {
	for _, r := range name {
		if r <= ' ' || strings.ContainsRune(`."'[]{}`, r) || !strconv.IsPrint(r) {
			return false
		}
	}
	return name != ""
}

func shorten(name string) string {
	if len(name) <= maxNameShown {
		return name
	}
	cut := maxNameShown
	for !utf8.RuneStart(name[cut]) {
		cut--
	}
	return name[:cut] + "…"
}
