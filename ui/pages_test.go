package ui

import (
	"bufio"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/deetoo/deetoo/auth"
	"github.com/deetoo/deetoo/queue"
	"github.com/deetoo/deetoo/registry"
)

func TestStartPage(t *testing.T) {
	s := newSite(t)
	b := s.browse("")
	if r := b.get("/"); r.status != 303 || r.header.Get("Location") != "/ui" {
		t.Errorf("GET /: %d to %q", r.status, r.header.Get("Location"))
	}
	if r := b.get("/ui"); r.status != 303 || r.header.Get("Location") != "/ui/login" {
		t.Errorf("GET /ui: %d to %q", r.status, r.header.Get("Location"))
	}
	b.get("/ui/login").wants(t, 200, "Log in", "dispatcher token --scope")
}

func TestOverview(t *testing.T) {
	s := newSite(t)
	b := s.browse(s.token("admin"))
	b.get("/ui").wants(t, 200, "No types yet", "curl -X PUT http://127.0.0.1:8888/v1/types/email", "/ui/new-type")

	s.register("email", "")
	s.register("sms", `"concurrency":2,"paused":true`)
	s.push(queue.Job{Type: "email", ID: "a"}, queue.Job{Type: "email", ID: "b"}, queue.Job{Type: "email", ID: "c"}, queue.Job{Type: "email", ID: "later", Delay: time.Hour})
	s.settle("email", queue.Bury, queue.Attempt{Outcome: "dead"}, "")
	s.claim("email")
	r := b.get("/ui")
	r.wants(t, 200, `id="n-waiting-email">1<`, `id="n-scheduled-email">1<`, `id="n-dead-email" class="bad">1<`, `/4</span>`, ">paused<", ">ready<",
		"http://127.0.0.1:9000/email?…", "!hidden-in-query", "1.2.3-test", "leia", `href="/ui/types/email?state=dead"`)

	_, stamp, ok := strings.Cut(r.body, `data-live="/ui/live?stamp=`)
	if !ok {
		t.Fatal("the page does not refresh")
	}
	stamp, _, _ = strings.Cut(stamp, `"`)
	live := b.get("/ui/live?stamp=" + stamp)
	live.wants(t, 200, `id="n-waiting-email" data-new>1<`, "!<tr", "!<html", "!Show them")
	s.register("fax", "")
	b.get("/ui/live?stamp="+stamp).wants(t, 200, "Types were added or removed", `href="/ui"`)
}

// TestHistory sees what attempts have become, in numbers, charts and sparklines, and who may not see it.
func TestHistory(t *testing.T) {
	s := newSite(t)
	s.register("email", "")
	s.register("sms", "")
	for range 19 {
		s.recorder.Attempt("email", "succeeded", 100*time.Millisecond, time.Second)
	}
	s.recorder.Attempt("email", "failed", 3*time.Second, time.Second)
	s.recorder.Attempt("sms", "dead", 3*time.Second, -1)
	s.recorder.Flush(t.Context())
	b := s.browse(s.token("admin"))
	b.get("/ui").wants(t, 200, `id="t-ok" class="bad">90.5 %<`, "20 attempts in 30 minutes, 1 of them failed", `class="bad">100 %<`, "5 %",
		"Dispatchers", "test-1", "4.5.6-test", `data-chart="rate"`, `<svg id="fig-took"`, `href="/ui?window=7d"`)
	b.get("/ui?window=7d").wants(t, 200, `<a href="/ui?window=7d" aria-current="page">`)
	b.get("/ui?window=2y").wants(t, 422, "Window must be 15m, 1h, 24h or 7d")
	b.get("/ui/types/email").wants(t, 200, `id="t-ok">95 %<`, `data-chart="queue"`)
	// Who reaches one type sees that one's, and no history without jobs:read.
	s.browse(s.token("types:read jobs:read", "sms")).get("/ui").wants(t, 200, `id="t-ok" class="bad">0 %<`, "!20 attempts")
	s.browse(s.token("types:read")).get("/ui").wants(t, 200, "!t-ok", "!Dispatchers", "counts need the scope")
}

func TestFindTypes(t *testing.T) {
	s := newSite(t)
	for i := range 120 {
		s.register(fmt.Sprintf("type-%03d", i), "")
	}
	b := s.browse(s.token("admin"))
	b.get("/ui").wants(t, 200, "type-099<", "!type-100<", "120 types", "page=2")
	b.get("/ui?page=2").wants(t, 200, "type-119<", "!type-099<", "Previous")
	b.get("/ui?page=zzz").wants(t, 200, "type-000<")
	b.get("/ui?q=PE-11").wants(t, 200, "type-110<", "!type-000<", "!120 types")
	b.get("/ui?q=%3Cb%3E").wants(t, 200, "No type has “&lt;b&gt;”")
}

// TestSmall weighs the first page as a browser fetches it, compressed.
func TestSmall(t *testing.T) {
	s := newSite(t)
	for i := range 100 {
		name := fmt.Sprintf("type-%03d", i)
		s.register(name, "")
		s.recorder.Attempt(name, "succeeded", time.Second, 0)
	}
	s.recorder.Flush(t.Context())
	b := s.browse(s.token("admin"))
	page := b.get("/ui", "Accept-Encoding", "gzip")
	total := len(page.body)
	if page.header.Get("Content-Encoding") != "gzip" {
		t.Error("the page is not compressed")
	}
	for _, ref := range regexp.MustCompile(`(?:href|src)="(/ui/static/[^"]+)"`).FindAllStringSubmatch(b.get("/ui").body, -1) {
		file := b.get(ref[1], "Accept-Encoding", "gzip")
		file.wants(t, 200)
		total += len(file.body)
	}
	if total > 60<<10 {
		t.Errorf("the first page has %d bytes, want at most 60 KiB", total)
	}
	t.Logf("%d bytes", total)
}

// TestStream reads a live page until something changes, and until the server ends.
func TestStream(t *testing.T) {
	s := newSite(t)
	s.register("email", "")
	base := fmt.Sprintf("http://127.0.0.1:%d", s.listen())
	b := s.browse(s.token("admin"))
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, base+"/ui/live?window=15m", nil)
	must(t, err)
	req.Header.Set("Accept", "text/event-stream")
	for name, value := range b.cookies {
		req.AddCookie(&http.Cookie{Name: name, Value: value})
	}
	res, err := http.DefaultClient.Do(req)
	must(t, err)
	defer func() { _ = res.Body.Close() }()
	if got := res.Header.Get("Content-Type"); res.StatusCode != 200 || got != "text/event-stream" {
		t.Fatalf("%d %s", res.StatusCode, got)
	}
	lines := bufio.NewScanner(res.Body)
	lines.Buffer(nil, 1<<20)
	await := func(text string) {
		t.Helper()
		for lines.Scan() {
			if strings.Contains(lines.Text(), text) {
				return
			}
		}
		t.Fatalf("the stream ended before %q: %v", text, lines.Err())
	}
	await(`id="n-waiting-email" data-new class="zero">0<`)
	await(`data: {"start":`)
	s.push(queue.Job{Type: "email"})
	await(`id="n-waiting-email" data-new>1<`)
	s.down.Store(true)
	await("event: away")
	s.down.Store(false)
	await("event: parts")
	s.end()
	for lines.Scan() { // until it ends
	}
	must(t, lines.Err())
}

func TestTypePage(t *testing.T) {
	s := newSite(t)
	s.register("email", `"concurrency":4,"headers":{"X-Team":"rebels","Authorization":"Bearer swordfish"},"secret":"whsec_`+strings.Repeat("QUFB", 10)+`","description":"Mails to people"`)
	b := s.browse(s.token("admin"))
	b.get("/ui/types/email").wants(t, 200, "Mails to people", "X-Team", "rebels", "[redacted]", "!swordfish", "!whsec_", "!hidden-in-query",
		registry.Fingerprint("whsec_"+strings.Repeat("QUFB", 10)), "Nothing waits", "curl -X POST http://127.0.0.1:8888/v1/types/email/jobs", `name="concurrency" value="4"`)

	s.push(queue.Job{Type: "email", ID: "one", Title: "Hello Leia", Priority: queue.High})
	s.settle("email", queue.Retry, queue.Attempt{Outcome: "failed", Status: 500, Error: "the endpoint answered 500"}, "")
	b.get("/ui/types/email?state=scheduled").wants(t, 200, "Hello Leia", "one", "high", "the endpoint answered 500", `href="/ui/types/email/job?id=one"`, "<time datetime=", "in 59 min")
	b.get("/ui/types/email/live?version=1").wants(t, 200, `id="tab-scheduled" class="count" data-new>1<`, "!<table", "!The settings have changed")
	b.get("/ui/types/email/live?version=99").wants(t, 200, "The settings have changed")
	for state, empty := range map[string]string{"waiting": "Nothing waits", "active": "Nothing is running", "dead": "No dead jobs", "succeeded": "No succeeded", "cancelled": "No cancelled"} {
		b.get("/ui/types/email?state="+state).wants(t, 200, empty)
	}
	b.get("/ui/types/email?state=odd").wants(t, 422, "State must be one of")
	b.get("/ui/types/email?state=dead&cursor=%21").wants(t, 422, "Cursor must be")
	b.get("/ui/types/emial").wants(t, 404, "Did you mean", `href="/ui/types/email"`)
	b.get("/ui/types/%3Cscript%3E").wants(t, 404, "!<script>")
}

func TestPagination(t *testing.T) {
	s := newSite(t)
	s.register("email", "")
	var jobs []queue.Job
	for i := range 120 {
		jobs = append(jobs, queue.Job{Type: "email", ID: "job-" + number(1000+i)})
	}
	s.push(jobs...)
	b := s.browse(s.token("admin"))
	seen, path := map[string]bool{}, "/ui/types/email?state=waiting"
	for range 5 {
		body := b.get(path).body
		for _, part := range strings.Split(body, `class="name" href="`)[1:] {
			href, _, _ := strings.Cut(part, `"`)
			if seen[href] {
				t.Errorf("%s is listed twice", href)
			}
			seen[href] = true
		}
		_, after, more := strings.Cut(body, `<span class="grow"></span><a href="`)
		if !more || !strings.Contains(after, "Next page") {
			break
		}
		path, _, _ = strings.Cut(after, `"`)
		path, _, _ = strings.Cut(strings.ReplaceAll(path, "&amp;", "&"), "#")
	}
	if len(seen) != 120 {
		t.Errorf("the pages list %d jobs, want 120", len(seen))
	}
	b.get(path).wants(t, 200, "First page", "!Next page")
}

func TestJobPage(t *testing.T) {
	s := newSite(t)
	s.register("email", "")
	// An ID that an address could not hold as a path.
	id := "../a/b?c=d&e#f%2e"
	s.push(queue.Job{Type: "email", ID: id, Title: "Greeting", Data: []byte(`{"to":"leia@example.org","n":12345678901234567890}`), Traceparent: "00-abc-def-01"})
	b := s.browse(s.token("admin"))
	page := "/ui/types/email/job?id=" + url.QueryEscape(id)
	b.get(page).wants(t, 200, "Greeting", "&#34;to&#34;: &#34;leia@example.org&#34;", "12345678901234567890", "No dispatcher is there to take it.", "None yet", "00-abc-def-01", "/job/cancel", "!/job/retry")

	s.settle("email", queue.Retry, queue.Attempt{Outcome: "failed", Status: 502, Duration: 1234, Error: "bad gateway", Excerpt: "upstream <b>down</b>"}, "")
	b.get(page).wants(t, 200, "Attempt 1 of 12 failed (bad gateway)", "502", "1.2 s", "upstream &lt;b&gt;down", "by dispatcher test-1", "/job/promote")
	must(t, s.in.Promote(t.Context(), auth.System(), "email", id))
	s.settle("email", queue.Done, queue.Attempt{Outcome: "succeeded", Status: 200}, `{"sent":true}`)
	b.get(page).wants(t, 200, "It has succeeded", "Result", "&#34;sent&#34;: true", "Run again", "Remove")
	live := "/ui/types/email/job/live?stamp=waiting0.0&id=" + url.QueryEscape(id)
	b.get(live).wants(t, 200, "Something happened to this job", ">succeeded<", "!<form")
	b.get("/ui/types/email/job/live?stamp=x&id=gone").wants(t, 200, "no longer there")

	r := b.get("/ui/types/email/job/data?of=result&id=" + url.QueryEscape(id))
	r.wants(t, 200, `{"sent":true}`)
	if d := r.header.Get("Content-Disposition"); !strings.HasPrefix(d, "attachment") {
		t.Errorf("the result is shown by the browser: %q", d)
	}
	b.get("/ui/types/email/job/data?of=data&id="+url.QueryEscape(id)).wants(t, 200, `{"to":"leia@example.org","n":12345678901234567890}`)
	b.get("/ui/types/email/job?id=nobody").wants(t, 404, "No such job", "retention")
}

func TestJobPageShowsWhatTheHandlerSays(t *testing.T) {
	s := newSite(t)
	s.register("email", "")
	s.push(queue.Job{Type: "email", ID: "x"})
	b := s.browse(s.token("admin"))
	b.get("/ui/types/email/job?id=x").wants(t, 200, `id="report"`, "!Progress</h2>")
	l := s.claim("email")
	if _, err := s.q.Report(t.Context(), "email", "x", l.CallbackToken(), queue.Report{
		Progress: &queue.Progress{Number: 1500000, Total: 2000000, Message: "on <it>"}, Log: "line <b>one</b>\nline two",
	}); err != nil {
		t.Fatal(err)
	}
	said := []string{"1500000 of 2000000", `<progress value="1500000" max="2000000"`, "on &lt;it&gt;", "line &lt;b&gt;one&lt;/b&gt;\nline two", "!" + l.CallbackToken()}
	b.get("/ui/types/email/job?id=x").wants(t, 200, said...)
	b.get("/ui/types/email/job/live?stamp=x&id=x").wants(t, 200, append(said, `id="report" data-new`)...)
}

func TestBigAndBinaryPayloads(t *testing.T) {
	s := newSite(t)
	s.register("email", "")
	s.push(queue.Job{Type: "email", ID: "big", Data: []byte(`"` + strings.Repeat("x", 300_000) + `"`)})
	s.settle("email", queue.Done, queue.Attempt{Outcome: "succeeded"}, "\xff\xfe\x00binary")
	r := s.browse(s.token("admin")).get("/ui/types/email/job?id=big")
	r.wants(t, 200, "300,002 bytes", "this is the beginning", "not text", "ff fe 00 62")
	if len(r.body) > 2*maxShown {
		t.Errorf("the page has %d bytes", len(r.body))
	}
}

func TestStaticFiles(t *testing.T) {
	s := newSite(t)
	b := s.browse("")
	page := b.get("/ui/login").body
	for _, part := range strings.Split(page, `"/ui/static/`)[1:] {
		path, _, _ := strings.Cut(part, `"`)
		r := b.get("/ui/static/" + path)
		if r.status != 200 || !strings.Contains(r.header.Get("Cache-Control"), "immutable") || r.header.Get("Content-Type") == "" {
			t.Errorf("%s: %d, %v", path, r.status, r.header)
		}
	}
	if r := b.get("/ui/static/000000000000/app.css"); r.status != 404 {
		t.Errorf("a wrong hash answers %d", r.status)
	}
	b.get("/ui/no/such").wants(t, 404, "No such page")
}

func TestPagesAskForNothingElsewhere(t *testing.T) {
	for name, text := range map[string]string{"app.css": "url(", "app.js": "http", "droid.svg": "href"} {
		data, err := staticFiles.ReadFile("static/" + name)
		must(t, err)
		if strings.Contains(string(data), text) {
			t.Errorf("%s has %q", name, text)
		}
	}
	entries, err := templateFiles.ReadDir("templates")
	must(t, err)
	for _, e := range entries {
		data, err := templateFiles.ReadFile("templates/" + e.Name())
		must(t, err)
		for _, bad := range []string{"<style", " style=", " onclick", "javascript:", `src="http`, `href="http`} {
			if strings.Contains(string(data), bad) {
				t.Errorf("%s has %q", e.Name(), bad)
			}
		}
	}
}

func TestRedisDown(t *testing.T) {
	s := newSite(t)
	s.register("email", "")
	s.push(queue.Job{Type: "email", ID: "one"})
	b := s.browse(s.token("admin"))
	csrf := b.csrf()
	s.down.Store(true)
	for _, path := range []string{"/ui", "/ui/types/email", "/ui/types/email/job?id=one", "/ui/types/email/settings", "/ui/types/email/redrive"} {
		r := b.get(path)
		r.wants(t, 503, "Redis does not answer", `http-equiv="refresh"`, "!connection refused")
		if r.header.Get("Retry-After") == "" {
			t.Errorf("%s: no Retry-After", path)
		}
	}
	if r := b.get("/ui/live"); r.status != 503 || strings.Contains(r.body, "<html") {
		t.Errorf("the live part answers %d %q", r.status, r.body)
	}
	b.submit("/ui/types/email/job/cancel", url.Values{"csrf": {csrf}, "id": {"one"}}).
		wants(t, 503, "doing it again is safe", `!http-equiv="refresh"`)
	s.down.Store(false)
	b.get("/ui").wants(t, 200, "email")
	if !strings.Contains(s.log.String(), "a page failed") {
		t.Error("the log does not tell of it")
	}
}

func TestRedisDownBeforeAnythingIsKnown(t *testing.T) {
	s := newSite(t)
	b := s.browse(s.token("admin"))
	s.down.Store(true)
	b.get("/ui").wants(t, 503, "Redis does not answer", "!No types yet")
}
