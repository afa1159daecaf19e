package e2e

import (
	"net/http"
	"testing"
)

// A job that waits for its turn too long is not delivered, and does not stand in the way of others.
func TestExpiredJobIsNotDelivered(t *testing.T) {
	t.Parallel()
	g := newGate()
	h := handle(t, func(w http.ResponseWriter, d delivery) {
		if d.id == "first" {
			g.hold(d)
		}
	})
	t.Cleanup(g.open)
	s := serve(t, inDir(t.TempDir()))
	s.register("work", h.url, spec{"concurrency": 1})
	s.push("work", spec{"id": "first", "data": 1})
	h.awaits(t, 1)
	s.ok("push", "work", "2", "--id=late", "--ttl=50ms")
	s.push("work", spec{"id": "patient", "data": 3, "ttl": "1h"})
	s.push("work", spec{"id": "then", "data": 4, "delay": "200ms"})
	eventually(t, "the last job is due, and so the second has expired", func() bool { return s.stats("work").Waiting == 3 })
	g.open()
	s.becomes("work", "patient", "succeeded")
	s.becomes("work", "then", "succeeded")
	s.becomes("work", "late", "cancelled")
	if a := s.attempts("work", "late"); len(a) != 1 || a[0].Outcome != "expired" {
		t.Errorf("%+v", a)
	}
	if n := h.times(); n["late"] != 0 || n["patient"] != 1 {
		t.Errorf("deliveries: %v", n)
	}
}
