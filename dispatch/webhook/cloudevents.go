package webhook

import (
	"encoding/json"
	"net/http"
	"strconv"

	"github.com/deetoo/deetoo/queue"
	"github.com/deetoo/deetoo/registry"
)

// A job as a CloudEvent 1.0.2 (https://github.com/cloudevents/spec): HTTP
// protocol binding, binary and structured mode, JSON format.

const (
	mediaCloudEvent = "application/cloudevents+json; charset=utf-8"
	// eventPrefix begins the headers of a CloudEvent in binary mode.
	eventPrefix = "Ce-"
)

// attribute is one of a CloudEvent's, an extension or not.
type attribute struct {
	name, value string
	// integer: an Integer of the type system, and no String.
	integer bool
}

// eventAttributes are those of the specification. The ID is the webhook-id: the
// same in all attempts at a job, and another once the job is replaced, as
// source and ID together must be.
func eventAttributes(typ *registry.Type, lease *queue.Lease, id string) []attribute {
	source, kind := typ.EventSource, typ.EventType
	if source == "" {
		source = "/deetoo/" + typ.Name // none of its letters needs encoding
	}
	if kind == "" {
		kind = typ.Name
	}
	all := make([]attribute, 0, 12)
	all = append(all,
		attribute{name: "specversion", value: "1.0"}, attribute{name: "id", value: id},
		attribute{name: "source", value: source}, attribute{name: "type", value: kind})
	if lease.ID != "" {
		all = append(all, attribute{name: "subject", value: lease.ID})
	}
	if !lease.EnqueuedAt.IsZero() {
		all = append(all, attribute{name: "time", value: lease.EnqueuedAt.UTC().Format(timeFormat)})
	}
	return all
}

// extensions say what the headers of the contract do, where those may be lost
// on the event's further way; traceparent is that of the Distributed Tracing extension.
func extensions(typ *registry.Type, lease *queue.Lease) []attribute {
	all := []attribute{
		{name: "deetooattempt", value: strconv.Itoa(lease.Attempt), integer: true},
		{name: "deetoomaxattempts", value: strconv.Itoa(maxAttempts(typ, lease)), integer: true},
	}
	if isTraceparent(lease.Traceparent) {
		all = append(all, attribute{name: "traceparent", value: lease.Traceparent})
	}
	return all
}

// structured is the event in the JSON format, with the job's data in it byte for byte.
func structured(typ *registry.Type, lease *queue.Lease, id string) []byte {
	data := data(lease)
	return appendEvent(make([]byte, 0, len(data)+512), append(eventAttributes(typ, lease, id), extensions(typ, lease)...), data)
}

func appendEvent(b []byte, attributes []attribute, data []byte) []byte {
	b = append(b, '{')
	for _, a := range attributes {
		b = append(appendString(b, a.name), ':')
		if a.integer {
			b = append(b, a.value...)
		} else {
			b = appendString(b, a.value)
		}
		b = append(b, ',')
	}
	b = append(b, `"datacontenttype":"`+mediaJSON+`","data":`...)
	return append(append(b, data...), '}')
}

func appendString(b []byte, s string) []byte {
	q, err := json.Marshal(s)
	if err != nil { // no string makes it fail
		return append(b, `""`...)
	}
	return append(b, q...)
}

// eventHeader is the header of an attribute in binary mode, in canonical form.
func eventHeader(name string) string { return http.CanonicalHeaderKey(eventPrefix + name) }

// eventHeaderValue percent-encodes as the HTTP protocol binding has it (3.1.3.2):
// space, double quote, percent sign, and all that is not printable ASCII.
func eventHeaderValue(s string) string {
	plain := func(c byte) bool { return isVisible(c) && c != '"' && c != '%' }
	for i := range len(s) {
		if !plain(s[i]) {
			return string(appendEscaped(nil, s, plain))
		}
	}
	return s
}
