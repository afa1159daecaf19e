package webhook

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/go-retryablehttp"

	"github.com/deetoo/deetoo/dispatch"
	"github.com/deetoo/deetoo/internal/http1"
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
	errHeader = errors.New("a header of the job type is malformed")
)

// newRequest makes the signed request of one attempt.
func (d *Deliverer) newRequest(ctx context.Context, typ *registry.Type, lease *queue.Lease, limit time.Duration) (*retryablehttp.Request, error) {
	p, err := d.prepared(typ)
	if err != nil {
		return nil, err
	}
	m := newMessage(typ, lease)
	req, err := request(ctx, p, d.header(p, typ, lease, m, limit), m.body)
	if err == nil && own(lease) {
		err = setOwn(req, typ, lease)
	}
	return req, err
}

// wireRequest is newRequest for what goes over plain HTTP: the request is
// written at once, with no header in between. A message that is returned is to be given back
// when the answer has been read. Without a request, this one is not to be sent so.
func (d *Deliverer) wireRequest(ctx context.Context, typ *registry.Type, lease *queue.Lease, limit time.Duration) (*retryablehttp.Request, *http1.Message, error) {
	p, err := d.prepared(typ)
	if err != nil || p.start == nil || own(lease) || len(lease.Data) > http1.MaxMessage/2 {
		return nil, nil, err
	}
	m, msg := newMessage(typ, lease), d.messages.Get().(*http1.Message)
	b := d.appendLines(append(msg.Wire[:0], p.start...), p, typ, lease, m, limit)
	b = strconv.AppendInt(append(b, "Content-Length: "...), int64(len(m.body)), 10)
	msg.Wire = append(append(b, "\r\n\r\n"...), m.body...)
	if len(msg.Wire) > http1.MaxMessage {
		return nil, msg, nil
	}
	req, err := retryablehttp.FromRequest(p.request(ctx, http.Header{}))
	if err == nil {
		err = req.SetBody(retryablehttp.ReaderFunc(func() (io.Reader, error) { return msg, nil }))
	}
	return req, msg, err
}

// request is a POST to the type's target.
func request(ctx context.Context, p *prepared, h http.Header, body []byte) (*retryablehttp.Request, error) {
	req, err := retryablehttp.FromRequest(p.request(ctx, h))
	if err != nil {
		return nil, err
	}
	return req, req.SetBody(body)
}

func (p *prepared) request(ctx context.Context, h http.Header) *http.Request {
	return (&http.Request{
		Method: http.MethodPost, URL: p.url, Host: p.url.Host, // nobody writes to the URL
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: h,
	}).WithContext(ctx)
}

// header has the type's own and those of the contract.
func (d *Deliverer) header(p *prepared, typ *registry.Type, lease *queue.Lease, m message, limit time.Duration) http.Header {
	lines := string(d.appendLines(append(make([]byte, 0, len(p.lines)+1024), p.lines...), p, typ, lease, m, limit))
	n := strings.Count(lines, "\r\n")
	h, values := make(http.Header, n), make([]string, 0, n) // one allocation for all values
	for line := range strings.SplitSeq(lines, "\r\n") {
		if name, value, ok := strings.Cut(line, ": "); ok {
			values = append(values, value)
			h[name] = values[len(values)-1 : len(values) : len(values)]
		}
	}
	return h
}

// appendLines appends the headers of the contract, as they are sent. Each has a value that needs no checking.
func (d *Deliverer) appendLines(b []byte, p *prepared, typ *registry.Type, lease *queue.Lease, m message, limit time.Duration) []byte {
	now := d.opts.Now()
	for _, a := range m.attributes {
		b = appendLine(b, eventHeader(a.name), eventHeaderValue(a.value))
	}
	b = appendLine(b, "Content-Type", m.contentType)
	b = append(b, headerID+": "...)
	at := len(b)
	if m.id != "" {
		b = append(b, m.id...)
	} else {
		b = appendMessageID(b, lease)
	}
	id := b[at:len(b):len(b)]
	b = append(b, "\r\n"+headerTimestamp+": "...)
	at = len(b)
	b = strconv.AppendInt(b, now.Unix(), 10)
	ts := b[at:len(b):len(b)]
	b = append(b, '\r', '\n')
	if len(p.signers) > 0 {
		b = append(b, headerSignature+": "...)
		b = append(p.appendSignatures(b, id, ts, m.body, now), '\r', '\n')
	}
	b = appendLine(b, headerJobID, escape(lease.ID))
	b = appendLine(b, headerJobType, escape(lease.Type))
	b = strconv.AppendInt(append(b, headerAttempt+": "...), int64(lease.Attempt), 10)
	b = strconv.AppendInt(append(b, "\r\n"+headerMaxAttempts+": "...), int64(maxAttempts(typ, lease)), 10)
	b = now.Add(limit).UTC().AppendFormat(append(b, "\r\n"+headerDeadline+": "...), timeFormat)
	if !lease.RunAt.IsZero() {
		b = lease.RunAt.UTC().AppendFormat(append(b, "\r\n"+headerScheduledAt+": "...), timeFormat)
	}
	b = append(b, '\r', '\n')
	if d.opts.CallbackURL != "" {
		b = append(d.appendCallbackURL(append(b, headerCallbackURL+": "...), lease), '\r', '\n')
		b = appendLine(b, headerCallbackToken, lease.CallbackToken())
	}
	if isTraceparent(lease.Traceparent) {
		b = appendLine(b, headerTraceparent, lease.Traceparent)
	}
	return b
}

func appendLine(b []byte, name, value string) []byte {
	b = append(append(b, name...), ": "...)
	return append(append(b, value...), '\r', '\n')
}

// maxAttempts is the attempt after which the job is dead.
func maxAttempts(typ *registry.Type, lease *queue.Lease) int {
	if lease.MaxAttempts > 0 {
		return lease.MaxAttempts
	}
	return typ.Retry.MaxAttempts
}

// appendCallbackURL appends where the handler of this attempt calls back; what it wants is
// appended: "/heartbeat".
func (d *Deliverer) appendCallbackURL(b []byte, lease *queue.Lease) []byte {
	b = append(b, d.opts.CallbackURL...)
	b = append(b, "/v1/types/"...)
	b = append(b, lease.Type...) // none of its letters needs encoding
	b = append(b, "/jobs/"...)
	b = appendEscaped(b, lease.ID, isWordByte)
	return append(b, "/callback"...)
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
	id          string // "": that of the job, see messageID
	contentType string
	body        []byte
	// attributes go into headers: those of a CloudEvent in binary mode.
	attributes []attribute
}

func newMessage(typ *registry.Type, lease *queue.Lease) message {
	m := message{contentType: mediaJSON, body: data(lease)}
	switch typ.Format {
	case registry.CloudEventsBinary:
		m.attributes = append(eventAttributes(typ, lease, messageID(lease)), extensions(typ, lease)...)
	case registry.CloudEventsStructured:
		m.contentType, m.body = mediaCloudEvent, structured(typ, lease, messageID(lease))
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
func messageID(lease *queue.Lease) string { return string(appendMessageID(nil, lease)) }

func appendMessageID(b []byte, lease *queue.Lease) []byte {
	b = appendEscaped(b, lease.Type, isWordByte)
	b = append(b, '/')
	b = appendEscaped(b, lease.ID, isWordByte)
	if !lease.EnqueuedAt.IsZero() {
		b = append(b, '/')
		b = strconv.AppendInt(b, lease.EnqueuedAt.UnixMilli(), 10)
	}
	return b
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
