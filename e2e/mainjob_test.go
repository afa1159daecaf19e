package e2e

import (
	"io"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

// makeRun is what `make run` starts, but for its port and folder. The token is the printed one.
func makeRun(t *testing.T, more ...string) *server {
	t.Helper()
	recipe, err := os.ReadFile("../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(recipe), "DEETOO_ALLOW_PRIVATE_TARGETS=true $(GO) run ./cmd/dispatcher serve --print-token\n") {
		t.Fatalf("`make run` is no longer what this test starts:\n%s", recipe)
	}
	s := begin(t, append([]string{"DEETOO_DATA_DIR=" + t.TempDir()}, more...), "--print-token")
	token := regexp.MustCompile(`export TOKEN=(\S+)`)
	eventually(t, "a token is printed", func() bool { return token.MatchString(s.stdout.String()) })
	s.token = token.FindStringSubmatch(s.stdout.String())[1]
	return s
}

// The first block of what was promised: two curl lines, as they stand.
func TestMainJob(t *testing.T) {
	t.Parallel()
	h := handle(t, nil)
	s := makeRun(t)
	var typ struct{ Secret string }
	// As strings they go out with curl's own content type.
	s.must("PUT", "/v1/types/email", `{"target":"`+h.url+`/email","concurrency":12}`, &typ)
	var receipt struct{ ID string }
	s.must("POST", "/v1/types/email/jobs", `{"data":{"to":"leia@example.org"}}`, &receipt)

	d := h.awaits(t, 1)
	d.verifies(t, typ.Secret)
	if string(d.body) != `{"to":"leia@example.org"}` || d.id != receipt.ID || d.attempt != "1" || d.header.Get("User-Agent") != "deetoo" || d.header.Get("Content-Type") != "application/json" {
		t.Errorf("delivered %s with %v", d.body, d.header)
	}
	s.becomes("email", receipt.ID, "succeeded")
	s.stop()
}

// curl is one command of a document or a banner.
type curl struct {
	method, url, body string
	header            http.Header
}

// curls finds the curl commands in a text.
func curls(t *testing.T, text string) []curl {
	t.Helper()
	text = strings.ReplaceAll(text, "\\\n", " ")
	word := regexp.MustCompile(`'[^']*'|"[^"]*"|\S+`)
	var all []curl
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(strings.TrimSpace(line), "curl ") {
			continue
		}
		c := curl{method: "GET", header: http.Header{}}
		words := word.FindAllString(line, -1)[1:]
		for i, w := range words {
			words[i] = strings.Trim(w, `'"`)
		}
		for i := 0; i < len(words); i++ {
			switch w := words[i]; w {
			case "-X":
				i++
				c.method = words[i]
			case "-H":
				i++
				name, value, _ := strings.Cut(words[i], ":")
				c.header.Add(name, strings.TrimSpace(value))
			case "-d":
				i++
				c.body = words[i]
			default:
				if strings.HasPrefix(w, "-") {
					t.Fatalf("%s: an option this test does not know: %s", line, w)
				}
				c.url = w
			}
		}
		if c.body != "" && c.header.Get("Content-Type") == "" {
			c.header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
		all = append(all, c)
	}
	return all
}

// do runs the command against a server, with the handler where it says port 9000.
func (c curl) do(t *testing.T, s *server, h *handler) string {
	t.Helper()
	real := strings.NewReplacer("http://127.0.0.1:8888", s.url, "http://127.0.0.1:9000", h.url, "$TOKEN", s.token).Replace
	req, err := http.NewRequest(c.method, real(c.url), strings.NewReader(real(c.body)))
	if err != nil {
		t.Fatal(err)
	}
	for name, values := range c.header {
		req.Header.Set(name, real(values[0]))
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode >= 300 {
		t.Fatalf("%s %s: %s: %s %v", c.method, c.url, resp.Status, body, err)
	}
	return string(body)
}

func TestPrintedCommandsWork(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	h := handle(t, nil)
	s := makeRun(t)
	delivered := 0
	for what, text := range map[string]string{"README": string(readme), "banner": s.stdout.String()} {
		commands := curls(t, text)
		if len(commands) != 2 {
			t.Fatalf("%s: %d curl commands, want 2", what, len(commands))
		}
		for _, c := range commands {
			c.do(t, s, h)
		}
		delivered++
		if d := h.awaits(t, delivered); string(d.body) != `{"to":"leia@example.org"}` || !strings.Contains(d.header.Get("webhook-id"), "email/") {
			t.Errorf("%s: delivered %s with %v", what, d.body, d.header)
		}
	}
	for _, path := range []string{"/ui", "/docs"} {
		resp, err := http.Get(s.url + path)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != 200 {
			t.Errorf("%s, which the banner names, answers %s", path, resp.Status)
		}
	}
}

// The README's command lines, and those of its table of settings, exist.
func TestDocumentedCommandsExist(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	help, _, code := run(t, nil, "serve", "--help")
	if code != 0 {
		t.Fatalf("exit code %d", code)
	}
	for _, name := range regexp.MustCompile("`((?:DEETOO_|REDIS_)[A-Z_]+)`").FindAllStringSubmatch(string(readme), -1) {
		if name[1] != "DEETOO_SECRET" && !strings.Contains(help, "$"+name[1]) { // that one is the handlers'
			t.Errorf("the README names %s, serve --help does not", name[1])
		}
	}
	for _, command := range regexp.MustCompile("`dispatcher ([a-z]+)").FindAllStringSubmatch(string(readme), -1) {
		if out, err := exec.Command(program(), command[1], "--help").CombinedOutput(); err != nil {
			t.Errorf("dispatcher %s --help: %v: %s", command[1], err, out)
		}
	}
}

// On a machine of others, the dispatcher's own network is not theirs to call.
func TestPrivateTargetsAreRefusedByDefault(t *testing.T) {
	t.Parallel()
	s := serve(t, append(inDir(t.TempDir()), "DEETOO_ALLOW_PRIVATE_TARGETS="))
	for _, target := range []string{
		"http://127.0.0.1:9000/email", "http://localhost:9000/email", "http://[::1]/", "http://10.0.0.1/",
		"http://169.254.169.254/latest/meta-data/", "http://app.localhost/", "http://[::ffff:127.0.0.1]/",
	} {
		a := s.call("PUT", "/v1/types/email", spec{"target": target})
		if a.status != 400 || !strings.Contains(string(a.body), "allow-private-targets") && !strings.Contains(target, "169.254") || !strings.Contains(string(a.body), `"field":"target"`) {
			t.Errorf("%s: %d %s", target, a.status, a.body)
		}
	}
	// What is let in by its network alone is.
	h := handle(t, nil)
	s = serve(t, append(inDir(t.TempDir()), "DEETOO_ALLOW_PRIVATE_TARGETS=false", "DEETOO_ALLOW_TARGETS=127.0.0.0/8"))
	s.register("email", h.url, nil)
	s.becomes("email", s.push("email", spec{"data": 1}), "succeeded")
	if a := s.call("PUT", "/v1/types/other", spec{"target": "http://10.0.0.1/"}); a.status != 400 {
		t.Errorf("10.0.0.1: %d %s", a.status, a.body)
	}
}
