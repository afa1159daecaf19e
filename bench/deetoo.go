package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/pprof"
	"strings"
	"syscall"
	"time"

	"github.com/valyala/fasthttp"
	"golang.org/x/sync/errgroup"

	"github.com/deetoo/deetoo"
	"github.com/deetoo/deetoo/auth"
)

// secret signs the tokens.
const secret = "bench-secret-of-at-least-thirty-two-bytes"

// typePath is the job type all measures use.
const typePath = "/v1/types/bench"

// deetooSystem is the built dispatcher, spoken to over REST.
type deetooSystem struct {
	worker *child
	url    string
	client *fasthttp.Client
	header string
}

// openDeetoo starts a dispatcher on the Redis, or on an embedded store, with the type registered and paused.
func openDeetoo(l *lab, embedded bool) (*deetooSystem, error) {
	dir, err := os.MkdirTemp(l.dir, "data-")
	if err != nil {
		return nil, err
	}
	env := []string{
		"DEETOO_LISTEN=127.0.0.1:0", "DEETOO_ALLOW_PRIVATE_TARGETS=true", "DEETOO_LOG_LEVEL=error",
		"DEETOO_DATA_DIR=" + dir, "DEETOO_JWT_SECRET=" + secret, "REDIS_URL=",
	}
	if !embedded {
		env = append(env, "REDIS_URL="+l.redis.URL())
	}
	program, args := l.program, []string{"serve"}
	if l.profile != "" {
		file, err := filepath.Abs(l.profile)
		if err != nil {
			return nil, err
		}
		if program, err = os.Executable(); err != nil {
			return nil, err
		}
		args, env = []string{roleProfiled}, append(env, profileVar+"="+file)
	}
	worker, err := launch(l.ctx, env, program, args...)
	if err != nil {
		return nil, err
	}
	s := &deetooSystem{worker: worker, client: &fasthttp.Client{MaxConnsPerHost: 2 * concurrency, MaxConnWaitTimeout: 10 * time.Second}}
	if err := s.register(l); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *deetooSystem) register(l *lab) error {
	api, err := s.worker.line("  API       ")
	if err != nil {
		return err
	}
	s.url, _, _ = strings.Cut(api, "/v1")
	token, err := auth.Mint([]byte(secret), auth.MintOptions{Scopes: []auth.Scope{auth.Admin}, TTL: time.Hour})
	if err != nil {
		return err
	}
	s.header = "Bearer " + token
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if err = s.call("GET", "/readyz", "", ""); err == nil {
			break
		}
		if time.Now().After(end) {
			return err
		}
	}
	return s.call("PUT", typePath, jsonType, fmt.Sprintf(`{"target":%q,"concurrency":%d,"paused":true,"retention":{"count":1000000}}`, l.target, concurrency))
}

const (
	jsonType   = "application/json"
	ndjsonType = "application/x-ndjson"
)

// call is one request; another answer than 2xx is an error.
func (s *deetooSystem) call(method, path, media, body string) error {
	req, resp := fasthttp.AcquireRequest(), fasthttp.AcquireResponse()
	defer fasthttp.ReleaseRequest(req)
	defer fasthttp.ReleaseResponse(resp)
	req.SetRequestURI(s.url + path)
	req.Header.SetMethod(method)
	req.Header.Set("Authorization", s.header)
	if media != "" {
		req.Header.SetContentType(media)
		req.SetBodyString(body)
	}
	if err := s.client.Do(req, resp); err != nil {
		return err
	}
	if resp.StatusCode()/100 != 2 || resp.StatusCode() == 207 {
		return fmt.Errorf("%s %s: %d %s", method, path, resp.StatusCode(), resp.Body())
	}
	return nil
}

const (
	// bulk is how many jobs one request of many has.
	bulk = 1000
	// bulkConnections is how many connections such requests are sent on.
	bulkConnections = 4
)

// producer connects for requests that push what body holds.
func (s *deetooSystem) producer(connections int, media string, body []byte) (*producer, error) {
	host := strings.TrimPrefix(s.url, "http://")
	head := fmt.Sprintf("POST %s/jobs HTTP/1.1\r\nHost: %s\r\nAuthorization: %s\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n",
		typePath, host, s.header, media, len(body))
	return newProducer(host, connections, append([]byte(head), body...))
}

// batches pushes jobs by a bulk a request, on four connections.
func (s *deetooSystem) batches(media string, write func([]job) string, jobs []job) error {
	var g errgroup.Group
	g.SetLimit(bulkConnections)
	for len(jobs) > 0 {
		n := min(len(jobs), bulk)
		some := jobs[:n]
		g.Go(func() error { return s.call("POST", typePath+"/jobs", media, write(some)) })
		jobs = jobs[n:]
	}
	return g.Wait()
}

func (s *deetooSystem) load(jobs []job) error { return s.batches(ndjsonType, ndjson, jobs) }

func (s *deetooSystem) push(j job) error {
	return s.call("POST", typePath+"/jobs", jsonType, string(envelope(j)))
}

func (s *deetooSystem) begin() error { return s.call("POST", typePath+"/resume", "", "") }
func (s *deetooSystem) pids() []int  { return []int{s.worker.pid()} }
func (s *deetooSystem) close()       { s.worker.close() }

// profileVar names the file that a profiled dispatcher writes its CPU profile to.
const profileVar = "DEETOO_BENCH_PROFILE"

// playDispatcher is the dispatcher as a library, under a profiler, until SIGTERM or the end of its input.
func playDispatcher() error {
	f, err := os.Create(os.Getenv(profileVar))
	if err != nil {
		return err
	}
	d := deetoo.New(deetoo.WithOptions(deetoo.Options{
		RedisURL: os.Getenv("REDIS_URL"), DataDir: os.Getenv("DEETOO_DATA_DIR"), Listen: os.Getenv("DEETOO_LISTEN"),
		JWTSecret: []byte(secret), AllowPrivateTargets: true,
		Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
	}))
	if err := d.Start(context.Background()); err != nil {
		return err
	}
	fmt.Printf("  API       http://%s/v1\n", d.Addr())
	signal.Ignore(syscall.SIGTERM) // the end of its input is what ends it
	if err := pprof.StartCPUProfile(f); err != nil {
		return err
	}
	<-stage()
	pprof.StopCPUProfile()
	return errors.Join(f.Close(), d.Shutdown(context.Background()))
}
