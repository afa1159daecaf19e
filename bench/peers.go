package main

import (
	"bytes"
	"context"
	_ "embed"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"github.com/valyala/fasthttp"
)

//go:embed limit.lua
var limitScript string

// poster sends a payload to the target; another answer than 2xx is an error.
type poster func(body []byte) error

func netPoster(target string) poster {
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: concurrency, DisableCompression: true}}
	return func(body []byte) error {
		resp, err := client.Post(target, "application/json", bytes.NewReader(body))
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			return err
		}
		if resp.StatusCode/100 != 2 {
			return fmt.Errorf("status %d", resp.StatusCode)
		}
		return nil
	}
}

func fastPoster(target string) poster {
	client := &fasthttp.Client{MaxConnsPerHost: concurrency}
	return func(body []byte) error {
		req, resp := fasthttp.AcquireRequest(), fasthttp.AcquireResponse()
		defer fasthttp.ReleaseRequest(req)
		defer fasthttp.ReleaseResponse(resp)
		req.SetRequestURI(target)
		req.Header.SetMethod("POST")
		req.Header.SetContentType("application/json")
		req.SetBodyRaw(body)
		if err := client.Do(req, resp); err != nil {
			return err
		}
		if resp.StatusCode()/100 != 2 {
			return fmt.Errorf("status %d", resp.StatusCode())
		}
		return nil
	}
}

const asynqTask = "bench"

// playAsynq is a worker of asynq whose handler POSTs.
func playAsynq(p part) error {
	c := asynq.Config{Concurrency: concurrency, LogLevel: asynq.FatalLevel}
	if p.Tuned {
		c.TaskCheckInterval, c.DelayedTaskCheckInterval = 5*time.Millisecond, 100*time.Millisecond
	}
	server := asynq.NewServer(asynq.RedisClientOpt{Addr: p.Redis, PoolSize: concurrency}, c)
	post := netPoster(p.Target)
	mux := asynq.NewServeMux()
	mux.HandleFunc(asynqTask, func(_ context.Context, t *asynq.Task) error { return post(t.Payload()) })
	end := stage()
	if err := server.Start(mux); err != nil {
		return err
	}
	<-end
	server.Shutdown()
	return nil
}

// Keys of the limit.
func limitKeys() []string { return []string{"limit:waiting", "limit:jobs", "limit:active"} }

// limitBatch is how many finished jobs the limit collects, if it can, before it settles them.
const limitBatch = 20

// playLimit claims and settles in batches, POSTs, and does nothing else: no
// retries, leases renewed, headers, signatures, timeouts.
func playLimit(p part) error {
	client := redis.NewClient(&redis.Options{Addr: p.Redis})
	script := redis.NewScript(limitScript)
	post := netPoster(p.Target)
	if p.Fast {
		post = fastPoster(p.Target)
	}
	type job struct {
		id   string
		data []byte
	}
	jobs, done := make(chan job, concurrency), make(chan string, concurrency)
	failed := make(chan error, 1)
	for range concurrency {
		go func() {
			for j := range jobs {
				if err := post(j.data); err != nil {
					select {
					case failed <- err:
					default:
					}
				}
				done <- j.id
			}
		}()
	}
	end := stage()
	var settle []any
	for running := 0; ; {
		args := append([]any{strconv.Itoa(concurrency - running)}, settle...)
		got, err := script.Run(context.Background(), client, limitKeys(), args...).StringSlice()
		if err != nil {
			return err
		}
		settle = settle[:0]
		for i := 0; i < len(got); i += 2 {
			jobs <- job{got[i], []byte(got[i+1])}
			running++
		}
		for len(settle) < min(limitBatch, max(running, 1)) {
			select {
			case id := <-done:
				running--
				settle = append(settle, id)
				continue
			case err := <-failed:
				return err
			case <-end:
				return nil
			case <-time.After(time.Millisecond): // nothing runs
			}
			break
		}
	}
}
