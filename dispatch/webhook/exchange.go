package webhook

import (
	"net/http"
	"strings"
	"time"

	"github.com/hashicorp/go-retryablehttp"

	"github.com/deetoo/deetoo/queue"
	"github.com/deetoo/deetoo/registry"
)

// Exchange is what was said on the wire in one attempt, fit for people: URLs
// are without userinfo and query, and credentials are redacted. The handler's
// answer is shown as it is, should it echo what it was sent.
type Exchange struct {
	Request Request
	// Response is nil if there was none.
	Response *Response
	Duration time.Duration
	// Row is the index of the row of the type's answer policy that decided; nil if none did.
	Row *int
}

// Request is the request of an Exchange. It is empty if none could be made.
type Request struct {
	Method string
	URL    string
	// Header has the values of the type's own headers redacted, since that is
	// where credentials are. The signature is shown: it is good for this
	// message only.
	Header http.Header
	Body   []byte
}

// Response is the response of an Exchange.
type Response struct {
	Status int
	// Header has cookies redacted, and a Location without userinfo and query.
	Header http.Header
	// Excerpt is the beginning of the body, at most Options.MaxExcerpt bytes of valid UTF-8.
	Excerpt string
}

func showRequest(req *retryablehttp.Request, typ *registry.Type, lease *queue.Lease, body []byte) Request {
	h := req.Header.Clone()
	for name := range lease.Headers {
		if name = http.CanonicalHeaderKey(name); h[name] != nil && !contractHeader(name) {
			h.Set(name, redacted)
		}
	}
	for name := range typ.Headers {
		if name = http.CanonicalHeaderKey(name); h[name] != nil && !contractHeader(name) {
			h.Set(name, redacted)
		}
	}
	if h.Get("Authorization") != "" { // of a target with userinfo
		h.Set("Authorization", redacted)
	}
	if h.Get(headerCallbackToken) != "" {
		h.Set(headerCallbackToken, redacted)
	}
	return Request{Method: req.Method, URL: showURL(req.URL), Header: h, Body: body}
}

func showResponse(resp *http.Response, excerpt string) *Response {
	h := make(http.Header, len(resp.Header))
	for name, values := range resp.Header {
		for _, v := range values {
			h.Add(name, clean([]byte(v), maxResponseHeader))
		}
		if strings.HasPrefix(name, "Set-Cookie") {
			h.Set(name, redacted)
		}
	}
	return &Response{Status: resp.StatusCode, Header: h, Excerpt: excerpt}
}
