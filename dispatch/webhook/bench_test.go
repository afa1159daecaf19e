package webhook

import (
	"context"
	"io"
	"net/http"
	"testing"

	"github.com/deetoo/deetoo/dispatch"
)

// BenchmarkDeliver is a whole delivery over the loopback; the allocations are
// those of both ends.
func BenchmarkDeliver(b *testing.B) {
	s := serve(b, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(w, `{"ok":true}`)
	})
	d := newTestDeliverer(b, Options{Types: typeMap{"email": testType(s.URL)}})
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		lease := testLease()
		for pb.Next() {
			if out := d.Deliver(context.Background(), lease); out.Verdict != dispatch.Done {
				b.Error(out.Err)
				return
			}
		}
	})
}

// BenchmarkRequest is our part of it: making and signing the request.
func BenchmarkRequest(b *testing.B) {
	d := newTestDeliverer(b, Options{})
	typ, lease := testType("http://127.0.0.1:9000/email"), testLease()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := d.newRequest(context.Background(), typ, lease, typ.Timeout); err != nil {
			b.Fatal(err)
		}
	}
}
