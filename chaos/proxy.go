package main

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"

	"github.com/deetoo/deetoo/chaos/verify"
)

// line is a connection through toxiproxy, that can be spoilt.
type line struct {
	*toxiproxy.Proxy
	busy sync.Mutex // held while a fault is made of it
}

func newLine(server *toxiproxy.ApiServer, name, upstream string) (*line, error) {
	listen, err := freeAddr()
	if err != nil {
		return nil, err
	}
	l := &line{Proxy: toxiproxy.NewProxy(server, name, listen, upstream)}
	return l, l.Start()
}

// spoil adds a toxic for a while; see toxiproxy's README for their types and attributes.
func (l *line) spoil(length time.Duration, kind, stream, attributes string) error {
	const name = "fault"
	_, err := l.Toxics.AddToxicJson(strings.NewReader(fmt.Sprintf(`{"name":%q,"type":%q,"stream":%q,"attributes":{%s}}`, name, kind, stream, attributes)))
	if err != nil {
		return err
	}
	time.Sleep(length)
	return l.Toxics.RemoveToxic(context.Background(), name)
}

// cut closes all connections and accepts none for a while.
func (l *line) cut(length time.Duration) error {
	l.Stop()
	time.Sleep(length)
	return l.Start()
}

// networked is a redis-server that each dispatcher reaches by a line of its own.
type networked struct {
	*single
	lines []*line
}

func openNetworked() (store, error) {
	inner, err := openSingle("always")()
	if err != nil {
		return nil, err
	}
	s := &networked{single: inner.(*single)}
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())
	for i := range dispatchers {
		l, err := newLine(server, fmt.Sprintf("d%d", i+1), s.Addr())
		if err != nil {
			return s, err
		}
		s.lines = append(s.lines, l)
	}
	return s, nil
}

func (s *networked) url(n int) string { return "redis://" + s.lines[n].Listen }

func (s *networked) close() error {
	for _, l := range s.lines {
		l.Stop()
	}
	return s.single.close()
}

// ofLine makes a kind of fault of the line of one dispatcher to Redis, that lasts up to some leases.
func ofLine(name string, leases float64, hit func(l *line, length time.Duration) error) kind {
	return kind{name, func(f *field, target int, force float64) error {
		n := target % len(f.dispatchers)
		l := f.store.(*networked).lines[n]
		l.busy.Lock()
		defer l.busy.Unlock()
		v := verify.Fault{Kind: name, Target: f.dispatchers[n].addr, Begin: time.Now()}
		err := hit(l, between(f.lease/10, time.Duration(leases*float64(f.lease)), force))
		v.End = time.Now()
		v.Harmless = v.End.Sub(v.Begin) < f.lease/2
		f.note(v)
		time.Sleep(f.lease / 2) // else two short ones may make a long one
		return err
	}}
}

// The faults of the network between dispatchers and Redis.
func network() []kind {
	return []kind{
		ofLine("latency to Redis", 2, func(l *line, length time.Duration) error {
			return l.spoil(length, "latency", "upstream", `"latency":80,"jitter":60`)
		}),
		ofLine("resets to Redis", 0.4, func(l *line, length time.Duration) error {
			return l.spoil(length, "reset_peer", "upstream", `"timeout":20`)
		}),
		ofLine("resets of answers", 0.4, func(l *line, length time.Duration) error {
			return l.spoil(length, "reset_peer", "downstream", `"timeout":0`)
		}),
		ofLine("requests held up", 2, func(l *line, length time.Duration) error {
			return l.spoil(length, "timeout", "upstream", `"timeout":0`)
		}),
		ofLine("answers held up", 2, func(l *line, length time.Duration) error {
			return l.spoil(length, "timeout", "downstream", `"timeout":0`)
		}),
		ofLine("answers lost", 2, func(l *line, length time.Duration) error {
			return l.spoil(length, "limit_data", "downstream", `"bytes":100`)
		}),
		ofLine("line cut", 2, (*line).cut),
		ofLine("line cut for a moment", 0.3, (*line).cut),
	}
}
