package redistest

import (
	"testing"

	"github.com/redis/go-redis/v9"
)

// Single starts a server for the test and returns a client of it. Both end
// with the test. Without a redis-server the test fails.
func Single(t testing.TB) redis.UniversalClient {
	t.Helper()
	return SingleServer(t).Client()
}

// SingleServer starts a server for the test, with the arguments appended to
// its command line, and ends it with the test.
func SingleServer(t testing.TB, args ...string) *Server {
	t.Helper()
	s, err := Start(Options{Args: args})
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

// Cluster starts a cluster of three masters for the test and returns their
// addresses and a client of it. All end with the test.
func Cluster(t testing.TB) ([]string, redis.UniversalClient) {
	t.Helper()
	c, err := StartCluster(Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c.Addrs(), c.Client()
}
