package ui

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	cdplog "github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/deetoo/deetoo/auth"
	"github.com/deetoo/deetoo/queue"
	"github.com/deetoo/deetoo/schedule"
)

// artifacts is where the screenshots go; git ignores it.
const artifacts = "../artifacts/ui"

// chromium is a browser on a served site, and what it complained of.
type chromium struct {
	*site
	ctx  context.Context
	base string

	axe string // axe-core, once read

	mu         sync.Mutex
	complaints []string
	// expected is what the console may say at present.
	expected string
}

// listen serves the site on a free port of this machine.
func (s *site) listen() (port int) {
	s.t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(s.t, err)
	done := make(chan error, 1)
	go func() { done <- s.app.Listener(ln) }()
	s.t.Cleanup(func() {
		s.end()
		if err := s.app.ShutdownWithTimeout(5 * time.Second); err != nil {
			s.t.Error(err)
		}
		if err := <-done; err != nil {
			s.t.Error(err)
		}
	})
	return ln.Addr().(*net.TCPAddr).Port
}

func startChromium(t *testing.T, s *site) *chromium {
	t.Helper()
	binary, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatal("this test drives Chromium, which is not there: apt-get install chromium")
	}
	b := &chromium{site: s, base: fmt.Sprintf("http://127.0.0.1:%d", s.listen())}
	opts := append(slices.Clone(chromedp.DefaultExecAllocatorOptions[:]),
		chromedp.ExecPath(binary), chromedp.UserDataDir(t.TempDir()), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.NoFirstRun,
		chromedp.Flag("disable-background-networking", true), chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-sync", true),
		// Whatever is asked of another host fails, and is noted below.
		chromedp.Flag("host-resolver-rules", "MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost"),
	)
	alloc, cancelAlloc := chromedp.NewExecAllocator(t.Context(), opts...)
	ctx, cancel := chromedp.NewContext(alloc)
	t.Cleanup(func() {
		_ = chromedp.Cancel(ctx)
		cancel()
		cancelAlloc()
	})
	// The first call starts the browser, and may not have a deadline.
	must(t, chromedp.Listen(ctx, b.listenTo))
	ctx, stop := context.WithTimeout(ctx, 240*time.Second)
	t.Cleanup(stop)
	b.ctx = ctx
	_, err = chromedp.Call(ctx, network.Enable, network.EnableParams{})
	must(t, err)
	_, err = chromedp.Call(ctx, cdplog.Enable, cdp.Empty{})
	must(t, err)
	_, err = chromedp.Call(ctx, runtime.Enable, cdp.Empty{})
	must(t, err)
	return b
}

// listenTo notes every error on the console, CSP violations among them, and
// every request to elsewhere.
func (b *chromium) listenTo(event any) {
	complain := func(format string, args ...any) {
		b.mu.Lock()
		defer b.mu.Unlock()
		if text := fmt.Sprintf(format, args...); b.expected == "" || !strings.Contains(text, b.expected) {
			b.complaints = append(b.complaints, text)
		}
	}
	switch e := event.(type) {
	case *network.EventRequestWillBeSent:
		u, err := url.Parse(e.Request.URL)
		if err != nil || u.Scheme != "data" && u.Hostname() != "127.0.0.1" && u.Hostname() != "localhost" {
			complain("asked for %s", e.Request.URL)
		}
	case *cdplog.EventEntryAdded:
		if e.Entry.Level == cdplog.EntryLevelError || e.Entry.Level == cdplog.EntryLevelWarning {
			complain("%s: %s (%s)", e.Entry.Source, e.Entry.Text, e.Entry.URL)
		}
	case *runtime.EventConsoleAPICalled:
		if e.Type == runtime.ConsoleAPICalledTypeError || e.Type == runtime.ConsoleAPICalledTypeWarning {
			var text strings.Builder
			for _, arg := range e.Args {
				fmt.Fprintf(&text, " %s %s", arg.Value, arg.Description)
			}
			complain("the console has an %s:%s", e.Type, text.String())
		}
	case *runtime.EventExceptionThrown:
		complain("exception: %v", e.ExceptionDetails.Text)
	}
}

func (b *chromium) run(actions ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	if err := chromedp.Do(b.ctx, actions...); err != nil {
		b.t.Fatalf("%v; complaints: %v", err, b.complaints)
	}
}

// expect lets the console say something, or ("") nothing.
func (b *chromium) expect(text string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.expected = text
}

func (b *chromium) open(path string) {
	b.t.Helper()
	b.run(chromedp.Navigate(b.base + path))
}

// sees waits until the page has a text.
func (b *chromium) sees(text string) {
	b.t.Helper()
	b.until(fmt.Sprintf("document.body.innerText.includes(%q)", text))
}

// until waits until an expression is true, on this page or the one that follows.
func (b *chromium) until(js string) {
	b.t.Helper()
	deadline := time.After(10 * time.Second)
	for {
		// It fails while one page gives way to the next.
		if ok, err := chromedp.Run(b.ctx, chromedp.Evaluate[bool](js)); err == nil && ok {
			return
		}
		select {
		case <-deadline:
			body, _ := chromedp.Run(b.ctx, chromedp.Evaluate[string]("location + document.body.innerText"))
			b.t.Fatalf("it never came true that %s\n%s\ncomplaints: %v", js, body, b.complaints)
		case <-time.After(25 * time.Millisecond):
		}
	}
}

// press clicks a button or link by its text, and waits for the page that follows.
func (b *chromium) press(text string) {
	b.t.Helper()
	path := fmt.Sprintf(`//main//*[(self::button or self::a) and normalize-space(.)=%q] | //header//button[normalize-space(.)=%q]`, text, text)
	if _, err := chromedp.RunResponse(b.ctx, chromedp.Click(path)); err != nil {
		b.t.Fatalf("press %q: %v", text, err)
	}
}

func (b *chromium) eval(js string) string {
	b.t.Helper()
	out, err := chromedp.Run(b.ctx, chromedp.Evaluate[string](js))
	must(b.t, err)
	return out
}

// fill puts a text into a field of a form, in the place of what is there.
func (b *chromium) fill(field, text string) {
	b.t.Helper()
	sel := chromedp.CSS("#f-" + field)
	b.run(chromedp.Focus(sel), chromedp.Evaluate[chromedp.Void](`document.activeElement.select()`), chromedp.KeyEvent(kb.Delete))
	_, err := chromedp.Call(b.ctx, input.InsertText, input.InsertTextParams{Text: text})
	must(b.t, err)
}

// device sets the window's width and the colour scheme.
func (b *chromium) device(width int64, scheme string) {
	b.t.Helper()
	_, err := chromedp.Call(b.ctx, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{Width: width, Height: 900, DeviceScaleFactor: 1, Mobile: width < 500})
	must(b.t, err)
	_, err = chromedp.Call(b.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}})
	must(b.t, err)
}

func (b *chromium) screenshot(name string) {
	b.t.Helper()
	png, err := chromedp.Run(b.ctx, chromedp.FullScreenshot(100))
	must(b.t, err)
	must(b.t, os.MkdirAll(artifacts, 0o755))
	must(b.t, os.WriteFile(filepath.Join(artifacts, name+".png"), png, 0o644))
}

// seed makes types and jobs as they are in real life.
func seed(s *site) {
	s.register("email", `"concurrency":12,"description":"Mails to people: receipts, resets, newsletters","headers":{"X-Team":"rebels","Authorization":"Bearer swordfish"}`)
	s.register("invoice-pdf", `"concurrency":4,"timeout":"2m"`)
	s.register("sms", `"concurrency":2,"retry":{"max_attempts":5}`)
	s.register("thumbnail", `"concurrency":32,"retention":{"count":200}`)
	_, _, err := s.in.PutSchedule(s.t.Context(), auth.System(), "nightly", []byte(`{"type":"invoice-pdf","cron":"30 3 * * *","timezone":"Europe/Berlin","job":{"data":{"all":true}},"description":"Last day's invoices"}`), schedule.PutOptions{})
	must(s.t, err)
	_, err = s.in.SetPaused(s.t.Context(), auth.System(), "sms", true, "the provider is down, leia is on it")
	must(s.t, err)
	for i := range 9 {
		s.push(queue.Job{Type: "email", ID: fmt.Sprintf("receipt-%04d", 4711+i), Title: []string{"Receipt for Leia", "Password reset", "Newsletter, week 47"}[i%3],
			Priority: queue.Priorities()[i%5], Data: []byte(fmt.Sprintf(`{"to":"user%d@example.org","template":"receipt","items":[{"sku":"droid-7","price":1299.5},{"sku":"cape","price":80}]}`, i))})
	}
	for _, f := range []queue.Attempt{
		{Outcome: "dead", Status: 489, Duration: 84, Error: "the endpoint answered 489: permanent", Excerpt: `{"error":"mailbox does not exist"}`},
		{Outcome: "dead", Status: 500, Duration: 2310, Error: "the endpoint answered 500", Excerpt: "Internal Server Error"},
		{Outcome: "dead", Duration: 30000, Error: "no answer within 30s: context deadline exceeded"},
	} {
		s.settle("email", queue.Bury, f, "")
	}
	s.settle("email", queue.Done, queue.Attempt{Outcome: "succeeded", Status: 200}, `{"message_id":"<4711@example.org>"}`)
	s.claim("email")
	for i := range 3 {
		s.push(queue.Job{Type: "sms", Title: fmt.Sprintf("Code for +49 151 %07d", 1234567+i)})
	}
	s.push(queue.Job{Type: "invoice-pdf", ID: "inv-2187", Title: "Invoice 2187", Data: []byte(`{"invoice":2187}`), MaxAttempts: 12})
	for _, f := range []queue.Attempt{
		{Outcome: "failed", Status: 502, Duration: 412, Error: "the endpoint answered 502", Excerpt: "<html><body><h1>502 Bad Gateway</h1></body></html>"},
		{Outcome: "failed", Duration: 5003, Error: "connect: connection refused"},
	} {
		s.settle("invoice-pdf", queue.Retry, f, "")
		must(s.t, s.in.Promote(s.t.Context(), auth.System(), "invoice-pdf", "inv-2187"))
	}
	s.settle("invoice-pdf", queue.Retry, queue.Attempt{Outcome: "failed", Status: 503, Duration: 91, Error: "the endpoint answered 503", Excerpt: "renderer is starting"}, "")
}

func TestBrowser(t *testing.T) {
	s := newSite(t)
	seed(s)
	b := startChromium(t, s)
	b.device(1440, "light")

	// Log in, and go on where one wanted to.
	b.open("/ui/types/email?state=dead")
	b.sees("Log in")
	b.screenshot("login-1440-light")
	b.run(chromedp.Focus(chromedp.CSS("#f-token")))
	_, err := chromedp.Call(b.ctx, input.InsertText, input.InsertTextParams{Text: s.token("admin")})
	must(t, err)
	b.run(chromedp.KeyEvent(kb.Enter))
	b.sees("489: permanent")
	if got := b.eval("location.pathname + location.search"); got != "/ui/types/email?state=dead" {
		t.Errorf("logging in led to %s", got)
	}
	if got := b.eval("document.cookie"); got != "" {
		t.Error("scripts can read a cookie")
	}

	b.liveNumbers()
	b.keyboard()
	b.work()
	b.looks()
	b.outage()
	b.withoutScripts()
	b.fromElsewhere()

	b.open("/ui")
	b.run(chromedp.Click(chromedp.CSS(".who summary")))
	b.press("Log out")
	b.sees("You are logged out")
	b.open("/ui")
	b.sees("Token")

	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range b.complaints {
		t.Errorf("the browser complains: %s", c)
	}
}

// liveNumbers sees a number change in place, while rows and links stay.
func (b *chromium) liveNumbers() {
	b.t.Helper()
	b.open("/ui")
	b.run(chromedp.Evaluate[chromedp.Void](`window.before = [...document.querySelectorAll("tr, a")]; window.tops = window.before.map((e) => e.getBoundingClientRect().top); 0`))
	was := b.eval(`document.getElementById("n-waiting-thumbnail").textContent`)
	b.push(queue.Job{Type: "thumbnail"}, queue.Job{Type: "thumbnail"}, queue.Job{Type: "thumbnail", Delay: time.Hour})
	b.until(`document.getElementById("n-waiting-thumbnail").textContent === "2" && document.getElementById("n-scheduled-thumbnail").textContent === "1"`)
	if was != "0" {
		b.t.Errorf("before, %s waited", was)
	}
	if got := b.eval(`String(window.before.every((e, i) => e.isConnected && e.getBoundingClientRect().top === window.tops[i]))`); got != "true" {
		b.t.Error("the update moved or replaced a row or link")
	}
}

// keyboard walks through the overview as somebody without a mouse.
func (b *chromium) keyboard() {
	b.t.Helper()
	b.open("/ui")
	var order []string
	for range 9 {
		b.run(chromedp.KeyEvent(kb.Tab))
		order = append(order, b.eval(`document.activeElement.textContent.trim()`))
	}
	want := []string{"Skip to content", "DeeToo", "Types", "Dead letters", "Schedules", "leia", "", "Register a type", "15m"}
	if !slices.Equal(order[:9], want) {
		b.t.Errorf("Tab goes through %q, want %q", order, want)
	}
	if got := b.eval(`getComputedStyle(document.activeElement).outlineStyle`); got != "solid" {
		b.t.Errorf("the focus is not visible: outline %s", got)
	}
	// The keys: down the list and into it, back to the types, find one.
	b.open("/ui")
	b.run(chromedp.KeyEvent("j"), chromedp.KeyEvent("j"), chromedp.KeyEvent("k"))
	if got := b.eval(`document.activeElement.textContent`); got != "email" {
		b.t.Errorf("j, j and k lead to %q", got)
	}
	b.run(chromedp.KeyEvent("j"))
	if _, err := chromedp.RunResponse(b.ctx, chromedp.KeyEvent(kb.Enter)); err != nil {
		b.t.Fatal(err)
	}
	b.until(`location.pathname === "/ui/types/invoice-pdf" && document.readyState === "complete"`)
	b.run(chromedp.KeyEvent("g"), chromedp.KeyEvent("t"))
	b.until(`location.pathname === "/ui" && document.readyState === "complete"`)
	b.run(chromedp.KeyEvent("?"))
	b.until(`document.getElementById("keys").open`)
	b.run(chromedp.KeyEvent(kb.Escape), chromedp.KeyEvent("/"))
	b.until(`document.activeElement.name === "q"`)
	b.fill("q", "THUMB") // in the place of the "/" that the protocol, unlike a keyboard, types as well
	if _, err := chromedp.RunResponse(b.ctx, chromedp.KeyEvent(kb.Enter)); err != nil {
		b.t.Fatal(err)
	}
	b.until(`[...document.querySelectorAll("a.name")].map((e) => e.textContent).join() === "thumbnail"`)

	b.open("/ui/types/email?state=dead")
	order = nil
	for range 15 {
		b.run(chromedp.KeyEvent(kb.Tab))
		order = append(order, b.eval(`document.activeElement.textContent.replace(/\s+/g, " ").trim()`))
	}
	want = []string{"Skip to content", "DeeToo", "Types", "Dead letters", "Schedules", "leia", "Types", "New job", "Pause", "Settings", "More…", "15m", "1h", "24h", "7d"}
	if !slices.Equal(order, want) {
		b.t.Errorf("Tab goes through %q, want %q", order, want)
	}
	b.run(chromedp.Focus(chromedp.CSS("#jobs .tabs a")))
	order = nil
	for range 11 {
		order = append(order, b.eval(`(document.activeElement.name || document.activeElement.textContent).replace(/\s+/g, " ").trim()`))
		b.run(chromedp.KeyEvent(kb.Tab))
	}
	want = []string{"Waiting 4", "Scheduled 0", "Running 1", "Dead 3", "Succeeded", "Cancelled", "q", "tag", "Filter", "", "verb"}
	if !slices.Equal(order, want) {
		b.t.Errorf("Tab goes through %q, want %q", order, want)
	}
	b.open("/ui")
	b.run(chromedp.KeyEvent(kb.Tab), chromedp.KeyEvent(kb.Enter), chromedp.KeyEvent(kb.Tab))
	if got := b.eval(`document.activeElement.name`); got != "q" {
		b.t.Errorf("after skipping to the content, Tab leads to %q", got)
	}
}

// work does what one does: pause, enqueue, look, cancel, retry, resume.
func (b *chromium) work() {
	b.t.Helper()
	b.open("/ui/types/thumbnail")
	b.press("Pause")
	b.sees("Paused. Running jobs finish")
	if st, err := b.in.Stats(b.t.Context(), auth.System(), "thumbnail"); err != nil || !st.Paused {
		b.t.Errorf("it is not paused (%v)", err)
	}
	b.press("New job")
	b.fill("data", `{"image": `)
	b.fill("delay", "soon")
	b.expect("422")
	b.press("Enqueue")
	b.sees("Must be a duration such as")
	b.expect("")
	b.screenshot("enqueue-errors-1440-light")
	b.fill("data", `{"image": "<script>alert(1)</script>"}`)
	b.fill("delay", "")
	b.fill("title", `<img src=x onerror=alert(1)>`)
	b.fill("id", "by-hand")
	b.press("Enqueue")
	b.sees("Its type is paused")
	b.sees("<img src=x onerror=alert(1)>")
	b.sees("<script>alert(1)</script>")
	b.press("Cancel")
	b.sees("It was cancelled at ")
	if got := b.state("thumbnail", "by-hand"); got != queue.Cancelled {
		b.t.Errorf("the job is %s", got)
	}
	b.press("Run again")
	b.sees("It waits to run again.")
	if got := b.state("thumbnail", "by-hand"); got != queue.Waiting {
		b.t.Errorf("the job is %s", got)
	}
	// Somebody else cancels it meanwhile: the page says so, and its button stays.
	_, err := b.in.Cancel(b.t.Context(), auth.System(), "thumbnail", "by-hand")
	must(b.t, err)
	b.sees("Something happened to this job.")
	if got := b.eval(`[...document.querySelectorAll("main .acts button")].map((e) => e.textContent).join()`); got != "Cancel" {
		b.t.Errorf("the buttons changed to %s", got)
	}
	b.press("Show it")
	b.sees("Run again")
	b.open("/ui/types/thumbnail")
	b.press("Resume")
	b.sees("Resumed.")
}

// looks takes the pages' pictures, and sees that none is wider than its window.
func (b *chromium) looks() {
	b.t.Helper()
	pages := map[string]string{
		"overview": "/ui", "type": "/ui/types/email?state=dead", "job": "/ui/types/invoice-pdf/job?id=inv-2187", "settings": "/ui/types/email/settings",
		"dead": "/ui/dead", "schedules": "/ui/schedules", "schedule": "/ui/schedule?name=nightly", "tokens": "/ui/tokens", "dispatcher": "/ui/settings",
		"redrive": "/ui/types/email/redrive", "secrets": "/ui/types/email/secrets", "test": "/ui/types/email/test", "handler": "/ui/types/email/handler?in=python",
	}
	for _, width := range []int64{1440, 360} {
		for _, scheme := range []string{"light", "dark"} {
			b.device(width, scheme)
			once := (width == 1440) == (scheme == "light") // each width and each scheme
			for name, path := range pages {
				if !once && !slices.Contains([]string{"overview", "type", "job"}, name) {
					continue
				}
				b.open(path)
				if got := b.eval(`String(document.documentElement.scrollWidth - innerWidth)`); strings.TrimPrefix(got, "-") == got && got != "0" {
					b.t.Errorf("%s at %d px is %s px too wide", name, width, got)
				}
				if once {
					b.accessible(fmt.Sprintf("%s at %d px, %s", name, width, scheme))
				}
				b.screenshot(fmt.Sprintf("%s-%d-%s", name, width, scheme))
			}
		}
	}
	b.device(1440, "light")
	b.open("/ui/types/email/purge")
	b.screenshot("purge-1440-light")
	b.open("/ui/types/thumbnail?state=dead")
	b.screenshot("empty-1440-light")
}

// accessible has axe-core look at the page: what it is sure of, of WCAG 2.2 AA and below, must not be there.
func (b *chromium) accessible(name string) {
	b.t.Helper()
	if b.axe == "" {
		text, err := os.ReadFile("testdata/axe.min.js")
		must(b.t, err)
		b.axe = string(text)
	}
	b.run(chromedp.Evaluate[chromedp.Void](b.axe + "; 0"))
	b.run(chromedp.Evaluate[chromedp.Void](`window.found = null; axe.run({runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]}).then((r) => {
		window.found = r.violations.map((v) => v.id + ": " + v.nodes.slice(0, 3).map((n) => n.html.slice(0, 160)).join(" | ")).join("\n"); }, (e) => { window.found = String(e); }); 0`))
	b.until("window.found !== null")
	if found := b.eval("window.found"); found != "" {
		b.t.Errorf("%s: %s", name, found)
	}
}

// outage sees Redis go and come back, on an open page and on a new one.
func (b *chromium) outage() {
	b.t.Helper()
	b.open("/ui")
	b.expect("503")
	b.down.Store(true)
	b.until(`!document.getElementById("offline").hidden`)
	b.open("/ui/types/email")
	b.sees("Redis does not answer")
	b.screenshot("outage-1440-light")
	b.down.Store(false)
	b.until(`location.pathname === "/ui/types/email" && document.body.innerText.includes("Mails to people")`) // by itself
	b.expect("")
}

// withoutScripts reads a page as somebody who has switched JavaScript off.
func (b *chromium) withoutScripts() {
	b.t.Helper()
	scripts := func(disabled bool) {
		_, err := chromedp.Call(b.ctx, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: disabled})
		must(b.t, err)
	}
	scripts(true)
	b.open("/ui/types/email?state=dead")
	text, err := chromedp.Run(b.ctx, chromedp.Text(chromedp.CSS("main")))
	must(b.t, err)
	if !strings.Contains(text, "489: permanent") {
		b.t.Errorf("without scripts the page shows %q", text)
	}
	scripts(false)
}

// fromElsewhere follows a link on another site, where the browser withholds
// the strict cookie at first.
func (b *chromium) fromElsewhere() {
	b.t.Helper()
	b.run(chromedp.Navigate(strings.Replace(b.base, "127.0.0.1", "localhost", 1) + "/ui/login"))
	b.run(chromedp.Evaluate[chromedp.Void](fmt.Sprintf(`{const a = document.createElement("a"); a.href = %q; document.body.append(a); a.click(); 0}`, b.base+"/ui/types/email?state=dead")))
	b.sees("489: permanent")
}
