package strictjson_test

import (
	"bytes"
	stdjson "encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/deetoo/deetoo/internal/strictjson"
	"github.com/deetoo/deetoo/invalid"
)

type level int8

func (l *level) UnmarshalText(b []byte) error {
	switch string(b) {
	case "high":
		*l = 1
	case "low":
		*l = -1
	default:
		return errors.New("priority must be high or low")
	}
	return nil
}

type owned struct{}

func (*owned) UnmarshalText([]byte) error { return invalid.Errorf("", "must be a duration") }

type job struct {
	ID       string             `json:"id"`
	Data     stdjson.RawMessage `json:"data"`
	Priority level              `json:"priority"`
	Attempts int8               `json:"max_attempts"`
	Share    float64            `json:"share"`
	Paused   *bool              `json:"paused"`
	Wait     owned              `json:"wait"`
	Headers  map[string]string  `json:"headers"`
	Tags     []string           `json:"tags"`
}

type batch struct {
	Jobs []job `json:"jobs"`
}

func deep(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }

func TestDecodeNamesFieldAndRule(t *testing.T) {
	long := strings.Repeat("n", 10_000)
	for _, tc := range []struct {
		name, in    string
		field, rule string // rule: a part of it
	}{
		{"empty", "", "", "body is empty"},
		{"blank", " \n\t", "", "body is empty"},
		{"cut off", `{"jobs":[{"id":"a"`, "", "malformed JSON at byte 18: unexpected end, in jobs[0]"},
		{"not JSON", `hello`, "", "malformed JSON at byte 0"},
		{"comma", `{"jobs":[],}`, "", "malformed JSON at byte 10"},
		{"single quotes", `{'jobs':[]}`, "", "malformed JSON at byte 1"},
		{"NUL outside", "{\x00\"jobs\":[]}", "", "malformed JSON at byte 1"},
		{"NUL after", "{\"jobs\":[]}\x00", "", "unexpected data after the JSON value, at byte 11"},
		{"raw NUL in string", "{\"jobs\":[{\"id\":\"a\x00\"}]}", "", "malformed JSON at byte 17"},
		{"BOM", "\ufeff{}", "", "malformed JSON at byte 0"},
		{"trailing value", `{"jobs":[]} {}`, "", "unexpected data after the JSON value, at byte 12"},
		{"NaN", `{"jobs":[{"share":NaN}]}`, "", "malformed JSON at byte 18"},
		{"leading zero", `{"jobs":[{"max_attempts":01}]}`, "", "malformed JSON at byte 26"},
		{"string for object", `"x"`, "", "must be an object"},
		{"array for object", `[]`, "", "must be an object"},
		{"object for array", `{"jobs":{}}`, "jobs", "must be an array"},
		{"number for string", `{"jobs":[{},{},{"id":7}]}`, "jobs[2].id", "must be a string"},
		{"string for number", `{"jobs":[{"max_attempts":"7"}]}`, "jobs[0].max_attempts", "must be a whole number of at most 8 bits"},
		{"string for float", `{"jobs":[{"share":"7"}]}`, "jobs[0].share", "must be a number"},
		{"number for bool", `{"jobs":[{"paused":1}]}`, "jobs[0].paused", "must be true or false"},
		{"number for text", `{"jobs":[{"priority":1}]}`, "jobs[0].priority", "must be a string"},
		{"fraction", `{"jobs":[{"max_attempts":1.5}]}`, "jobs[0].max_attempts", "must be a whole number"},
		{"too large", `{"jobs":[{"max_attempts":128}]}`, "jobs[0].max_attempts", "is out of range"},
		{"far too small", `{"jobs":[{"max_attempts":-1e400}]}`, "jobs[0].max_attempts", "must be a whole number"},
		{"huge float", `{"jobs":[{"share":1e999}]}`, "jobs[0].share", "is out of range"},
		{"text rule, name once", `{"jobs":[{"priority":"urgent"}]}`, "jobs[0].priority", "must be high or low"},
		{"text rule of ours", `{"jobs":[{"wait":"soon"}]}`, "jobs[0].wait", "must be a duration"},
		{"map value", `{"jobs":[{"headers":{"X-A":1}}]}`, "jobs[0].headers.X-A", "must be a string"},
		{"number as a name", `{"jobs":[{"headers":{"0":1}}]}`, "jobs[0].headers.0", "must be a string"},
		{"odd name", `{"jobs":[{"headers":{"a.b":1}}]}`, `jobs[0].headers["a.b"]`, "must be a string"},
		{"slice element", `{"jobs":[{"tags":["a",null,3]}]}`, "jobs[0].tags[2]", "must be a string"},
		{"unknown", `{"jobs":[{"colour":1}]}`, "jobs[0].colour", "is not a known field"},
		{"unknown, near", `{"jobs":[{"max_atempts":1}]}`, "jobs[0].max_atempts", "did you mean max_attempts?"},
		{"unknown, camel", `{"jobs":[{"maxAttempts":1}]}`, "jobs[0].maxAttempts", "did you mean max_attempts?"},
		{"unknown, case", `{"Jobs":[]}`, "Jobs", "did you mean jobs?"},
		{"unknown, long", `{"` + long + `":1}`, strings.Repeat("n", 64) + "…", "is not a known field"},
		{"twice", `{"jobs":[{"id":"a","id":"b"}]}`, "jobs[0].id", "is given twice"},
		{"twice by escape", `{"jobs":[{"id":"a","\u0069d":"b"}]}`, "jobs[0].id", "is given twice"},
		{"twice in a map", `{"jobs":[{"headers":{"a":"","a":""}}]}`, "jobs[0].headers.a", "is given twice"},
		{"invalid UTF-8", "{\"jobs\":[{\"id\":\"\xff\"}]}", "jobs[0].id", "has invalid UTF-8 at byte 16"},
		{"invalid UTF-8 in data", "{\"jobs\":[{\"data\":{\"to\":\"\xc3\"}}]}", "jobs[0].data.to", "has invalid UTF-8"},
		{"lone surrogate", `{"jobs":[{"id":"\ud800"}]}`, "jobs[0].id", `invalid \u escape`},
		{"reversed pair", `{"jobs":[{"id":"\udc00\ud800"}]}`, "jobs[0].id", `invalid \u escape`},
		{"lone surrogate in data", `{"jobs":[{"data":["\udfff"]}]}`, "jobs[0].data[0]", `invalid \u escape`},
		{"malformed data", `{"jobs":[{"data":{"a":}}]}`, "", "malformed JSON at byte 22"},
		{"deep data", `{"jobs":[{"data":` + deep(62) + `}]}`, "jobs[0].data" + strings.Repeat("[0]", 61), "is nested deeper than 64 levels"},
		{"depth bomb", strings.Repeat("[", 5_000_000), strings.Repeat("[0]", 64), "is nested deeper than 64 levels"},
		{"object bomb", strings.Repeat(`{"a":`, 1_000_000), "a" + strings.Repeat(".a", 63), "is nested deeper than 64 levels"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			err := strictjson.Decode([]byte(tc.in), new(batch))
			got, ok := err.(*invalid.Error)
			if !ok {
				t.Fatalf("got %T %v, want *invalid.Error", err, err)
			}
			if got.Field != tc.field || !strings.Contains(got.Rule, tc.rule) {
				t.Errorf("got %q: %q\nwant %q: …%q…", got.Field, got.Rule, tc.field, tc.rule)
			}
		})
	}
}

func TestArrayAtTop(t *testing.T) {
	var jobs []job
	err := strictjson.Decode([]byte(`[{},{},{},{"priority":"x"}]`), &jobs)
	if want := "[3].priority must be high or low"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestDecodeKeepsDataVerbatim(t *testing.T) {
	for _, data := range []string{
		`null`, `{ "a" : 1.0 , "a" : 1e2 }`, `"\u0000\ud83d\ude00 é"`, `12345678901234567890.10`,
		deep(61), `{"x":[{"k":1,"k":2}]}`, `"[[[[{{{{\"[[["`, `"\\"`,
	} {
		var got batch
		in := `{"jobs":[{"data": ` + data + ` ,"priority":"high","id":"a"}]}`
		if err := strictjson.Decode([]byte(in), &got); err != nil {
			t.Errorf("%s: %v", data, err)
			continue
		}
		if j := got.Jobs[0]; string(j.Data) != data || j.Priority != 1 || j.ID != "a" {
			t.Errorf("%s became %+v", data, j)
		}
		if err := strictjson.Valid([]byte(data)); err != nil {
			t.Errorf("Valid(%s): %v", data, err)
		}
	}
}

func TestDecodeDoesNotAliasItsInput(t *testing.T) {
	in := []byte(`{"jobs":[{"id":"abc","data":{"k":"v"}}]}`)
	var got batch
	if err := strictjson.Decode(in, &got); err != nil {
		t.Fatal(err)
	}
	clear(in)
	if got.Jobs[0].ID != "abc" || string(got.Jobs[0].Data) != `{"k":"v"}` {
		t.Errorf("changed with its input: %+v", got.Jobs[0])
	}
}

func TestValid(t *testing.T) {
	for in, want := range map[string]string{
		``:                       "body is empty",
		`{"a":[1,"\ud800"]}`:     `a[1] has an invalid \u escape (half a surrogate pair?) at byte 9`,
		"[\"\xff\"]":             "[0] has invalid UTF-8 at byte 2",
		`1 2`:                    "unexpected data after the JSON value, at byte 2",
		deep(65):                 strings.Repeat("[0]", 64) + " is nested deeper than 64 levels",
		`{"a":1`:                 "malformed JSON at byte 6: unexpected end",
		`"` + "\\":               "malformed JSON at byte 2: unexpected end",
		`{"a":{"b":[tru]}}`:      "malformed JSON at byte 14: ",
		"\x00":                   "malformed JSON at byte 0: ",
		`{"a":1,"a":2}`:          "",
		deep(64):                 "",
		`{"b":"` + "]]}}" + `"}`: "",
	} {
		err := strictjson.Valid([]byte(in))
		if (err == nil) != (want == "") || err != nil && !strings.HasPrefix(err.Error(), want) {
			t.Errorf("Valid(%.40q) = %v, want %q", in, err, want)
		}
	}
}

func TestMaxDepth(t *testing.T) {
	d, err := strictjson.New(strictjson.Options{MaxDepth: 2})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Valid([]byte(`[[]]`)); err != nil {
		t.Error(err)
	}
	if err := d.Valid([]byte(`{"a":[{}]}`)); err == nil || err.Error() != "a[0] is nested deeper than 2 levels" {
		t.Errorf("got %v", err)
	}
	if _, err := strictjson.New(strictjson.Options{MaxDepth: -1}); err == nil {
		t.Error("a negative depth was accepted")
	}
}

func FuzzDecode(f *testing.F) {
	for _, s := range []string{
		`{"jobs":[{"id":"a","data":{"a":1},"priority":"low"}]}`, `[]`, `{"jobs":[{"data":"\ud800"}]}`, "{\"\xff\":1}",
		`{"jobs":[{"headers":{"a":"b"},"tags":["x"],"share":1e999}]}`, deep(70), `"\`, `{"a":1,"a":2}`, `"\u12`, `{"jobs":[{"priority":"é"}]}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		var b batch
		err := strictjson.Decode(in, &b)
		if err == nil {
			if !stdjson.Valid(in) {
				t.Fatal("accepted what is not JSON")
			}
			for _, j := range b.Jobs {
				if j.Data == nil {
					continue
				}
				if !bytes.Contains(in, j.Data) {
					t.Fatalf("data is not verbatim: %q", j.Data)
				}
				if err := strictjson.Valid(j.Data); err != nil {
					t.Fatalf("kept data that is not valid: %v", err)
				}
			}
		} else if e, ok := err.(*invalid.Error); !ok || e.Rule == "" || strings.Contains(e.Error(), "Go ") {
			t.Fatalf("unexplained error %T: %v", err, err)
		}
		if err := strictjson.Valid(in); err == nil && !stdjson.Valid(in) {
			t.Fatal("Valid accepts what is not JSON")
		}
	})
}

// body is a push of 256 bytes of data.
func body() []byte {
	return fmt.Appendf(nil, `{"id":"order-1234","data":{"to":"leia@example.org","text":"%s"},"priority":"high"}`, strings.Repeat("x", 180))
}

func BenchmarkDecode256(b *testing.B) {
	in := body()
	b.SetBytes(int64(len(in)))
	b.ReportAllocs()
	for b.Loop() {
		var j job
		if err := strictjson.Decode(in, &j); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkValid256(b *testing.B) {
	in := body()
	b.SetBytes(int64(len(in)))
	b.ReportAllocs()
	for b.Loop() {
		if err := strictjson.Valid(in); err != nil {
			b.Fatal(err)
		}
	}
}
