package examples_test

import (
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/deetoo/deetoo/internal/transcript"
)

// language is one of the examples and how it is run.
type language struct {
	name string
	// programs it takes; the first is its runtime.
	programs []string
	// optional languages are left out where a program is missing. The promise is
	// to run those whose runtime is on the machine: Python, Node and Go are on
	// every machine that develops or tests DeeToo, so their absence there is a
	// mistake; PHP, Ruby and a JDK are not, and DeeToo itself needs none of them.
	optional bool
	// prepare makes what runs the handler on a port.
	prepare func(t *testing.T) func(port string) *exec.Cmd
	// drains says that the handler itself finishes running jobs on SIGTERM. In
	// PHP this is the server's part, not the script's.
	drains bool
	// perRequest says that the handler is started by each request, and so
	// cannot refuse to start.
	perRequest bool
}

func languages() []language {
	script := func(program, file string) func(*testing.T) func(string) *exec.Cmd {
		return func(*testing.T) func(string) *exec.Cmd {
			return func(string) *exec.Cmd { return exec.Command(program, file) }
		}
	}
	return []language{
		{name: "python", programs: []string{"python3"}, prepare: script("python3", "python/email_handler.py"), drains: true},
		{name: "node", programs: []string{"node"}, prepare: script("node", "node/email.mjs"), drains: true},
		{name: "go", programs: []string{"go"}, prepare: goProgram, drains: true},
		{name: "php", programs: []string{"php"}, optional: true, prepare: phpServer, perRequest: true},
		{name: "ruby", programs: []string{"ruby"}, optional: true, prepare: script("ruby", "ruby/email.rb"), drains: true},
		{name: "java", programs: []string{"java", "javac"}, optional: true, prepare: script("java", "java/Email.java"), drains: true},
	}
}

// goProgram builds the handler, because `go run` does not pass SIGTERM on.
func goProgram(t *testing.T) func(string) *exec.Cmd {
	t.Helper()
	program := filepath.Join(t.TempDir(), "email")
	if out, err := exec.Command("go", "build", "-o", program, "./go").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return func(string) *exec.Cmd { return exec.Command(program) }
}

func phpServer(*testing.T) func(string) *exec.Cmd {
	return func(port string) *exec.Cmd { return exec.Command("php", "-S", "127.0.0.1:"+port, "php/email.php") }
}

// missing is a program that the language takes and this machine lacks, or "".
func (l language) missing() string {
	for _, program := range l.programs {
		if _, err := exec.LookPath(program); err != nil {
			return program
		}
	}
	return ""
}

// process is a running handler.
type process struct {
	addr   string // host:port
	cmd    *exec.Cmd
	output *transcript.Buffer
	exited chan struct{} // closed once cmd.Wait has returned
}

func (p *process) url() string { return "http://" + p.addr + "/email" }

// start runs a handler until the test ends, and returns when it accepts.
func start(t *testing.T, command func(port string) *exec.Cmd, secret string) *process {
	t.Helper()
	// Another process may take the port before the handler does.
	for range 3 {
		p := launch(t, command, secret)
		if p.accepts(t) {
			return p
		}
		t.Logf("the handler ended early; once more on another port:\n%s", p.output)
	}
	t.Fatal("the handler does not start")
	return nil
}

func launch(t *testing.T, command func(port string) *exec.Cmd, secret string) *process {
	t.Helper()
	addr := freeAddr(t)
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	p := &process{addr: addr, cmd: command(port), output: &transcript.Buffer{}, exited: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), "DEETOO_SECRET="+secret, "PORT="+port)
	p.cmd.Stdout, p.cmd.Stderr = p.output, p.output
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.exited)
		_ = p.cmd.Wait() // how it ended is seen in ProcessState
	}()
	t.Cleanup(func() { p.stop(t) })
	return p
}

// accepts waits until the handler answers HTTP, and reports false if it ends
// instead. A connection alone would not do: dialling a port nobody listens on
// can connect to itself.
func (p *process) accepts(t *testing.T) bool {
	t.Helper()
	client := &http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	timeout := time.After(60 * time.Second) // a busy machine takes long to start Java
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if resp, err := client.Get(p.url()); err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode < 400 {
				t.Errorf("GET: %s", resp.Status)
			}
			return true
		}
		select {
		case <-p.exited:
			return false
		case <-timeout:
			t.Fatalf("the handler does not accept:\n%s", p.output)
		case <-tick.C:
		}
	}
}

// stop ends the process with SIGTERM, or if this does not help with SIGKILL.
func (p *process) stop(t *testing.T) {
	t.Helper()
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended already
	select {
	case <-p.exited:
	case <-time.After(10 * time.Second):
		_ = p.cmd.Process.Kill()
		<-p.exited
		t.Errorf("the handler ignores SIGTERM:\n%s", p.output)
	}
}

func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// waitFor waits until the handler has printed a line that contains want.
func (p *process) waitFor(t *testing.T, want string) {
	t.Helper()
	deadline := time.Now().Add(5 * time.Second)
	for !strings.Contains(p.output.String(), want) {
		if time.Now().After(deadline) {
			t.Fatalf("no %q in:\n%s", want, p.output)
		}
		time.Sleep(5 * time.Millisecond)
	}
}
