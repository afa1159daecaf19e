package ui

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/deetoo/deetoo/auth"
	"github.com/deetoo/deetoo/queue"
)

func TestSessionCookie(t *testing.T) {
	s := newSite(t)
	for _, c := range []struct {
		base, forwarded string
		secure          bool
	}{
		{"http://127.0.0.1:8888", "", true}, {"http://localhost:8888", "", true}, {"http://[::1]:8888", "", true}, {"http://ui.localhost", "", true},
		{"http://10.1.2.3:8888", "", false}, {"http://dispatcher.example", "", false}, {"http://localhost.example", "", false},
		{"http://dispatcher.example", "https", true},
	} {
		b := &browser{s: s, base: c.base, cookies: map[string]string{}}
		token := s.token("admin")
		r := b.submit("/ui/login", url.Values{"token": {" Bearer " + token + "\n"}}, "X-Forwarded-Proto", c.forwarded)
		if r.status != 303 || r.header.Get("Location") != "/ui" {
			t.Fatalf("%s: %d %s", c.base, r.status, visible(r.body))
		}
		var session string
		for _, line := range r.header.Values("Set-Cookie") {
			if strings.Contains(line, token) {
				session = line
			}
		}
		name, rest, _ := strings.Cut(session, "=")
		want := "deetoo-session"
		if c.secure {
			want = "__Host-deetoo-session"
		}
		if name != want || strings.Contains(strings.ToLower(rest), "; secure") != c.secure {
			t.Errorf("%s: the cookie is %s", c.base, strings.ReplaceAll(session, token, "TOKEN"))
		}
		for _, attribute := range []string{"; httponly", "; samesite=strict", "; path=/", "; expires="} {
			if !strings.Contains(strings.ToLower(session), attribute) {
				t.Errorf("%s: the cookie lacks %s", c.base, attribute)
			}
		}
		if strings.Contains(strings.ToLower(session), "domain=") {
			t.Errorf("%s: the cookie has a domain", c.base)
		}
		b.get("/ui", "X-Forwarded-Proto", c.forwarded).wants(t, 200, "leia", "!"+token)
	}
}

func TestPlainCookieDoesNotCountWhereASecureOneCan(t *testing.T) {
	s := newSite(t)
	b := s.browse("")
	b.cookies["deetoo-session"] = s.token("admin")
	if r := b.get("/ui"); r.status != 303 {
		t.Errorf("status %d", r.status)
	}
}

func TestLogin(t *testing.T) {
	s := newSite(t)
	b := s.browse("")
	foreign, err := auth.Mint(bytes.Repeat([]byte("x"), 32), auth.MintOptions{Scopes: []auth.Scope{auth.Admin}, TTL: time.Hour})
	must(t, err)
	old, err := auth.Mint(s.secret, auth.MintOptions{Scopes: []auth.Scope{auth.Admin}, TTL: time.Second, Now: time.Now().Add(-time.Hour)})
	must(t, err)
	long, err := auth.Mint(s.secret, auth.MintOptions{Scopes: []auth.Scope{auth.Admin}, TTL: time.Hour, Subject: strings.Repeat("x", 4000)})
	must(t, err)
	for token, text := range map[string]string{
		"": "Paste a token", "swordfish": "The token is malformed. Paste another", foreign: "signature is not valid", old: "has expired", long: "too long for a browser",
	} {
		r := b.submit("/ui/login", url.Values{"token": {token}, "next": {"/ui/types/email"}})
		r.wants(t, 422, text, `value="/ui/types/email"`)
		if token != "" && strings.Contains(r.body+s.log.String(), token) {
			t.Errorf("the token of the case %q comes back", text)
		}
		if len(b.cookies) > 0 {
			t.Errorf("%q: logged in", text)
		}
	}
	for next, want := range map[string]string{
		"/ui/types/email?state=dead": "/ui/types/email?state=dead", "": "/ui", "https://evil.example/ui": "/ui", "//evil.example/ui/": "/ui",
		`/ui\..\evil`: "/ui", "/v1/types": "/ui", "/ui/login?next=x": "/ui", "/uix": "/ui",
	} {
		r := b.submit("/ui/login", url.Values{"token": {s.token("jobs:read")}, "next": {next}})
		if got := r.header.Get("Location"); got != want {
			t.Errorf("next %q leads to %q, want %q", next, got, want)
		}
	}
}

func TestSessionEnds(t *testing.T) {
	s := newSite(t)
	s.register("email", "")
	b := s.browse(s.token("admin"))
	const page = "/ui/types/email?state=dead"
	old, err := auth.Mint(s.secret, auth.MintOptions{Scopes: []auth.Scope{auth.Admin}, TTL: time.Second, Now: time.Now().Add(-time.Hour)})
	must(t, err)
	expired := func(r response) {
		t.Helper()
		to := r.header.Get("Location")
		u, err := url.Parse(to)
		must(t, err)
		if u.Path != "/ui/login" || u.Query().Get("why") != "expired" || u.Query().Get("next") != page {
			t.Errorf("status %d to %q", r.status, to)
		}
	}
	b.cookies["__Host-deetoo-session"] = old
	expired(b.get(page))
	live := b.get("/ui/types/email/live?version=1")
	if live.status != 401 { // its page finds out by itself, and goes where the page above does
		t.Errorf("the live part answers %d", live.status)
	}
	delete(b.cookies, "__Host-deetoo-session") // as the browser does
	expired(b.get(page))
	b.get("/ui/login?why=expired&next=%2Fui").wants(t, 200, "Your session has expired")
	b.submit("/ui/types/email/pause", url.Values{}, "Referer", b.base+page).wants(t, 303)
}

func TestLogout(t *testing.T) {
	s := newSite(t)
	b := s.browse(s.token("admin"))
	r := b.act("/ui/logout")
	if r.status != 303 || r.header.Get("Location") != "/ui/login?why=out" || len(b.cookies) != 0 {
		t.Errorf("status %d to %q, cookies %v", r.status, r.header.Get("Location"), len(b.cookies))
	}
	b.get("/ui/login?why=out").wants(t, 200, "You are logged out")
	if r := b.get("/ui"); r.status != 303 || r.header.Get("Location") != "/ui/login" {
		t.Errorf("still in: %d", r.status)
	}
}

func TestLinkFromElsewhere(t *testing.T) {
	s := newSite(t)
	// The browser withholds the strict cookie at first.
	r := s.browse("").get("/ui/types/email?state=dead", "Sec-Fetch-Site", "cross-site")
	r.wants(t, 200, `http-equiv="refresh" content="0; url=/ui/again?to=%2Fui%2Ftypes%2Femail%3Fstate%3Ddead"`)
	for to, want := range map[string]string{"/ui/types/email?state=dead": "/ui/types/email?state=dead", "https://evil.example/": "/ui"} {
		if got := s.browse("").get("/ui/again?to=" + url.QueryEscape(to)).header.Get("Location"); got != want {
			t.Errorf("again to %q leads to %q", to, got)
		}
	}
}

func TestForgedForms(t *testing.T) {
	s := newSite(t)
	s.register("email", "")
	b := s.browse(s.token("admin"))
	csrf := b.csrf()
	other := s.browse(s.token("admin")).csrf()
	if other == csrf {
		t.Fatal("two sessions share a CSRF token")
	}
	form := func(token string) url.Values { return url.Values{"csrf": {token}} }
	const path = "/ui/types/email/pause"
	for name, r := range map[string]response{
		"no token":            b.submit(path, url.Values{}),
		"another's token":     b.submit(path, form(other)),
		"cross-site":          b.submit(path, form(csrf), "Sec-Fetch-Site", "cross-site"),
		"same-site":           b.submit(path, form(csrf), "Sec-Fetch-Site", "same-site"),
		"foreign origin":      b.submit(path, form(csrf), "Origin", "https://evil.example", "Sec-Fetch-Site", ""),
		"another port":        b.submit(path, form(csrf), "Origin", "http://127.0.0.1:9999", "Sec-Fetch-Site", ""),
		"null origin":         b.submit(path, form(csrf), "Origin", "null", "Sec-Fetch-Site", ""),
		"neither":             b.submit(path, form(csrf), "Origin", "", "Sec-Fetch-Site", ""),
		"JSON":                b.submit(path, form(csrf), "Content-Type", "application/json"),
		"text":                b.submit(path, form(csrf), "Content-Type", "text/plain"),
		"compressed":          b.submit(path, form(csrf), "Content-Encoding", "gzip"),
		"log-in from another": s.browse("").submit("/ui/login", url.Values{"token": {s.token("admin")}}, "Sec-Fetch-Site", "cross-site"),
	} {
		if r.status != 403 {
			t.Errorf("%s: status %d", name, r.status)
		}
	}
	st, err := s.in.Stats(t.Context(), auth.System(), "email")
	must(t, err)
	if st.Paused {
		t.Fatal("a forged form did something")
	}
	for name, r := range map[string]response{
		"no Sec-Fetch-Site, as over plain http": b.submit(path, form(csrf), "Sec-Fetch-Site", ""),
		"no Origin":                             b.submit(path, form(csrf), "Origin", ""),
		"behind a proxy":                        b.submit(path, form(csrf), "Origin", "https://ui.example", "X-Forwarded-Host", "ui.example", "Sec-Fetch-Site", ""),
	} {
		if r.status != 303 {
			t.Errorf("%s: status %d", name, r.status)
		}
	}
}

func TestHeaders(t *testing.T) {
	s := newSite(t)
	b := s.browse(s.token("admin"))
	for _, path := range []string{"/ui", "/ui/login?why=out", "/ui/nothing", "/ui/static/x", "/ui/live"} {
		h := b.get(path).header
		for name, want := range map[string]string{
			"Content-Security-Policy": policy, "X-Frame-Options": "DENY", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "same-origin", "Cache-Control": "no-store",
		} {
			if h.Get(name) != want {
				t.Errorf("%s: %s is %q", path, name, h.Get(name))
			}
		}
	}
}

// hostile is text that must only ever be text.
const hostile = `"><script>alert(1)</script><img src=x onerror=alert(2)>{{.}}'`

func TestHostilePayloads(t *testing.T) {
	s := newSite(t)
	s.register("email", `"description":`+jsonOf(t, hostile)+`,"headers":{"X-Note":`+jsonOf(t, hostile)+`},"concurrency":3`)
	id := `"><script>alert(1)</script>`
	s.push(queue.Job{Type: "email", ID: id, Title: hostile, Data: []byte(jsonOf(t, hostile)), Traceparent: hostile})
	s.settle("email", queue.Retry, queue.Attempt{Outcome: "failed", Status: 500, Error: hostile, Excerpt: hostile}, "")
	_, err := s.in.SetPaused(t.Context(), auth.System(), "email", true, hostile)
	must(t, err)
	b := s.browse(s.token("admin"))
	q := url.QueryEscape(id)
	for _, path := range []string{
		"/ui", "/ui/live?stamp=" + url.QueryEscape(hostile), "/ui/types/email?state=scheduled", "/ui/types/email/live?version=" + url.QueryEscape(hostile), "/ui/types/email/settings",
		"/ui/types/email/job?id=" + q, "/ui/types/email/job/live?stamp=x&id=" + q,
	} {
		r := b.get(path)
		r.wants(t, 200, "!<script>alert", "!<img src=x", "!onerror=alert(2)>")
		if !strings.Contains(r.body, "&lt;script&gt;") {
			t.Errorf("%s does not show the text", path)
		}
	}
	for _, path := range []string{"/ui/types/" + url.PathEscape(hostile), "/ui/go?type=" + url.QueryEscape(hostile), "/ui/types/email/job?id=" + url.QueryEscape(hostile), "/ui/login?why=" + url.QueryEscape(hostile) + "&next=" + url.QueryEscape(hostile)} {
		if r := s.browse(s.token("admin")).get(path); strings.Contains(r.body, "<script>alert") {
			t.Errorf("%s has the script", path)
		}
	}
	b.cookies[flashCookie] = "purged.<script>"
	b.get("/ui").wants(t, 200, "!<script>alert", "!class=\"flash\"")
	host := httptest.NewRequest(http.MethodGet, "/ui", nil)
	host.Host = "x$(reboot).example"
	host.AddCookie(&http.Cookie{Name: "deetoo-session", Value: s.token("admin", "none")})
	s.browse("").do(host).wants(t, 200, "curl -X PUT http://127.0.0.1:8888/v1/types/email", "!$(reboot)")
}

func TestReadOnly(t *testing.T) {
	s := newSite(t)
	s.register("email", "")
	s.push(queue.Job{Type: "email", ID: "dead"}, queue.Job{Type: "email", ID: "waiting"})
	s.settle("email", queue.Bury, queue.Attempt{Outcome: "dead"}, "")
	b := s.browse(s.token("types:read jobs:read"))
	for _, path := range []string{"/ui", "/ui/types/email?state=dead", "/ui/types/email/job?id=dead", "/ui/types/email/job?id=waiting"} {
		r := b.get(path)
		r.wants(t, 200, "email", "!Register", "!enqueue", "!/pause", "!/settings", "!/redrive", "!/purge", "!/job/retry", "!/job/remove", "!/job/cancel")
		if n := strings.Count(r.body, `method="post"`); n != 1 { // logging out
			t.Errorf("%s has %d forms", path, n)
		}
	}
	for _, path := range []string{"/ui/new-type", "/ui/types/email/settings", "/ui/types/email/enqueue", "/ui/types/email/redrive", "/ui/types/email/purge"} {
		b.get(path).wants(t, 403, "Your token may not do this", "dispatcher token --scope")
	}
	for _, path := range []string{"/ui/new-type", "/ui/types/email/settings", "/ui/types/email/enqueue", "/ui/types/email/pause", "/ui/types/email/resume", "/ui/types/email/redrive", "/ui/types/email/purge",
		"/ui/types/email/job/retry", "/ui/types/email/job/promote", "/ui/types/email/job/cancel", "/ui/types/email/job/remove"} {
		b.act(path, "id", "dead", "version", "1", "name", "x", "target", "http://127.0.0.1/", "data", "1").wants(t, 403, "Your token may not do this")
	}
	if s.state("email", "dead") != queue.Dead || s.state("email", "waiting") != queue.Waiting {
		t.Error("something was done")
	}
}

func TestPartialScopes(t *testing.T) {
	s := newSite(t)
	s.register("email", "")
	s.push(queue.Job{Type: "email", ID: "one"})
	types := s.browse(s.token("types:read"))
	types.get("/ui").wants(t, 200, "email", "counts need the scope jobs:read")
	types.get("/ui/types/email").wants(t, 200, "Settings", "needs the scope <code>jobs:read", "!/job?id=")
	types.get("/ui/types/email/job?id=one").wants(t, 403, "jobs:read")
	jobs := s.browse(s.token("jobs:read jobs:write", "email", "x*"))
	jobs.get("/ui").wants(t, 200, "Go to a type", `href="/ui/types/email"`, "!x*</a>")
	jobs.get("/ui/types/email").wants(t, 200, "/job?id=one", "New job", "!Target", "!/pause")
	if r := jobs.get("/ui/go?type=email"); r.header.Get("Location") != "/ui/types/email" {
		t.Errorf("go leads to %q", r.header.Get("Location"))
	}
}

func TestLimitedTypes(t *testing.T) {
	s := newSite(t)
	s.register("email", "")
	s.register("email-eu", "")
	s.register("secret-plans", "")
	b := s.browse(s.token("admin", "email*"))
	b.get("/ui").wants(t, 200, "email-eu", "!secret-plans")
	b.get("/ui/types/secret-plans").wants(t, 403, "Not among your types")
	b.get("/ui/types/emial").wants(t, 403, "!email-eu")
	b.act("/ui/types/secret-plans/pause").wants(t, 403)
	b.act("/ui/new-type", "name", "secret-two", "target", "http://127.0.0.1/").wants(t, 403, `id="e-name"`, "not among the types your token reaches")
	st, err := s.in.Stats(t.Context(), auth.System(), "secret-plans")
	if must(t, err); st.Paused {
		t.Error("it was paused")
	}
}

// unready is a verifier whose keys cannot be fetched, or that panics.
type unready struct{ panics bool }

func (u unready) Verify(context.Context, string) (*auth.Identity, error) {
	if u.panics {
		panic("the secret of the house")
	}
	return nil, auth.ErrKeysUnavailable
}

func TestKeysUnavailableAndPanics(t *testing.T) {
	s := newSite(t)
	for _, panics := range []bool{false, true} {
		b := s.browse(s.token("admin"))
		u, err := New(Options{Intake: s.in, Verifier: unready{panics}})
		must(t, err)
		b.s = &site{t: t, app: newApp(u), in: s.in}
		if panics {
			b.get("/ui").wants(t, 500, "That went wrong", "!the secret of the house")
			continue
		}
		b.get("/ui").wants(t, 503, "Cannot check your token")
		b.submit("/ui/login", url.Values{"token": {"x"}}).wants(t, 503, "cannot be fetched")
	}
}

func TestOptions(t *testing.T) {
	s := newSite(t)
	for want, o := range map[string]Options{
		"intake is required": {Verifier: unready{}}, "verifier is required": {Intake: s.in}, "timeout must be at most 1m": {Intake: s.in, Verifier: unready{}, Timeout: time.Hour},
	} {
		if _, err := New(o); err == nil || err.Error() != want {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}
