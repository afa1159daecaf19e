package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/deetoo/deetoo/chaos/verify"
)

// dispatcher is one of the built dispatchers: its process comes and goes, its
// address and its way to Redis stay.
type dispatcher struct {
	name, addr, redis string
	f                 *field
	busy              sync.Mutex // held while a fault is made of it
	mu                sync.Mutex
	proc              *child
}

func newDispatcher(f *field, name, redis string) (*dispatcher, error) {
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	return &dispatcher{f: f, name: name, addr: addr, redis: redis}, nil
}

// freeAddr finds a free port below the range that systems take for outgoing
// connections, so that who is away for a moment gets it again.
func freeAddr() (string, error) {
	const lowest, highest, tries = 10_240, 32_000, 1000
	for range tries {
		l, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(lowest+rand.IntN(highest-lowest)))
		if err == nil {
			return l.Addr().String(), l.Close()
		}
	}
	return "", errors.New("there is no free port")
}

func (d *dispatcher) url() string { return "http://" + d.addr }

// env is the environment of the program.
func (d *dispatcher) env() []string {
	return []string{
		"DEETOO_LISTEN=" + d.addr, "DEETOO_NAME=" + d.name, "DEETOO_ALLOW_PRIVATE_TARGETS=true", "DEETOO_LOG_LEVEL=info",
		"DEETOO_DATA_DIR=" + filepath.Join(d.f.dir, d.name), "DEETOO_JWT_SECRET=" + secret, "DEETOO_REDIS_URL=" + d.redis,
		"DEETOO_LEASE=" + d.f.lease.String(), "DEETOO_DRAIN_TIMEOUT=1m",
	}
}

// start starts the process and waits until it is alive; Redis may be away.
func (d *dispatcher) start() error {
	proc, err := launch(d.name, filepath.Join(d.f.dir, d.name+".log"), "  API       ", d.env(), d.f.program, "serve")
	if err != nil {
		return err
	}
	if _, err := proc.await(30 * time.Second); err != nil {
		return err
	}
	d.mu.Lock()
	d.proc = proc
	d.mu.Unlock()
	return nil
}

func (d *dispatcher) process() *child {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.proc
}

// kill ends it as a crash does.
func (d *dispatcher) kill() error { return d.process().end(syscall.SIGKILL, 10*time.Second) }

// stop ends it as an operator does.
func (d *dispatcher) stop() error {
	p := d.process()
	if err := p.end(syscall.SIGTERM, 90*time.Second); err != nil {
		return err
	}
	if code := p.cmd.ProcessState.ExitCode(); code != 0 {
		return fmt.Errorf("%s ended with %d after SIGTERM; see %s", d.name, code, p.out)
	}
	return nil
}

// sample is what it uses now, by /proc (proc(5)).
func (d *dispatcher) sample() (s verify.Sample, ok bool) {
	p := d.process()
	if p == nil {
		return s, false
	}
	dir := "/proc/" + strconv.Itoa(p.cmd.Process.Pid)
	files, err := os.ReadDir(dir + "/fd")
	if err != nil {
		return s, false // it has just ended
	}
	b, err := os.ReadFile(dir + "/statm")
	fields := strings.Fields(string(b))
	if err != nil || len(fields) < 2 {
		return s, false
	}
	pages, err := strconv.ParseInt(fields[1], 10, 64)
	if err != nil {
		return s, false
	}
	return verify.Sample{By: d.addr, At: time.Now(), Resident: pages * int64(os.Getpagesize()), Descriptors: len(files)}, true
}

// call makes a request of the API and reads its answer into out; an answer but 2xx is an error.
func (d *dispatcher) call(method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequest(method, d.url()+path, body)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+d.f.token)
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := d.f.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("%s %s: %s %s", method, path, resp.Status, b)
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(b, out)
}

// ready waits until it is.
func (d *dispatcher) ready() error { return d.insist("GET", "/readyz") }

// insist makes a request again until it is answered with 2xx, for half a minute.
func (d *dispatcher) insist(method, path string) error {
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		err := d.call(method, path, nil, nil)
		if err == nil || time.Now().After(end) {
			return err
		}
	}
}
