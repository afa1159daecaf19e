package webhook

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/deetoo/deetoo/dispatch"
	"github.com/deetoo/deetoo/queue"
)

// maxReason bounds the reason of a failure, in bytes.
const maxReason = 300

// failure is the outcome of an attempt without a complete answer. Once ctx has
// ended this is the cause, whatever err says: a timeout is a Retry, anything
// else the caller's own doing and so a Release.
func failure(ctx context.Context, limit time.Duration, err error) dispatch.Outcome {
	if ctx.Err() == nil {
		return dispatch.Outcome{Err: reason(err), Health: silence(err)}
	}
	cause := context.Cause(ctx)
	if errors.Is(cause, context.DeadlineExceeded) {
		return dispatch.Outcome{Err: "timeout after " + roundLimit(limit).String(), Health: queue.Overloaded}
	}
	if errors.Is(cause, context.Canceled) {
		return dispatch.Outcome{Verdict: dispatch.Release, Err: "called off"}
	}
	return dispatch.Outcome{Verdict: dispatch.Release, Err: clean([]byte("called off: "+cause.Error()), maxReason)}
}

// silence is what no answer tells of the target.
func silence(err error) queue.Health {
	var timeout net.Error
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return queue.Refused
	case errors.As(err, &timeout) && timeout.Timeout():
		return queue.Overloaded
	}
	return queue.Failing
}

// roundLimit takes the microseconds off a limit that came from a deadline.
func roundLimit(limit time.Duration) time.Duration {
	if limit < time.Second {
		return max(limit.Round(time.Millisecond), 0)
	}
	return limit.Round(10 * time.Millisecond)
}

// reason says for people why there is no answer: short, without the URL, and
// without anything the other side sent, which may echo what it was sent.
func reason(err error) string {
	// url.Error quotes the URL with its query.
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err
	}
	for _, explain := range []func(error) string{guardReason, dnsReason, tlsReason, connReason, httpReason} {
		if s := explain(err); s != "" {
			return clean([]byte(s), maxReason)
		}
	}
	return clean([]byte("the request failed: "+withoutQuotes(err.Error())), maxReason)
}

func guardReason(err error) string {
	if e, ok := errors.AsType[*refusedError](err); ok {
		return e.Error()
	}
	return ""
}

func dnsReason(err error) string {
	e, ok := errors.AsType[*net.DNSError](err)
	switch {
	case !ok:
		return ""
	case e.IsNotFound:
		return "DNS: no such host " + e.Name
	case e.IsTimeout:
		return "DNS: timeout looking up " + e.Name
	}
	return "DNS: cannot look up " + e.Name + ": " + withoutQuotes(e.Err)
}

func tlsReason(err error) string {
	if e, ok := errors.AsType[x509.HostnameError](err); ok {
		return "TLS: the certificate is not for " + e.Host
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return "TLS: the certificate is signed by an unknown authority"
	}
	if e, ok := errors.AsType[x509.CertificateInvalidError](err); ok {
		if e.Reason == x509.Expired {
			return "TLS: the certificate has expired or is not yet valid"
		}
		return "TLS: the certificate is invalid"
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return "TLS: the certificate cannot be verified"
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok || errors.Is(err, http.ErrSchemeMismatch) {
		return "TLS: the target does not speak TLS on this port"
	}
	// The others have no types that are exported.
	switch s := err.Error(); {
	case strings.Contains(s, "TLS handshake timeout"):
		return "TLS: handshake timeout"
	case strings.Contains(s, "tls: "):
		_, s, _ = strings.Cut(s, "tls: ")
		return "TLS: " + withoutQuotes(s)
	}
	return ""
}

func connReason(err error) string {
	at := ""
	e, ok := errors.AsType[*net.OpError](err)
	if ok && e.Addr != nil {
		at = " (" + e.Addr.String() + ")"
	}
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused" + at
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "connection reset by the target"
	case errors.Is(err, syscall.EHOSTUNREACH):
		return "no route to host" + at
	case errors.Is(err, syscall.ENETUNREACH):
		return "network unreachable" + at
	case ok && e.Op == "dial" && errors.Is(err, os.ErrDeadlineExceeded), ok && e.Op == "dial" && e.Timeout():
		return "timeout connecting" + at
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "the target closed the connection before its answer was complete"
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
		return "the dispatcher has too many open files"
	}
	return ""
}

// httpReason recognises what net/http reports as text only, and often with
// bytes of the response in it.
func httpReason(err error) string {
	s := err.Error()
	for _, known := range []struct{ part, reason string }{
		{"malformed", "the answer is not valid HTTP"},
		{"invalid header field", "a header of the job type is not valid"},
		{"response headers exceeded", fmt.Sprintf("the headers of the answer exceed %d KiB", maxResponseHeader>>10)},
		{"read limit of", fmt.Sprintf("the headers of the answer exceed %d KiB", maxResponseHeader>>10)},
		{"chunk", "the answer is not valid HTTP: its chunked encoding is broken"},
		{"Content-Length", "the answer is not valid HTTP: its Content-Length is wrong"},
		{"transfer encoding", "the answer is not valid HTTP: its Transfer-Encoding is unsupported"},
		{"server closed idle connection", "the target closed the connection before its answer was complete"},
		{"readLoopPeekFailLocked", "the target closed the connection before its answer was complete"},
	} {
		if strings.Contains(s, known.part) {
			return known.reason
		}
	}
	return ""
}

// withoutQuotes takes quotations out of an error: they may be of anything.
func withoutQuotes(s string) string {
	return regexp.MustCompile(`"(?:[^"\\]|\\.)*"?`).ReplaceAllString(s, `"…"`)
}
