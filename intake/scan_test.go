package intake

import (
	"encoding/json"
	"fmt"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"github.com/deetoo/deetoo/internal/strictjson"
	"github.com/deetoo/deetoo/queue"
)

// plainly decodes a job without the scanner.
func plainly(data []byte) (queue.Job, error) {
	var in jobInput
	if err := strictjson.DecodeObject(data, &in); err != nil {
		return queue.Job{}, err
	}
	return in.job("email")
}

func scanSeeds() []string {
	return []string{
		`{"data":{"x":1}}`, ` { "data" : [ 1 , 2 ] , "id" : "a" } `, `{"data":null,"id":null,"title":null,"when":null,"delay":null,"priority":null,"max_attempts":null,"timeout":null,"traceparent":null,"expires_at":null,"ttl":null,"group":null}`,
		`{"data":1,"title":"é","traceparent":"t","priority":"high","group":"g","max_attempts":3,"timeout":"2s","ttl":"1h","delay":"1m"}`,
		`{"data":1,"when":1893456000000}`, `{"data":1,"when":"2030-01-01T00:00:00Z","expires_at":1993456000000}`, `{"data":1,"when":null,"delay":"1s"}`, `{"data":1,"when":1,"delay":"1s"}`,
		`{"data":1,"data":2}`, `{"data":1,"id":"a","id":"a"}`, `{"data":1,"id":null,"id":null}`, `{"d\u0061ta":1}`, `{"data":1,"id":"\u0061"}`, `{"data":1,"colour":2}`, `{"data":1,"priority":""}`, `{"data":1,"priority":"urgent"}`,
		`{"data":1,"id":""}`, `{"data":1,"id":7}`, `{"data":1,"max_attempts":1e1}`, `{"data":1,"max_attempts":-0}`, `{"data":1,"max_attempts":"3"}`, `{"data":1,"max_attempts":99999999999}`, `{"data":1,"delay":"soon"}`, `{"data":1,"delay":5}`,
		`{"data":1,"headers":{"a":"b"},"tags":["x"],"target":"http://x"}`, `{"data":1,"unique_key":"k","on_conflict":"ignore"}`, `{"data":1,"on_success":{"type":"a"},"callback_url":"http://x"}`,
		`{}`, `{"id":"a"}`, `{"data":1,}`, `{"data":1`, `{"data":1}}`, `{"data":"\ud800"}`, "{\"data\":\"\xff\"}", `[]`, `null`, ``, `7`, `{"data":` + strings.Repeat("[", 63) + strings.Repeat("]", 63) + `}`, `{"data":` + strings.Repeat("[", 64) + strings.Repeat("]", 64) + `}`,
	}
}

func checkScan(t *testing.T, in []byte) {
	t.Helper()
	want, wantErr := plainly(in)
	got, err := DecodeJob("email", in)
	if fmt.Sprint(err) != fmt.Sprint(wantErr) || err == nil && !reflect.DeepEqual(got, want) {
		t.Errorf("%q:\n%+v, %v; without the scanner\n%+v, %v", in, got, err, want, wantErr)
	}
}

func checkSplit(t *testing.T, in []byte) {
	t.Helper()
	const limit = 3
	var want []json.RawMessage
	wantErr := strictjson.Decode(in, &want)
	switch {
	case wantErr != nil:
	case len(want) == 0:
		wantErr = errNoJobs()
	case len(want) > limit:
		wantErr = errTooMany(limit)
	}
	var got []json.RawMessage
	items, err := DecodeBatch("email", in, false, limit, func(_ string, data []byte) (queue.Job, error) {
		got = append(got, data)
		return queue.Job{}, nil
	})
	if fmt.Sprint(err) != fmt.Sprint(wantErr) || err == nil && (!reflect.DeepEqual(got, want) || len(items) != len(want)) {
		t.Errorf("%q: %q, %v; strictjson has %q, %v", in, got, err, want, wantErr)
	}
}

func TestScanIsStrictjson(t *testing.T) {
	for _, s := range scanSeeds() {
		checkScan(t, []byte(s))
		for _, array := range []string{s, `[` + s + `]`, ` [ 1 , ` + s + ` ] `, `[` + s + `,]`, `[` + s + `,{"a":`, `[1,2,3,` + s + `]`, `{"a":` + s} {
			checkSplit(t, []byte(array))
		}
	}
}

func FuzzScan(f *testing.F) {
	for _, s := range scanSeeds() {
		f.Add([]byte(s))
		f.Add([]byte(`[1,` + s + `]`))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		checkScan(t, in)
		checkSplit(t, in)
	})
}

// BenchmarkDecodeJob is a job of 256 bytes.
func BenchmarkDecodeJob(b *testing.B) {
	in := fmt.Appendf(nil, `{"id":"order-1234","data":{"to":"leia@example.org","text":"%s"},"priority":"high"}`, strings.Repeat("x", 180))
	for name, decode := range map[string]func() (queue.Job, error){
		"scan": func() (queue.Job, error) { return DecodeJob("email", in) }, "strictjson": func() (queue.Job, error) { return plainly(in) },
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := decode(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// What is kept of a request goes by the limit, not by how many items somebody sends.
func TestTooManyItemsTakeNoMemory(t *testing.T) {
	const items, limit = 2 << 20, 100
	array := []byte("[" + strings.Repeat("1,", items-1) + "1]")
	lines := []byte(strings.Repeat("{\"data\":1}\n", items/8))
	for _, c := range []struct {
		body   []byte
		ndjson bool
	}{{array, false}, {lines, true}} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := DecodeBatch("email", c.body, c.ndjson, limit, DecodeJob)
		runtime.ReadMemStats(&after)
		if fmt.Sprint(err) != errTooMany(limit).Error() {
			t.Errorf("%v", err)
		}
		if took := after.TotalAlloc - before.TotalAlloc; took > 1<<20 {
			t.Errorf("%d bytes were allocated for %d of which %d are allowed", took, len(c.body), limit)
		}
	}
}
