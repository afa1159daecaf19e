package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
)

// producer sends one request over and over on some connections and wants each answered by 201. It shares
// the machine with what is measured, so it does no more than that: the request is written once,
// and of an answer only the status and the length are looked at.
type producer struct {
	request []byte
	conns   []net.Conn
}

func newProducer(addr string, connections int, request []byte) (*producer, error) {
	p := &producer{request: request}
	for range connections {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			p.close()
			return nil, err
		}
		p.conns = append(p.conns, c)
	}
	return p, nil
}

func (p *producer) close() {
	for _, c := range p.conns {
		_ = c.Close()
	}
}

// send sends the request n times, each when its connection's last was answered.
func (p *producer) send(n int) error {
	var sent atomic.Int64
	var g errgroup.Group
	for _, c := range p.conns {
		g.Go(func() error {
			buf := make([]byte, 256<<10)
			for sent.Add(1) <= int64(n) {
				if _, err := c.Write(p.request); err != nil {
					return err
				}
				if err := created(c, buf); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return g.Wait()
}

// created reads one answer, which must be 201.
func created(c net.Conn, buf []byte) error {
	read := 0
	for {
		n, err := c.Read(buf[read:])
		if err != nil {
			return err
		}
		read += n
		head, body, whole := bytes.Cut(buf[:read], []byte("\r\n\r\n"))
		if !whole {
			continue
		}
		if !bytes.HasPrefix(head, []byte("HTTP/1.1 201 ")) {
			return fmt.Errorf("answered %q", buf[:read])
		}
		_, rest, _ := bytes.Cut(head, []byte("\r\nContent-Length: "))
		digits, _, _ := bytes.Cut(rest, []byte("\r\n"))
		length, err := strconv.Atoi(string(digits))
		switch {
		case err != nil:
			return fmt.Errorf("no length in %q", head)
		case len(body) == length:
			return nil
		case len(body) > length || read == len(buf):
			return errors.New("an answer longer than it says, or than expected")
		}
	}
}
