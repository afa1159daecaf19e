package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/hibiken/asynq"
	"golang.org/x/sync/errgroup"
)

// job is one to be pushed.
type job struct {
	// stamp is put into the payload, in Unix ns.
	stamp int64
	// at is when it is due; zero: now.
	at time.Time
}

// system is what is measured. It takes jobs before it begins to work on them.
type system interface {
	// load pushes many jobs the quickest way there is.
	load(jobs []job) error
	// push pushes one, and may be called concurrently.
	push(j job) error
	begin() error
	pids() []int
	close()
}

// The systems by name.
const (
	deetooName     = "deetoo"
	otherName      = "deetoo, other build" // see the flag -against
	asynqName      = "asynq"
	asynqTunedName = "asynq, tuned"
	limitName      = "limit, net/http"
	limitFastName  = "limit, fasthttp"
)

// open starts a system that is not yet working, on an empty Redis.
func (l *lab) open(name string) (system, error) {
	if err := l.clear(); err != nil {
		return nil, err
	}
	switch name {
	case deetooName:
		return openDeetoo(l, false)
	case otherName:
		other := *l
		other.program, other.profile = l.against, ""
		return openDeetoo(&other, false)
	case asynqName, asynqTunedName:
		return openAsynq(l, name == asynqTunedName)
	case limitName, limitFastName:
		return openLimit(l, name == limitFastName)
	}
	return nil, fmt.Errorf("there is no system %q", name)
}

func (l *lab) role(role string, p part) (*child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p.Redis, p.Target = l.redis.Addr(), l.target
	arg, err := json.Marshal(p)
	if err != nil {
		return nil, err
	}
	c, err := launch(l.ctx, nil, self, role, string(arg))
	if err != nil {
		return nil, err
	}
	if _, err := c.line("ready"); err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

type asynqSystem struct {
	worker *child
	client *asynq.Client
}

func openAsynq(l *lab, tuned bool) (system, error) {
	worker, err := l.role(roleAsynq, part{Tuned: tuned})
	if err != nil {
		return nil, err
	}
	return &asynqSystem{worker, asynq.NewClient(asynq.RedisClientOpt{Addr: l.redis.Addr(), PoolSize: concurrency})}, nil
}

func (s *asynqSystem) load(jobs []job) error { return pushAll(s, jobs) }

func (s *asynqSystem) push(j job) error {
	opts := []asynq.Option{asynq.Retention(time.Hour)} // as DeeToo keeps what is finished
	if !j.at.IsZero() {
		opts = append(opts, asynq.ProcessAt(j.at))
	}
	_, err := s.client.Enqueue(asynq.NewTask(asynqTask, payload(j.stamp)), opts...)
	return err
}

func (s *asynqSystem) begin() error { return s.worker.tell("go") }
func (s *asynqSystem) pids() []int  { return []int{s.worker.pid()} }
func (s *asynqSystem) close() {
	_ = s.client.Close()
	s.worker.close()
}

// pushAll pushes jobs one by one on as many connections as there are slots.
func pushAll(s system, jobs []job) error {
	var g errgroup.Group
	for i := range concurrency {
		g.Go(func() error {
			for k := i; k < len(jobs); k += concurrency {
				if err := s.push(jobs[k]); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return g.Wait()
}

type limitSystem struct {
	l      *lab
	worker *child
}

func openLimit(l *lab, fast bool) (system, error) {
	worker, err := l.role(roleLimit, part{Fast: fast})
	if err != nil {
		return nil, err
	}
	return &limitSystem{l, worker}, nil
}

func (s *limitSystem) load(jobs []job) error {
	ctx := context.Background()
	pipe := s.l.redis.Client().Pipeline()
	keys := limitKeys()
	for i, j := range jobs {
		id := strconv.Itoa(1e9 + i)
		pipe.HSet(ctx, keys[1], id, payload(j.stamp))
		pipe.RPush(ctx, keys[0], id)
		if pipe.Len() >= 1000 || i == len(jobs)-1 {
			if _, err := pipe.Exec(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *limitSystem) push(j job) error { return s.load([]job{j}) }
func (s *limitSystem) begin() error     { return s.worker.tell("go") }
func (s *limitSystem) pids() []int      { return []int{s.worker.pid()} }
func (s *limitSystem) close()           { s.worker.close() }

// ndjson writes jobs as the REST API takes them, one a line.
func ndjson(jobs []job) string {
	var b strings.Builder
	for _, j := range jobs {
		b.Write(envelope(j))
		b.WriteByte('\n')
	}
	return b.String()
}

// array writes jobs as a JSON array.
func array(jobs []job) string {
	var b strings.Builder
	for i, j := range jobs {
		b.WriteByte("[,"[min(i, 1)])
		b.Write(envelope(j))
	}
	return b.String() + "]"
}

func envelope(j job) []byte {
	b := []byte(`{`)
	if !j.at.IsZero() {
		b = strconv.AppendInt(append(b, `"when":`...), j.at.UnixMilli(), 10)
		b = append(b, ',')
	}
	b = append(b, `"data":`...)
	b = append(b, payload(j.stamp)...)
	return append(b, '}')
}
