package dispatch

import (
	"net"
	"sync"
	"time"
)

// slowConn is a connection whose requests take their time, as on a network that
// is held up: they arrive in their order, and even when the caller has long
// given up and closed it, while others overtake them on other connections.
type slowConn struct {
	net.Conn
	late func() time.Duration

	mu      sync.Mutex
	pending [][]byte // not yet written; the goroutine that writes them runs while there are any
	closed  bool
}

func newSlowConn(c net.Conn, late func() time.Duration) net.Conn {
	return &slowConn{Conn: c, late: late}
}

// Write is net.Conn's.
func (c *slowConn) Write(b []byte) (int, error) {
	lag := c.late()
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.closed:
		return 0, net.ErrClosed
	case len(c.pending) > 0:
		c.pending = append(c.pending, append([]byte(nil), b...))
		return len(b), nil
	case lag == 0:
		return c.Conn.Write(b)
	}
	c.pending = append(c.pending, append([]byte(nil), b...))
	go c.deliver(lag)
	return len(b), nil
}

func (c *slowConn) deliver(lag time.Duration) {
	time.Sleep(lag)
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, b := range c.pending {
		_, _ = c.Conn.Write(b) // the caller finds out by what it reads
	}
	c.pending = nil
	if c.closed {
		_ = c.Conn.Close()
	}
}

// Close is net.Conn's. What was written arrives all the same.
func (c *slowConn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return net.ErrClosed
	}
	if c.closed = true; len(c.pending) == 0 {
		return c.Conn.Close()
	}
	return c.Conn.SetReadDeadline(time.Now()) // so that nobody waits for an answer
}
