package webhook

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/deetoo/deetoo/dispatch"
	"github.com/deetoo/deetoo/internal/transcript"
	"github.com/deetoo/deetoo/invalid"
	"github.com/deetoo/deetoo/queue"
	"github.com/deetoo/deetoo/registry"
)

// received is a request as a handler sees it.
type received struct {
	method, uri, host string
	header            http.Header
	body              string
}

// deliverTo delivers to a handler of ours and returns what arrived there.
func deliverTo(t *testing.T, o Options, typ *registry.Type, lease *queue.Lease) (received, dispatch.Outcome) {
	t.Helper()
	got := make(chan received, 1)
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		got <- received{r.Method, r.RequestURI, r.Host, r.Header, string(b)}
	})
	typ.Target = strings.Replace(typ.Target, "TARGET", s.Listener.Addr().String(), 1)
	o.Types = typeMap{typ.Name: typ}
	out := newTestDeliverer(t, o).Deliver(context.Background(), lease)
	if out.Verdict != dispatch.Done {
		t.Fatalf("not delivered: %+v", out)
	}
	return <-got, out
}

// The whole request, as the handler contract has it.
func TestRequestHoldsTheContract(t *testing.T) {
	at := time.Date(2026, 3, 1, 12, 0, 0, 250e6, time.UTC)
	typ := testType("http://leia:organa@TARGET/hook?a=1")
	typ.Secrets = registry.SecretsOf(testSecret, testSecretOld)
	typ.Headers = map[string]string{"x-env": "prod", "webhook-id": "forged", "Deetoo-Attempt": "99", "content-type": "text/plain",
		"host": "elsewhere", "Connection": "close", "idempotency-key": "k", "traceparent": "forged"}
	lease := testLease()
	lease.ID, lease.Attempt, lease.MaxAttempts, lease.Timeout = "a.b/ü%", 3, 5, 10*time.Second
	lease.RunAt, lease.EnqueuedAt = at.Add(-time.Second), time.UnixMilli(1772366400123)
	lease.Traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

	got, _ := deliverTo(t, Options{Now: func() time.Time { return at }, UserAgent: "deetoo/1", CallbackURL: "http://deetoo.test:8888/base"}, typ, lease)
	sigs := strings.Fields(got.header.Get("webhook-signature"))
	got.header.Del("webhook-signature")
	var lines []string
	for name, values := range got.header {
		lines = append(lines, strings.ToLower(name)+": "+strings.Join(values, " | "))
	}
	slices.Sort(lines)
	want := `authorization: Basic bGVpYTpvcmdhbmE=
content-length: 13
content-type: application/json
deetoo-attempt: 3
deetoo-callback-token: ` + lease.CallbackToken() + `
deetoo-callback-url: http://deetoo.test:8888/base/v1/types/email/jobs/a%2Eb%2F%C3%BC%25/callback
deetoo-deadline: 2026-03-01T12:00:10.250Z
deetoo-job-id: a.b/%C3%BC%25
deetoo-job-type: email
deetoo-max-attempts: 5
deetoo-scheduled-at: 2026-03-01T11:59:59.250Z
traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01
user-agent: deetoo/1
webhook-id: email/a%2Eb%2F%C3%BC%25/1772366400123
webhook-timestamp: 1772366400
x-env: prod`
	if s := strings.Join(lines, "\n"); s != want {
		t.Errorf("headers:\n%s\nwant:\n%s", s, want)
	}
	if got.method != "POST" || got.uri != "/hook?a=1" || got.body != `{"to":"leia"}` || !strings.HasPrefix(got.host, "127.0.0.1:") {
		t.Errorf("got %+v", got)
	}
	if id, err := url.PathUnescape(got.header.Get("deetoo-job-id")); id != lease.ID || err != nil {
		t.Errorf("the ID unescapes to %q, %v", id, err)
	}
	if len(sigs) != 2 {
		t.Fatalf("%d signatures, want one per secret", len(sigs))
	}
	for i, secret := range typ.Secrets { // each secret alone fits its own signature alone
		wh, err := standardwebhooks.NewWebhook(secret.Value)
		if err != nil {
			t.Fatal(err)
		}
		h := got.header.Clone()
		h.Set("webhook-signature", sigs[i])
		if err := wh.VerifyIgnoringTimestamp([]byte(got.body), h); err != nil {
			t.Errorf("secret %d: %v", i+1, err)
		}
	}
}

func TestRequestVerifiesAsReceived(t *testing.T) {
	lease := testLease()
	lease.Data = nil
	got, _ := deliverTo(t, Options{}, testType("http://TARGET"), lease)
	if got.body != "null" {
		t.Errorf("an empty job is sent as %q", got.body)
	}
	wh, err := standardwebhooks.NewWebhook(testSecret)
	if err != nil {
		t.Fatal(err)
	}
	if err := wh.Verify([]byte(got.body), got.header); err != nil {
		t.Error(err)
	}
	if err := Verify(got.header, []byte(got.body), 0, testSecret); err != nil {
		t.Error(err)
	}
	for _, absent := range []string{"Traceparent", "Deetoo-Scheduled-At", "Accept-Encoding", "Authorization"} {
		if v, ok := got.header[absent]; ok {
			t.Errorf("%s: %q should be absent", absent, v)
		}
	}
	if ua := got.header.Get("User-Agent"); ua != "deetoo" {
		t.Errorf("user agent %q", ua)
	}
}

func TestTypeHeadersMayNameTheUserAgent(t *testing.T) {
	typ := testType("http://TARGET")
	typ.Headers = map[string]string{"user-agent": "mine"}
	if got, _ := deliverTo(t, Options{}, typ, testLease()); got.header.Get("User-Agent") != "mine" {
		t.Errorf("user agent %q", got.header.Get("User-Agent"))
	}
}

// The limits the type sets, unless the job has its own, unless ctx ends first.
func TestLimits(t *testing.T) {
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for name, tc := range map[string]struct {
		ofType, ofJob time.Duration
		deadline      string
	}{
		"type":    {time.Minute, 0, "2026-03-01T12:01:00.000Z"},
		"job":     {time.Minute, time.Hour, "2026-03-01T13:00:00.000Z"},
		"default": {0, 0, "2026-03-01T12:00:30.000Z"},
	} {
		typ, lease := testType("http://TARGET"), testLease()
		typ.Timeout, lease.Timeout = tc.ofType, tc.ofJob
		got, _ := deliverTo(t, Options{Now: func() time.Time { return at }}, typ, lease)
		if d := got.header.Get("deetoo-deadline"); d != tc.deadline {
			t.Errorf("%s: deadline %s, want %s", name, d, tc.deadline)
		}
		if n := got.header.Get("deetoo-max-attempts"); n != "12" {
			t.Errorf("%s: max attempts %s", name, n)
		}
	}
}

func TestMessageID(t *testing.T) {
	of := func(f func(*queue.Lease)) string {
		l := testLease()
		l.EnqueuedAt = time.UnixMilli(1000)
		f(l)
		return messageID(l)
	}
	same := of(func(*queue.Lease) {})
	if again := of(func(l *queue.Lease) { l.Attempt, l.Token, l.RunAt = 7, "t", time.Now() }); again != same {
		t.Errorf("not stable across attempts: %q, then %q", same, again)
	}
	ids := map[string]string{"same": same}
	for name, f := range map[string]func(*queue.Lease){
		"replaced":         func(l *queue.Lease) { l.EnqueuedAt = time.UnixMilli(1001) },
		"another type":     func(l *queue.Lease) { l.Type = "mail" },
		"another job":      func(l *queue.Lease) { l.ID = "02JOB" },
		"boundary moved":   func(l *queue.Lease) { l.Type, l.ID = "email/01JOB", "" },
		"stop":             func(l *queue.Lease) { l.ID = "01.JOB" },
		"stop encoded":     func(l *queue.Lease) { l.ID = "01%2EJOB" },
		"space":            func(l *queue.Lease) { l.ID = "01 JOB" },
		"control and more": func(l *queue.Lease) { l.ID = "01\r\nX: y\x00\xff€" },
	} {
		ids[name] = of(f)
	}
	if unique := slices.Compact(slices.Sorted(maps.Values(ids))); len(unique) != len(ids) {
		t.Errorf("collision among %q", ids)
	}
	for name, id := range ids {
		if !validMessageID(id) {
			t.Errorf("%s: %q is not a message ID", name, id)
		}
	}
}

func TestTraceparent(t *testing.T) {
	good := "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	for s, want := range map[string]bool{
		good: true, good + "-00": true, "": false, good[:54]: false, strings.ToUpper(good): false,
		good + "\r\nX: y": false, good + strings.Repeat("a", 100): false, strings.ReplaceAll(good, "-", "0"): false,
	} {
		if isTraceparent(s) != want {
			t.Errorf("%q: want %v", s, want)
		}
	}
}

// A type the registry should have refused is a failed attempt, and not quoted.
func TestBadTypes(t *testing.T) {
	for name, edit := range map[string]func(*registry.Type){
		"no URL":         func(p *registry.Type) { p.Target = "http://CANARY\x7f" },
		"another scheme": func(p *registry.Type) { p.Target = "ftp://127.0.0.1/CANARY" },
		"no host":        func(p *registry.Type) { p.Target = "http:///CANARY" },
		"file":           func(p *registry.Type) { p.Target = "file:///etc/CANARY" },
		"secret":         func(p *registry.Type) { p.Secrets = registry.SecretsOf("whsec_CANARY") },
		"header value":   func(p *registry.Type) { p.Headers = map[string]string{"x-a": "CANARY\r\nx-b: y"} },
		"header name":    func(p *registry.Type) { p.Headers = map[string]string{"x CANARY": "y"} },
	} {
		typ := testType("http://127.0.0.1:9")
		edit(typ)
		out, ex := newTestDeliverer(t, Options{}).Send(context.Background(), typ, testLease())
		if out.Verdict != dispatch.Retry || out.Err == "" || strings.Contains(out.Err, "CANARY") || ex == nil {
			t.Errorf("%s: %+v", name, out)
		}
	}
	out := newTestDeliverer(t, Options{}).Deliver(context.Background(), testLease())
	if out.Verdict != dispatch.Retry || out.Err != "its job type is not registered" {
		t.Errorf("unknown type: %+v", out)
	}
}

func TestOptionsValidate(t *testing.T) {
	for field, edit := range map[string]func(*Options){
		"Types":         func(o *Options) { o.Types = nil },
		"UserAgent":     func(o *Options) { o.UserAgent = "a\r\nb" },
		"MaxResult":     func(o *Options) { o.MaxResult = 64<<10 + 1 },
		"MaxExcerpt":    func(o *Options) { o.MaxExcerpt = -1 },
		"MaxRetryAfter": func(o *Options) { o.MaxRetryAfter = -1 },
		"AllowCIDRs[1]": func(o *Options) { o.AllowCIDRs = append(prefixes("10.0.0.0/8"), prefixes("::ffff:10.0.0.0/104")...) },
	} {
		o := Options{Types: typeMap{}}
		if err := o.Validate(); err != nil {
			t.Fatal(err)
		}
		edit(&o)
		_, err := New(o)
		if e, ok := errors.AsType[*invalid.Error](err); !ok || e.Field != field {
			t.Errorf("%s: got %v", field, err)
		}
	}
}

// The panic of a type source, or of anything else, fails the attempt only, and
// its value stays out of the log.
func TestPanicIsAFailedAttempt(t *testing.T) {
	log := &transcript.Buffer{}
	d := newTestDeliverer(t, Options{Types: panicking{}, Logger: loggerTo(log)})
	out := d.Deliver(context.Background(), testLease())
	if out.Verdict != dispatch.Retry || !strings.Contains(out.Err, "internal error") {
		t.Errorf("%+v", out)
	}
	if s := log.String(); !strings.Contains(s, "panic in a webhook attempt") || strings.Contains(s, "CANARY") {
		t.Errorf("log: %s", s)
	}
	if out, ex := d.Send(context.Background(), nil, testLease()); out.Verdict != dispatch.Retry || ex == nil || !strings.Contains(log.String(), "nil pointer") {
		t.Errorf("%+v, log: %s", out, log)
	}
}

type panicking struct{}

func (panicking) Get(string) (*registry.Type, bool) { panic(fmt.Errorf("token CANARY")) }
