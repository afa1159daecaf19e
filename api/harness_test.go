package api

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/gofiber/fiber/v2"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/deetoo/deetoo/auth"
	"github.com/deetoo/deetoo/dispatch"
	"github.com/deetoo/deetoo/dispatch/webhook"
	"github.com/deetoo/deetoo/intake"
	"github.com/deetoo/deetoo/internal/transcript"
	"github.com/deetoo/deetoo/queue"
	"github.com/deetoo/deetoo/registry"
	"github.com/deetoo/deetoo/schedule"
)

var secret = []byte("0123456789abcdef0123456789abcdef")

// world is an app on a Redis in this process.
type world struct {
	testing.TB
	app      *fiber.App
	api      *API
	intake   *intake.Intake
	queue    *queue.Queue
	store    *registry.Store
	client   redis.UniversalClient
	sender   *fakeSender
	verifier Verifier
	down     atomic.Pointer[error] // what every call of Redis answers, if set
	log      *transcript.Buffer
}

func newLogger(to *transcript.Buffer) *slog.Logger {
	return slog.New(slog.NewTextHandler(to, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// fakeSender remembers what it was to send.
type fakeSender struct {
	lease *queue.Lease
	typ   *registry.Type
	out   dispatch.Outcome
	said  webhook.Exchange
}

func (s *fakeSender) Send(_ context.Context, typ *registry.Type, lease *queue.Lease) (dispatch.Outcome, *webhook.Exchange) {
	s.typ, s.lease = typ, lease
	s.said.Request.Body = lease.Data
	return s.out, &s.said
}

// inProcess is a client of a Redis inside this process, without a port.
func inProcess(t testing.TB) redis.UniversalClient {
	m := miniredis.NewMiniRedis()
	client := redis.NewClient(&redis.Options{
		Dialer:                   func(context.Context, string, string) (net.Conn, error) { return m.Dial() },
		DisableIdentity:          true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})
	t.Cleanup(func() {
		_ = client.Close()
		m.Close()
	})
	return client
}

func newWorld(t testing.TB) *world { return newWorldOn(t, inProcess(t), true, intake.Options{}) }

func newWorldOn(t testing.TB, client redis.UniversalClient, embedded bool, o intake.Options) *world {
	t.Helper()
	w := &world{TB: t, client: client, sender: &fakeSender{}, log: &transcript.Buffer{}}
	client.AddHook(&outage{w})
	logger := newLogger(w.log)
	var err error
	if w.queue, err = queue.New(client, queue.Options{Embedded: embedded}); err != nil {
		t.Fatal(err)
	}
	keys, err := registry.ParseKeyring("test:" + registry.NewKey())
	if err != nil {
		t.Fatal(err)
	}
	if w.store, err = registry.NewStore(client, registry.Options{Keys: keys, Logger: slog.New(slog.DiscardHandler)}); err != nil {
		t.Fatal(err)
	}
	o.Queue, o.Store, o.Directory = w.queue, w.store, registry.NewDirectory(w.store, slog.New(slog.DiscardHandler))
	if o.Schedules, err = schedule.NewStore(client, schedule.Options{Logger: slog.New(slog.DiscardHandler)}); err != nil {
		t.Fatal(err)
	}
	if w.intake, err = intake.New(o); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = o.Directory.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	select {
	case <-o.Directory.Ready():
	case <-time.After(10 * time.Second):
		t.Fatal("the types were not loaded")
	}
	v, err := auth.New(ctx, auth.Options{Secret: secret, Audience: "deetoo"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { v.Close() })
	w.verifier = v
	w.api, err = New(Options{Intake: w.intake, Verifier: w, Sender: w.sender, Spec: spec.bytes, Version: "test", Logger: logger})
	if err != nil {
		t.Fatal(err)
	}
	w.app = NewApp(AppOptions{Logger: logger})
	w.api.Mount(w.app)
	return w
}

// Verify lets tests change the verifier.
func (w *world) Verify(ctx context.Context, token string) (*auth.Identity, error) {
	return w.verifier.Verify(ctx, token)
}

// outage makes every call of Redis fail while the world says so.
type outage struct{ w *world }

func (o *outage) DialHook(next redis.DialHook) redis.DialHook { return next }
func (o *outage) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if err := o.w.down.Load(); err != nil {
			cmd.SetErr(*err)
			return *err
		}
		return next(ctx, cmd)
	}
}
func (o *outage) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		if err := o.w.down.Load(); err != nil {
			return *err
		}
		return next(ctx, cmds)
	}
}

func (w *world) outage() {
	var err error = &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("connection to 10.1.2.3 refused")}
	w.down.Store(&err)
}

// token mints one that may everything, unless told otherwise.
func token(t testing.TB, o auth.MintOptions) string {
	t.Helper()
	if o.Scopes == nil {
		o.Scopes = []auth.Scope{auth.Admin}
	}
	if o.TTL == 0 {
		o.TTL = time.Hour
	}
	if o.Audience == "" {
		o.Audience = "deetoo"
	}
	o.Subject = "tester"
	s, err := auth.Mint(secret, o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// call is a request to make.
type call struct {
	method, path string
	body         string
	media        string // Content-Type; "": application/json if there is a body
	token        string // "": an admin's; "-": none
	header       map[string]string
	// odd says that the request breaks the contract on purpose, though the
	// answer is none of those that say so.
	odd bool
}

// answer is what came back.
type answer struct {
	*world
	Status int
	Header http.Header
	Body   []byte
}

// do makes a request, and holds request and answer against the contract.
func (w *world) do(c call) *answer {
	w.Helper()
	target := c.path
	if _, err := url.ParseRequestURI(target); err != nil {
		target = "/" // the wire gets it as it is, all the same
	}
	req := httptest.NewRequest(c.method, target, nil)
	req.RequestURI = c.path
	if c.body != "" {
		req.Body, req.ContentLength = io.NopCloser(strings.NewReader(c.body)), int64(len(c.body))
		if c.media == "" {
			c.media = mediaJSON
		}
	}
	if c.media != "" && c.media != "-" {
		req.Header.Set("Content-Type", c.media)
	}
	switch c.token {
	case "":
		req.Header.Set("Authorization", "Bearer "+token(w, auth.MintOptions{}))
	case "-":
	default:
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	for k, v := range c.header {
		req.Header.Set(k, v)
	}
	resp, err := w.app.Test(req, -1)
	if err != nil {
		w.Fatalf("%s %s: %v", c.method, c.path, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		w.Fatal(err)
	}
	a := &answer{world: w, Status: resp.StatusCode, Header: resp.Header, Body: body}
	if c.body != "" {
		req.Body = io.NopCloser(strings.NewReader(c.body))
	}
	a.check(req, c)
	return a
}

// want fails unless the status is that.
func (a *answer) want(status int) *answer {
	a.Helper()
	if a.Status != status {
		a.Fatalf("status %d, want %d: %s", a.Status, status, a.Body)
	}
	return a
}

// wantProblem fails unless it is a problem of that kind.
func (a *answer) wantProblem(status int, slug string) *problem {
	a.Helper()
	a.want(status)
	p := a.problem()
	if p.Type != "/docs/errors#"+slug || p.Status != status {
		a.Fatalf("problem %s (%d), want %s (%d): %s", p.Type, p.Status, slug, status, a.Body)
	}
	return p
}

func (a *answer) problem() *problem {
	a.Helper()
	var p problem
	if a.Header.Get("Content-Type") != mediaProblem {
		a.Errorf("status %d with Content-Type %q", a.Status, a.Header.Get("Content-Type"))
	}
	a.into(&p)
	return &p
}

func (a *answer) into(v any) {
	a.Helper()
	if err := json.Unmarshal(a.Body, v); err != nil {
		a.Fatalf("%v: %s", err, a.Body)
	}
}

func (a *answer) object() map[string]any {
	a.Helper()
	var m map[string]any
	a.into(&m)
	return m
}

func (w *world) get(path string) *answer { w.Helper(); return w.do(call{method: "GET", path: path}) }
func (w *world) post(path, body string) *answer {
	w.Helper()
	return w.do(call{method: "POST", path: path, body: body})
}
func (w *world) put(path, body string) *answer {
	w.Helper()
	return w.do(call{method: "PUT", path: path, body: body})
}
func (w *world) delete(path string) *answer {
	w.Helper()
	return w.do(call{method: "DELETE", path: path})
}

// email registers that type.
func (w *world) email() *world {
	w.Helper()
	w.put("/v1/types/email", `{"target":"https://example.org/email","concurrency":3}`).want(201)
	return w
}

// claim begins an attempt at a waiting job of type email, which must be that.
func (w *world) claim(id string) *queue.Lease {
	w.Helper()
	b, err := w.queue.Exchange(context.Background(), "email", nil, 1)
	if err != nil || len(b.Leases) != 1 || b.Leases[0].ID != id {
		w.Fatalf("claimed %+v, %v; want %s", b.Leases, err, id)
	}
	return &b.Leases[0]
}

// settle ends an attempt.
func (w *world) settle(l *queue.Lease, verdict queue.Verdict, outcome, problem string, result []byte) {
	w.Helper()
	b, err := w.queue.Exchange(context.Background(), "email", []queue.Settlement{{
		ID: l.ID, Token: l.Token, Verdict: verdict, Result: result,
		Attempt: queue.Attempt{N: l.Attempt, StartedAt: time.Now().UnixMilli(), Duration: 12, Outcome: outcome, Status: 500, Error: problem, Excerpt: "oops", Dispatcher: "d1"},
	}}, 0)
	if err != nil || len(b.Stale) > 0 {
		w.Fatalf("settle: %+v, %v", b, err)
	}
}
