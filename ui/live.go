package ui

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"runtime/debug"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"
)

const (
	// liveEvery is how often an open page is looked at anew.
	liveEvery = 2 * time.Second
	// liveBeat is how often something is sent if nothing changes, so that a browser that has gone is noticed.
	liveBeat = 15 * time.Second
	// liveWrite is how long a browser may take to read.
	liveWrite = 30 * time.Second
)

// fresh is what a page is told anew: the part "live" of a template, and numbers for its charts.
type fresh struct {
	page   string
	body   any
	charts []byte // JSON; nil if it has none
}

// live tells a page what is new: as a stream of server-sent events ("parts", which take the place
// of elements of the same ID, "charts", and "away" while Redis is) or, asked for HTML, once.
func (u *UI) live(look func(*request) (fresh, error)) fiber.Handler {
	return u.private(func(r *request) error {
		if strings.Contains(r.c.Get(fiber.HeaderAccept), "text/event-stream") {
			return u.stream(r, look)
		}
		f, err := look(r)
		if err != nil {
			return err
		}
		return u.renderPart(r, f.page, "live", f.body)
	})
}

// stream goes on until the browser has gone, the token expires, or the server ends.
func (u *UI) stream(r *request, look func(*request) (fresh, error)) error {
	r.c.Set(fiber.HeaderContentType, "text/event-stream")
	r.c.Set("X-Accel-Buffering", "no") // nginx would keep it
	conn := r.c.Context().Conn()
	s := &streaming{u: u, look: look, r: request{who: r.who, args: r.args, typeName: r.typeName}}
	path := strings.Clone(r.c.Path())
	r.c.Context().SetBodyStreamWriter(func(w *bufio.Writer) {
		defer func() {
			if p := recover(); p != nil {
				u.log.Error("a live page panicked", "path", path, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			}
		}()
		tick := time.NewTicker(liveEvery)
		defer tick.Stop()
		over := time.NewTimer(time.Until(r.who.ExpiresAt()))
		defer over.Stop()
		for {
			_ = conn.SetWriteDeadline(time.Now().Add(liveWrite)) // if it fails, so does the writing
			if s.step(w) != nil {
				return
			}
			select {
			case <-tick.C:
			case <-over.C:
				return
			case <-u.opts.Closing:
				return
			}
		}
	})
	return nil
}

// streaming is one open page.
type streaming struct {
	u             *UI
	look          func(*request) (fresh, error)
	r             request
	parts, charts []byte // as sent last
	away          bool
	sent          time.Time
}

// step sends what is new. Its error means that the browser has gone.
func (s *streaming) step(w *bufio.Writer) error {
	ctx, cancel := context.WithTimeout(context.Background(), s.u.opts.Timeout)
	defer cancel()
	r := s.r
	r.ctx, r.now = ctx, time.Now()
	f, err := s.look(&r)
	var parts []byte
	if err == nil {
		parts, err = s.u.draw(f.page, "live", f.body)
	}
	switch {
	case err != nil && !s.away:
		s.away, s.parts = true, nil
		event(w, "away", []byte(explain(err).Title))
	case err != nil:
	default:
		s.away = false
		if !bytes.Equal(parts, s.parts) {
			s.parts = parts
			event(w, "parts", parts)
		}
		if f.charts != nil && !bytes.Equal(f.charts, s.charts) {
			s.charts = f.charts
			event(w, "charts", f.charts)
		}
	}
	if w.Buffered() == 0 && r.now.Sub(s.sent) >= liveBeat {
		_, _ = w.WriteString(":\n\n") // the flush below tells of an error
	}
	if w.Buffered() > 0 {
		s.sent = r.now
	}
	return w.Flush()
}

// event writes one; the writer keeps an error until it is flushed.
func event(w *bufio.Writer, name string, data []byte) {
	_, _ = w.WriteString("event: " + name + "\n")
	for line := range bytes.Lines(data) {
		_, _ = w.WriteString("data: ")
		_, _ = w.Write(bytes.TrimRight(line, "\r\n"))
		_ = w.WriteByte('\n')
	}
	_ = w.WriteByte('\n')
}
