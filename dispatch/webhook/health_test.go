package webhook

import (
	"context"
	"net"
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/deetoo/deetoo/dispatch"
	"github.com/deetoo/deetoo/queue"
)

// What answers, and their absence, tell of a target.
func TestHealth(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		status, err := strconv.Atoi(r.URL.Path[1:])
		if err != nil {
			panic(err)
		}
		if r.URL.Query().Has("no-retry") {
			w.Header().Set("deetoo-no-retry", "true")
		}
		w.WriteHeader(status)
	})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := "http://" + l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	silent, _ := serveRaw(t, func(c *net.TCPConn, _ []byte) { _, _ = c.Read(make([]byte, 1)) })
	broken, _ := serveRaw(t, func(c *net.TCPConn, _ []byte) { _ = c.Close() })
	half, _ := serveRaw(t, func(c *net.TCPConn, _ []byte) {
		_, _ = c.Write([]byte("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"))
	})
	d := newTestDeliverer(t, Options{})
	for target, want := range map[string]queue.Health{
		s.URL + "/200": queue.Answered, s.URL + "/204": queue.Answered, s.URL + "/302": queue.Answered,
		s.URL + "/400": queue.Answered, s.URL + "/401": queue.Answered, s.URL + "/404": queue.Answered,
		s.URL + "/410": queue.Answered, s.URL + "/489": queue.Answered, s.URL + "/500?no-retry": queue.Answered,
		s.URL + "/429": queue.Busy, s.URL + "/429?no-retry": queue.Busy,
		s.URL + "/500": queue.Failing, s.URL + "/502": queue.Failing, broken: queue.Failing, half: queue.Failing,
		s.URL + "/503": queue.Overloaded, s.URL + "/504": queue.Overloaded, s.URL + "/408": queue.Overloaded, silent: queue.Overloaded,
		nobody: queue.Refused,
	} {
		typ := testType(target)
		if typ.Timeout = 30 * time.Second; target == silent {
			typ.Timeout = 300 * time.Millisecond
		}
		if out, _ := d.Send(context.Background(), typ, testLease()); out.Health != want {
			t.Errorf("%s: %q, want %q: %+v", target, out.Health, want, out)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if out, _ := d.Send(ctx, testType(s.URL+"/200"), testLease()); out.Verdict != dispatch.Release || out.Health != 0 {
		t.Errorf("called off: %+v", out)
	}
}

// A batch is one delivery: it failed if all of it did.
func TestHealthOfABatch(t *testing.T) {
	for name, tc := range map[string]struct {
		status int
		body   string
		want   queue.Health
	}{
		"all done":            {200, ``, queue.Answered},
		"all failed":          {500, ``, queue.Failing},
		"too many":            {429, ``, queue.Busy},
		"each failed":         {200, `[{"id":"a","status":503},{"id":"b","status":500}]`, queue.Overloaded},
		"one failed":          {200, `[{"id":"a","status":503},{"id":"b","status":200}]`, queue.Answered},
		"one is not named":    {200, `[{"id":"a","status":503}]`, queue.Answered},
		"one is wrong":        {200, `[{"id":"a","status":503},{"id":"b","status":"?"}]`, queue.Answered},
		"none are understood": {200, `{}`, queue.Answered},
	} {
		outs, _ := answering(t, batchType(""), Options{}, tc.status, tc.body, batchLeases("a", "b"))
		for _, out := range outs {
			if out.Health != tc.want || len(outs) != 2 {
				t.Errorf("%s: %q, want %q: %+v", name, out.Health, tc.want, outs)
			}
		}
	}
}
