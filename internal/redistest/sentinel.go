package redistest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

// StartSentinel starts one Sentinel that watches the master under a name, and
// fails over alone, a second after the master is gone. Close ends it.
func StartSentinel(name string, master *Server) (*Server, error) {
	for try := 1; ; try++ {
		s, err := startSentinelOnce(name, master)
		if err == nil || !errors.Is(err, errPortTaken) || try == attempts {
			return s, err
		}
	}
}

func startSentinelOnce(name string, master *Server) (*Server, error) {
	ports, err := freePorts(1)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "redistest-")
	if err != nil {
		return nil, err
	}
	// A Sentinel takes its settings from a file, which it rewrites.
	file := filepath.Join(dir, "sentinel.conf")
	settings := fmt.Sprintf("port %d\nbind 127.0.0.1\ndir %q\nsentinel monitor %s 127.0.0.1 %d 1\n"+
		"sentinel down-after-milliseconds %s 1000\nsentinel failover-timeout %s 5000\n", ports[0], dir, name, master.port, name, name)
	s := &Server{dir: dir, port: ports[0], args: []string{file, "--sentinel"}, client: newClient(ports[0])}
	if err := os.WriteFile(file, []byte(settings), 0o600); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	if err := s.Start(); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// Replica starts a replica of a master for the test and returns once it has all
// of the master's data.
func Replica(t testing.TB, master *Server) *Server {
	t.Helper()
	s := SingleServer(t, "--replicaof", "127.0.0.1 "+strconv.Itoa(master.port), "--repl-diskless-sync-delay", "0")
	for end := time.Now().Add(startTimeout); ; time.Sleep(poll) {
		info, err := s.client.InfoMap(t.Context(), "replication").Result()
		if err == nil && info["Replication"]["master_link_status"] == "up" {
			return s
		}
		if time.Now().After(end) {
			t.Fatalf("the replica has no link to its master within %s: %v %v", startTimeout, info, err)
		}
	}
}

// AwaitReplica waits until a Sentinel knows a replica of the master of that
// name, which it can fail over to.
func AwaitReplica(t testing.TB, sentinel *Server, name string) {
	t.Helper()
	for end := time.Now().Add(startTimeout + 10*time.Second); ; time.Sleep(poll) {
		found, err := sentinel.client.Do(t.Context(), "SENTINEL", "REPLICAS", name).Slice()
		if err == nil && len(found) > 0 {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("the Sentinel knows no replica: %v", err)
		}
	}
}

// Sentinel starts a Sentinel for the test and ends it with the test; see [StartSentinel].
func Sentinel(t testing.TB, name string, master *Server) *Server {
	t.Helper()
	s, err := StartSentinel(name, master)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}
