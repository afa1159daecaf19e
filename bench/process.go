package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// child is a process of the benchmark.
type child struct {
	cmd   *exec.Cmd
	stdin io.WriteCloser
	lines chan string // of its standard output
}

// launch starts a program; it ends with ctx. Programs of ours end with their standard input, too.
func launch(ctx context.Context, env []string, path string, args ...string) (*child, error) {
	c := &child{cmd: exec.CommandContext(ctx, path, args...), lines: make(chan string, 64)}
	c.cmd.Env = append(os.Environ(), env...)
	c.cmd.Stderr = os.Stderr
	stdout, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if c.stdin, err = c.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if err := c.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		defer close(c.lines)
		for s := bufio.NewScanner(stdout); s.Scan(); {
			c.lines <- s.Text()
		}
	}()
	return c, nil
}

// line waits for the next line that has the prefix, and returns what follows.
func (c *child) line(prefix string) (string, error) {
	timeout := time.After(30 * time.Second)
	for {
		select {
		case s, ok := <-c.lines:
			if !ok {
				return "", fmt.Errorf("%s ended", c.cmd.Path)
			}
			if rest, ok := strings.CutPrefix(s, prefix); ok {
				return rest, nil
			}
		case <-timeout:
			return "", fmt.Errorf("%s did not say %q", c.cmd.Path, prefix)
		}
	}
}

// tell writes a line to its standard input.
func (c *child) tell(s string) error {
	_, err := io.WriteString(c.stdin, s+"\n")
	return err
}

// close ends the process and waits for it.
func (c *child) close() {
	_ = c.stdin.Close()
	_ = c.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	done := make(chan struct{})
	go func() {
		for range c.lines { // else it might block on writing
		}
		_ = c.cmd.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		_ = c.cmd.Process.Kill()
		<-done
	}
}

func (c *child) pid() int { return c.cmd.Process.Pid }

// tick is the unit of CPU time in /proc: sysconf(_SC_CLK_TCK) is 100 on every Linux that Go knows.
const tick = 10 * time.Millisecond

// cpuTime is what processes have used so far, by their own accounting (proc_pid_stat(5), fields 14 and 15).
func cpuTime(pids ...int) (time.Duration, error) {
	var sum time.Duration
	for _, pid := range pids {
		b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
		if err != nil {
			return 0, err
		}
		_, rest, _ := strings.Cut(string(b), ") ") // the name may hold spaces
		f := strings.Fields(rest)
		if len(f) < 13 {
			return 0, errors.New("unexpected /proc/pid/stat")
		}
		user, err1 := strconv.Atoi(f[11])
		system, err2 := strconv.Atoi(f[12])
		if err := errors.Join(err1, err2); err != nil {
			return 0, err
		}
		sum += time.Duration(user+system) * tick
	}
	return sum, nil
}

// residentMB is the resident memory of a process, in MB; peakMB the most it was.
func residentMB(pid int) (float64, error) { return statusMB(pid, "VmRSS:") }
func peakMB(pid int) (float64, error)     { return statusMB(pid, "VmHWM:") }

func statusMB(pid int, field string) (float64, error) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, field); ok {
			kb, err := strconv.Atoi(strings.Fields(rest)[0])
			return float64(kb) / 1024, err
		}
	}
	return 0, errors.New("no " + field)
}
