// Package redistest starts real redis-servers for tests: single ones, which
// can be stopped and started again, and clusters of three masters. They
// listen on loopback only, keep nothing on disk unless told to, and end with
// the test.
//
// Starting one takes some 20 ms, a cluster a little over two seconds. A
// package with many tests starts one in TestMain, by [Start] or
// [StartCluster], and gives each test a key prefix of its own.
package redistest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

const (
	startTimeout = 10 * time.Second
	stopTimeout  = 5 * time.Second
	poll         = 5 * time.Millisecond
	attempts     = 5
)

// ErrMissing means that no redis-server is on the PATH.
var ErrMissing = errors.New("redis-server is not installed: run `apt-get install redis-server`, or `make test`, which installs it")

// errPortTaken means that somebody took the free port before redis-server did.
var errPortTaken = errors.New("the port was taken meanwhile")

// Options of a server. The zero value is a server without persistence.
type Options struct {
	// Args are appended to the command line and win over what is there,
	// as in "--appendonly", "yes" or "--maxmemory", "8mb".
	Args []string
}

// Server is one redis-server process and the folder it works in. Its methods
// may not be called concurrently, except Addr, URL and Client.
type Server struct {
	dir    string
	port   int
	args   []string
	client *redis.Client
	proc   *process
}

// Start starts a server on a free port of 127.0.0.1 and waits until it
// answers. Close ends it. The error is ErrMissing without a redis-server, and
// otherwise carries the end of the server's log.
func Start(opts Options) (*Server, error) {
	return start(opts.Args, false)
}

func start(extra []string, cluster bool) (*Server, error) {
	if _, err := exec.LookPath("redis-server"); err != nil {
		return nil, fmt.Errorf("%w (%v)", ErrMissing, err)
	}
	for try := 1; ; try++ {
		s, err := startOnce(extra, cluster)
		if err == nil || !errors.Is(err, errPortTaken) || try == attempts {
			return s, err
		}
	}
}

func startOnce(extra []string, cluster bool) (*Server, error) {
	ports, err := freePorts(2)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "redistest-")
	if err != nil {
		return nil, err
	}
	s := &Server{dir: dir, port: ports[0], args: []string{
		"--port", strconv.Itoa(ports[0]), "--bind", "127.0.0.1", "--dir", dir,
		"--save", "", "--appendonly", "no", "--daemonize", "no",
	}}
	if cluster {
		// The bus has a port of its own choice: port+10000, the default,
		// may be taken or beyond 65535.
		s.args = append(s.args, "--cluster-enabled", "yes", "--cluster-port", strconv.Itoa(ports[1]),
			"--cluster-node-timeout", "2000", "--cluster-announce-ip", "127.0.0.1")
	}
	s.args = append(s.args, extra...)
	s.client = newClient(s.port)
	if err := s.Start(); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func newClient(port int) *redis.Client {
	return redis.NewClient(&redis.Options{
		Addr:                     addr(port),
		DialerRetries:            1, // a stopped server is noticed at once
		DisableIdentity:          true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})
}

func addr(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

// Addr is the address, 127.0.0.1:port. It stays the same over restarts.
func (s *Server) Addr() string { return addr(s.port) }

// URL is the address as redis://127.0.0.1:port.
func (s *Server) URL() string { return "redis://" + s.Addr() }

// Client is a client of the server, the same at each call. Close closes it.
func (s *Server) Client() redis.UniversalClient { return s.client }

// Dir is the folder it works in, where it keeps what it was told to persist.
func (s *Server) Dir() string { return s.dir }

// Signal sends the running process a signal, such as SIGSTOP or SIGCONT.
func (s *Server) Signal(sig syscall.Signal) error {
	if s.proc == nil {
		return fmt.Errorf("redis-server at %s does not run", s.Addr())
	}
	return s.proc.cmd.Process.Signal(sig)
}

// Start starts the server again after Stop or Kill: on the same port and in
// the same folder, so that what it was told to persist is there again. It
// returns once the server answers.
func (s *Server) Start() error {
	if s.proc != nil {
		return fmt.Errorf("redis-server at %s already runs", s.Addr())
	}
	proc, err := spawn(s.args, s.logFile())
	if err != nil {
		return fmt.Errorf("start redis-server: %w", err)
	}
	s.proc = proc
	if err := s.await(); err != nil {
		return errors.Join(err, s.Kill())
	}
	return nil
}

// Stop ends the server as an operator does, by SIGTERM, and waits for its end.
func (s *Server) Stop() error { return s.end(syscall.SIGTERM) }

// Kill ends the server as a crash does, by SIGKILL, and waits for its end.
func (s *Server) Kill() error { return s.end(syscall.SIGKILL) }

// Close ends the server, if it runs, closes the client and removes the folder.
func (s *Server) Close() error {
	return errors.Join(s.Stop(), s.client.Close(), os.RemoveAll(s.dir))
}

func (s *Server) logFile() string { return filepath.Join(s.dir, "redis.log") }

func (s *Server) end(sig syscall.Signal) error {
	if s.proc == nil {
		return nil
	}
	proc := s.proc
	s.proc = nil
	return proc.end(sig)
}

// await returns once our very process answers: on a port that another server
// took in between, that one would.
func (s *Server) await() error {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	self := fmt.Sprintf("process_id:%d\r", s.proc.cmd.Process.Pid)
	for {
		// The client would log each refused connection.
		conn, err := net.Dial("tcp", s.Addr())
		if err == nil {
			_ = conn.Close()
			var info string
			info, err = s.client.Info(ctx, "server").Result()
			switch {
			case err == nil && strings.Contains(info, self):
				return nil
			case err == nil:
				return fmt.Errorf("redis-server at %s: %w", s.Addr(), errPortTaken)
			}
		}
		select {
		case <-s.proc.done:
			return s.failed("redis-server ended")
		case <-ctx.Done():
			return s.failed(fmt.Sprintf("redis-server did not answer within %v: %v", startTimeout, err))
		case <-time.After(poll):
		}
	}
}

func (s *Server) failed(what string) error {
	log, err := os.ReadFile(s.logFile())
	if err != nil {
		return fmt.Errorf("%s, and its log is unreadable: %w", what, err)
	}
	log = log[max(0, len(log)-2000):]
	if strings.Contains(string(log), "Address already in use") {
		return fmt.Errorf("%s: %w", what, errPortTaken)
	}
	return fmt.Errorf("%s; its log ends: %s", what, log)
}

// process is a running redis-server.
type process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed at its end
}

// spawn starts the process from a goroutine that keeps its thread until the
// process ends, since the kernel ends the process with the thread that made
// it (see parentDeath).
func spawn(args []string, logFile string) (*process, error) {
	log, err := os.OpenFile(logFile, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	p := &process{cmd: exec.Command("redis-server", args...), done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.SysProcAttr = parentDeath()
	started := make(chan error, 1)
	go func() {
		defer log.Close()
		keepThread()
		err := p.cmd.Start()
		started <- err
		if err == nil {
			_ = p.cmd.Wait() // how it ended is in its log
		}
		close(p.done)
	}()
	return p, <-started
}

func (p *process) end(sig syscall.Signal) error {
	select {
	case <-p.done:
		return nil
	default:
	}
	if err := p.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-p.done:
		return nil
	case <-time.After(stopTimeout):
	}
	err := p.cmd.Process.Kill()
	<-p.done
	return errors.Join(fmt.Errorf("redis-server ignored %v for %v and was killed", sig, stopTimeout), err)
}

// freePorts finds n free ports below the range that systems take for outgoing
// connections, so that a server which is away for a moment gets its port again.
func freePorts(n int) ([]int, error) {
	const lowest, highest, tries = 10_240, 32_000, 1000
	ports := make([]int, 0, n)
	for range tries {
		if len(ports) == n {
			return ports, nil
		}
		l, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(lowest+rand.IntN(highest-lowest)))
		if err != nil {
			continue // taken
		}
		defer l.Close() // only then: the ports must differ
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return nil, fmt.Errorf("found only %d of %d free ports", len(ports), n)
}
