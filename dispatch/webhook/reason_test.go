package webhook

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"syscall"
	"testing"
)

// Reasons of failures that are hard to provoke on the loopback.
func TestReason(t *testing.T) {
	for want, err := range map[string]error{
		"DNS: timeout looking up h":                                       &net.DNSError{Err: "i/o timeout", Name: "h", Server: "10.0.0.53:53", IsTimeout: true},
		"DNS: cannot look up h: server misbehaving":                       &net.DNSError{Err: "server misbehaving", Name: "h", Server: "10.0.0.53:53"},
		"TLS: handshake timeout":                                          errors.New("net/http: TLS handshake timeout"),
		"TLS: the certificate is invalid":                                 &tls.CertificateVerificationError{Err: x509.CertificateInvalidError{Reason: x509.TooManyIntermediates}},
		"TLS: the certificate cannot be verified":                         &tls.CertificateVerificationError{Err: errors.New("CANARY")},
		"TLS: handshake failure":                                          tls.AlertError(40),
		`TLS: server chose "…"`:                                           errors.New(`tls: server chose "CANARY"`),
		"connection reset by the target":                                  fmt.Errorf("write tcp: %w", syscall.EPIPE),
		"network unreachable (1.2.3.4:5)":                                 &net.OpError{Op: "dial", Addr: &net.TCPAddr{IP: net.IPv4(1, 2, 3, 4), Port: 5}, Err: syscall.ENETUNREACH},
		"the target closed the connection before its answer was complete": io.ErrUnexpectedEOF,
		"the request failed: odd":                                         errors.New("odd"),
		"the request failed: " + strings.Repeat("x", maxReason-20):        errors.New(strings.Repeat("x", 1000)),
	} {
		got := reason(&url.Error{Op: "Post", URL: "http://h/?CANARY", Err: err})
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// A cause of the caller's is shown, safely.
func TestCauseIsClean(t *testing.T) {
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(errors.New("bell\a" + strings.Repeat("x", 1000)))
	if got := failure(ctx, 0, ctx.Err()).Err; len(got) != maxReason || !strings.HasPrefix(got, "called off: bell\uFFFDx") {
		t.Errorf("%q", got)
	}
}
