package webhook

import (
	"context"
	"io"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/deetoo/deetoo/internal/http1"
	"github.com/deetoo/deetoo/registry"
)

// What is written at once is the request that would go through net/http: Send
// makes the latter, since it shows the header.
func TestWrittenRequestsAreTheOthers(t *testing.T) {
	got := make(chan received, 1)
	s := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		got <- received{r.Method, r.RequestURI, r.Host, r.Header, string(b)}
	})
	at := time.Date(2026, 3, 1, 12, 0, 0, 250e6, time.UTC)
	for _, format := range []string{"", registry.CloudEventsBinary, registry.CloudEventsStructured} {
		typ := testType(strings.Replace(s.URL, "://", "://leia:organa@", 1) + "/hook?a=%20")
		typ.Format, typ.Secrets = format, registry.SecretsOf(testSecret, testSecretOld)
		typ.Headers = map[string]string{"x-env": "prod", "user-agent": "mine", "ce-id": "forged", "webhook-id": "forged"}
		lease := testLease()
		lease.ID, lease.Attempt, lease.RunAt, lease.EnqueuedAt = "a/ü%", 3, at, at.Add(-time.Minute)
		lease.Timeout, lease.Traceparent = time.Minute, "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
		d := newTestDeliverer(t, Options{Now: func() time.Time { return at }, CallbackURL: "http://deetoo.test", Types: typeMap{typ.Name: typ}})
		if req, msg, err := d.wireRequest(t.Context(), typ, lease, time.Minute); err != nil || req == nil || !strings.HasSuffix(string(msg.Wire), string(newMessage(typ, lease).body)) {
			t.Fatalf("%q: it is not written at once: %v", format, err)
		}
		for range 2 { // the second is written over the first
			d.Deliver(context.Background(), lease)
			written := <-got
			d.Send(context.Background(), typ, lease)
			if sent := <-got; !reflect.DeepEqual(written, sent) {
				t.Errorf("%q:\n%+v\nis not\n%+v", format, written, sent)
			}
		}
	}
}

// What is too long to be written at once, or has headers of its own, goes the other way.
func TestLargeAndSpecialRequestsAreNotWritten(t *testing.T) {
	for name, size := range map[string]int{"short": 10, "long": http1.MaxMessage/2 + 1, "with its head too long": http1.MaxMessage / 2} {
		typ, lease := testType("http://TARGET/"), testLease()
		lease.Data = []byte(`"` + strings.Repeat("x", size-2) + `"`)
		if name == "with its head too long" {
			typ.Headers = map[string]string{"x-long": strings.Repeat("y", http1.MaxMessage/2)}
		}
		if got, _ := deliverTo(t, Options{}, typ, lease); got.body != string(lease.Data) {
			t.Errorf("%s: %d bytes arrived of %d", name, len(got.body), size)
		}
	}
	lease := testLease()
	lease.Headers = map[string]string{"x-own": "1"}
	if got, _ := deliverTo(t, Options{}, testType("http://TARGET/"), lease); got.header.Get("x-own") != "1" {
		t.Error("its own header is missing")
	}
}

// A header that the registry should have refused is not sent, nor quoted.
func TestMalformedHeadersOfTypes(t *testing.T) {
	for name, value := range map[string]string{"x-a": "a\r\nx-b: secret", "x y": "secret"} {
		typ := testType("http://127.0.0.1:1/")
		typ.Headers = map[string]string{name: value}
		out := newTestDeliverer(t, Options{Types: typeMap{typ.Name: typ}}).Deliver(context.Background(), testLease())
		if !strings.Contains(out.Err, "header") || strings.Contains(out.Err, "secret") {
			t.Errorf("%s: %q", name, out.Err)
		}
	}
}

func BenchmarkWireRequest(b *testing.B) {
	typ, lease := testType("http://127.0.0.1:1/"), testLease()
	typ.Secrets = registry.SecretsOf(testSecret)
	d := newTestDeliverer(b, Options{Types: typeMap{typ.Name: typ}, CallbackURL: "http://127.0.0.1:2"})
	b.ReportAllocs()
	for b.Loop() {
		_, msg, err := d.wireRequest(b.Context(), typ, lease, typ.Timeout)
		if err != nil {
			b.Fatal(err)
		}
		d.messages.Put(msg)
	}
}
