package webhook

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/deetoo/deetoo/dispatch"
)

// Handlers that do not speak HTTP as they should.
func TestMisbehavingHandlers(t *testing.T) {
	say := func(s string) func(*net.TCPConn, []byte) {
		return func(c *net.TCPConn, _ []byte) { _, _ = io.WriteString(c, s) }
	}
	forever := func(first, again string) func(*net.TCPConn, []byte) {
		return func(c *net.TCPConn, _ []byte) {
			if _, err := io.WriteString(c, first); err != nil {
				return
			}
			for {
				if _, err := io.WriteString(c, again); err != nil {
					return
				}
			}
		}
	}
	const closed = "the target closed the connection before its answer was complete"
	for name, tc := range map[string]struct {
		answer  func(*net.TCPConn, []byte)
		verdict dispatch.Verdict
		status  int
		err     string
	}{
		"closes":           {answer: say(""), err: closed},
		"half-closes":      {answer: func(c *net.TCPConn, _ []byte) { _ = c.CloseWrite(); _, _ = io.Copy(io.Discard, c) }, err: closed},
		"resets":           {answer: reset, err: "connection reset by the target"},
		"is no web server": {answer: say("SSH-2.0-OpenSSH_9.6\r\n"), err: "the answer is not valid HTTP"},
		"echoes":           {answer: func(c *net.TCPConn, head []byte) { _, _ = c.Write(head) }, err: "the answer is not valid HTTP"},
		"binary":           {answer: say("\x00\xff\x00\xff\r\n\r\n"), err: "the answer is not valid HTTP"},
		"half a head":      {answer: say("HTTP/1.1 200 OK\r\nX: y\r\n"), err: closed},
		"half a line":      {answer: say("HTTP/1.1 200 OK\r\nContent-Le"), err: "the answer is not valid HTTP"},
		"bad header":       {answer: say("HTTP/1.1 200 OK\r\nCANARY no colon\r\n\r\n"), err: "the answer is not valid HTTP"},
		"bad length":       {answer: say("HTTP/1.1 200 OK\r\nContent-Length: CANARY\r\n\r\n"), err: "the answer is not valid HTTP: its Content-Length is wrong"},
		"two lengths":      {answer: say("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"), err: "the answer is not valid HTTP: its Content-Length is wrong"},
		"odd encoding":     {answer: say("HTTP/1.1 200 OK\r\nTransfer-Encoding: CANARY\r\n\r\n"), err: "the answer is not valid HTTP: its Transfer-Encoding is unsupported"},
		"endless header":   {answer: forever("HTTP/1.1 200 OK\r\nX: ", strings.Repeat("x", 4096)), err: "the headers of the answer exceed 64 KiB"},
		"endless headers":  {answer: forever("HTTP/1.1 200 OK\r\n", "X-Y: z\r\n"), err: "the headers of the answer exceed 64 KiB"},
		"103 flood":        {answer: forever("", "HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n"), err: "the headers of the answer exceed 64 KiB"},
		"103, then 200":    {answer: say("HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"), verdict: dispatch.Done, status: 200},
		"101": {answer: func(c *net.TCPConn, h []byte) {
			say("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n")(c, h)
			_, _ = io.Copy(io.Discard, c)
		}, status: 101, err: "HTTP 101 Switching Protocols"},
		"200 cut":              {answer: say("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n0123456789"), status: 200, err: closed + ", after 10 bytes of the answer (HTTP 200 OK)"},
		"200 cut in a chunk":   {answer: say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\na\r\n01234"), status: 200, err: closed + ", after 5 bytes of the answer (HTTP 200 OK)"},
		"200, chunks broken":   {answer: say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nCANARY\r\n"), status: 200, err: "the answer is not valid HTTP: its chunked encoding is broken, after 0 bytes of the answer (HTTP 200 OK)"},
		"200, no last chunk":   {answer: say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n"), status: 200, err: closed + ", after 2 bytes of the answer (HTTP 200 OK)"},
		"500 cut":              {answer: say("HTTP/1.1 500 x\r\nContent-Length: 100\r\n\r\n0123456789"), status: 500, err: "HTTP 500 Internal Server Error"},
		"410 cut":              {answer: say("HTTP/1.1 410 x\r\nContent-Length: 100\r\n\r\n0123456789"), verdict: dispatch.Pause, status: 410, err: "HTTP 410 Gone: the endpoint no longer exists"},
		"HTTP/1.0 until close": {answer: say("HTTP/1.0 200 OK\r\n\r\nok"), verdict: dispatch.Done, status: 200},
		"own reason phrase":    {answer: say("HTTP/1.1 500 token=CANARY\r\nContent-Length: 0\r\n\r\n"), status: 500, err: "HTTP 500 Internal Server Error"},
		"endless body": {answer: forever("HTTP/1.1 200 OK\r\n\r\n", strings.Repeat("x", 4096)), verdict: dispatch.Done, status: 200,
			err: "the answer was cut off after 65536 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			target, requests := serveRaw(t, tc.answer)
			typ := testType(target + "/?token=CANARY")
			typ.Headers = map[string]string{"Authorization": "CANARY"}
			out, ex := newTestDeliverer(t, Options{}).Send(context.Background(), typ, testLease())
			if out.Verdict != tc.verdict || out.Status != tc.status || out.Err != tc.err {
				t.Errorf("got %+v", out)
			}
			if (ex.Response != nil) != (tc.status != 0) || len(out.Result) > 64<<10 || (tc.verdict != dispatch.Done && out.Result != nil) {
				t.Errorf("response %v, result of %d bytes", ex.Response, len(out.Result))
			}
			if n := requests(); n != 1 {
				t.Errorf("sent %d times", n)
			}
		})
	}
}

// The bound of the headers is where it is said to be.
func TestHeaderBound(t *testing.T) {
	for kib, want := range map[int]dispatch.Verdict{60: dispatch.Done, 68: dispatch.Retry} {
		target, _ := serveRaw(t, func(c *net.TCPConn, _ []byte) {
			_, _ = io.WriteString(c, "HTTP/1.1 204 x\r\n"+strings.Repeat("X: "+strings.Repeat("x", 1019)+"\r\n", kib)+"\r\n")
		})
		if out, _ := newTestDeliverer(t, Options{}).Send(context.Background(), testType(target), testLease()); out.Verdict != want {
			t.Errorf("%d KiB: %+v", kib, out)
		}
	}
}

// reset closes so that the peer sees a reset.
func reset(c *net.TCPConn, _ []byte) { _ = c.SetLinger(0) }

// Of a gigabyte, no more is read than is kept: the rest finds a closed
// connection, and what was written fits the buffers between us.
func TestHugeBodyIsNotRead(t *testing.T) {
	for _, status := range []string{"200 OK", "500 x"} {
		var written atomic.Int64
		done := make(chan struct{})
		target, _ := serveRaw(t, func(c *net.TCPConn, _ []byte) {
			defer close(done)
			_, _ = io.WriteString(c, "HTTP/1.1 "+status+"\r\nContent-Length: 1073741824\r\n\r\n")
			for chunk := make([]byte, 64<<10); ; {
				n, err := c.Write(chunk)
				if written.Add(int64(n)); err != nil {
					return
				}
			}
		})
		out, _ := newTestDeliverer(t, Options{}).Send(context.Background(), testType(target), testLease())
		<-done
		if out.Status == 0 || len(out.Result) > 64<<10 || written.Load() > 64<<20 {
			t.Errorf("%s: %d bytes written, %+v", status, written.Load(), out.Err)
		}
	}
}

func TestConnectionFailures(t *testing.T) {
	d := newTestDeliverer(t, Options{Resolver: fakeDNS(t, func(string, int) []string { return nil })})
	addr := closedPort(t)
	for target, want := range map[string]string{
		"http://" + addr + "/?CANARY":      "connection refused (" + addr + ")",
		"http://u:CANARY@nowhere.example/": "DNS: no such host nowhere.example",
	} {
		out, ex := d.Send(context.Background(), testType(target), testLease())
		if out.Verdict != dispatch.Retry || out.Err != want || ex.Response != nil {
			t.Errorf("%+v", out)
		}
	}
}

func TestTLS(t *testing.T) {
	quiet := log.New(io.Discard, "", 0) // the servers' complaints about our handshakes
	start := func(edit func(*httptest.Server)) *httptest.Server {
		s := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
		s.Config.ErrorLog = quiet
		if edit != nil {
			edit(s)
		}
		s.StartTLS()
		t.Cleanup(s.Close)
		return s
	}
	good := start(nil)
	roots := x509.NewCertPool()
	roots.AddCert(good.Certificate())
	cert := expiredCert(t)
	expired := start(func(s *httptest.Server) { s.TLS = &tls.Config{Certificates: []tls.Certificate{cert}} })
	expiredRoots := x509.NewCertPool()
	expiredRoots.AddCert(cert.Leaf)
	old := start(func(s *httptest.Server) {
		s.TLS = &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}
	})
	mutual := start(func(s *httptest.Server) { s.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert} })
	plain := serve(t, func(http.ResponseWriter, *http.Request) {})
	garbage, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { garbage.Close() })
	go func() {
		for {
			c, err := garbage.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(c, "CANARY, not TLS at all")
			_ = c.Close()
		}
	}()

	for name, tc := range map[string]struct {
		target, err string
		roots       *x509.CertPool
	}{
		"good":         {good.URL, "", roots},
		"unknown":      {good.URL, "TLS: the certificate is signed by an unknown authority", nil},
		"another name": {strings.Replace(good.URL, "127.0.0.1", "localhost", 1), "TLS: the certificate is not for localhost", roots},
		"expired":      {expired.URL, "TLS: the certificate has expired or is not yet valid", expiredRoots},
		"plain HTTP":   {strings.Replace(plain.URL, "http", "https", 1), "TLS: the target does not speak TLS on this port", nil},
		"garbage":      {"https://" + garbage.Addr().String(), "TLS: the target does not speak TLS on this port", nil},
		"TLS 1.1":      {old.URL, "TLS: protocol version not supported", roots},
		"mutual":       {mutual.URL, "TLS: certificate required", roots},
	} {
		out, _ := newTestDeliverer(t, Options{RootCAs: tc.roots}).Send(context.Background(), testType(tc.target+"/?CANARY"), testLease())
		if out.Err != tc.err || (out.Verdict == dispatch.Done) != (tc.err == "") {
			t.Errorf("%s: %+v", name, out)
		}
	}
}

func expiredCert(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1, 0),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// One dead target does not close the connections to the others.
func TestKeepAliveSurvivesOthersFailures(t *testing.T) {
	var conns atomic.Int64
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(w, r.Body); err != nil {
			t.Error(err)
		}
	}))
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			conns.Add(1)
		}
	}
	s.Start()
	t.Cleanup(s.Close)
	resetting, _ := serveRaw(t, reset)
	failing := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(500)
		_, _ = w.Write(bytes.Repeat([]byte("x"), 1<<20))
	})
	d := newTestDeliverer(t, Options{})
	for _, other := range []string{"http://" + closedPort(t), resetting, failing.URL, "http://169.254.169.254/"} {
		for _, target := range []string{s.URL, other, s.URL} {
			out, _ := d.Send(context.Background(), testType(target), testLease())
			if (out.Verdict == dispatch.Done) != (target == s.URL) {
				t.Errorf("%s: %+v", target, out)
			}
		}
	}
	if n := conns.Load(); n != 1 {
		t.Errorf("%d connections, want 1", n)
	}
}

// Each failed answer of moderate size leaves its connection usable, too.
func TestFailuresKeepTheirConnection(t *testing.T) {
	var conns atomic.Int64
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(500)
		_, _ = w.Write(bytes.Repeat([]byte("x"), 60<<10))
	}))
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			conns.Add(1)
		}
	}
	s.Start()
	t.Cleanup(s.Close)
	d := newTestDeliverer(t, Options{})
	for range 5 {
		d.Send(context.Background(), testType(s.URL), testLease())
	}
	if n := conns.Load(); n != 1 {
		t.Errorf("%d connections, want 1", n)
	}
}
