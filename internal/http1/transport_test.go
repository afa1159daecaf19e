package http1

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newTransport(t testing.TB) *Transport {
	t.Helper()
	tr := New(&http.Transport{DialContext: (&net.Dialer{}).DialContext, MaxIdleConnsPerHost: 8, IdleConnTimeout: time.Minute})
	t.Cleanup(tr.CloseIdleConnections)
	return tr
}

// server counts the connections it gets.
func server(t testing.TB, h http.HandlerFunc) (*httptest.Server, *atomic.Int64) {
	t.Helper()
	var conns atomic.Int64
	s := httptest.NewUnstartedServer(h)
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			conns.Add(1)
		}
	}
	s.Start()
	t.Cleanup(s.Close)
	return s, &conns
}

func post(t testing.TB, ctx context.Context, tr *Transport, url, body string) (*http.Response, string, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := tr.RoundTrip(req)
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp, string(b), err
}

func TestRequestsArriveAsTheyAreAndShareAConnection(t *testing.T) {
	s, conns := server(t, func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		fmt.Fprintf(w, "%s %s %s %s %d %s", r.Method, r.URL, r.Host, r.Header.Get("X-One"), r.ContentLength, b)
	})
	tr := newTransport(t)
	for _, body := range []string{"a", "", strings.Repeat("x", maxBody), "b"} {
		req, err := http.NewRequest(http.MethodPost, s.URL+"/p%20q?x=%2F#frag", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		if body == "" {
			req.Body = http.NoBody
		}
		req.Header.Set("X-One", "1")
		resp, err := tr.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		if want := fmt.Sprintf("POST /p%%20q?x=%%2F %s 1 %d %s", strings.TrimPrefix(s.URL, "http://"), len(body), body); string(got) != want {
			t.Errorf("got %.200s, want %.200s", got, want)
		}
	}
	if n := conns.Load(); n != 1 {
		t.Errorf("%d connections", n)
	}
}

// What goes through net/http works as well: a larger body, one of unknown length, TLS.
func TestTheRestGoesThroughNetHTTP(t *testing.T) {
	echo := func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		_, _ = w.Write(b)
	}
	s, _ := server(t, echo)
	secure := httptest.NewTLSServer(http.HandlerFunc(echo))
	t.Cleanup(secure.Close)
	tr := newTransport(t)
	tr.base.TLSClientConfig = secure.Client().Transport.(*http.Transport).TLSClientConfig
	large := strings.Repeat("y", maxBody+1)
	for url, body := range map[string]io.Reader{s.URL: strings.NewReader(large), s.URL + "/stream": io.MultiReader(strings.NewReader(large)), secure.URL: strings.NewReader(large)} {
		req, err := http.NewRequest(http.MethodPost, url, body)
		if err != nil {
			t.Fatal(err)
		}
		if tr.plain(req) {
			t.Errorf("%s is not ordinary", url)
		}
		resp, err := tr.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(resp.Body)
		if _ = resp.Body.Close(); err != nil || string(got) != large {
			t.Errorf("%s: %d bytes, %v", url, len(got), err)
		}
	}
}

// A connection that the server has closed, or on which it said more than it
// should, carries no further request.
func TestABadIdleConnectionIsNotUsed(t *testing.T) {
	for name, misdeed := range map[string]func(net.Conn){
		"closed":                 func(c net.Conn) { _ = c.Close() },
		"a body after a 204":     func(c net.Conn) { _, _ = io.WriteString(c, "{}") },
		"an answer nobody asked": func(c net.Conn) { _, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n") },
	} {
		t.Run(name, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			did := make(chan struct{}, 8)
			go func() {
				for {
					c, err := l.Accept()
					if err != nil {
						return
					}
					go func() {
						defer c.Close()
						if _, err := http.ReadRequest(bufio.NewReader(c)); err != nil {
							return
						}
						_, _ = io.WriteString(c, "HTTP/1.1 204 No Content\r\n\r\n")
						misdeed(c)
						did <- struct{}{}
						_, _ = io.Copy(io.Discard, c)
					}()
				}
			}()
			tr := newTransport(t)
			for range 5 {
				resp, _, err := post(t, t.Context(), tr, "http://"+l.Addr().String(), "x")
				if err != nil || resp.StatusCode != 204 {
					t.Fatalf("%v, %v", resp, err)
				}
				<-did
				// What was said needs a moment even on the loopback.
				tr.mu.Lock()
				conns := tr.idle[l.Addr().String()]
				tr.mu.Unlock()
				for end := time.Now().Add(10 * time.Second); len(conns) > 0 && conns[0].alive(); time.Sleep(time.Millisecond) {
					if time.Now().After(end) {
						t.Fatal("it looks good still")
					}
				}
			}
		})
	}
}

func TestCancelledRequestsEnd(t *testing.T) {
	arrived := make(chan struct{}, 1)
	s, _ := server(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // until then the server does not look whether we are there
		if r.URL.Path == "/body" {
			_, _ = io.WriteString(w, "x")
			w.(http.Flusher).Flush()
		}
		arrived <- struct{}{}
		<-r.Context().Done() // the server sees that we are gone
	})
	tr := newTransport(t)
	for _, path := range []string{"/head", "/body"} {
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			<-arrived
			cancel()
		}()
		if _, _, err := post(t, ctx, tr, s.URL+path, "x"); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", path, err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, _, err := post(t, ctx, tr, s.URL+"/head", "x"); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	<-arrived
	if _, _, err := post(t, ctx, tr, s.URL+"/head", "x"); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	tr.mu.Lock()
	defer tr.mu.Unlock()
	if len(tr.idle) != 0 {
		t.Error("a connection was kept that a request was cut off on")
	}
}

// A connection whose answer was not read to its end is closed.
func TestUnreadAnswersEndTheirConnection(t *testing.T) {
	s, conns := server(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, strings.Repeat("x", 1<<20)) })
	tr := newTransport(t)
	for range 3 {
		req, err := http.NewRequest(http.MethodPost, s.URL, strings.NewReader("x"))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := tr.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(resp.Body, make([]byte, 10)); err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
	}
	if n := conns.Load(); n != 3 {
		t.Errorf("%d connections", n)
	}
}

func TestIdleConnectionsAreBoundedAndSwept(t *testing.T) {
	closed := make(chan struct{}, 100)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateClosed {
			closed <- struct{}{}
		}
	}
	s.Start()
	t.Cleanup(s.Close)
	tr := New(&http.Transport{DialContext: (&net.Dialer{}).DialContext, MaxIdleConnsPerHost: 2, IdleConnTimeout: 100 * time.Millisecond})
	t.Cleanup(tr.CloseIdleConnections)
	addr := s.Listener.Addr().String()
	for range 4 {
		nc, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		tr.put(newConn(nc, tr, addr))
	}
	tr.mu.Lock()
	if n := len(tr.idle[addr]); n > 2 {
		t.Errorf("%d are kept", n)
	}
	tr.mu.Unlock()
	for range 4 {
		select {
		case <-closed:
		case <-time.After(20 * time.Second):
			t.Fatal("they stay open")
		}
	}
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		tr.mu.Lock()
		left := len(tr.idle)
		tr.mu.Unlock()
		if left == 0 {
			break
		}
		if time.Now().After(end) {
			t.Fatal("the transport holds closed connections")
		}
	}
}

func TestWhatCannotBeSentIsNotSent(t *testing.T) {
	s, conns := server(t, func(http.ResponseWriter, *http.Request) { t.Error("it was sent") })
	tr := newTransport(t)
	for name, edit := range map[string]func(*http.Request){
		"a header with a line break": func(r *http.Request) { r.Header["X"] = []string{"a\r\nY: b"} },
		"a header's name":            func(r *http.Request) { r.Header["X Y"] = []string{"a"} },
		"a host":                     func(r *http.Request) { r.Host = "a\r\nb" },
		"a body that is shorter":     func(r *http.Request) { r.ContentLength = 10 },
		"a body that fails":          func(r *http.Request) { r.Body = io.NopCloser(failing{}) },
	} {
		req, err := http.NewRequest(http.MethodPost, s.URL, strings.NewReader("x"))
		if err != nil {
			t.Fatal(err)
		}
		edit(req)
		if resp, err := tr.RoundTrip(req); err == nil {
			t.Errorf("%s: %v", name, resp.Status)
			_ = resp.Body.Close()
		} else if strings.Contains(err.Error(), "Y: b") {
			t.Errorf("%s: the error quotes a value: %v", name, err)
		}
	}
	if n := conns.Load(); n > 5 {
		t.Errorf("%d connections", n)
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errors.New("no") }

// Whatever is written is one request, and the one that was meant.
func FuzzRequest(f *testing.F) {
	f.Add("http://h/p?q", "X-A", "v", []byte("body"))
	f.Add("http://[::1]:80/%0d%0a", "Content-Length", "7", []byte{})
	f.Add("http://h:1", "A\r\nB", "a\r\nb", []byte("{}"))
	f.Fuzz(func(t *testing.T, url, name, value string, body []byte) {
		req, err := http.NewRequest(http.MethodPost, url, bytes.NewReader(body))
		if err != nil {
			return
		}
		req.Header[name] = []string{value}
		tr := New(&http.Transport{})
		if !tr.plain(req) {
			return
		}
		out, err := appendRequest(nil, req)
		if err != nil {
			return
		}
		in := bufio.NewReader(bytes.NewReader(out))
		got, err := http.ReadRequest(in)
		if err != nil {
			t.Fatalf("%q: %v", out, err)
		}
		sent, err := io.ReadAll(got.Body)
		if err != nil || !bytes.Equal(sent, body) || in.Buffered() > 0 || got.Host != req.Host || got.RequestURI != req.URL.RequestURI() {
			t.Fatalf("%q became %+v, body %q, %v", out, got, sent, err)
		}
		if got := got.Header[name]; name == http.CanonicalHeaderKey(name) && name != "Host" && name != "Content-Length" &&
			(len(got) != 1 || got[0] != strings.Trim(value, " \t")) {
			t.Fatalf("%q: header %q became %q", out, value, got)
		}
	})
}

// BenchmarkRoundTrip beside net/http's own, on the same server.
func BenchmarkRoundTrip(b *testing.B) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") }))
	defer s.Close()
	base := &http.Transport{DialContext: (&net.Dialer{}).DialContext, MaxIdleConnsPerHost: 64}
	for name, tr := range map[string]http.RoundTripper{"http1": New(base), "net-http": base} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					req, err := http.NewRequest(http.MethodPost, s.URL, strings.NewReader("{}"))
					if err != nil {
						b.Error(err)
						return
					}
					resp, err := tr.RoundTrip(req)
					if err != nil {
						b.Error(err)
						return
					}
					_, _ = io.Copy(io.Discard, resp.Body)
					_ = resp.Body.Close()
				}
			})
		})
	}
}
