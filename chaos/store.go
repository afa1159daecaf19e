package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/deetoo/deetoo/internal/redistest"
)

// store is the Redis of a round.
type store interface {
	// url is where the nth dispatcher finds it.
	url(n int) string
	// direct is where fsck finds it.
	direct() string
	close() error
}

// single is one redis-server.
type single struct {
	*redistest.Server
	busy sync.Mutex // held while a fault is made of it
	// forgets is how much of what it answered may be gone after a crash.
	forgets time.Duration
}

// openSingle starts a redis-server with an AOF. It is not rewritten: that is not what is tested here.
func openSingle(fsync string) func() (store, error) {
	return func() (store, error) {
		s, err := redistest.Start(redistest.Options{Args: []string{"--appendonly", "yes", "--appendfsync", fsync, "--auto-aof-rewrite-percentage", "0"}})
		if err != nil {
			return nil, err
		}
		single := &single{Server: s}
		if fsync != "always" {
			// Redis itself puts writes off for up to 2 s while a sync is under way ("appendfsync everysec" in redis.conf).
			single.forgets = 3 * time.Second
		}
		return single, nil
	}
}

func (s *single) url(int) string { return s.URL() }
func (s *single) direct() string { return s.URL() }
func (s *single) close() error   { return s.Close() }

// aof is the file that is written to at present.
func (s *single) aof() (string, error) {
	files, err := filepath.Glob(filepath.Join(s.Dir(), "appendonlydir", "*.incr.aof"))
	if err != nil || len(files) != 1 {
		return "", fmt.Errorf("%d AOF files in %s: %v", len(files), s.Dir(), err)
	}
	return files[0], nil
}

// cut ends the server as a power cut does: what is not surely on disk is gone, or
// there in part. With fsync always everything answered is; else what was there a while ago.
func (s *single) cut(away time.Duration) error {
	file, err := s.aof()
	if err != nil {
		return err
	}
	before, err := os.Stat(file)
	if err != nil {
		return err
	}
	if s.forgets > 0 {
		time.Sleep(s.forgets - 500*time.Millisecond)
	}
	if err := s.Kill(); err != nil {
		return err
	}
	if s.forgets > 0 {
		err = os.Truncate(file, before.Size())
	} else {
		err = appendTo(file, "*3\r\n$4\r\nHSET\r\n$2")
	}
	time.Sleep(away)
	return errors.Join(err, s.Start())
}

func appendTo(file, text string) error {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}

// crash ends the server by SIGKILL, and starts it again after a while.
func (s *single) crash(away time.Duration) error {
	err := s.Kill()
	time.Sleep(away)
	return errors.Join(err, s.Start())
}

// restart ends the server by SIGTERM, and starts it again after a while.
func (s *single) restart(away time.Duration) error {
	err := s.Stop()
	time.Sleep(away)
	return errors.Join(err, s.Start())
}

// stall stops the server for a while.
func (s *single) stall(length time.Duration) error {
	err := s.Signal(syscall.SIGSTOP)
	time.Sleep(length)
	return errors.Join(err, s.Signal(syscall.SIGCONT))
}

// fill makes the server full for a while.
func (s *single) fill(length time.Duration) error {
	ctx := context.Background()
	err := s.Client().ConfigSet(ctx, "maxmemory", "1").Err()
	time.Sleep(length)
	return errors.Join(err, s.Client().ConfigSet(ctx, "maxmemory", "0").Err())
}

// flush makes the server forget all scripts.
func (s *single) flush() error { return s.Client().ScriptFlush(context.Background()).Err() }
