package e2e

import (
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/deetoo/deetoo/internal/redistest"
)

// A rate holds for what a handler sees, from two dispatchers on one Redis, and
// is lifted live.
func TestRateOfTwoDispatchers(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var at []time.Time
	h := handle(t, func(http.ResponseWriter, delivery) {
		mu.Lock()
		at = append(at, time.Now())
		mu.Unlock()
	})
	redis := redistest.SingleServer(t)
	s := serve(t, onRedis(t, redis.URL()))
	serve(t, onRedis(t, redis.URL()))
	s.register("work", h.url, spec{"concurrency": 20, "rate": spec{"limit": 2, "per": "1h", "burst": 2}})
	s.batch("work", "j", 40)
	eventually(t, "two are delivered", func() bool { return len(h.deliveries()) == 2 })
	eventually(t, "the stats say that the rate lets no more start", func() bool {
		var st struct {
			Waiting int
			Limited int64 `json:"rate_limited_ms"`
		}
		s.must("GET", "/v1/types/work/stats", nil, &st)
		return st.Waiting == 38 && st.Limited > 1_000_000
	})
	s.must("PATCH", "/v1/types/work", spec{"rate": spec{"limit": 50, "per": "1s", "burst": 5}}, nil)
	eventually(t, "some more are delivered", func() bool { return len(h.deliveries()) >= 10 })
	s.must("PATCH", "/v1/types/work", spec{"rate": nil}, nil)
	s.allDone("work", 40)
	if n := len(h.deliveries()); n != 40 {
		t.Errorf("%d deliveries of 40 jobs", n)
	}
}

// Each group has its turn, whatever the others have; a group at its limit is in
// nobody's way, and the API shows it.
func TestGroupsAreServedInTurn(t *testing.T) {
	t.Parallel()
	g := newGate()
	h := handle(t, func(_ http.ResponseWriter, d delivery) { g.hold(d) })
	s := serve(t, inDir(t.TempDir()))
	s.register("work", h.url, spec{"concurrency": 3, "groups": spec{"concurrency": 2}, "paused": true})
	for i := range 20 {
		s.push("work", spec{"data": i, "id": fmt.Sprint("whale", i), "group": "whale"})
	}
	if out := s.ok("push", "work", "1", "--id=small", "--group=shrimp"); out == "" {
		t.Error("no receipt")
	}
	s.must("POST", "/v1/types/work/resume", nil, nil)
	eventually(t, "two of the whale and one of the shrimp run", func() bool { return h.running() == 3 })
	var got []string
	for _, d := range h.deliveries() {
		got = append(got, d.id)
	}
	slices.Sort(got)
	if fmt.Sprint(got) != "[small whale0 whale1]" {
		t.Errorf("delivered %v", got)
	}
	var page struct {
		Groups []struct {
			Group           string
			Waiting, Active int
			AtConcurrency   bool `json:"at_concurrency"`
		}
		NextCursor string `json:"next_cursor"`
	}
	s.must("GET", "/v1/types/work/groups?limit=1", nil, &page)
	if fmt.Sprint(page.Groups) != "[{shrimp 0 1 false}]" || page.NextCursor == "" {
		t.Errorf("%+v", page)
	}
	s.must("GET", "/v1/types/work/groups?limit=1&cursor="+page.NextCursor, nil, &page)
	if fmt.Sprint(page.Groups) != "[{whale 18 2 true}]" {
		t.Errorf("%+v", page)
	}
	var j struct{ Group string }
	s.must("GET", "/v1/types/work/jobs/small", nil, &j)
	if j.Group != "shrimp" {
		t.Errorf("the job is of group %q", j.Group)
	}
	if a := s.call("POST", "/v1/types/work/jobs", spec{"data": 1, "group": "a b"}); a.status != 400 {
		t.Errorf("a bad group: %d %s", a.status, a.body)
	}
	g.open()
	s.allDone("work", 21)
	if h.most() > 3 {
		t.Errorf("%d at once", h.most())
	}
}
