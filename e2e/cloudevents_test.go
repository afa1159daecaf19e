package e2e

import (
	"bytes"
	"net/http"
	"testing"

	"github.com/cloudevents/sdk-go/v2/event"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"
)

// event reads a delivery as CloudEvents' own SDK does.
func (d delivery) event(t testing.TB) event.Event {
	t.Helper()
	req, err := http.NewRequest("POST", "http://handler.test/", bytes.NewReader(d.body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header = d.header
	e, err := cehttp.NewEventFromHTTPRequest(req)
	if err != nil {
		t.Fatalf("not a CloudEvent: %v\n%v\n%s", err, d.header, d.body)
	}
	return *e
}

// A type says how its jobs travel; the next delivery, and the test delivery, are made so.
func TestCloudEventsPerType(t *testing.T) {
	t.Parallel()
	h := handle(t, nil)
	s := serve(t, inDir(t.TempDir()))
	secret := s.register("email", h.url, spec{"format": "cloudevents-structured", "event_source": "https://shop.test/orders", "event_type": "test.shop.order"})
	s.push("email", spec{"id": "one", "data": spec{"to": "leia"}})
	s.becomes("email", "one", "succeeded")
	d := h.awaits(t, 1)
	d.verifies(t, secret)
	if e := d.event(t); e.Source() != "https://shop.test/orders" || e.Type() != "test.shop.order" || e.Subject() != "one" || string(e.Data()) != `{"to":"leia"}` {
		t.Errorf("%s", e)
	}

	s.must("PATCH", "/v1/types/email", spec{"format": "cloudevents-binary"}, nil)
	s.must("POST", "/v1/types/email/test", spec{"data": 42}, nil)
	d = h.awaits(t, 2)
	d.verifies(t, secret)
	if e := d.event(t); e.Type() != "test.shop.order" || string(e.Data()) != "42" || string(d.body) != "42" {
		t.Errorf("%s", e)
	}

	var shown struct {
		Format      string
		EventSource string `json:"event_source"`
	}
	s.must("PATCH", "/v1/types/email", spec{"format": nil}, nil)
	if s.must("GET", "/v1/types/email", nil, &shown); shown.Format != "raw" || shown.EventSource != "https://shop.test/orders" {
		t.Errorf("%+v", shown)
	}
	if a := s.call("PATCH", "/v1/types/email", spec{"format": "xml"}); a.status != 400 {
		t.Errorf("an unknown format: %d", a.status)
	}
}
