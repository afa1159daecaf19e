package intake

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/deetoo/deetoo/invalid"
	"github.com/deetoo/deetoo/queue"
)

func TestDecodeJob(t *testing.T) {
	j, err := DecodeJob("email", []byte(` {"id":"a","data":{"x": 1},"title":"T","delay":"1m30s","priority":"lowest","max_attempts":3,"timeout":"2s","traceparent":"tp"} `))
	want := queue.Job{Type: "email", ID: "a", Data: json.RawMessage(`{"x": 1}`), Title: "T", Delay: 90 * time.Second, Priority: queue.Lowest, MaxAttempts: 3, Timeout: 2 * time.Second, Traceparent: "tp"}
	if err != nil || !same(j, want) {
		t.Errorf("%+v, %v", j, err)
	}
	// null is nothing said, except for data, where it is data.
	j, err = DecodeJob("email", []byte(`{"id":null,"data":null,"title":null,"when":null,"delay":null,"priority":null,"max_attempts":null,"timeout":null}`))
	if err != nil || !same(j, queue.Job{Type: "email", Data: json.RawMessage("null")}) {
		t.Errorf("%+v, %v", j, err)
	}
}

// same compares what producers set.
func same(a, b queue.Job) bool {
	return a.Type == b.Type && a.ID == b.ID && bytes.Equal(a.Data, b.Data) && a.Title == b.Title && a.RunAt.Equal(b.RunAt) && a.Delay == b.Delay &&
		a.Priority == b.Priority && a.MaxAttempts == b.MaxAttempts && a.Timeout == b.Timeout && a.Traceparent == b.Traceparent
}

func TestWhen(t *testing.T) {
	for in, want := range map[string]time.Time{
		`null`:                        {},
		`0`:                           time.UnixMilli(1), // long due, but said
		`1893456000123`:               time.UnixMilli(1893456000123),
		`1893456000123.9`:             time.UnixMilli(1893456000123),
		`1.893456e12`:                 time.UnixMilli(1893456000000),
		`"1893456000123"`:             time.UnixMilli(1893456000123),
		`"2030-01-01T00:00:00.5Z"`:    time.UnixMilli(1893456000500),
		`"2030-01-01T02:00:00+02:00"`: time.UnixMilli(1893456000000),
		`"1969-12-31T23:30:00-01:00"`: time.UnixMilli(1800000),
		`"1970-01-01T00:00:00Z"`:      time.UnixMilli(1),
	} {
		got, err := decodeWhen(json.RawMessage(in))
		if err != nil || !got.Equal(want) {
			t.Errorf("%s: %v, %v; want %v", in, got, err, want)
		}
	}
	for _, in := range []string{`-1`, `""`, `"soon"`, `true`, `{}`, `[1]`, `1e300`, `1e400`, `9007199254740993`, `"9223372036854775808"`, `"9223372036854775807"`, `"1969-12-31T23:59:59Z"`, `"2200-01-01T00:00:00Z"`, `"2030-13-01T00:00:00Z"`} {
		if got, err := decodeWhen(json.RawMessage(in)); err == nil {
			t.Errorf("%s: %v", in, got)
		} else if bad, ok := errors.AsType[*invalid.Error](err); !ok || bad.Field != "when" {
			t.Errorf("%s: %v", in, err)
		}
	}
}

func TestEpochIsDueInEveryTimeZone(t *testing.T) {
	local := time.Local
	defer func() { time.Local = local }()
	for _, hours := range []int{-12, 0, 14} {
		time.Local = time.FixedZone("test", hours*3600)
		if got, err := decodeWhen(json.RawMessage("0")); err != nil || got.UnixMilli() != 1 {
			t.Errorf("%d hours from UTC: %v, %v", hours, got, err)
		}
	}
}

func TestDecodeLegacyJob(t *testing.T) {
	for in, want := range map[string]queue.Job{
		`{"jobData":{"title":"Mail"}}`:                 {Data: json.RawMessage(`{"title":"Mail"}`), Title: "Mail"},
		`{"jobData":{"title":"a\nb\u0000c"}}`:          {Data: json.RawMessage(`{"title":"a\nb\u0000c"}`), Title: "a b c"},
		`{"jobData":{"title":7}}`:                      {Data: json.RawMessage(`{"title":7}`)},
		`{"jobData":[1],"id":42,"when":1893456000000}`: {Data: json.RawMessage(`[1]`), ID: "42", RunAt: time.UnixMilli(1893456000000)},
		`{"jobData":null,"id":"x","when":null}`:        {Data: json.RawMessage(`null`), ID: "x"},
		`{"jobData":1,"id":null}`:                      {Data: json.RawMessage(`1`)},
	} {
		want.Type = "email"
		if got, err := DecodeLegacyJob("email", []byte(in)); err != nil || !same(got, want) {
			t.Errorf("%s: %+v, %v", in, got, err)
		}
	}
	long := `{"jobData":{"title":"` + strings.Repeat("ü", 300) + `"}}`
	got, err := DecodeLegacyJob("email", []byte(long))
	if err != nil || !strings.HasSuffix(got.Title, "ü…") || len(got.Title) > queue.MaxTitleLength || got.Validate() != nil {
		t.Errorf("title %q, %v", got.Title, err)
	}
	for in, field := range map[string]string{
		`null`: "", `[]`: "", `{}`: "jobData", `{"jobData":1,"jobdata":2}`: "jobdata", `{"jobData":1,"id":true}`: "id", `{"jobData":1,"id":1.5}`: "id",
		`{"jobData":1,"id":""}`: "id", `{"jobData":1,"id":"a b"}`: "id", `{"jobData":1,"id":99999999999999999999}`: "id", `{"jobData":1,"when":"x"}`: "when",
	} {
		_, err := DecodeLegacyJob("email", []byte(in))
		if bad, ok := errors.AsType[*invalid.Error](err); !ok || bad.Field != field {
			t.Errorf("%s: %v", in, err)
		}
	}
}

func TestDecodeBatch(t *testing.T) {
	for _, c := range []struct {
		in     string
		ndjson bool
		want   string // of each item: '.' a job, 'x' an error; "!" the whole is refused
	}{
		{`[{"data":1},{"date":1},7,{"data":2}]`, false, ".xx."},
		{"{\"data\":1}\n\n \r\n{\"date\":1}\r\n7\n{\"data\":2}", true, ".xx."},
		{`[]`, false, "!"}, {`{"data":1}`, false, "!"}, {`null`, false, "!"}, {``, false, "!"}, {"\n\n", true, "!"},
		{`[{"data":1},]`, false, "!"}, {`[{"data":1}`, false, "!"}, {"{\"data\":1}\n{", true, "!"}, {`{"data":1}{"data":2}`, true, "!"},
		{`[` + strings.Repeat(`1,`, 4) + `1]`, false, "xxxxx"}, {`[` + strings.Repeat(`1,`, 5) + `1]`, false, "!"},
		{strings.Repeat("1\n", 5), true, "xxxxx"}, {strings.Repeat("1\n", 6), true, "!"},
	} {
		items, err := DecodeBatch("email", []byte(c.in), c.ndjson, 5, DecodeJob)
		got := "!"
		if err == nil {
			got = ""
			for _, item := range items {
				got += map[bool]string{true: ".", false: "x"}[item.Err == nil]
			}
		} else if _, ok := errors.AsType[*invalid.Error](err); !ok {
			t.Errorf("%q: %v", c.in, err)
		}
		if got != c.want {
			t.Errorf("%q: %s (%v), want %s", c.in, got, err, c.want)
		}
	}
}

func TestInItem(t *testing.T) {
	if err := InItem(invalid.Errorf("data", "is required"), 3); err.Error() != "[3].data is required" {
		t.Error(err)
	}
	large := InItem((&Intake{opts: Options{MaxJobSize: 9}}).tooLarge("data"), 3)
	if bad, ok := errors.AsType[*invalid.Error](large); !errors.Is(large, ErrTooLarge) || !ok || bad.Field != "[3].data" {
		t.Error(large)
	}
	if err := InItem(queue.ErrActive, 3); err != queue.ErrActive {
		t.Error(err)
	}
}

// FuzzDecode: whatever comes, a job that is decoded is one whose data is JSON and
// that Validate judges, and everything else is an *invalid.Error.
func FuzzDecode(f *testing.F) {
	for _, seed := range []string{
		`{"id":"a","data":{"x":1},"when":1893456000000,"priority":"high"}`, `{"jobData":{"title":"a"},"id":7,"when":"2030-01-01T00:00:00Z"}`,
		`[{"data":1},{"jobData":1}]`, "{\"data\":1}\n{\"data\":2}\n", `{"data":"\ud800"}`, "\xff", `{"data":` + strings.Repeat("[", 70), `null`, ``,
		`{"data":1,"delay":"-99999h","timeout":"1ns","max_attempts":-1}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		for _, decode := range []func(string, []byte) (queue.Job, error){DecodeJob, DecodeLegacyJob} {
			check := func(j queue.Job, err error) {
				if err == nil {
					err = j.Validate()
					if !json.Valid(j.Data) {
						t.Errorf("%q: data %q", in, j.Data)
					}
				}
				if _, ok := errors.AsType[*invalid.Error](err); err != nil && !ok {
					t.Errorf("%q: %v", in, err)
				}
			}
			check(decode("email", in))
			for _, ndjson := range []bool{false, true} {
				items, err := DecodeBatch("email", in, ndjson, 10, decode)
				if _, ok := errors.AsType[*invalid.Error](err); err != nil && !ok {
					t.Errorf("%q: %v", in, err)
				}
				for _, item := range items {
					check(item.Job, item.Err)
				}
			}
		}
	})
}
