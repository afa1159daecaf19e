package webhook

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/deetoo/deetoo/dispatch"
	"github.com/deetoo/deetoo/registry"
)

// Whatever a handler answers, each job of a batch gets an outcome that can be
// stored and shown, and nothing but a success makes one done.
func FuzzAnswerOfABatch(f *testing.F) {
	for _, body := range []string{
		`[{"id":"a","status":200,"result":{"n":1}},{"id":"b","status":503,"retry_after":90}]`, `[{"id":"a","status":"x"}]`, `[]`, `{}`, "",
		`[{"id":"a","error":"\u0000","no_retry":true},{"id":"a","status":1e9}]`, `[{"id":"b","retry_after":"1e12"},null]`, "[\xff]", `[{"id":"a","status":202}]`,
		`[{"id":"a","status":422,"code":"E1","deep":{"list":[1,2.0]}}]`,
	} {
		f.Add(200, []byte(body))
		f.Add(500, []byte(body))
	}
	typ := batchType("http://x.test/")
	typ.Answers = []registry.Answer{
		{JSON: &registry.AnswerField{Field: "code", Equals: json.RawMessage(`"E1"`)}, Then: registry.ThenDead},
		{JSON: &registry.AnswerField{Field: "deep.list.1", Equals: json.RawMessage(`2`)}, Then: registry.ThenRetry},
	}
	d := newTestDeliverer(f, Options{Types: typeMap{typ.Name: typ}})
	leases := batchLeases("a", "b")
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		if status < 200 || status > 599 {
			return
		}
		resp := &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(bytes.NewReader(body)), ContentLength: -1}
		outs := d.judgeBatch(context.Background(), time.Second, typ, leases, resp, nil)
		if len(outs) != len(leases) {
			t.Fatalf("%d outcomes of %d jobs", len(outs), len(leases))
		}
		for _, out := range outs {
			switch {
			case out.Verdict == dispatch.Done && status/100 != 2:
				t.Errorf("%d %q: done", status, body)
			case out.RetryAfter < 0 || out.Delay < 0:
				t.Errorf("%d %q: %+v", status, body, out)
			case !utf8.ValidString(out.Err) || !utf8.ValidString(out.Excerpt) || len(out.Excerpt) > d.opts.MaxExcerpt || len(out.Result) > d.opts.MaxResult:
				t.Errorf("%d %q: %+v", status, body, out)
			}
		}
	})
}
