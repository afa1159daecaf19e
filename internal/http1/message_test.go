package http1

import (
	"errors"
	"io"
	"net/http"
	"net/url"
	"testing"
)

func TestMessagesAreSentAsTheyAre(t *testing.T) {
	type seen struct{ uri, host, own, body string }
	got := make(chan seen, 1)
	s, conns := server(t, func(_ http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		got <- seen{r.RequestURI, r.Host, r.Header.Get("X-Own"), string(b)}
	})
	tr := newTransport(t)
	req, err := http.NewRequest(http.MethodPost, s.URL+"/a?b", nil)
	if err != nil || !tr.Sends(req) {
		t.Fatal(err)
	}
	wire, err := AppendTarget(nil, req)
	if err != nil {
		t.Fatal(err)
	}
	m := &Message{append(wire, "X-Own: 1\r\nContent-Length: 2\r\n\r\n{}"...)}
	for range 2 {
		req.Body, req.ContentLength = m, int64(m.Len())
		resp, err := tr.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if g := <-got; g != (seen{"/a?b", req.URL.Host, "1", "{}"}) {
			t.Errorf("%+v", g)
		}
	}
	if n := conns.Load(); n != 1 {
		t.Errorf("%d connections", n)
	}
}

// Written for plain HTTP, a message must not go where net/http would send it.
func TestMessagesGoNowhereElse(t *testing.T) {
	tr := newTransport(t)
	for _, u := range []*url.URL{{Scheme: "https", Host: "127.0.0.1:1"}, {Scheme: "http", Host: "a b"}} {
		m := &Message{[]byte("x")}
		req := &http.Request{Method: http.MethodPost, URL: u, Header: http.Header{}, Body: m, ContentLength: 1}
		if _, err := tr.RoundTrip(req); !errors.Is(err, errMessage) || tr.Sends(req) {
			t.Errorf("%s: %v", u, err)
		}
	}
	if _, err := AppendTarget(nil, &http.Request{Method: http.MethodPost, URL: &url.URL{Scheme: "http", Host: "a\r\nb"}}); err == nil {
		t.Error("a host with a line break was written")
	}
}
