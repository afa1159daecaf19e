package webhook

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"

	"github.com/deetoo/deetoo/queue"
	"github.com/deetoo/deetoo/registry"
)

func eventLease() *queue.Lease {
	lease := testLease()
	lease.Attempt, lease.EnqueuedAt = 2, time.UnixMilli(1772366400123)
	lease.Data = json.RawMessage(`{ "to":"leia", "n":12345678901234567890, "html":"<b>&" }`)
	lease.Traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	return lease
}

// deliverEvent is deliverTo for a type that is used again.
func deliverEvent(t *testing.T, typ *registry.Type, lease *queue.Lease) received {
	t.Helper()
	once := typ.Clone()
	got, _ := deliverTo(t, Options{}, &once, lease)
	return got
}

// readEvent reads the event as CloudEvents' own Go SDK does, which also checks it.
func readEvent(t *testing.T, got received) event.Event {
	t.Helper()
	req := httptest.NewRequest(got.method, "http://handler.test"+got.uri, strings.NewReader(got.body))
	req.Header = got.header
	e, err := cehttp.NewEventFromHTTPRequest(req)
	if err != nil {
		t.Fatalf("not a CloudEvent: %v\n%v\n%s", err, got.header, got.body)
	}
	if err := e.Validate(); err != nil {
		t.Fatal(err)
	}
	return *e
}

// Both modes carry one and the same event, read and checked by CloudEvents' own SDK, and the signature is
// over the bytes sent.
func TestCloudEvents(t *testing.T) {
	for _, format := range []string{registry.CloudEventsBinary, registry.CloudEventsStructured} {
		t.Run(format, func(t *testing.T) {
			typ, lease := testType("http://TARGET"), eventLease()
			typ.Format = format
			typ.Headers = map[string]string{"Ce-Id": "of the type itself"}
			got := deliverEvent(t, typ, lease)
			if err := Verify(got.header, []byte(got.body), 0, testSecret); err != nil {
				t.Error(err)
			}
			e := readEvent(t, got)
			if e.SpecVersion() != "1.0" || e.ID() != "email/01JOB/1772366400123" || e.ID() != got.header.Get("webhook-id") ||
				e.Source() != "/deetoo/email" || e.Type() != "email" || e.Subject() != "01JOB" ||
				!e.Time().Equal(lease.EnqueuedAt) || e.DataContentType() != "application/json" {
				t.Errorf("%s", e)
			}
			if !bytes.Equal(e.Data(), lease.Data) {
				t.Errorf("data %s", e.Data())
			}
			x := e.Extensions()
			// The SDK has numbers of headers as strings.
			if len(x) != 3 || x["traceparent"] != lease.Traceparent || (x["deetooattempt"] != int32(2) && x["deetooattempt"] != "2") ||
				(x["deetoomaxattempts"] != int32(12) && x["deetoomaxattempts"] != "12") {
				t.Errorf("extensions %#v", x)
			}
			for _, name := range []string{"deetoo-job-id", "deetoo-attempt", "deetoo-deadline", "webhook-timestamp"} {
				if got.header.Get(name) == "" {
					t.Errorf("%s is missing: the contract holds in every format", name)
				}
			}
			retry := eventLease()
			retry.Attempt, retry.Token = 3, "another"
			if again := deliverEvent(t, typ, retry); readEvent(t, again).ID() != e.ID() {
				t.Error("another ID in the next attempt")
			}

			typ.EventSource, typ.EventType = "https://example.com/jobs?a=%20#b", "com.example.email.send"
			got = deliverEvent(t, typ, lease)
			if e := readEvent(t, got); e.Type() != "com.example.email.send" {
				t.Errorf("%s", e)
			}
		})
	}
}

// What the binding wants encoded in headers is, and decodes to what structured mode has.
func TestCloudEventsInHeadersAreEncoded(t *testing.T) {
	lease, typ := eventLease(), testType("http://TARGET")
	lease.ID = `50%"off".é`
	typ.EventSource, typ.EventType = "/jobs/%C3%A9", "Grüße, 世界 \U0001F600"
	typ.Format = registry.CloudEventsBinary
	binary := deliverEvent(t, typ, lease)
	if got, want := binary.header.Get("ce-type"), "Gr%C3%BC%C3%9Fe,%20%E4%B8%96%E7%95%8C%20%F0%9F%98%80"; got != want {
		t.Errorf("ce-type %s, want %s", got, want)
	}
	if got, want := binary.header.Get("ce-subject"), "50%25%22off%22.%C3%A9"; got != want {
		t.Errorf("ce-subject %s, want %s", got, want)
	}
	typ.Format = registry.CloudEventsStructured
	structured := deliverEvent(t, typ, lease)
	var attributes map[string]any
	if err := json.Unmarshal([]byte(structured.body), &attributes); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"specversion", "id", "source", "type", "subject", "time", "traceparent"} {
		decoded, err := url.PathUnescape(binary.header.Get("ce-" + name))
		if err != nil || decoded == "" || decoded != attributes[name] {
			t.Errorf("%s: %q (%v) in a header, %q in JSON", name, decoded, err, attributes[name])
		}
	}
	if binary.header.Get("webhook-id") != attributes["id"] || strings.Contains(binary.header.Get("webhook-id"), "é") {
		t.Errorf("the ID is %q", attributes["id"])
	}
	if ct := structured.header.Get("content-type"); ct != "application/cloudevents+json; charset=utf-8" {
		t.Errorf("content type %s", ct)
	}
}

// A job without data, of a test delivery without a date, is an event all the same; what is shown is what was sent.
func TestCloudEventOfNothing(t *testing.T) {
	typ, lease := testType("http://TARGET"), testLease()
	typ.Format = registry.CloudEventsStructured
	lease.Data, lease.EnqueuedAt = nil, time.Time{}
	got := deliverEvent(t, typ, lease)
	if e := readEvent(t, got); string(e.Data()) != "null" || !e.Time().IsZero() {
		t.Errorf("%s", e)
	}
	s := serve(t, func(http.ResponseWriter, *http.Request) {})
	typ.Target = s.URL
	if _, ex := newTestDeliverer(t, Options{}).Send(context.Background(), typ, lease); string(ex.Request.Body) != got.body {
		t.Errorf("shown: %s\nsent: %s", ex.Request.Body, got.body)
	}
}
