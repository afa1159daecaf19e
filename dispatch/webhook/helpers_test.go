package webhook

import (
	"bufio"
	"bytes"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/deetoo/deetoo/internal/transcript"
	"github.com/deetoo/deetoo/queue"
	"github.com/deetoo/deetoo/registry"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	testSecret    = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
	testSecretOld = "whsec_ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA="
)

// typeMap is a TypeSource.
type typeMap map[string]*registry.Type

func (m typeMap) Get(name string) (*registry.Type, bool) {
	t, ok := m[name]
	return t, ok
}

// newTestDeliverer makes a Deliverer that may reach the loopback.
func newTestDeliverer(t testing.TB, o Options) *Deliverer {
	t.Helper()
	if o.Types == nil {
		o.Types = typeMap{}
	}
	if o.AllowCIDRs == nil {
		o.AllowPrivate = true
	}
	d, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	return d
}

func testType(target string) *registry.Type {
	return &registry.Type{
		Name: "email", Target: target, Timeout: 30 * time.Second,
		Retry: registry.Retry{MaxAttempts: 12}, Secrets: registry.SecretsOf(testSecret),
	}
}

func testLease() *queue.Lease {
	return &queue.Lease{Job: queue.Job{Type: "email", ID: "01JOB", Data: []byte(`{"to":"leia"}`), Attempt: 1}}
}

func serve(t testing.TB, h http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s
}

// serveRaw answers each connection's first request, once its head was read, by
// answer. It returns the URL, and a function that counts the requests.
func serveRaw(t testing.TB, answer func(c *net.TCPConn, head []byte)) (string, func() int) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	requests := 0
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				head, err := readHead(c)
				if err != nil {
					return
				}
				mu.Lock()
				requests++
				mu.Unlock()
				answer(c.(*net.TCPConn), head)
			})
		}
	})
	t.Cleanup(func() { l.Close(); wg.Wait() })
	return "http://" + l.Addr().String(), func() int { mu.Lock(); defer mu.Unlock(); return requests }
}

// readHead reads a request with a short body as far as it has arrived with the
// head, and returns both.
func readHead(c net.Conn) ([]byte, error) {
	r := bufio.NewReader(c)
	req, err := http.ReadRequest(r)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	err = req.Write(&b)
	return b.Bytes(), err
}

// closedPort returns an address nobody listens on.
func closedPort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func loggerTo(to *transcript.Buffer) *slog.Logger {
	return slog.New(slog.NewTextHandler(to, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

func formatInt(n int64) string { return strconv.FormatInt(n, 10) }
