package webhook

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"syscall"
	"time"

	"github.com/hashicorp/go-retryablehttp"
)

const (
	dialTimeout         = 10 * time.Second
	tlsTimeout          = 10 * time.Second
	maxResponseHeader   = 64 << 10
	maxIdlePerHost      = 1024
	refusedWaitMin      = 50 * time.Millisecond
	refusedWaitMax      = 150 * time.Millisecond
	refusedDialsRetries = 1

	// idleTimeout is below the 5 s after which Node's server closes an idle
	// connection: a POST that crosses the server's FIN is lost, and must not be
	// sent again by itself.
	idleTimeout = 4 * time.Second
)

// newTransport makes the settings of the transport of all targets, and the transport of those that
// package http1 leaves to net/http: TLS and large bodies. It speaks HTTP/1.1 only, so
// that attempts do not share the fate of one connection; it uses no proxy,
// since a proxy would dial behind the guard's back; and it does not inflate
// answers, so that a compressed bomb stays small.
func newTransport(o Options, g guard) *http.Transport {
	dialer := &net.Dialer{Timeout: dialTimeout, Resolver: o.Resolver, Control: g.control}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	return &http.Transport{
		DialContext:            dialer.DialContext,
		Protocols:              protocols,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: o.RootCAs},
		TLSHandshakeTimeout:    tlsTimeout,
		DisableCompression:     true,
		MaxIdleConnsPerHost:    maxIdlePerHost,
		IdleConnTimeout:        idleTimeout,
		MaxResponseHeaderBytes: maxResponseHeader,
	}
}

// newClient puts retryablehttp's policy on the transport: a refused dial is
// tried once more after a tenth of a second, which bridges the restart of a
// handler; nothing else is, because anything else may have reached the handler.
// A response of any status comes back as it is.
func newClient(t http.RoundTripper) *retryablehttp.Client {
	return &retryablehttp.Client{
		HTTPClient: &http.Client{
			Transport:     roundTripper{t},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		// Its logger prints URLs with their query: we log for ourselves.
		Logger:       nil,
		RetryMax:     refusedDialsRetries,
		RetryWaitMin: refusedWaitMin,
		RetryWaitMax: refusedWaitMax,
		Backoff:      retryablehttp.LinearJitterBackoff,
		ErrorHandler: retryablehttp.PassthroughErrorHandler,
		CheckRetry: func(ctx context.Context, _ *http.Response, err error) (bool, error) {
			return ctx.Err() == nil && dialRefused(err), nil
		},
	}
}

// dialRefused reports whether nobody listened, so that no byte was sent.
func dialRefused(err error) bool {
	op, ok := errors.AsType[*net.OpError](err)
	return ok && op.Op == "dial" && errors.Is(op.Err, syscall.ECONNREFUSED)
}

// roundTripper is a transport without CloseIdleConnections, which retryablehttp
// calls after each failure: one dead target would close everyone's keep-alives.
//
// It also redacts Location before net/http sees it, which would quote it, query
// and all, in the error about one it cannot parse.
type roundTripper struct{ transport http.RoundTripper }

// RoundTrip does what http.RoundTripper says.
func (r roundTripper) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := r.transport.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	if l := resp.Header.Get("Location"); l != "" {
		resp.Header.Set("Location", redactURL(l))
	}
	return resp, nil
}
