package api

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/deetoo/deetoo/auth"
	"github.com/deetoo/deetoo/internal/transcript"
)

// listen serves the app on a free port until the test ends.
func listen(t testing.TB, app *fiber.App) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- app.Listener(l) }()
	t.Cleanup(func() {
		if err := errors.Join(app.ShutdownWithTimeout(5*time.Second), <-done); err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

// say sends bytes and reads the answer, on a connection of its own.
func say(t *testing.T, addr string, request []byte) (*http.Response, []byte) {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := c.Write(request); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatalf("no answer to %.60q: %v", request, err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return resp, body
}

func TestServerRefusesWithProblems(t *testing.T) {
	w := newWorld(t).email()
	addr := listen(t, w.app)
	authorization := "Authorization: Bearer " + token(t, auth.MintOptions{}) + "\r\n"
	for name, c := range map[string]struct {
		request string
		status  int
		slug    string
	}{
		// Nothing of these bodies is sent: the answer comes without waiting for them.
		"body beyond all limits":   {"POST " + emailJobs + " HTTP/1.1\r\nHost: x\r\n" + authorization + "Content-Length: 99999999\r\n\r\n", 413, "too-large"},
		"large body, no token":     {"POST " + emailJobs + " HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999\r\n\r\n", 413, "too-large"},
		"large body, not for jobs": {"PUT /v1/types/email HTTP/1.1\r\nHost: x\r\n" + authorization + "Content-Length: 9999999\r\n\r\n", 413, "too-large"},
		"headers":                  {"GET /healthz HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("x", 40<<10) + "\r\n\r\n", 431, "headers-too-large"},
		"no HTTP":                  {"HELLO\r\n\r\n", 400, "bad-request"},
		"no number":                {"POST " + emailJobs + " HTTP/1.1\r\nHost: x\r\nContent-Length: many\r\n\r\n", 400, "bad-request"},
		"unknown method":           {"FROB /v1/types HTTP/1.1\r\nHost: x\r\n\r\n", 405, "method-not-allowed"},
		"absolute address":         {"GET http://x/v1/nothing HTTP/1.1\r\nHost: x\r\n\r\n", 404, "unknown-path"},
	} {
		t.Run(name, func(t *testing.T) {
			resp, body := say(t, addr, []byte(c.request))
			if resp.StatusCode != c.status || !strings.Contains(string(body), "/docs/errors#"+c.slug) || resp.Header.Get("Content-Type") != mediaProblem {
				t.Errorf("%d %s", resp.StatusCode, body)
			}
			if resp.Header.Get("X-Request-Id") == "" || resp.Header.Get("X-Content-Type-Options") != "nosniff" {
				t.Errorf("headers: %v", resp.Header)
			}
		})
	}
}

// A job's data may be three times as long in a form of the UI as it is; only
// somebody with a session may send one.
func TestFormsThatBringJobsMayBeLarger(t *testing.T) {
	app := NewApp(AppOptions{MaxForm: 2 << 20})
	app.Post("/ui/types/email/enqueue", func(c *fiber.Ctx) error { return c.SendStatus(fiber.StatusNoContent) })
	addr := listen(t, app)
	for name, c := range map[string]struct {
		cookie string
		size   int
		status int
	}{
		"a large form":               {"Cookie: s=1\r\n", 2 << 20, 204},
		"larger than any":            {"Cookie: s=1\r\n", 2<<20 + 1, 413},
		"a large form of a stranger": {"", 2 << 20, 413},
	} {
		t.Run(name, func(t *testing.T) {
			head := fmt.Sprintf("POST /ui/types/email/enqueue HTTP/1.1\r\nHost: x\r\n%sContent-Length: %d\r\n\r\n", c.cookie, c.size)
			body := []byte(nil)
			if c.status == 204 {
				body = bytes.Repeat([]byte("x"), c.size)
			}
			if resp, answer := say(t, addr, append([]byte(head), body...)); resp.StatusCode != c.status {
				t.Errorf("%d %s", resp.StatusCode, answer)
			}
		})
	}
}

func TestGzipBombStaysCompressed(t *testing.T) {
	w := newWorld(t).email()
	addr := listen(t, w.app)
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	_, _ = io.CopyN(z, zeros{}, 32<<20)
	_ = z.Close()
	head := fmt.Sprintf("POST %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n",
		emailJobs, token(t, auth.MintOptions{}), bomb.Len())
	resp, body := say(t, addr, append([]byte(head), bomb.Bytes()...))
	if resp.StatusCode != 415 || !strings.Contains(string(body), "unsupported-media-type") {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

func TestSlowRequestIsGivenUp(t *testing.T) {
	app := NewApp(AppOptions{ReadTimeout: 50 * time.Millisecond})
	resp, body := say(t, listen(t, app), []byte("POST /v1/types HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{"))
	if resp.StatusCode != 408 || !strings.Contains(string(body), "/docs/errors#timeout") {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
}

func TestHandlersOfOthersAreProtectedToo(t *testing.T) {
	log := &transcript.Buffer{}
	app := NewApp(AppOptions{Logger: newLogger(log)})
	app.Get("/ui/panic", func(*fiber.Ctx) error { panic("swordfish") })
	app.Get("/ui/error", func(*fiber.Ctx) error { return errors.New("swordfish") })
	addr := listen(t, app)
	for _, path := range []string{"/ui/panic", "/ui/error"} {
		resp, body := say(t, addr, []byte("GET "+path+" HTTP/1.1\r\nHost: x\r\n\r\n"))
		if resp.StatusCode != 500 || strings.Contains(string(body), "swordfish") || !strings.Contains(log.String(), resp.Header.Get("X-Request-Id")) {
			t.Errorf("%d %s", resp.StatusCode, body)
		}
	}
}

func TestOptionsNameTheField(t *testing.T) {
	good := newWorld(t).api.opts
	for field, change := range map[string]func(*Options){
		"Intake": func(o *Options) { o.Intake = nil }, "Verifier": func(o *Options) { o.Verifier = nil }, "Sender": func(o *Options) { o.Sender = nil },
		"Spec": func(o *Options) { o.Spec = nil }, "MaxBatchBody": func(o *Options) { o.MaxBatchBody = -1 }, "Timeout": func(o *Options) { o.Timeout = -1 },
		"TestTimeout": func(o *Options) { o.TestTimeout = time.Hour },
	} {
		o := good
		change(&o)
		if _, err := New(o); err == nil || !strings.HasPrefix(err.Error(), field+" ") {
			t.Errorf("%s: %v", field, err)
		}
	}
}

// TestAnswerNobodyReadsIsGivenUp has two clients that ask and read nothing: the
// one that asked for a stream of events is waited for, the other not.
func TestAnswerNobodyReadsIsGivenUp(t *testing.T) {
	app := NewApp(AppOptions{WriteTimeout: 50 * time.Millisecond})
	const size = 64 << 20 // more than any socket buffers
	var answered atomic.Int32
	app.Get("/large", func(c *fiber.Ctx) error {
		answered.Add(1)
		return c.Send(make([]byte, size))
	})
	addr := listen(t, app)
	ask := func(accept string) net.Conn {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		_ = c.SetDeadline(time.Now().Add(20 * time.Second))
		if _, err := fmt.Fprintf(c, "GET /large HTTP/1.1\r\nHost: x\r\nAccept: %s\r\nConnection: close\r\n\r\n", accept); err != nil {
			t.Fatal(err)
		}
		return c
	}
	stream, page := ask("text/event-stream"), ask("*/*")
	read := func(c net.Conn) int64 {
		n, _ := io.Copy(io.Discard, c)
		return n
	}
	deadline := time.Now().Add(10 * time.Second)
	for answered.Load() != 2 || app.Server().GetOpenConnectionsCount() != 1 {
		if time.Now().After(deadline) {
			t.Fatalf("%d connections are open", app.Server().GetOpenConnectionsCount())
		}
		time.Sleep(5 * time.Millisecond)
	}
	if n := read(page); n >= size {
		t.Errorf("the page was written: %d bytes", n)
	}
	if n := read(stream); n < size {
		t.Errorf("the stream was cut off after %d bytes", n)
	}
}
