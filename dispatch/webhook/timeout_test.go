package webhook

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/deetoo/deetoo/dispatch"
)

// simulate runs one attempt on the fake clock against a handler on the other
// end of a pipe, and returns what came of it and how long it took.
func simulate(t *testing.T, ctx func() (context.Context, context.CancelFunc), timeout time.Duration, answer func(net.Conn)) (out dispatch.Outcome, took time.Duration) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		d, err := New(Options{Types: typeMap{}})
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		var handlers sync.WaitGroup
		d.transport.DialContext = func(context.Context, string, string) (net.Conn, error) {
			ours, theirs := net.Pipe()
			handlers.Go(func() {
				defer theirs.Close()
				if _, err := readHead(theirs); err == nil {
					answer(theirs)
				}
			})
			return ours, nil
		}
		typ := testType("http://target.example")
		typ.Timeout = timeout
		c, cancel := ctx()
		defer cancel()
		start := time.Now()
		out, _ = d.Send(c, typ, testLease())
		took = time.Since(start)
		cancel()
		d.Close()
		handlers.Wait()
	})
	return out, took
}

func plainContext() (context.Context, context.CancelFunc) {
	return context.WithCancel(context.Background())
}

func silent(c net.Conn) { _, _ = io.Copy(io.Discard, c) }

// drip sends the head at once and then a byte a second.
func drip(head string) func(net.Conn) {
	return func(c net.Conn) {
		for _, err := io.WriteString(c, head); err == nil; _, err = c.Write([]byte("x")) {
			time.Sleep(time.Second)
		}
	}
}

func TestTimeouts(t *testing.T) {
	errLost := errors.New("the lease is lost")
	const head = "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"
	for name, tc := range map[string]struct {
		ctx     func() (context.Context, context.CancelFunc)
		timeout time.Duration
		answer  func(net.Conn)
		took    time.Duration
		want    dispatch.Outcome
	}{
		"silent": {plainContext, 30 * time.Second, silent, 30 * time.Second,
			dispatch.Outcome{Err: "timeout after 30s"}},
		"below a second": {plainContext, 250 * time.Millisecond, silent, 250 * time.Millisecond,
			dispatch.Outcome{Err: "timeout after 250ms"}},
		"dripping head": {plainContext, 30 * time.Second, drip("HTTP/1.1 2"), 30 * time.Second,
			dispatch.Outcome{Err: "timeout after 30s"}},
		"dripping body": {plainContext, 30500 * time.Millisecond, drip(head), 30500 * time.Millisecond,
			dispatch.Outcome{Status: 200, Excerpt: strings.Repeat("x", 30), Err: "timeout after 30.5s, after 30 bytes of the answer (HTTP 200 OK)"}},
		"dripping failure": {plainContext, 2500 * time.Millisecond, drip(strings.Replace(head, "200 OK", "410 x", 1)), 2500 * time.Millisecond,
			dispatch.Outcome{Verdict: dispatch.Pause, Status: 410, Excerpt: "xx", Err: "HTTP 410 Gone: the endpoint no longer exists"}},
		"slow but in time": {plainContext, 30 * time.Second, func(c net.Conn) {
			time.Sleep(29 * time.Second)
			_, _ = io.WriteString(c, "HTTP/1.1 204 x\r\n\r\n")
		}, 29 * time.Second, dispatch.Outcome{Verdict: dispatch.Done, Status: 204}},
		"deadline of the caller": {func() (context.Context, context.CancelFunc) {
			return context.WithTimeout(context.Background(), 10*time.Second)
		}, 30 * time.Second, silent, 10 * time.Second, dispatch.Outcome{Err: "timeout after 10s"}},
		"cancelled": {cancelAfter(5*time.Second, nil), 30 * time.Second, silent, 5 * time.Second,
			dispatch.Outcome{Verdict: dispatch.Release, Err: "called off"}},
		"cancelled with a cause": {cancelAfter(5*time.Second, errLost), 30 * time.Second, silent, 5 * time.Second,
			dispatch.Outcome{Verdict: dispatch.Release, Err: "called off: the lease is lost"}},
		"cancelled in the body": {cancelAfter(1500*time.Millisecond, nil), 30 * time.Second, drip(head), 1500 * time.Millisecond,
			dispatch.Outcome{Verdict: dispatch.Release, Status: 200, Excerpt: "x", Err: "called off, after 1 bytes of the answer (HTTP 200 OK)"}},
		"cancelled before": {cancelAfter(0, nil), 30 * time.Second, silent, 0,
			dispatch.Outcome{Verdict: dispatch.Release, Err: "called off"}},
		"deadline with a cause": {func() (context.Context, context.CancelFunc) {
			return context.WithTimeoutCause(context.Background(), 10*time.Second, errLost)
		}, 30 * time.Second, silent, 10 * time.Second, dispatch.Outcome{Verdict: dispatch.Release, Err: "called off: the lease is lost"}},
	} {
		t.Run(name, func(t *testing.T) {
			out, took := simulate(t, tc.ctx, tc.timeout, tc.answer)
			if out.Verdict != tc.want.Verdict || out.Status != tc.want.Status || out.Err != tc.want.Err || out.Excerpt != tc.want.Excerpt || out.Result != nil {
				t.Errorf("got %+v, want %+v", out, tc.want)
			}
			if took != tc.took {
				t.Errorf("took %v, want %v", took, tc.took)
			}
		})
	}
}

func cancelAfter(d time.Duration, cause error) func() (context.Context, context.CancelFunc) {
	return func() (context.Context, context.CancelFunc) {
		ctx, cancel := context.WithCancelCause(context.Background())
		if d == 0 {
			cancel(cause)
		}
		timer := time.AfterFunc(d, func() { cancel(cause) })
		return ctx, func() { timer.Stop(); cancel(nil) }
	}
}

// Only a refused dial is repeated, once, within the attempt.
func TestDialsAreRepeatedOnlyIfRefused(t *testing.T) {
	dialError := func(err error) error { return &net.OpError{Op: "dial", Net: "tcp", Err: err} }
	for name, tc := range map[string]struct {
		errs  []error // of the dials, in order
		dials int
		want  dispatch.Outcome
	}{
		"refused":          {[]error{dialError(syscall.ECONNREFUSED), dialError(syscall.ECONNREFUSED), nil}, 2, dispatch.Outcome{Err: "connection refused"}},
		"refused once":     {[]error{dialError(syscall.ECONNREFUSED), nil}, 2, dispatch.Outcome{Verdict: dispatch.Done, Status: 204}},
		"unreachable":      {[]error{dialError(syscall.EHOSTUNREACH), nil}, 1, dispatch.Outcome{Err: "no route to host"}},
		"network is down":  {[]error{dialError(syscall.ENETUNREACH), nil}, 1, dispatch.Outcome{Err: "network unreachable"}},
		"timeout":          {[]error{dialError(context.DeadlineExceeded), nil}, 1, dispatch.Outcome{Err: "timeout connecting"}},
		"out of files":     {[]error{dialError(syscall.EMFILE), nil}, 1, dispatch.Outcome{Err: "the dispatcher has too many open files"}},
		"anything":         {[]error{errors.New(`odd "CANARY \" CANARY" thing`), nil}, 1, dispatch.Outcome{Err: `the request failed: odd "…" thing`}},
		"refused by guard": {[]error{dialError(newGuard(Options{}).control("tcp4", "127.0.0.1:80", nil)), nil}, 1, dispatch.Outcome{Err: "the target's address 127.0.0.1 is loopback: refused without --allow-private-targets"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d, err := New(Options{Types: typeMap{}})
				if err != nil {
					t.Fatal(err)
				}
				dials := 0
				d.transport.DialContext = func(context.Context, string, string) (net.Conn, error) {
					dials++
					if err := tc.errs[dials-1]; err != nil {
						return nil, err
					}
					ours, theirs := net.Pipe()
					go func() {
						defer theirs.Close()
						if _, err := readHead(theirs); err == nil {
							_, _ = io.WriteString(theirs, "HTTP/1.1 204 x\r\n\r\n")
						}
					}()
					return ours, nil
				}
				start := time.Now()
				out, _ := d.Send(context.Background(), testType("http://target.example"), testLease())
				if out.Verdict != tc.want.Verdict || out.Status != tc.want.Status || out.Err != tc.want.Err {
					t.Errorf("got %+v", out)
				}
				if took := time.Since(start); dials != tc.dials || took > refusedWaitMax {
					t.Errorf("%d dials in %v", dials, took)
				}
				d.Close()
			})
		})
	}
}
