package webhook

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/deetoo/deetoo/dispatch"
	"github.com/deetoo/deetoo/queue"
)

func reconcile(t testing.TB, url string, timeout time.Duration, lease *queue.Lease) dispatch.Reconciled {
	t.Helper()
	typ := testType("http://127.0.0.1:1/never")
	typ.ReconcileURL = url
	typ.Headers = map[string]string{"X-Api-Key": "hunter2"}
	d := newTestDeliverer(t, Options{Types: typeMap{"email": typ}, CallbackURL: "http://deetoo.test"})
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return d.Reconcile(ctx, lease)
}

func TestReconcileAnswers(t *testing.T) {
	const must = `the answer must be {"state": "done"}, "running" or "unknown"`
	for name, tc := range map[string]struct {
		status int
		body   string
		want   dispatch.Fate
		result string
		err    string
	}{
		"done":               {200, `{"state":"done"}`, dispatch.FateDone, "", ""},
		"done with a result": {200, ` {"state":"done","result":{"paid":[1]},"more":2} `, dispatch.FateDone, `{"paid":[1]}`, ""},
		"running":            {200, `{"state":"running"}`, dispatch.FateRunning, "", ""},
		"unknown":            {200, `{"state":"unknown"}`, dispatch.FateUnknown, "", ""},
		"404":                {404, `nothing here`, dispatch.FateUnknown, "", ""},
		"another word":       {200, `{"state":"finished"}`, dispatch.FateUnasked, "", must},
		"no word":            {200, `{}`, dispatch.FateUnasked, "", must},
		"no JSON":            {200, `done`, dispatch.FateUnasked, "", must},
		"no body":            {200, ``, dispatch.FateUnasked, "", must},
		"204":                {204, ``, dispatch.FateUnasked, "", "HTTP 204 No Content"},
		"302":                {302, `{"state":"done"}`, dispatch.FateUnasked, "", "HTTP 302 Found"},
		"401":                {401, `{"state":"done"}`, dispatch.FateUnasked, "", "HTTP 401 Unauthorized"},
		"410":                {410, ``, dispatch.FateUnasked, "", "HTTP 410 Gone"},
		"500":                {500, `{"state":"done"}`, dispatch.FateUnasked, "", "HTTP 500 Internal Server Error"},
		"too long":           {200, `{"state":"done","x":"` + strings.Repeat("x", 64<<10) + `"}`, dispatch.FateUnasked, "", "the answer is longer than 65536 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(tc.status)
				if tc.status != 204 {
					_, _ = io.WriteString(w, tc.body)
				}
			})
			if r := reconcile(t, s.URL, time.Minute, testLease()); r.State != tc.want || string(r.Result) != tc.result || r.Err != tc.err {
				t.Errorf("%+v", r)
			}
		})
	}
}

func TestReconcileThatFails(t *testing.T) {
	hangs := serve(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	broken, _ := serveRaw(t, func(c *net.TCPConn, _ []byte) {
		_, _ = c.Write([]byte("HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"))
	})
	for url, want := range map[string]string{
		hangs.URL + "/?key=CANARY":                 "timeout after 200ms",
		"http://" + closedPort(t) + "/?key=CANARY": "connection refused",
		broken: "the target closed the connection",
		"http://169.254.169.254/latest/meta-data?k=CANARY": "169.254.169.254",
	} {
		timeout := 200 * time.Millisecond
		if !strings.HasPrefix(want, "timeout") {
			timeout = time.Minute
		}
		if r := reconcile(t, url, timeout, testLease()); r.State != dispatch.FateUnasked || !strings.Contains(r.Err, want) || strings.Contains(r.Err, "CANARY") {
			t.Errorf("%+v, want %q", r, want)
		}
	}
	if r := newTestDeliverer(t, Options{}).Reconcile(context.Background(), testLease()); r.State != dispatch.FateUnasked || r.Err == "" {
		t.Errorf("%+v", r)
	}
}

// The question says whom it is about, in the query and in the headers of a delivery, and is signed.
func TestReconcileRequest(t *testing.T) {
	var got *http.Request
	var body []byte
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		got = r.Clone(context.Background())
		body, _ = io.ReadAll(r.Body)
		_, _ = io.WriteString(w, `{"state":"unknown"}`)
	})
	lease := testLease()
	lease.ID, lease.Attempt, lease.Token = "a/b &c=d", 3, "token"
	lease.EnqueuedAt = time.UnixMilli(1234567)
	if r := reconcile(t, s.URL+"/status?key=1&b=%20", time.Minute, lease); r.State != dispatch.FateUnknown {
		t.Fatalf("%+v", r)
	}
	q := got.URL.Query()
	if got.Method != "GET" || got.URL.Path != "/status" || !strings.HasPrefix(got.URL.RawQuery, "key=1&b=%20&") || q.Get("id") != "a/b &c=d" || q.Get("type") != "email" || q.Get("attempt") != "3" || len(body) != 0 {
		t.Errorf("%s %s", got.Method, got.URL)
	}
	h := got.Header
	if h.Get("webhook-id") != messageID(lease) || h.Get("deetoo-job-id") != "a/b%20&c=d" || h.Get("deetoo-attempt") != "3" || h.Get("X-Api-Key") != "hunter2" ||
		h.Get("Content-Type") != "" || h.Get("deetoo-callback-token") != "" || h.Get("deetoo-callback-url") != "" || h.Get("Authorization") != "" {
		t.Errorf("%v", h)
	}
	hook, err := standardwebhooks.NewWebhook(testSecret)
	if err != nil {
		t.Fatal(err)
	}
	if err := hook.Verify(nil, h); err != nil {
		t.Error(err)
	}
}

// An attempt is unsure if the request may have been received and no answer came, and only then.
func TestUnsure(t *testing.T) {
	answers := func(status int) string {
		return serve(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }).URL
	}
	hangs := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.ReadAll(r.Body) // or the server does not see that the other side has gone
		<-r.Context().Done()
	})
	closes, _ := serveRaw(t, func(c *net.TCPConn, _ []byte) {})
	breaks, _ := serveRaw(t, func(c *net.TCPConn, _ []byte) {
		_, _ = c.Write([]byte("HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"))
	})
	for name, tc := range map[string]struct {
		target string
		unsure bool
	}{
		"timeout":            {hangs.URL, true},
		"connection closed":  {closes, true},
		"a success broken":   {breaks, true},
		"502":                {answers(502), true},
		"504":                {answers(504), true},
		"500":                {answers(500), false},
		"503":                {answers(503), false},
		"200":                {answers(200), false},
		"connection refused": {"http://" + closedPort(t), false},
		"no such host":       {"http://nobody.invalid", false},
		"guarded":            {"http://169.254.169.254/", false},
	} {
		t.Run(name, func(t *testing.T) {
			typ := testType(tc.target)
			typ.ReconcileURL = "http://127.0.0.1:1/"
			lease := testLease()
			if name == "timeout" {
				lease.Timeout = 300 * time.Millisecond
			}
			out, _ := newTestDeliverer(t, Options{}).Send(context.Background(), typ, lease)
			if out.Unsure != tc.unsure {
				t.Errorf("%+v", out)
			}
		})
	}
	// Called off in the middle, as at a shutdown.
	typ := testType(hangs.URL)
	typ.ReconcileURL = "http://127.0.0.1:1/"
	ctx, cancel := context.WithCancel(context.Background())
	time.AfterFunc(300*time.Millisecond, cancel)
	if out, _ := newTestDeliverer(t, Options{}).Send(ctx, typ, testLease()); out.Verdict != dispatch.Release || !out.Unsure {
		t.Errorf("%+v", out)
	}
}
