package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

// child is a process of the run. It dies with this one, however that ends.
type child struct {
	name  string
	cmd   *exec.Cmd
	stdin io.WriteCloser
	out   string // file of its output
	ready chan string
	done  chan struct{} // closed at its end
	once  sync.Once
}

// launch starts a program. What it writes is appended to a file, and the rest of
// the first line that begins with the prefix is told by ready.
func launch(name, out, prefix string, env []string, path string, args ...string) (*child, error) {
	c := &child{name: name, cmd: exec.Command(path, args...), out: out, ready: make(chan string, 1), done: make(chan struct{})}
	c.cmd.Env = append(os.Environ(), env...)
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	file, err := os.OpenFile(out, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	c.cmd.Stderr = file
	stdout, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if c.stdin, err = c.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the process dies with the thread that made it
		defer file.Close()
		err := c.cmd.Start()
		started <- err
		if err != nil {
			return
		}
		for s := bufio.NewScanner(stdout); s.Scan(); {
			fmt.Fprintln(file, s.Text())
			if rest, ok := strings.CutPrefix(s.Text(), prefix); ok {
				c.once.Do(func() { c.ready <- rest })
			}
		}
		_ = c.cmd.Wait() // how it ended is in its state
		close(c.done)
	}()
	return c, <-started
}

// await returns what the process said after the prefix.
func (c *child) await(within time.Duration) (string, error) {
	select {
	case rest := <-c.ready:
		return rest, nil
	case <-c.done:
	case <-time.After(within):
	}
	return "", fmt.Errorf("%s does not begin; see %s", c.name, c.out)
}

func (c *child) signal(sig syscall.Signal) error {
	if err := c.cmd.Process.Signal(sig); err != nil {
		return fmt.Errorf("%s of %s: %w", sig, c.name, err)
	}
	return nil
}

// end sends a signal and waits for the end of the process.
func (c *child) end(sig syscall.Signal, within time.Duration) error {
	select {
	case <-c.done:
		return nil
	default:
	}
	if err := c.signal(sig); err != nil {
		return err
	}
	select {
	case <-c.done:
		return nil
	case <-time.After(within):
	}
	_ = c.cmd.Process.Kill()
	<-c.done
	return fmt.Errorf("%s ignored %s for %s and was killed", c.name, sig, within)
}

// finish ends a process of ours by ending its input.
func (c *child) finish(within time.Duration) error {
	_ = c.stdin.Close()
	select {
	case <-c.done:
	case <-time.After(within):
		_ = c.cmd.Process.Kill()
		<-c.done
		return fmt.Errorf("%s did not end within %s", c.name, within)
	}
	if code := c.cmd.ProcessState.ExitCode(); code != 0 {
		return fmt.Errorf("%s ended with %d; see %s", c.name, code, c.out)
	}
	return nil
}

// A role is what this program does in a process of its own, until its input ends.
const (
	rolePrefix   = "role:"
	roleHandler  = rolePrefix + "handler"
	roleProducer = rolePrefix + "producer"
)

// play plays a role.
func play(role string, args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("wants one argument")
	}
	switch role {
	case roleHandler:
		var p handlerPart
		if err := json.Unmarshal([]byte(args[0]), &p); err != nil {
			return err
		}
		return p.play()
	case roleProducer:
		var p producerPart
		if err := json.Unmarshal([]byte(args[0]), &p); err != nil {
			return err
		}
		return p.play()
	}
	return fmt.Errorf("unknown")
}

// cast starts this program in a role.
func cast(name, out, role string, part any) (*child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	b, err := json.Marshal(part)
	if err != nil {
		return nil, err
	}
	return launch(name, out, "ready ", nil, self, role, string(b))
}

// curtain is closed when the input ends.
func curtain() <-chan struct{} {
	end := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		close(end)
	}()
	return end
}
