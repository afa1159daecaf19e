package http1

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// Servers that people have, with the habits they have. Each closes connections
// after a few requests, as an impatient configuration does.
func TestServersOfOthers(t *testing.T) {
	for name, s := range map[string]struct {
		file, text string
		command    func(file, addr string) *exec.Cmd
	}{
		"nginx": {file: "nginx.conf", text: nginxConf, command: func(file, addr string) *exec.Cmd {
			nginx, err := exec.LookPath("nginx")
			if err != nil {
				nginx = "/usr/sbin/nginx" // which few have in their path
			}
			return exec.Command(nginx, "-p", filepath.Dir(file), "-c", file, "-e", "stderr")
		}},
		"Node": {file: "server.js", text: nodeServer, command: func(file, addr string) *exec.Cmd {
			return exec.Command("node", file, addr)
		}},
		"Python": {file: "server.py", text: pythonServer, command: func(file, addr string) *exec.Cmd {
			return exec.Command("python3", file, addr)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			addr := start(t, s.file, s.text, s.command)
			url := "http://" + addr
			tr := newTransport(t)
			// One after the other: the server's last answer on a connection says so, or it is seen to be closed.
			for i := range 60 {
				resp, body, err := post(t, t.Context(), tr, url+"/length", "{}")
				if err != nil || resp.StatusCode != 200 || body != "ok" {
					t.Fatalf("request %d: %v, %q, %v", i, resp, body, err)
				}
			}
			var all sync.WaitGroup
			for range 8 {
				all.Go(func() {
					for range 40 {
						resp, body, err := post(t, t.Context(), tr, url+"/chunks", strings.Repeat("x", 1000))
						if err != nil || resp.StatusCode != 200 || body != strings.Repeat("0123456789", 1000) {
							t.Errorf("%v, %d bytes, %v", resp, len(body), err)
							return
						}
					}
				})
			}
			all.Wait()
			if resp, body, err := post(t, t.Context(), tr, url+"/none", "{}"); err != nil || resp.StatusCode != 204 || body != "" {
				t.Errorf("%v, %q, %v", resp, body, err)
			}
			// Refused by its head: the answer counts, though the rest may not have been read.
			if resp, _, err := post(t, t.Context(), tr, url+"/large", strings.Repeat("x", 60<<10)); err != nil || resp.StatusCode != 413 {
				t.Errorf("%v, %v", resp, err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			if _, _, err := post(t, ctx, tr, url+"/slow", "{}"); err != context.DeadlineExceeded {
				t.Errorf("error %v", err)
			}
			if resp, _, err := post(t, t.Context(), tr, url+"/length", "{}"); err != nil || resp.StatusCode != 200 {
				t.Errorf("after that: %v, %v", resp, err)
			}
		})
	}
}

const nginxConf = `
daemon off; master_process off; pid nginx.pid; error_log stderr error; worker_processes 1;
events { worker_connections 256; }
http {
  access_log off; keepalive_requests 5; keepalive_timeout 2s; client_body_temp_path body; proxy_temp_path proxy;
  fastcgi_temp_path f; uwsgi_temp_path u; scgi_temp_path s;
  server {
    listen ADDRESS;
    location /length { return 200 ok; }
    location /chunks { proxy_pass http://ADDRESS/digits; proxy_method GET; proxy_pass_request_body off; proxy_set_header Content-Length ""; }
    location /digits { root .; default_type text/plain; ssi on; ssi_types *; }
    location /none { return 204; }
    location /large { client_max_body_size 1k; proxy_pass http://ADDRESS/length; }
    location /slow { limit_rate 100; proxy_pass http://ADDRESS/digits; proxy_method GET; proxy_pass_request_body off; proxy_set_header Content-Length ""; }
  }
}
`

const nodeServer = `
const http = require('http');
const [host, port] = process.argv[2].split(':');
const s = http.createServer((req, res) => {
  if (req.url === '/large') { res.writeHead(413, {Connection: 'close'}); return res.end('too large'); }
  let n = 0;
  req.on('data', d => n += d.length);
  req.on('end', () => {
    if (req.url === '/length') return res.writeHead(200, {'Content-Length': 2}).end('ok');
    if (req.url === '/none') return res.writeHead(204).end();
    if (req.url === '/slow') return;
    for (let i = 0; i < 1000; i++) res.write('0123456789');
    res.end();
  });
});
s.maxRequestsPerSocket = 5;
s.keepAliveTimeout = 2000;
s.listen(+port, host);
`

const pythonServer = `
import sys, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Handler(BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    served = 0

    def log_message(self, *args): pass

    def do_GET(self): self.do_POST()

    def do_POST(self):
        self.served += 1
        if self.path == '/large':
            self.rfile.read(1000)
            body, status = b'too large', 413
            self.close_connection = True
        else:
            self.rfile.read(int(self.headers.get('Content-Length', 0)))
            body, status = b'ok', 200
        if self.path == '/slow':
            time.sleep(1)
        if self.path == '/none':
            self.send_response(204)
            self.end_headers()
            return
        self.send_response(status)
        if self.served >= 5:
            self.send_header('Connection', 'close')
        if self.path == '/chunks':
            self.send_header('Transfer-Encoding', 'chunked')
            self.end_headers()
            for _ in range(10):
                self.wfile.write(b'3e8\r\n' + b'0123456789' * 100 + b'\r\n')
            self.wfile.write(b'0\r\n\r\n')
            return
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)

host, port = sys.argv[1].split(':')
ThreadingHTTPServer((host, int(port)), Handler).serve_forever()
`

// start runs a server of that text and waits until it answers.
func start(t *testing.T, file, text string, command func(file, addr string) *exec.Cmd) string {
	t.Helper()
	for range 5 { // another may be quicker on the port
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		addr := l.Addr().String()
		_ = l.Close()
		dir := t.TempDir()
		path := filepath.Join(dir, file)
		for path, text := range map[string]string{path: strings.ReplaceAll(text, "ADDRESS", addr), filepath.Join(dir, "digits"): strings.Repeat("0123456789", 1000)} {
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		cmd := command(path, addr)
		var said bytes.Buffer
		cmd.Stdout, cmd.Stderr = &said, &said
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		exited := make(chan struct{})
		go func() {
			_ = cmd.Wait()
			close(exited)
		}()
		t.Cleanup(func() {
			_ = cmd.Process.Kill()
			<-exited
		})
		if answers(addr, exited) {
			return addr
		}
		t.Logf("%s does not answer on %s: %s", file, addr, &said)
	}
	t.Fatal("the server does not start")
	return ""
}

func answers(addr string, exited <-chan struct{}) bool {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 5 * time.Second}
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		select {
		case <-exited:
			return false
		default:
		}
		if resp, err := client.Post("http://"+addr+"/length", "text/plain", strings.NewReader("{}")); err == nil {
			_, _ = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
			return true
		}
	}
	return false
}
