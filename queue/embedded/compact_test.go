package embedded

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// watched is a disk that asks before each operation whether it may succeed,
// and may do some of it before it fails.
type watched struct {
	disk
	mu  sync.Mutex
	ask func(op, path string) error
}

func (w *watched) set(ask func(op, path string) error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ask = ask
}

func (w *watched) may(op, path string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ask == nil {
		return nil
	}
	return w.ask(op, path)
}

func (w *watched) Open(name string, flag int) (file, error) {
	if err := w.may("open", name); err != nil {
		return nil, err
	}
	f, err := w.disk.Open(name, flag)
	return &watchedFile{file: f, fs: w, name: name}, err
}

func (w *watched) Rename(from, to string) error {
	if err := w.may("rename", to); err != nil {
		return err
	}
	return w.disk.Rename(from, to)
}

func (w *watched) SyncDir(dir string) error {
	if err := w.may("syncdir", dir); err != nil {
		return err
	}
	return w.disk.SyncDir(dir)
}

type watchedFile struct {
	file
	fs   *watched
	name string
}

func (f *watchedFile) Write(b []byte) (int, error) {
	if err := f.fs.may("write", f.name); err != nil {
		n, _ := f.file.Write(b[:len(b)/2])
		return n, err
	}
	return f.file.Write(b)
}

func (f *watchedFile) Sync() error {
	if err := f.fs.may("sync", f.name); err != nil {
		return err
	}
	return f.file.Sync()
}

func copyDir(t *testing.T, from string) string {
	t.Helper()
	to := t.TempDir()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	return to
}

func fill(t *testing.T, s *Store) {
	t.Helper()
	for i := range 30 {
		do(t, s.Client(), "HSET", fmt.Sprint("job", i), "data", strings.Repeat("x", 50), "n", i)
		do(t, s.Client(), "ZADD", "due", fmt.Sprint(0.1*float64(i)), fmt.Sprint("job", i))
	}
}

func TestCrashAtEachStepOfCompaction(t *testing.T) {
	dir := t.TempDir()
	w := &watched{}
	s := open(t, Options{Dir: dir, fs: w})
	var copies, steps []string
	for round := range 2 { // the second removes the snapshot of the first
		fill(t, s)
		do(t, s.Client(), "SET", "round", round)
		before := contents(s)
		w.set(func(op, path string) error {
			copies = append(copies, copyDir(t, dir))
			steps = append(steps, op+" "+filepath.Base(path))
			return nil
		})
		if err := s.keeper.compact(); err != nil {
			t.Fatal(err)
		}
		w.set(nil)
		copies, steps = append(copies, copyDir(t, dir)), append(steps, "end")
		for i, c := range copies {
			again := open(t, Options{Dir: c})
			if after := contents(again); !reflect.DeepEqual(before, after) {
				t.Errorf("round %d, crash before %q: before %q\nafter %q", round, steps[i], before, after)
			}
			do(t, again.Client(), "SET", "more", "v")
			crash(again)
			if got := len(contents(open(t, Options{Dir: c}))); got != len(before)+1 {
				t.Errorf("round %d, crash before %q, and then: %d commands, want %d", round, steps[i], got, len(before)+1)
			}
		}
		if len(copies) < 10 {
			t.Errorf("only %d steps: %q", len(copies), steps)
		}
		copies, steps = nil, nil
	}
	crash(s)
	left, err := filepath.Glob(filepath.Join(dir, "*-*"))
	if err != nil || len(left) != 2 {
		t.Errorf("left over: %q, %v", left, err)
	}
}

func TestFailureAtEachStepOfCompaction(t *testing.T) {
	failing := 1
	for more := true; more; failing++ {
		synctest.Test(t, func(t *testing.T) { more = failCompaction(t, failing) })
	}
	if failing < 10 {
		t.Errorf("compaction has only %d steps", failing)
	}
}

// failCompaction lets a step fail, and returns false when there are fewer.
func failCompaction(t *testing.T, failing int) bool {
	dir := t.TempDir()
	w := &watched{}
	s := open(t, Options{Dir: dir, fs: w})
	fill(t, s)
	before := contents(s)
	step, failed := 0, ""
	w.set(func(op, path string) error {
		if step++; step == failing {
			failed = op + " " + filepath.Base(path)
			return syscall.ENOSPC
		}
		return nil
	})
	err := s.keeper.compact()
	w.set(nil)
	if failed == "" {
		return false
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("%s failed, and compaction says %v", failed, err)
	}
	again := open(t, Options{Dir: copyDir(t, dir)})
	if after := contents(again); !reflect.DeepEqual(before, after) {
		t.Errorf("%s failed, then crash: before %q\nafter %q", failed, before, after)
	}
	crash(again)
	// Without a crash it goes on, by itself.
	time.Sleep(3 * retryEvery)
	do(t, s.Client(), "SET", "more", "v")
	crash(s)
	last := open(t, Options{Dir: dir})
	if got := len(contents(last)); got != len(before)+1 {
		t.Errorf("%s failed: %d commands, want %d", failed, got, len(before)+1)
	}
	crash(last)
	return true
}

func TestCompactionUnderConcurrentWriters(t *testing.T) {
	dir := t.TempDir()
	var log bytes.Buffer
	s := open(t, Options{Dir: dir, CompactCommands: 40, renewAfter: 100, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	var wg sync.WaitGroup
	for worker := range 8 {
		wg.Go(func() {
			for i := range 150 {
				if err := push.Run(bg, s.Client(), []string{"{jobs}"}, fmt.Sprint(worker, "-", i), "data").Err(); err != nil {
					t.Error(err)
				}
				if err := s.Client().Set(bg, fmt.Sprint("last", worker), i, time.Hour).Err(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	before := contents(s)
	crash(s)
	if n := strings.Count(log.String(), "compacted"); n < 2 {
		t.Errorf("%d compactions: %s", n, log.String())
	}
	s = open(t, Options{Dir: dir})
	if after := contents(s); !reflect.DeepEqual(before, after) {
		t.Error("the state before is not the state after")
	}
	if n := s.Client().LLen(bg, "{jobs}").Val(); n != 1200 {
		t.Errorf("%d jobs", n)
	}
}

func TestFullDiskRefusesAndRecovers(t *testing.T) {
	for _, op := range []string{"write", "sync"} {
		t.Run(op, func(t *testing.T) {
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				w := &watched{}
				s, err := Open(bg, Options{Dir: dir, fs: w})
				if err != nil {
					t.Fatal(err)
				}
				c := s.Client()
				do(t, c, "SET", "before", "v")
				w.set(func(o, path string) error {
					if o == op {
						return &fs.PathError{Op: o, Path: path, Err: syscall.ENOSPC}
					}
					return nil
				})
				for range 5 {
					for _, args := range [][]any{{"SET", "during", "v"}, {"GET", "before"}, {"PING"}, {"EVAL", "return 1", "0"}} {
						err := c.Do(bg, args...).Err()
						if err == nil || !strings.HasPrefix(err.Error(), "MISCONF") || !strings.Contains(err.Error(), "no space left") {
							t.Errorf("%v on a full disk: %v", args, err)
						}
					}
					time.Sleep(1500 * time.Millisecond)
				}
				crashed, err := Open(bg, Options{Dir: copyDir(t, dir)})
				if err != nil {
					t.Fatal(err)
				}
				if got := crashed.Client().Get(bg, "before").Val(); got != "v" {
					t.Errorf("after a crash on a full disk: %q", got)
				}
				if err := crashed.Close(); err != nil {
					t.Error(err)
				}
				w.set(nil)
				time.Sleep(1500 * time.Millisecond)
				do(t, c, "SET", "after", "v")
				before := contents(s)
				crash(s)
				s, err = Open(bg, Options{Dir: dir})
				if err != nil {
					t.Fatal(err)
				}
				if after := contents(s); !reflect.DeepEqual(before, after) || s.Client().Get(bg, "after").Val() != "v" {
					t.Errorf("before %q\nafter %q", before, after)
				}
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

func TestCloseOnFailingDiskSaysSo(t *testing.T) {
	w := &watched{}
	s := open(t, Options{Dir: t.TempDir(), fs: w})
	w.set(func(op, _ string) error { return syscall.EIO })
	if err := s.Client().Set(bg, "k", "v", 0).Err(); err == nil {
		t.Error("a write that is not durable was answered")
	}
	if err := s.Close(); !errors.Is(err, syscall.EIO) {
		t.Errorf("close: %v", err)
	}
}

func TestRenewingForgetsDeadKeysAndNothingElse(t *testing.T) {
	s := open(t, Options{Dir: t.TempDir(), renewAfter: 1})
	c := s.Client()
	sub := c.Subscribe(bg, "wake")
	defer sub.Close()
	if _, err := sub.Receive(bg); err != nil {
		t.Fatal(err)
	}
	messages := sub.Channel()
	if err := push.Load(bg, c).Err(); err != nil {
		t.Fatal(err)
	}
	fill(t, s)
	do(t, c, "SET", "k", "v", "EX", 1000)
	for i := range 1000 {
		do(t, c, "SET", fmt.Sprint("dead", i), "v")
		do(t, c, "DEL", fmt.Sprint("dead", i))
	}
	before, old := contents(s), s.engine.m
	if err := s.keeper.compact(); err != nil {
		t.Fatal(err)
	}
	if s.engine.m == old {
		t.Fatal("the engine was not renewed")
	}
	if after := contents(s); !reflect.DeepEqual(before, after) {
		t.Errorf("before %q\nafter %q", before, after)
	}
	if ttl := c.TTL(bg, "k").Val(); ttl < 900*time.Second {
		t.Errorf("%v left of 1000 s", ttl)
	}
	// Loaded scripts stay, subscribers come back.
	if err := c.EvalSha(bg, push.Hash(), []string{"{jobs}"}, "id", "data").Err(); err != nil {
		t.Error(err)
	}
	for c.Publish(bg, "wake", "up").Val() == 0 {
		time.Sleep(time.Millisecond)
	}
	if m := <-messages; m.Payload != "up" {
		t.Errorf("%v", m)
	}
	// What came before is not lost to the journal.
	before = contents(s)
	crash(s)
	again := open(t, Options{Dir: s.opts.Dir})
	if after := contents(again); !reflect.DeepEqual(before, after) {
		t.Errorf("before %q\nafter %q", before, after)
	}
}
