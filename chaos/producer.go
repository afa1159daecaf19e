package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/deetoo/deetoo/chaos/verify"
)

// producerPart is a producer process: it pushes jobs at a pace, and notes on
// disk what it is about to push and what was answered.
type producerPart struct {
	Name   string
	Ledger string
	Seed   uint64
	// Dispatchers are their URLs; one that does not answer is left for the next.
	Dispatchers []string
	Token       string
	// Pace is the time between two pushes.
	Pace time.Duration
}

type producer struct {
	producerPart
	ledger *verify.Ledger
	client *http.Client

	mu     sync.Mutex
	rng    *rand.Rand
	count  int
	recent []verify.Job // accepted, some of which are cancelled
}

// patience is how long a producer asks again for an answer.
const patience = time.Minute

func (p producerPart) play() error {
	ledger, err := verify.OpenLedger(p.Ledger)
	if err != nil {
		return err
	}
	pr := &producer{
		producerPart: p, ledger: ledger, rng: rand.New(rand.NewPCG(p.Seed, 1)),
		client: &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 64}},
	}
	fmt.Println("ready now")
	end := curtain()
	var wg sync.WaitGroup
	for tick := time.NewTicker(p.Pace); ; {
		select {
		case <-tick.C:
			wg.Go(pr.step)
			continue
		case <-end:
		}
		break
	}
	wg.Wait()
	return ledger.Close()
}

type input struct {
	ID       string `json:"id"`
	Data     any    `json:"data"`
	Delay    string `json:"delay,omitempty"`
	Priority string `json:"priority,omitempty"`
}

// step pushes one job or a few, or cancels one.
func (p *producer) step() {
	typ, jobs, victim := p.choose()
	if victim != nil {
		p.cancel(*victim)
		return
	}
	if err := p.push(typ, jobs); err != nil {
		fmt.Fprintln(os.Stderr, p.Name+":", err)
		os.Exit(1)
	}
}

func (p *producer) choose() (typ string, jobs []input, victim *verify.Job) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.recent) > 0 && p.rng.IntN(100) < 4 {
		i := p.rng.IntN(len(p.recent))
		victim = &p.recent[i]
		p.recent = append(append([]verify.Job(nil), p.recent[:i]...), p.recent[i+1:]...)
		return "", nil, victim
	}
	switch n := p.rng.IntN(100); {
	case n < 8:
		typ = typeSingle
	case n < 30:
		typ = typeRated
	default:
		typ = typeWork
	}
	n, prefix := 1, ""
	switch k := p.rng.IntN(100); {
	case k < 10 && typ == typeWork:
		n = 2 + p.rng.IntN(6)
	case k < 12 && typ == typeWork:
		prefix = "long-"
	}
	for range n {
		p.count++
		j := input{ID: fmt.Sprintf("%s%s-%06d", prefix, p.Name, p.count), Data: map[string]int{"n": p.count}}
		if p.rng.IntN(5) == 0 {
			j.Delay = (time.Duration(p.rng.IntN(3000)) * time.Millisecond).String()
		}
		if p.rng.IntN(5) == 0 {
			j.Priority = []string{"low", "high", "critical"}[p.rng.IntN(3)]
		}
		jobs = append(jobs, j)
	}
	return typ, jobs, nil
}

func (p *producer) push(typ string, jobs []input) error {
	events := make([]verify.Event, len(jobs))
	note := func(kind verify.Kind, status int) error {
		for i, j := range jobs {
			events[i] = verify.Event{At: time.Now(), Kind: kind, Type: typ, ID: j.ID, Status: status}
		}
		return p.ledger.Write(events...)
	}
	if err := note(verify.Offered, 0); err != nil {
		return err
	}
	var body []byte
	var err error
	if len(jobs) == 1 {
		body, err = json.Marshal(jobs[0])
	} else {
		body, err = json.Marshal(jobs)
	}
	if err != nil {
		return err
	}
	status := p.ask("POST", "/v1/types/"+typ+"/jobs", jobs[0].ID, body)
	kind := verify.Accepted
	switch {
	case status == 0:
		kind = verify.Abandoned
	case status != http.StatusCreated:
		kind = verify.Refused
	}
	if err := note(kind, status); err != nil {
		return err
	}
	if kind != verify.Accepted {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, j := range jobs {
		p.recent = append(p.recent, verify.Job{Type: typ, ID: j.ID})
	}
	if n := len(p.recent); n > 50 {
		p.recent = append([]verify.Job(nil), p.recent[n-50:]...)
	}
	return nil
}

func (p *producer) cancel(j verify.Job) {
	e := verify.Event{At: time.Now(), Kind: verify.Cancel, Type: j.Type, ID: j.ID}
	err := p.ledger.Write(e)
	if err == nil {
		e.Status = p.ask("DELETE", "/v1/types/"+j.Type+"/jobs/"+j.ID, "", nil)
		e.At, e.Kind = time.Now(), verify.Cancelled
		err = p.ledger.Write(e)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, p.Name+":", err)
		os.Exit(1)
	}
}

// ask repeats a request, at one dispatcher after another, until one answers what
// is not their own trouble. It returns 0 if none did.
func (p *producer) ask(method, path, key string, body []byte) int {
	at := rand.IntN(len(p.Dispatchers))
	for end := time.Now().Add(patience); time.Now().Before(end); at++ {
		req, err := http.NewRequest(method, p.Dispatchers[at%len(p.Dispatchers)]+path, bytes.NewReader(body))
		if err != nil {
			return 0
		}
		req.Header.Set("Authorization", "Bearer "+p.Token)
		if body != nil {
			req.Header.Set("Content-Type", "application/json")
			req.Header.Set("Idempotency-Key", key)
		}
		resp, err := p.client.Do(req)
		if err == nil {
			_, err = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
			if err == nil && resp.StatusCode < 500 {
				return resp.StatusCode
			}
		}
		time.Sleep(time.Duration(50+rand.IntN(150)) * time.Millisecond)
	}
	return 0
}
