package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/valyala/fasthttp"
)

// sink is a handler that does nothing: as cheap as there is, so that it is not what is measured.
type sink struct {
	mu    sync.Mutex
	stats sinkStats
}

// sinkStats is what the sink has seen since it was reset.
type sinkStats struct {
	Count int
	// First and Last arrival, in Unix nanoseconds.
	First, Last int64
	// Late are the arrivals less the payloads' stamps, in ns; payloads stamped 0 have none.
	Late []int64
}

// holdTime is how long the sink keeps requests to /hold.
const holdTime = 3 * time.Second

// slowTime is how long it keeps those to /slow.
const slowTime = 50 * time.Millisecond

func playSink() error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	s := &sink{}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		_ = l.Close()
	}()
	fmt.Println("ready http://" + l.Addr().String())
	server := &fasthttp.Server{Handler: s.serve, NoDefaultServerHeader: true}
	_ = server.Serve(l) // until the listener is closed
	return nil
}

func (s *sink) serve(ctx *fasthttp.RequestCtx) {
	now := time.Now().UnixNano()
	if ctx.IsGet() {
		s.mu.Lock()
		defer s.mu.Unlock()
		b, err := json.Marshal(s.stats)
		if err != nil {
			ctx.Error(err.Error(), 500)
			return
		}
		ctx.SetBody(b)
		if ctx.QueryArgs().Has("reset") {
			s.stats = sinkStats{}
		}
		return
	}
	at := stamp(ctx.PostBody())
	s.mu.Lock()
	if s.stats.Count++; s.stats.Count == 1 {
		s.stats.First = now
	}
	s.stats.Last = now
	if at > 0 {
		s.stats.Late = append(s.stats.Late, now-at)
	}
	s.mu.Unlock()
	switch string(ctx.Path()) {
	case "/hold":
		time.Sleep(holdTime)
	case "/slow":
		time.Sleep(slowTime)
	}
}

// payload is a job's data, stamped with a time in Unix nanoseconds, or 0.
func payload(at int64) []byte {
	b := strconv.AppendInt([]byte(`{"t":`), at, 10)
	b = append(b, `,"p":"`...)
	b = append(b, bytes.Repeat([]byte{'x'}, payloadSize-len(b)-2)...)
	return append(b, `"}`...)
}

func stamp(body []byte) int64 {
	rest, ok := bytes.CutPrefix(body, []byte(`{"t":`))
	n, _, ok2 := bytes.Cut(rest, []byte{','})
	if !ok || !ok2 {
		return 0
	}
	at, err := strconv.ParseInt(string(n), 10, 64)
	if err != nil {
		return 0
	}
	return at
}
