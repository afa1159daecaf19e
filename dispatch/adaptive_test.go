package dispatch

import (
	"context"
	"testing"
	"time"

	"github.com/deetoo/deetoo/queue"
	"github.com/deetoo/deetoo/registry"
)

// server is an endpoint that bears so many requests at once.
type server struct {
	*tally
	bears           int
	running, failed int
	slow            bool // beyond that all get slower; else the others are refused
}

func newServer(bears int, slow bool) *server {
	x := &server{bears: bears, slow: slow}
	x.tally = newTally(func(ctx context.Context, l *queue.Lease) Outcome {
		x.mu.Lock()
		x.running++
		over := x.running > x.bears
		took := time.Second
		if over && x.slow {
			took = took * time.Duration(x.running) / time.Duration(x.bears)
		}
		if over && !x.slow {
			x.failed++
		}
		x.mu.Unlock()
		defer func() {
			x.mu.Lock()
			defer x.mu.Unlock()
			x.running--
		}()
		if over && !x.slow {
			_ = wait(ctx, 50*time.Millisecond)
			return Outcome{Status: 503, Err: "HTTP 503 Service Unavailable", Health: queue.Overloaded}
		}
		return work(took)(ctx, l)
	})
	return x
}

// measure says how many jobs a second are done, and how many refused, over a time.
func (x *server) measure(w *world, d time.Duration) (done, failed float64) {
	before := w.stats("a").Finished
	x.mu.Lock()
	refused := x.failed
	x.mu.Unlock()
	time.Sleep(d)
	x.mu.Lock()
	defer x.mu.Unlock()
	return float64(w.stats("a").Finished-before) / d.Seconds(), float64(x.failed-refused) / d.Seconds()
}

func (x *server) nowBears(n int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.bears = n
}

func adaptiveType(w *world) {
	w.newType("a", 200, func(t *registry.Type) {
		t.Adaptive = &registry.Adaptive{Min: 1, Tolerance: 2}
		t.Retry = registry.Retry{MaxAttempts: 100, MinBackoff: 10 * time.Second, MaxBackoff: 20 * time.Second}
	})
}

// A server that refuses what is too much is used well, and seldom asked for more.
func TestAdaptiveFindsWhatAServerBears(t *testing.T) {
	simulate(t, func(w *world) {
		adaptiveType(w)
		x := newServer(20, false)
		for range 3 {
			w.node(x)
		}
		w.push(jobs("a", 4000)...)
		time.Sleep(100 * time.Second)
		// 20 at once, 1 s each: 20 a second at best.
		if done, failed := x.measure(w, 100*time.Second); done < 13 || failed > done/10 {
			t.Errorf("%.1f a second done, %.1f refused: %+v", done, failed, w.stats("a").Adaptive)
		}
		x.nowBears(5)
		time.Sleep(50 * time.Second)
		if done, failed := x.measure(w, 100*time.Second); done < 3 || failed > done/4 {
			t.Errorf("in distress: %.1f a second done, %.1f refused: %+v", done, failed, w.stats("a").Adaptive)
		}
		if a := w.stats("a").Adaptive; a.Limit > 8 || a.Reason == "" || time.Since(a.MovedAt) > 100*time.Second {
			t.Errorf("%+v", a)
		}
		x.nowBears(40)
		w.push(jobs("a", 5000)...)
		time.Sleep(100 * time.Second)
		if done, failed := x.measure(w, 50*time.Second); done < 26 || failed > done/10 {
			t.Errorf("recovered: %.1f a second done, %.1f refused: %+v", done, failed, w.stats("a").Adaptive)
		}
		w.clean("a")
	})
}

// One that becomes slower instead is not asked for much more than it bears.
func TestAdaptiveKeepsLatencyLow(t *testing.T) {
	simulate(t, func(w *world) {
		adaptiveType(w)
		x := newServer(20, true)
		w.node(x)
		w.push(jobs("a", 4000)...)
		time.Sleep(100 * time.Second)
		for range 3 {
			if done, _ := x.measure(w, 20*time.Second); done < 15 {
				t.Errorf("%.1f a second done: %+v", done, w.stats("a").Adaptive)
			}
			if a := w.stats("a").Adaptive; a.Limit > 50 || a.Limit < 20 {
				t.Errorf("%+v", a)
			}
		}
		w.clean("a")
	})
}
