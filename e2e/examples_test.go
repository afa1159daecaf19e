package e2e

import (
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// freePort is one that was free a moment ago.
func freePort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// example runs a handler of examples/ at a port, and waits until it answers.
func example(t *testing.T, port, secret string, command ...string) *process {
	t.Helper()
	if _, err := exec.LookPath(command[0]); err != nil {
		t.Fatalf("%v: `make test` installs it", err)
	}
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Dir = ".."
	cmd.Env = environ("DEETOO_SECRET="+secret, "PORT="+port)
	p := runs(t, cmd)
	eventually(t, "the handler answers", func() bool {
		if !p.running() {
			t.Fatalf("the handler ended:\n%s%s", p.stdout, p.stderr)
		}
		resp, err := http.Get("http://127.0.0.1:" + port + "/")
		if err != nil {
			return false
		}
		return resp.Body.Close() == nil
	})
	return p
}

// What the README says to do, step by step, with the handler it names.
func TestREADMEStepByStep(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	commands := curls(t, string(readme))
	handlerLine := regexp.MustCompile(`(?m)^DEETOO_SECRET=whsec_… (\S+) (\S+)$`).FindSubmatch(readme)
	if len(commands) != 2 || handlerLine == nil {
		t.Fatalf("the README's steps are no longer those of this test: %d curl lines, handler %q", len(commands), handlerLine)
	}
	s := makeRun(t)
	port := freePort(t)
	at := &handler{url: "http://127.0.0.1:" + port}
	secret := regexp.MustCompile(`"secret":"(whsec_[^"]+)"`).FindStringSubmatch(commands[0].do(t, s, at))
	if secret == nil {
		t.Fatal("the first line's answer has no secret")
	}
	p := example(t, port, secret[1], string(handlerLine[1]), string(handlerLine[2]))
	commands[1].do(t, s, at)
	eventually(t, "the handler does the job", func() bool { return strings.Contains(p.stdout.String(), `email to "leia@example.org"`) })
	s.allDone("email", 1)
}

// Handlers in every language whose runtime is on the machine, given jobs by the
// program itself. `make test` installs Python and Node; PHP, Ruby and Java are
// large, so they are tested where somebody has them already.
func TestExampleHandlers(t *testing.T) {
	t.Parallel()
	s := serve(t, inDir(t.TempDir()))
	goHandler := filepath.Join(t.TempDir(), "handler")
	if out, err := exec.Command("go", "build", "-o", goHandler, "../examples/go").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for typ, command := range map[string][]string{
		"python": {"python3", "examples/python/email_handler.py"},
		"node":   {"node", "examples/node/email.mjs"},
		"go":     {goHandler},
		"php":    {"php", "-S", "127.0.0.1:PORT", "examples/php/email.php"},
		"ruby":   {"ruby", "examples/ruby/email.rb"},
		"java":   {"java", "examples/java/Email.java"},
	} {
		if _, err := exec.LookPath(command[0]); err != nil && (typ == "php" || typ == "ruby" || typ == "java") {
			t.Logf("left out: %v", err)
			continue
		}
		port := freePort(t)
		for i := range command {
			command[i] = strings.Replace(command[i], "PORT", port, 1)
		}
		secret := s.register(typ, "http://127.0.0.1:"+port+"/email", quick(nil))
		p := example(t, port, secret, command...)
		id := s.push(typ, spec{"data": spec{"to": "leia@example.org"}})
		if j := s.becomes(typ, id, "succeeded"); strings.ReplaceAll(string(j.Result), " ", "") != `{"sent_to":"leia@example.org"}` {
			t.Errorf("%s: result %s", typ, j.Result)
		}
		// Data that no retry will mend, and a failure that one might.
		bad := s.push(typ, spec{"data": "nobody"})
		if j := s.becomes(typ, bad, "dead"); j.Attempt != 1 {
			t.Errorf("%s: %+v", typ, j)
		}
		failing := s.push(typ, spec{"data": spec{"to": "x", "fail": true}})
		if j := s.becomes(typ, failing, "dead"); j.Attempt != 3 {
			t.Errorf("%s: %+v", typ, j)
		}
		// A dispatcher with another secret is nobody's.
		s.must("PATCH", "/v1/types/"+typ, spec{"secret": "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}, nil)
		forged := s.push(typ, spec{"data": spec{"to": "mallory"}, "max_attempts": 1})
		s.becomes(typ, forged, "dead")
		if a := s.attempts(typ, forged); len(a) != 1 || a[0].Status != 401 || strings.Contains(p.stdout.String(), "mallory") {
			t.Errorf("%s: %+v", typ, a)
		}
	}
}
