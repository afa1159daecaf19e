package embedded

import (
	"bufio"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/redis/go-redis/v9"
)

// childDir names the store on which this very binary, run again, pushes jobs
// until it is killed.
const childDir = "EMBEDDED_TEST_CHILD_DIR"

var push = redis.NewScript(`
local t = redis.call('TIME')
redis.call('HSET', KEYS[1] .. ':' .. ARGV[1], 'data', ARGV[2], 'at', t[1])
redis.call('RPUSH', KEYS[1], ARGV[1])
return ARGV[1]`)

// child prints each ID it was answered, and never returns.
func child(dir string) {
	s, err := Open(bg, Options{Dir: dir, CompactCommands: 200})
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	fmt.Println("open")
	var out sync.Mutex
	var wg sync.WaitGroup
	for worker := range 8 {
		wg.Go(func() {
			for i := 0; ; i++ {
				id, err := push.Run(bg, s.Client(), []string{"{jobs}"}, fmt.Sprintf("%d-%d-%d", os.Getpid(), worker, i), strings.Repeat("x", 100)).Text()
				out.Lock()
				if err != nil {
					fmt.Println("error", err)
					os.Exit(1)
				}
				fmt.Println("pushed", id)
				out.Unlock()
			}
		})
	}
	wg.Wait()
}

func startChild(t *testing.T, dir string) (*exec.Cmd, *bufio.Scanner) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), childDir+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	if !lines.Scan() || lines.Text() != "open" {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		t.Fatalf("the child says %q", lines.Text())
	}
	return cmd, lines
}

func TestKillLosesNothingAnswered(t *testing.T) {
	dir := t.TempDir()
	answered := map[string]bool{}
	for round := range 12 {
		cmd, lines := startChild(t, dir)
		for n := rand.IntN(400); lines.Scan(); n-- {
			id, ok := strings.CutPrefix(lines.Text(), "pushed ")
			if !ok {
				t.Fatalf("the child says %q", lines.Text())
			}
			answered[id] = true
			if n == 0 {
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			} // and reads on: what it had printed, it was answered
		}
		_ = cmd.Wait()
		s, err := Open(bg, Options{Dir: dir})
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		jobs := s.Client().LRange(bg, "{jobs}", 0, -1).Val()
		found := map[string]bool{}
		for _, id := range jobs {
			if found[id] {
				t.Errorf("%s is there twice", id)
			}
			found[id] = true
			if data := s.Client().HGet(bg, "{jobs}:"+id, "data").Val(); len(data) != 100 {
				t.Errorf("%s is there in part", id)
			}
		}
		for id := range answered {
			if !found[id] {
				t.Errorf("round %d: %s was answered and is lost", round, id)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	t.Log(strconv.Itoa(len(answered)) + " answered in all")
	if len(answered) < 100 {
		t.Errorf("only %d pushes in all: this proves little", len(answered))
	}
}

func TestProcessesDoNotShareAFolder(t *testing.T) {
	dir := t.TempDir()
	cmd, _ := startChild(t, dir)
	_, err := Open(bg, Options{Dir: dir})
	if !errors.Is(err, ErrLocked) {
		t.Errorf("%v", err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	open(t, Options{Dir: dir}) // the lock ends with the process
}
