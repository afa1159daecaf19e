package e2e

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/deetoo/deetoo/internal/transcript"
)

// program is the path of the built dispatcher.
func program() string { return os.Getenv(programVar) }

const programVar = "DEETOO_E2E_PROGRAM"

func TestMain(m *testing.M) { os.Exit(buildAndRun(m)) }

func buildAndRun(m *testing.M) int {
	dir, err := os.MkdirTemp("", "deetoo-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "dispatcher")
	args := append(append([]string{"build"}, buildFlags()...), "-o", path, "../cmd/dispatcher")
	if out, err := exec.Command("go", args...).CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build the program: %v\n%s", err, out)
		return 1
	}
	if err := os.Setenv(programVar, path); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	// The tests wait more than they work. Given on the command line, -parallel wins.
	if err := flag.Set("test.parallel", "6"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// patience is how long a test waits for what must happen. Nothing takes that
// long unless it is broken.
const patience = 30 * time.Second

// eventually waits until the condition holds.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("in %s it did not come about that %s", patience, what)
		}
	}
}

// process is a running program.
type process struct {
	t              testing.TB
	cmd            *exec.Cmd
	stdout, stderr *transcript.Buffer
	done           chan struct{} // closed at its end
}

// environ is the environment of a process: nothing of this one's that sets the program.
func environ(extra ...string) []string {
	var env []string
	for _, e := range os.Environ() {
		if name, _, _ := strings.Cut(e, "="); name != "PORT" && name != "REDIS_URL" && !strings.HasPrefix(name, "DEETOO_") {
			env = append(env, e)
		}
	}
	// A raced program would sleep a second at its end.
	return append(append(env, "GORACE=atexit_sleep_ms=0"), extra...)
}

// launch starts the program with "NAME=value" variables and arguments. It is
// killed when the test ends, its output shown if that failed.
func launch(t testing.TB, env []string, args ...string) *process {
	t.Helper()
	cmd := exec.Command(program(), args...)
	cmd.Env = environ(env...)
	return runs(t, cmd)
}

// runs starts a command as launch does the program.
func runs(t testing.TB, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{t: t, cmd: cmd, stdout: &transcript.Buffer{}, stderr: &transcript.Buffer{}, done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = p.stdout, p.stderr
	p.cmd.SysProcAttr = parentDeath()
	started := make(chan error, 1)
	go func() { // the process ends with the thread that made it
		keepThread()
		err := p.cmd.Start()
		started <- err
		if err == nil {
			_ = p.cmd.Wait() // how it ended is in its state
		}
		close(p.done)
	}()
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.kill()
		if strings.Contains(p.stderr.String(), "DATA RACE") || strings.Contains(p.stderr.String(), "panic:") {
			t.Error("the program raced or panicked")
		}
		if t.Failed() {
			t.Logf("%v\n%s%s", p.cmd.Args, p.stdout, p.stderr)
		}
	})
	return p
}

// kill ends the process as a crash does, and waits for its end.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // it may have ended
	<-p.done
}

// signal sends a signal.
func (p *process) signal(sig syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil {
		p.t.Fatalf("signal %s: %v", sig, err)
	}
}

// exit waits for the process's end and returns its exit code.
func (p *process) exit() int {
	p.t.Helper()
	select {
	case <-p.done:
	case <-time.After(patience):
		p.t.Fatalf("the process did not end in %s", patience)
	}
	return p.cmd.ProcessState.ExitCode()
}

// stop ends the process as an operator does, which must succeed.
func (p *process) stop() {
	p.t.Helper()
	p.signal(syscall.SIGTERM)
	if code := p.exit(); code != 0 {
		p.t.Fatalf("exit code %d after SIGTERM", code)
	}
}

// logs waits until the process has logged something that contains the text.
func (p *process) logs(text string) {
	p.t.Helper()
	eventually(p.t, fmt.Sprintf("the log says %q", text), func() bool { return strings.Contains(p.stderr.String(), text) })
}

// running reports whether the process has not ended.
func (p *process) running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// run runs a command to its end and returns its output and exit code.
func run(t testing.TB, env []string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	p := launch(t, env, args...)
	code = p.exit()
	return p.stdout.String(), p.stderr.String(), code
}

// secret signs the tokens of all tests but those about tokens.
const secret = "e2e-secret-of-at-least-thirty-two-bytes"

// server is a running dispatcher.
type server struct {
	*process
	url   string // http://127.0.0.1:port
	token string
}

// serve starts a dispatcher that listens on a free port and may deliver to
// loopback, and waits until it is ready.
func serve(t testing.TB, env []string, args ...string) *server {
	t.Helper()
	s := begin(t, env, args...)
	eventually(t, "the dispatcher is ready", func() bool {
		if !s.running() {
			t.Fatalf("the dispatcher ended with code %d", s.exit())
		}
		return s.status("GET", "/readyz") == 200
	})
	return s
}

// begin starts a dispatcher and waits until it has said where it listens.
func begin(t testing.TB, env []string, args ...string) *server {
	t.Helper()
	env = append([]string{"DEETOO_LISTEN=127.0.0.1:0", "DEETOO_ALLOW_PRIVATE_TARGETS=true"}, env...)
	s := &server{process: launch(t, env, append([]string{"serve"}, args...)...), token: adminToken(t)}
	api := regexp.MustCompile(`API +(http://\S+)/v1`)
	eventually(t, "the dispatcher says where it listens", func() bool {
		if !s.running() {
			t.Fatalf("the dispatcher ended with code %d", s.exit())
		}
		if m := api.FindStringSubmatch(s.stdout.String()); m != nil {
			s.url = m[1]
		}
		return s.url != ""
	})
	return s
}

// inDir is the environment of a dispatcher on the embedded store.
func inDir(dir string) []string {
	return []string{"DEETOO_DATA_DIR=" + dir, "DEETOO_JWT_SECRET=" + secret}
}

// onRedis is the environment of a dispatcher on a Redis.
func onRedis(t testing.TB, url string) []string {
	return append(inDir(t.TempDir()), "REDIS_URL="+url)
}
