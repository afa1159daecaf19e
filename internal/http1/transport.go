// Package http1 is an http.RoundTripper that sends small requests over plain
// HTTP/1.1 on the calling goroutine. net/http's own Transport has two
// goroutines for each connection and hands every request to one and every
// answer back from the other, which costs more than all else of a delivery.
//
// What is on the wire is read by net/http's own parser, so that answers mean
// the same. Whatever is out of the ordinary goes through net/http as before:
// TLS, proxies, large or streamed bodies, upgrades.
package http1

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptrace"
	"strconv"
	"strings"
	"sync"
	"time"
)

// maxBody is the longest request that is written here, in bytes: it fits a
// socket's buffer, so that a handler that answers before it reads cannot make us wait for each other.
const maxBody = 64 << 10

// Transport sends requests. Make it with New.
type Transport struct {
	base *http.Transport

	mu    sync.Mutex
	idle  map[string][]*conn // by host and port, the one used last at the end
	sweep *time.Timer        // closes what has been idle too long; nil if nothing is idle
}

// New makes a Transport with the settings of base, which sends what this one
// does not. Of base it uses DialContext (required), Proxy, IdleConnTimeout,
// MaxIdleConnsPerHost and MaxResponseHeaderBytes.
func New(base *http.Transport) *Transport {
	return &Transport{base: base, idle: map[string][]*conn{}}
}

// RoundTrip does what http.RoundTripper says. A request whose context ends is
// given up at once, also while its answer's body is read; the error then is the context's.
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	if !t.plain(req) {
		if _, ok := req.Body.(*Message); ok {
			return nil, errMessage
		}
		return t.base.RoundTrip(req)
	}
	ctx := req.Context()
	if err := ctx.Err(); err != nil {
		closeBody(req)
		return nil, err
	}
	addr := address(req.URL.Host)
	c := t.take(addr)
	if c == nil {
		nc, err := t.base.DialContext(ctx, "tcp", addr)
		if err != nil {
			closeBody(req)
			if ctx.Err() != nil {
				err = ctx.Err()
			}
			return nil, err
		}
		c = newConn(nc, t, addr)
	}
	if trace := httptrace.ContextClientTrace(ctx); trace != nil && trace.GotConn != nil {
		trace.GotConn(httptrace.GotConnInfo{Conn: c.Conn})
	}
	return c.do(ctx, req)
}

var errMessage = errors.New("http1: a written message cannot go to this address")

// CloseIdleConnections closes the connections that no request uses.
func (t *Transport) CloseIdleConnections() {
	t.mu.Lock()
	idle := t.idle
	t.idle = map[string][]*conn{}
	if t.sweep != nil {
		t.sweep.Stop()
		t.sweep = nil
	}
	t.mu.Unlock()
	for _, conns := range idle {
		for _, c := range conns {
			_ = c.Close()
		}
	}
	t.base.CloseIdleConnections()
}

// plain reports whether a request is one that is sent here.
func (t *Transport) plain(req *http.Request) bool {
	u := req.URL
	switch {
	case u.Scheme != "http" || u.Host == "" || u.User != nil || !isPlainHost(u.Host) || t.base.Proxy != nil:
		return false
	case req.ContentLength < 0 || req.ContentLength > maxBody || req.ContentLength == 0 && req.Body != nil && req.Body != http.NoBody:
		return false
	case req.Method == http.MethodConnect || req.Close || len(req.TransferEncoding) > 0 || len(req.Trailer) > 0:
		return false
	}
	for _, name := range []string{"Upgrade", "Expect", "Connection", "Transfer-Encoding", "Trailer"} {
		if _, ok := req.Header[name]; ok {
			return false
		}
	}
	return req.Method != "" && isToken(req.Method)
}

// address adds the port to a host that names none.
func address(host string) string {
	if i := strings.LastIndexByte(host, ':'); i < 0 || strings.HasSuffix(host, "]") {
		return host + ":80"
	}
	return host
}

// isPlainHost reports whether a host can be sent and dialled as it is: names
// beyond ASCII and IPv6 zones have rules that net/http knows.
func isPlainHost(host string) bool {
	for i := range len(host) {
		switch c := host[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', strings.IndexByte("-._:[]", c) >= 0:
		default:
			return false
		}
	}
	i := strings.LastIndexByte(host, ':')
	if i < 0 || strings.HasSuffix(host, "]") {
		return true
	}
	_, err := strconv.ParseUint(host[i+1:], 10, 16)
	return err == nil
}

// take returns an idle connection that is still good, or nil.
func (t *Transport) take(addr string) *conn {
	for {
		t.mu.Lock()
		conns := t.idle[addr]
		if len(conns) == 0 {
			t.mu.Unlock()
			return nil
		}
		c := conns[len(conns)-1]
		conns[len(conns)-1] = nil
		if conns = conns[:len(conns)-1]; len(conns) == 0 {
			delete(t.idle, addr)
		} else {
			t.idle[addr] = conns
		}
		t.mu.Unlock()
		if time.Since(c.idleSince) < t.idleTimeout() && c.alive() {
			return c
		}
		_ = c.Close()
	}
}

// put keeps a connection for the next request.
func (t *Transport) put(c *conn) {
	c.idleSince = time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	conns := t.idle[c.addr]
	if most := t.base.MaxIdleConnsPerHost; len(conns) >= max(most, 1) {
		_ = c.Close()
		return
	}
	t.idle[c.addr] = append(conns, c)
	if t.sweep == nil {
		t.sweep = time.AfterFunc(t.idleTimeout(), t.sweepIdle)
	}
}

// sweepIdle closes the connections that have been idle too long.
func (t *Transport) sweepIdle() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.sweep == nil { // CloseIdleConnections came first
		return
	}
	limit := time.Now().Add(-t.idleTimeout())
	for addr, conns := range t.idle {
		old := 0
		for old < len(conns) && !conns[old].idleSince.After(limit) {
			_ = conns[old].Close()
			old++
		}
		if old == len(conns) {
			delete(t.idle, addr)
		} else if old > 0 {
			t.idle[addr] = append([]*conn(nil), conns[old:]...)
		}
	}
	if len(t.idle) == 0 {
		t.sweep = nil
		return
	}
	t.sweep.Reset(t.idleTimeout())
}

func (t *Transport) idleTimeout() time.Duration {
	if t.base.IdleConnTimeout > 0 {
		return t.base.IdleConnTimeout
	}
	return 90 * time.Second // as http.DefaultTransport
}

func (t *Transport) maxHeader() int64 {
	if n := t.base.MaxResponseHeaderBytes; n > 0 {
		return n
	}
	return 10 << 20 // as net/http
}

// ended is ctx's error if that has ended, else err.
func ended(ctx context.Context, err error) error {
	if e := ctx.Err(); e != nil {
		return e
	}
	return err
}

func closeBody(req *http.Request) {
	if req.Body != nil {
		_ = req.Body.Close()
	}
}
