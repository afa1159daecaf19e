package http1

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// max1xx is how many interim answers a request may get, as in net/http.
const max1xx = 5

// conn is a connection, used by one request at a time.
type conn struct {
	net.Conn
	t         *Transport
	addr      string
	in        *bufio.Reader
	out       []byte // of the last request: the next one's is written over it
	left      int64  // bytes that may be read before the head of an answer is too long; negative: no limit
	idleSince time.Time
}

func newConn(nc net.Conn, t *Transport, addr string) *conn {
	c := &conn{Conn: nc, t: t, addr: addr}
	c.in = bufio.NewReader(headReader{c})
	return c
}

// errHeader has net/http's words.
var errHeader = errors.New("net/http: server response headers exceeded the limit")

// headReader reads what the connection brings, up to the bound of a head.
type headReader struct{ c *conn }

func (r headReader) Read(p []byte) (int, error) {
	c := r.c
	if c.left < 0 {
		return c.Conn.Read(p)
	}
	if c.left == 0 {
		return 0, errHeader
	}
	if int64(len(p)) > c.left {
		p = p[:c.left]
	}
	n, err := c.Conn.Read(p)
	c.left -= int64(n)
	return n, err
}

// do sends a request and reads the head of its answer.
func (c *conn) do(ctx context.Context, req *http.Request) (*http.Response, error) {
	// A deadline in the past wakes whoever reads or writes.
	stop := afterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	resp, err := c.exchange(req)
	if err != nil {
		stop()
		_ = c.Close()
		return nil, ended(ctx, err)
	}
	b := &body{ReadCloser: resp.Body, c: c, ctx: ctx, stop: stop, reuse: !resp.Close && resp.StatusCode != http.StatusSwitchingProtocols}
	if resp.Body == http.NoBody {
		b.finish(true)
		return resp, nil
	}
	resp.Body = b
	return resp, nil
}

// afterFunc is context.AfterFunc, without the context that this makes where ctx can do it itself.
func afterFunc(ctx context.Context, f func()) (stop func() bool) {
	if c, ok := ctx.(interface {
		AfterFunc(func()) func() bool
	}); ok {
		return c.AfterFunc(f)
	}
	return context.AfterFunc(ctx, f)
}

func (c *conn) exchange(req *http.Request) (*http.Response, error) {
	if err := c.send(req); err != nil {
		return nil, err
	}
	c.left = c.t.maxHeader()
	for range max1xx + 1 {
		if _, err := c.in.Peek(1); err != nil {
			return nil, err
		}
		resp, err := http.ReadResponse(c.in, req)
		switch {
		case err != nil && c.left == 0:
			return nil, errHeader // and not what is wrong with a head that was cut
		case err != nil:
			return nil, err
		case resp.StatusCode >= 200 || resp.StatusCode == http.StatusSwitchingProtocols:
			c.left = -1
			return resp, nil
		}
	}
	return nil, errHeader
}

// send writes a request.
func (c *conn) send(req *http.Request) error {
	if m, ok := req.Body.(*Message); ok {
		_, err := c.Write(m.Wire)
		return err
	}
	var err error
	c.out, err = appendRequest(c.out[:0], req)
	closeBody(req)
	if err != nil {
		return err
	}
	_, err = c.Write(c.out)
	if cap(c.out) > 16<<10 { // an idle connection need not hold so much
		c.out = nil
	}
	return err
}

// body is the body of an answer. Read to its end, it gives the connection back.
type body struct {
	io.ReadCloser
	c     *conn
	ctx   context.Context
	stop  func() bool
	reuse bool
	done  bool
}

// Read returns the context's error if that ended while the answer was on its way.
func (b *body) Read(p []byte) (int, error) {
	if b.done {
		return 0, io.EOF
	}
	n, err := b.ReadCloser.Read(p)
	switch {
	case err == io.EOF:
		b.finish(true)
	case err != nil:
		err = ended(b.ctx, err)
		b.finish(false)
	}
	return n, err
}

// Close closes the connection, unless the body was read to its end.
func (b *body) Close() error {
	b.finish(false)
	return nil
}

func (b *body) finish(whole bool) {
	if b.done {
		return
	}
	b.done = true
	// If the context ended, the connection has a deadline in the past, or is about to get it.
	if b.stop() && whole && b.reuse && b.c.in.Buffered() == 0 {
		b.c.t.put(b.c)
		return
	}
	_ = b.c.Close()
}

// appendRequest writes a request as it is sent. The header is not sorted.
func appendRequest(b []byte, req *http.Request) ([]byte, error) {
	b, err := AppendTarget(b, req)
	if err != nil {
		return b, err
	}
	agent := false
	for name, values := range req.Header {
		switch name {
		case "Host", "Content-Length":
			continue
		case "User-Agent":
			agent = true
		}
		if !isToken(name) {
			return b, fmt.Errorf("net/http: invalid header field name %q", name)
		}
		for _, v := range values {
			if !isValue(v) {
				return b, fmt.Errorf("net/http: invalid header field value for %q", name) // the value may be a credential
			}
			b = append(b, name...)
			b = append(b, ':', ' ')
			b = append(b, v...)
			b = append(b, '\r', '\n')
		}
	}
	if !agent {
		b = append(b, "User-Agent: Go-http-client/1.1\r\n"...)
	}
	if req.ContentLength > 0 || req.Method == http.MethodPost || req.Method == http.MethodPut || req.Method == http.MethodPatch {
		b = fmt.Appendf(b, "Content-Length: %d\r\n", req.ContentLength)
	}
	b = append(b, '\r', '\n')
	if req.ContentLength == 0 {
		return b, nil
	}
	at := len(b)
	b = append(b, make([]byte, req.ContentLength)...)
	if _, err := io.ReadFull(req.Body, b[at:]); err != nil {
		return b, fmt.Errorf("http: ContentLength=%d with a shorter Body: %w", req.ContentLength, err)
	}
	return b, nil
}

// isToken reports whether s is a token (RFC 9110, 5.6.2): a method or a header's name.
func isToken(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_':
		case c == '!', c == '#', c == '$', c == '%', c == '&', c == '\'', c == '*', c == '+', c == '.', c == '^', c == '`', c == '|', c == '~':
		default:
			return false
		}
	}
	return s != ""
}

// isValue reports whether s can be a header's value, or the target in a request's first line.
func isValue(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}
