package deetoo

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/deetoo/deetoo/intake"
	"github.com/deetoo/deetoo/registry"
)

// settler puts the settings of changed types in force beside their queues. The
// process that made a change does so too; this makes up for one that died in between.
type settler struct {
	intake  *intake.Intake
	log     *slog.Logger
	mu      sync.Mutex
	pending map[string]*registry.Type
	more    chan struct{}
}

func newSettler(in *intake.Intake, log *slog.Logger) *settler {
	return &settler{intake: in, log: log, pending: map[string]*registry.Type{}, more: make(chan struct{}, 1)}
}

// add notes a type whose settings are to be applied; it does not block.
func (s *settler) add(t *registry.Type) {
	s.mu.Lock()
	s.pending[t.Name] = t
	s.mu.Unlock()
	select {
	case s.more <- struct{}{}:
	default:
	}
}

// drop forgets a type that was deleted.
func (s *settler) drop(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.pending, name)
}

func (s *settler) take() *registry.Type {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, t := range s.pending {
		delete(s.pending, name)
		return t
	}
	return nil
}

// giveBack notes a type again, unless a newer version is there.
func (s *settler) giveBack(t *registry.Type) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pending[t.Name] == nil {
		s.pending[t.Name] = t
	}
}

// run applies what is pending until ctx ends; while Redis is away it tries once
// a second, and says so once.
func (s *settler) run(ctx context.Context) {
	failing := false
	for {
		t := s.take()
		if t == nil {
			select {
			case <-ctx.Done():
				return
			case <-s.more:
			}
			continue
		}
		err := s.intake.Apply(ctx, t)
		if err == nil {
			failing = false
			continue
		}
		if ctx.Err() != nil {
			return
		}
		if !failing {
			s.log.Warn("a type's settings are not in force yet; trying on", "type", t.Name, "error", err)
		}
		failing = true
		s.giveBack(t)
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Second):
		}
	}
}
