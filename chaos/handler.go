package main

import (
	"context"
	"fmt"
	"hash/fnv"
	"io"
	"log"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/deetoo/deetoo/chaos/verify"
)

// handlerPart is a handler process: an endpoint that notes each attempt's start
// and end on disk before it goes on.
type handlerPart struct {
	Name   string
	Ledger string
	Seed   uint64
}

type handler struct {
	handlerPart
	ledger *verify.Ledger
	count  atomic.Int64
}

func (p handlerPart) play() error {
	ledger, err := verify.OpenLedger(p.Ledger)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	h := &handler{handlerPart: p, ledger: ledger}
	server := &http.Server{Handler: http.HandlerFunc(h.serve), ErrorLog: log.New(os.Stderr, "", 0)}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	fmt.Println("ready http://" + l.Addr().String())
	select {
	case err := <-served:
		return err
	case <-curtain():
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := server.Shutdown(ctx); err != nil {
		return err
	}
	return ledger.Close()
}

// fate is what becomes of an attempt: it depends on the seed, the job and its
// number alone, so that one that is made again has the same.
func fate(seed uint64, words ...any) *rand.Rand {
	sum := fnv.New64a()
	fmt.Fprint(sum, words...)
	return rand.New(rand.NewPCG(seed, sum.Sum64()))
}

func (h *handler) serve(w http.ResponseWriter, r *http.Request) {
	at := time.Now()
	// Read to its end: only then does the server notice that the caller has gone.
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		return // it never quite came
	}
	n, err := strconv.Atoi(r.Header.Get("deetoo-attempt"))
	if err != nil {
		http.Error(w, "no attempt", http.StatusBadRequest)
		return
	}
	e := verify.Event{
		At: at, Kind: verify.Started, Type: r.Header.Get("deetoo-job-type"), ID: r.Header.Get("deetoo-job-id"), Attempt: n,
		Nonce: h.Name + "-" + strconv.FormatInt(h.count.Add(1), 10), By: caller(r),
	}
	if err := h.ledger.Write(e); err != nil {
		http.Error(w, "the ledger cannot be written", http.StatusInternalServerError)
		return
	}
	e.Kind = verify.Ended
	e.Status = h.work(r.Context(), e)
	e.At = time.Now()
	if err := h.ledger.Write(e); err != nil {
		http.Error(w, "the ledger cannot be written", http.StatusInternalServerError)
		return
	}
	switch e.Status {
	case 0:
	case http.StatusOK:
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, "%q", e.Nonce)
	case http.StatusServiceUnavailable:
		w.Header().Set("Retry-After", "1")
		w.WriteHeader(e.Status)
	default:
		w.WriteHeader(e.Status)
	}
}

// caller is the host and port of the dispatcher that made a request.
func caller(r *http.Request) string {
	u, err := url.Parse(r.Header.Get("deetoo-callback-url"))
	if err != nil {
		return ""
	}
	return u.Host
}

// work takes its time and returns the status to answer; 0 if the caller has gone.
func (h *handler) work(ctx context.Context, e verify.Event) int {
	r := fate(h.Seed, e.Type, e.ID, e.Attempt)
	took := time.Duration(1+r.IntN(20)) * time.Millisecond
	switch p := r.IntN(100); {
	case p < 5:
		took = time.Duration(500+r.IntN(1500)) * time.Millisecond
	case p < 30:
		took = time.Duration(20+r.IntN(280)) * time.Millisecond
	}
	if strings.HasPrefix(e.ID, "long-") {
		took = longWork
	}
	select {
	case <-ctx.Done():
		return 0
	case <-time.After(took):
	}
	switch p := r.IntN(100); {
	case p < 8:
		return http.StatusInternalServerError
	case p < 9:
		return http.StatusServiceUnavailable
	}
	return http.StatusOK
}

// longWork is how long jobs take whose IDs begin with "long-".
const longWork = 8 * time.Second
