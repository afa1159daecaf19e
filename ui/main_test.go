package ui

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/gofiber/fiber/v2"
	"github.com/redis/go-redis/v9"

	"github.com/deetoo/deetoo/auth"
	"github.com/deetoo/deetoo/dispatch"
	"github.com/deetoo/deetoo/dispatch/webhook"
	"github.com/deetoo/deetoo/history"
	"github.com/deetoo/deetoo/intake"
	"github.com/deetoo/deetoo/internal/transcript"
	"github.com/deetoo/deetoo/queue"
	"github.com/deetoo/deetoo/registry"
	"github.com/deetoo/deetoo/schedule"
)

// site is a UI on an in-memory Redis.
type site struct {
	t      testing.TB
	app    *fiber.App
	in     *intake.Intake
	q      *queue.Queue
	secret []byte
	// recorder keeps history when it is flushed; closing ends live pages when it is closed.
	recorder *history.Recorder
	closing  chan struct{}
	closed   sync.Once
	log      *transcript.Buffer
	down     atomic.Bool // Redis does not answer
}

// outage fails every command while Redis is down.
type outage struct{ down *atomic.Bool }

func (o outage) err() error { return &net.OpError{Op: "dial", Err: errors.New("connection refused")} }

func (o outage) DialHook(next redis.DialHook) redis.DialHook { return next }
func (o outage) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if o.down.Load() {
			cmd.SetErr(o.err())
			return o.err()
		}
		return next(ctx, cmd)
	}
}
func (o outage) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		if o.down.Load() {
			return o.err()
		}
		return next(ctx, cmds)
	}
}

func newSite(t testing.TB) *site {
	t.Helper()
	s := &site{t: t, secret: bytes.Repeat([]byte("k"), 32), log: &transcript.Buffer{}}
	m := miniredis.NewMiniRedis()
	client := redis.NewClient(&redis.Options{
		Dialer: func(context.Context, string, string) (net.Conn, error) { return m.Dial() }, MaxRetries: -1, DisableIdentity: true,
	})
	client.AddHook(outage{&s.down})
	log := slog.New(slog.NewTextHandler(s.log, nil))
	q, err := queue.New(client, queue.Options{Embedded: true, Consumer: "test-1"})
	must(t, err)
	store, err := registry.NewStore(client, registry.Options{Logger: log})
	must(t, err)
	dir := registry.NewDirectory(store, log)
	schedules, err := schedule.NewStore(client, schedule.Options{Logger: log})
	must(t, err)
	past, err := history.NewStore(client, history.Options{})
	must(t, err)
	s.recorder, err = history.NewRecorder(history.RecorderOptions{
		Store: past, Name: "test-1", Version: "4.5.6-test", Stats: q.StatsOf,
		Types: func() (names []string) {
			for _, t := range dir.List() {
				names = append(names, t.Name)
			}
			return names
		},
	})
	must(t, err)
	s.closing = make(chan struct{})
	in, err := intake.New(intake.Options{Queue: q, Store: store, Directory: dir, Schedules: schedules, History: past})
	must(t, err)
	s.q, s.in = q, in
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = dir.Run(ctx) })
	<-dir.Ready()
	v, err := auth.New(ctx, auth.Options{Secret: s.secret, Leeway: -1})
	must(t, err)
	u, err := New(Options{Intake: in, Verifier: v, Version: "1.2.3-test", Logger: log, Closing: s.closing, Sender: sender{}, Settings: []Setting{{"Listen", "127.0.0.1:8888"}}, Mint: func(o auth.MintOptions) (string, error) { return auth.Mint(s.secret, o) }})
	must(t, err)
	s.app = newApp(u)
	t.Cleanup(func() {
		cancel()
		wg.Wait()
		v.Close()
		_ = client.Close()
		m.Close()
	})
	return s
}

// sender answers test deliveries as a handler that dislikes "bad".
type sender struct{}

func (sender) Send(_ context.Context, t *registry.Type, l *queue.Lease) (dispatch.Outcome, *webhook.Exchange) {
	e := &webhook.Exchange{Duration: 12 * time.Millisecond, Request: webhook.Request{Method: "POST", URL: t.RedactedTarget(), Header: http.Header{"Webhook-Id": {l.ID}}, Body: l.Data}}
	if strings.Contains(string(l.Data), "bad") {
		return dispatch.Outcome{Err: "connection refused"}, e
	}
	e.Response = &webhook.Response{Status: 200, Header: http.Header{"X-Handler": {"<b>one</b>"}}, Excerpt: "<script>alert(1)</script>"}
	return dispatch.Outcome{Verdict: dispatch.Done, Status: 200}, e
}

// end ends live pages.
func (s *site) end() { s.closed.Do(func() { close(s.closing) }) }

// newApp keeps Fiber's own error handler: what got past the UI would show.
func newApp(u *UI) *fiber.App {
	app := fiber.New(fiber.Config{DisableStartupMessage: true, ReadBufferSize: 32 << 10})
	u.Mount(app)
	return app
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// token mints one, limited to types if any are given.
func (s *site) token(scopes string, types ...string) string {
	s.t.Helper()
	o := auth.MintOptions{Subject: "leia", TTL: time.Hour, JobTypes: types}
	for _, f := range strings.Fields(scopes) {
		o.Scopes = append(o.Scopes, auth.Scope(f))
	}
	token, err := auth.Mint(s.secret, o)
	must(s.t, err)
	return token
}

// register registers a type with settings beside its target.
func (s *site) register(name, settings string) {
	s.t.Helper()
	if settings == "" {
		settings = `"concurrency":4`
	}
	_, _, _, err := s.in.PutType(s.t.Context(), auth.System(), name, []byte(`{"target":"http://127.0.0.1:9000/`+name+`?key=hidden-in-query",`+settings+`}`), registry.PutOptions{})
	must(s.t, err)
}

func (s *site) push(jobs ...queue.Job) {
	s.t.Helper()
	receipts, err := s.in.Push(s.t.Context(), auth.System(), jobs)
	must(s.t, err)
	for _, r := range receipts {
		must(s.t, r.Err)
	}
}

// settle claims the type's next job and ends its attempt.
func (s *site) settle(typ string, verdict queue.Verdict, a queue.Attempt, result string) {
	s.t.Helper()
	l := s.claim(typ)
	if a.StartedAt == 0 {
		a.StartedAt = l.StartedAt.UnixMilli()
	}
	a.N = l.Attempt
	b, err := s.q.Exchange(s.t.Context(), typ, []queue.Settlement{{ID: l.ID, Token: l.Token, Verdict: verdict, Delay: time.Hour, Attempt: a, Result: []byte(result)}}, 0)
	must(s.t, err)
	if len(b.Stale) > 0 {
		s.t.Fatal("the settlement was stale")
	}
}

func (s *site) claim(typ string) queue.Lease {
	s.t.Helper()
	b, err := s.q.Exchange(s.t.Context(), typ, nil, 1)
	must(s.t, err)
	if len(b.Leases) != 1 {
		s.t.Fatalf("claimed %d jobs of %s, want 1", len(b.Leases), typ)
	}
	return b.Leases[0]
}

func (s *site) state(typ, id string) queue.State {
	s.t.Helper()
	j, err := s.in.Job(s.t.Context(), auth.System(), typ, id)
	if errors.Is(err, queue.ErrNotFound) {
		return "none"
	}
	must(s.t, err)
	return j.State
}

// browser sends requests as one, with cookies.
type browser struct {
	s       *site
	base    string
	cookies map[string]string
}

// browse returns a browser that is logged in with the token.
func (s *site) browse(token string) *browser {
	s.t.Helper()
	b := &browser{s: s, base: "http://127.0.0.1:8888", cookies: map[string]string{}}
	if token != "" {
		r := b.submit("/ui/login", url.Values{"token": {token}})
		if r.status != 303 {
			s.t.Fatalf("log in: %d %s", r.status, r.body)
		}
	}
	return b
}

type response struct {
	status int
	body   string
	header http.Header
}

func (b *browser) do(req *http.Request) response {
	b.s.t.Helper()
	for name, value := range b.cookies {
		req.AddCookie(&http.Cookie{Name: name, Value: value})
	}
	res, err := b.s.app.Test(req, 10_000)
	must(b.s.t, err)
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	must(b.s.t, err)
	for _, c := range res.Cookies() {
		if c.Value == "" || !c.Expires.IsZero() && c.Expires.Before(time.Now()) {
			delete(b.cookies, c.Name)
		} else {
			b.cookies[c.Name] = c.Value
		}
	}
	return response{res.StatusCode, string(body), res.Header}
}

func (b *browser) get(path string, header ...string) response {
	b.s.t.Helper()
	req := httptest.NewRequest(http.MethodGet, b.base+path, nil)
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	return b.do(req)
}

// submit posts a form as it is.
func (b *browser) submit(path string, form url.Values, header ...string) response {
	b.s.t.Helper()
	req := httptest.NewRequest(http.MethodPost, b.base+path, strings.NewReader(form.Encode()))
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Sec-Fetch-Site", "same-origin")
	req.Header.Set("Origin", b.base)
	for i := 0; i+1 < len(header); i += 2 {
		if header[i+1] == "" {
			req.Header.Del(header[i])
			continue
		}
		req.Header.Set(header[i], header[i+1])
	}
	return b.do(req)
}

// csrf is the token that the pages of this session carry.
func (b *browser) csrf() string {
	b.s.t.Helper()
	m := regexp.MustCompile(`name="csrf" value="([^"]+)"`).FindStringSubmatch(b.get("/ui/nothing").body)
	if m == nil {
		b.s.t.Fatal("no form with a CSRF token")
	}
	return m[1]
}

// act posts a form with the CSRF token, as a page of ours would.
func (b *browser) act(path string, pairs ...string) response {
	b.s.t.Helper()
	form := url.Values{"csrf": {b.csrf()}}
	for i := 0; i+1 < len(pairs); i += 2 {
		form.Set(pairs[i], pairs[i+1])
	}
	return b.submit(path, form)
}

// wants checks a response's status and that the body has all the texts; a text that
// begins with "!" must not be there.
func (r response) wants(t testing.TB, status int, texts ...string) {
	t.Helper()
	if r.status != status {
		t.Errorf("status %d, want %d; body: %s", r.status, status, visible(r.body))
	}
	for _, text := range texts {
		if absent, not := strings.CutPrefix(text, "!"); not {
			if strings.Contains(r.body, absent) {
				t.Errorf("the page has %q", absent)
			}
		} else if !strings.Contains(r.body, text) {
			t.Errorf("the page lacks %q: %s", text, visible(r.body))
		}
	}
}

// visible is a page without its head, to read in a failure.
func visible(body string) string {
	if _, main, ok := strings.Cut(body, "<main"); ok {
		return main
	}
	return body
}

func jsonOf(t testing.TB, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	must(t, err)
	return string(b)
}
