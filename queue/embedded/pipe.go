package embedded

import (
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// maxBacklog is how much a reader may leave unread before the connection is
// given up, in bytes. Only a subscriber that stopped reading gets there.
const maxBacklog = 256 << 20

// keptStream is how much of a stream's buffer is kept for next time, in bytes.
const keptStream = 32 << 10

// pipe returns the two ends of a connection in memory. Unlike [net.Pipe] it
// buffers: a client may write a whole pipeline before it reads an answer.
func pipe() (net.Conn, net.Conn) {
	a, b := newStream(), newStream()
	return &pipeEnd{in: a, out: b}, &pipeEnd{in: b, out: a}
}

// stream is one direction of a pipe.
type stream struct {
	mu       sync.Mutex
	changed  sync.Cond
	data     []byte // unread
	buffer   []byte // what data is a part of
	closed   bool
	deadline time.Time
	timer    *time.Timer
}

func newStream() *stream {
	s := &stream{}
	s.changed.L = &s.mu
	return s
}

type pipeEnd struct{ in, out *stream }

func (p *pipeEnd) Read(b []byte) (int, error) {
	s := p.in
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.data) == 0 {
		switch {
		case s.closed:
			return 0, io.EOF
		case !s.deadline.IsZero() && !time.Now().Before(s.deadline):
			return 0, os.ErrDeadlineExceeded
		}
		s.changed.Wait()
	}
	n := copy(b, s.data)
	s.data = s.data[n:]
	if len(s.data) == 0 {
		if cap(s.buffer) > keptStream {
			s.buffer = nil
		}
		s.data = s.buffer[:0]
	}
	return n, nil
}

func (p *pipeEnd) Write(b []byte) (int, error) {
	s := p.out
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || len(s.data)+len(b) > maxBacklog && len(s.data) > 0 {
		return 0, io.ErrClosedPipe
	}
	if len(s.data) == 0 {
		s.buffer = append(s.buffer[:0], b...)
		s.data = s.buffer
	} else {
		s.data = append(s.data, b...)
		s.buffer = s.data
	}
	s.changed.Broadcast()
	return len(b), nil
}

func (p *pipeEnd) Close() error {
	p.in.close()
	p.out.close()
	return nil
}

func (s *stream) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	if s.timer != nil {
		s.timer.Stop()
	}
	s.changed.Broadcast()
}

// SetReadDeadline wakes a waiting Read when the time comes.
func (p *pipeEnd) SetReadDeadline(t time.Time) error {
	s := p.in
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.timer != nil {
		s.timer.Stop()
		s.timer = nil
	}
	s.deadline = t
	if !t.IsZero() && !s.closed {
		s.timer = time.AfterFunc(time.Until(t), func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.changed.Broadcast()
		})
	}
	s.changed.Broadcast()
	return nil
}

// SetWriteDeadline does nothing: no write waits.
func (p *pipeEnd) SetWriteDeadline(time.Time) error { return nil }

func (p *pipeEnd) SetDeadline(t time.Time) error { return p.SetReadDeadline(t) }
func (p *pipeEnd) LocalAddr() net.Addr           { return pipeAddr{} }
func (p *pipeEnd) RemoteAddr() net.Addr          { return pipeAddr{} }

type pipeAddr struct{}

func (pipeAddr) Network() string { return "embedded" }
func (pipeAddr) String() string  { return "embedded" }
