package examples_test

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/deetoo/deetoo/dispatch/webhook"
)

// testDrain: on SIGTERM a job that has begun is finished and answered, and then
// the process ends.
func testDrain(t *testing.T, p *process, secret string) {
	const first, rest = `{"to":"leia`, `@example.org"}`
	c, err := net.Dial("tcp", p.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	now := time.Now()
	sig, err := webhook.Sign(secret, "email/1", now, []byte(first+rest))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Fprintf(c, "POST /email HTTP/1.1\r\nhost: %s\r\ncontent-length: %d\r\nwebhook-id: email/1\r\nwebhook-timestamp: %d\r\nwebhook-signature: %s\r\n\r\n%s",
		p.addr, len(first+rest), now.Unix(), sig, first); err != nil {
		t.Fatal(err)
	}
	waitRead(t, c)
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	waitRefused(t, p)
	if _, err := io.WriteString(c, rest); err != nil {
		t.Fatal(err)
	}
	if err := c.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatalf("%v\n%s", err, p.output)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != 200 || !strings.Contains(string(body), "leia@example.org") {
		t.Errorf("%s %s %v", resp.Status, body, err)
	}
	select {
	case <-p.exited:
	case <-time.After(10 * time.Second):
		t.Errorf("it still runs:\n%s", p.output)
	}
}

// waitRead waits until the handler has read all that was sent to it: until the
// kernel has the connection in the hands of a process and nothing in its queue.
func waitRead(t *testing.T, c net.Conn) {
	t.Helper()
	local, remote := procAddr(c.RemoteAddr()), procAddr(c.LocalAddr()) // as the handler sees it
	deadline := time.Now().Add(10 * time.Second)
	for time.Now().Before(deadline) {
		// Java listens on IPv6 sockets for IPv4 too, which are in the other table.
		for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
			b, err := os.ReadFile(table)
			if err != nil {
				t.Fatal(err)
			}
			for line := range strings.Lines(string(b)) {
				// sl local remote st tx:rx tr:when retrnsmt uid timeout inode …
				f := strings.Fields(line)
				if len(f) > 9 && strings.HasSuffix(f[1], local) && strings.HasSuffix(f[2], remote) &&
					strings.HasSuffix(f[4], ":00000000") && f[9] != "0" {
					return
				}
			}
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatal("the handler does not read")
}

// waitRefused waits until the handler listens no longer.
func waitRefused(t *testing.T, p *process) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for time.Now().Before(deadline) {
		c, err := net.Dial("tcp", p.addr)
		if err != nil {
			return
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatalf("the handler still listens:\n%s", p.output)
}

// procAddr is an IPv4 address as /proc/net/tcp has it, and the end of it as
// /proc/net/tcp6 has it.
func procAddr(a net.Addr) string {
	tcp := a.(*net.TCPAddr)
	ip := tcp.IP.To4()
	return strings.ToUpper(hex.EncodeToString([]byte{ip[3], ip[2], ip[1], ip[0]})) + fmt.Sprintf(":%04X", tcp.Port)
}
