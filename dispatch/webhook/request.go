package webhook

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/go-retryablehttp"

	"github.com/deetoo/deetoo/dispatch"
	"github.com/deetoo/deetoo/queue"
	"github.com/deetoo/deetoo/registry"
)

var _ dispatch.Deliverer = (*Deliverer)(nil)

// The headers of the handler contract, in the canonical form of net/http.
const (
	// headerID tells messages apart; see messageID.
	headerID = "Webhook-Id"
	// headerTimestamp is when this attempt was sent, in Unix seconds.
	headerTimestamp = "Webhook-Timestamp"
	// headerSignature has one signature per secret, separated by spaces.
	headerSignature = "Webhook-Signature"
	// headerJobID is the job's ID; see escape.
	headerJobID = "Deetoo-Job-Id"
	// headerJobType is the name of the job's type.
	headerJobType = "Deetoo-Job-Type"
	// headerAttempt counts the attempts from 1.
	headerAttempt = "Deetoo-Attempt"
	// headerMaxAttempts is the attempt after which the job is dead.
	headerMaxAttempts = "Deetoo-Max-Attempts"
	// headerDeadline is when the answer must be complete, by the dispatcher's
	// clock; in timeFormat.
	headerDeadline = "Deetoo-Deadline"
	// headerScheduledAt is when this attempt was due, by Redis's clock; in
	// timeFormat. Absent if unknown.
	headerScheduledAt = "Deetoo-Scheduled-At"
	// headerCallbackURL is where the handler calls back, and headerCallbackToken
	// what proves there that it is the handler of this attempt.
	headerCallbackURL   = "Deetoo-Callback-Url"
	headerCallbackToken = "Deetoo-Callback-Token"
	// headerTraceparent is the W3C trace context of the push. Absent if it had none.
	headerTraceparent = "Traceparent"
)

// timeFormat is RFC 3339 in UTC, to the millisecond.
const timeFormat = "2006-01-02T15:04:05.000Z"

// Errors of a type that the registry should have refused. They do not quote
// the URL or the secret.
var (
	errTarget = errors.New("the target is not an http or https URL")
	errSecret = errors.New("a secret of the job type is malformed")
)

// newRequest makes the signed request of one attempt.
func (d *Deliverer) newRequest(ctx context.Context, typ *registry.Type, lease *queue.Lease, limit time.Duration) (*retryablehttp.Request, error) {
	p, err := d.prepared(typ)
	if err != nil {
		return nil, err
	}
	m := newMessage(typ, lease)
	req, err := request(ctx, p, d.headers(p, typ, lease, m, limit), m.body)
	if err == nil && own(lease) {
		err = setOwn(req, typ, lease)
	}
	return req, err
}

// request is a POST to the type's target.
func request(ctx context.Context, p *prepared, h http.Header, body []byte) (*retryablehttp.Request, error) {
	u := *p.url
	hr := (&http.Request{
		Method: http.MethodPost, URL: &u, Host: u.Host,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: h,
	}).WithContext(ctx)
	req, err := retryablehttp.FromRequest(hr)
	if err != nil {
		return nil, err
	}
	return req, req.SetBody(body)
}

// headers are the type's own and those of the contract.
func (d *Deliverer) headers(p *prepared, typ *registry.Type, lease *queue.Lease, m message, limit time.Duration) http.Header {
	const own = 13 // at most so many of the contract
	h := make(http.Header, len(p.header)+own+len(m.attributes))
	values := make([]string, 0, len(p.header)+own+len(m.attributes)) // one allocation for all
	set := func(name, value string) {
		values = append(values, value)
		h[name] = values[len(values)-1 : len(values) : len(values)]
	}
	for name, value := range p.header {
		set(name, value)
	}
	now := d.opts.Now()
	id, ts := m.id, strconv.FormatInt(now.Unix(), 10)
	for _, a := range m.attributes {
		set(eventHeader(a.name), eventHeaderValue(a.value))
	}
	set("Content-Type", m.contentType)
	set(headerID, id)
	set(headerTimestamp, ts)
	if len(p.signers) > 0 {
		set(headerSignature, p.sign(id, ts, m.body, now))
	}
	set(headerJobID, escape(lease.ID))
	set(headerJobType, escape(lease.Type))
	set(headerAttempt, strconv.Itoa(lease.Attempt))
	set(headerMaxAttempts, strconv.Itoa(maxAttempts(typ, lease)))
	set(headerDeadline, now.Add(limit).UTC().Format(timeFormat))
	if !lease.RunAt.IsZero() {
		set(headerScheduledAt, lease.RunAt.UTC().Format(timeFormat))
	}
	if d.opts.CallbackURL != "" {
		set(headerCallbackURL, d.callbackURL(lease))
		set(headerCallbackToken, lease.CallbackToken())
	}
	if isTraceparent(lease.Traceparent) {
		set(headerTraceparent, lease.Traceparent)
	}
	return h
}

// maxAttempts is the attempt after which the job is dead.
func maxAttempts(typ *registry.Type, lease *queue.Lease) int {
	if lease.MaxAttempts > 0 {
		return lease.MaxAttempts
	}
	return typ.Retry.MaxAttempts
}

// callbackURL is where the handler of this attempt calls back; what it wants is
// appended: "/heartbeat".
func (d *Deliverer) callbackURL(lease *queue.Lease) string {
	b := make([]byte, 0, len(d.opts.CallbackURL)+len(lease.Type)+len(lease.ID)+32)
	b = append(b, d.opts.CallbackURL...)
	b = append(b, "/v1/types/"...)
	b = append(b, lease.Type...) // none of its letters needs encoding
	b = append(b, "/jobs/"...)
	b = appendEscaped(b, lease.ID, isWordByte)
	return string(append(b, "/callback"...))
}

// contractHeader reports whether a type's own headers cannot have this name,
// given in canonical form: because the contract sets it, or because it belongs
// to the connection. The registry refuses these names; here they are skipped.
func contractHeader(name string) bool {
	switch name {
	case headerTraceparent, "Content-Type", "Content-Length", "Host", "Connection", "Proxy-Connection",
		"Keep-Alive", "Te", "Trailer", "Transfer-Encoding", "Upgrade", "Expect":
		return true
	// net/http would send a POST with one of these again by itself.
	case "Idempotency-Key", "X-Idempotency-Key":
		return true
	}
	return strings.HasPrefix(name, "Webhook-") || strings.HasPrefix(name, "Deetoo-")
}

// message is what is sent and signed of one attempt, in the type's format.
type message struct {
	id, contentType string
	body            []byte
	// attributes go into headers: those of a CloudEvent in binary mode.
	attributes []attribute
}

func newMessage(typ *registry.Type, lease *queue.Lease) message {
	m := message{id: messageID(lease), contentType: mediaJSON, body: data(lease)}
	switch typ.Format {
	case registry.CloudEventsBinary:
		m.attributes = append(eventAttributes(typ, lease, m.id), extensions(typ, lease)...)
	case registry.CloudEventsStructured:
		m.contentType, m.body = mediaCloudEvent, structured(typ, lease, m.id)
	}
	return m
}

const mediaJSON = "application/json"

// data is the data of the job, as they were pushed.
func data(lease *queue.Lease) []byte {
	if len(lease.Data) == 0 {
		return []byte("null")
	}
	return lease.Data
}

// messageID makes the webhook-id: "<type>/<id>/<ms>", the last being when the
// job was pushed or replaced, in Unix milliseconds. It is the same in all
// attempts at a job, retries by hand included, and another once the job is
// replaced, or pushed anew under the ID of one that is finished: so a handler
// that drops the webhook-ids it has seen drops repetitions, and only these.
//
// Type and ID are percent-encoded but for letters, digits, '-' and '_'. The
// full stop is, too, because Standard Webhooks forbids it: it ends the ID in
// what is signed.
func messageID(lease *queue.Lease) string {
	b := make([]byte, 0, len(lease.Type)+len(lease.ID)+16)
	b = appendEscaped(b, lease.Type, isWordByte)
	b = append(b, '/')
	b = appendEscaped(b, lease.ID, isWordByte)
	if !lease.EnqueuedAt.IsZero() {
		b = append(b, '/')
		b = strconv.AppendInt(b, lease.EnqueuedAt.UnixMilli(), 10)
	}
	return string(b)
}

// escape percent-encodes what is not visible ASCII, and '%', so that any ID
// makes a header that nothing on the way rejects or rewrites. Most IDs remain
// as they are.
func escape(s string) string {
	plain := func(c byte) bool { return isVisible(c) && c != '%' }
	for i := range len(s) {
		if !plain(s[i]) {
			return string(appendEscaped(nil, s, plain))
		}
	}
	return s
}

func appendEscaped(b []byte, s string, plain func(byte) bool) []byte {
	const hex = "0123456789ABCDEF"
	for i := range len(s) {
		if c := s[i]; plain(c) {
			b = append(b, c)
		} else {
			b = append(b, '%', hex[c>>4], hex[c&15])
		}
	}
	return b
}

func isWordByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_'
}

func isVisible(c byte) bool { return '!' <= c && c <= '~' }

// isHeaderValue reports whether s is made of visible ASCII and single spaces inside.
func isHeaderValue(s string) bool {
	for i := range len(s) {
		if !isVisible(s[i]) && (s[i] != ' ' || i == 0 || i == len(s)-1) {
			return false
		}
	}
	return true
}

// isTraceparent reports whether s looks like a W3C traceparent of any version:
// "00-" 32 hex digits "-" 16 "-" 2, and more of this kind in later versions.
func isTraceparent(s string) bool {
	if len(s) < 55 || len(s) > 128 || s[2] != '-' || s[35] != '-' || s[52] != '-' {
		return false
	}
	return strings.Trim(s, "0123456789abcdef-") == ""
}
