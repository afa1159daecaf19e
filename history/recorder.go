package history

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"log/slog"
	"runtime/metrics"
	"sync"
	"time"

	"github.com/deetoo/deetoo/invalid"
	"github.com/deetoo/deetoo/queue"
)

// RecorderOptions of a Recorder. Store and Name are required.
type RecorderOptions struct {
	Store *Store
	// Name of this dispatcher; no two may have the same.
	Name string
	// Version of it, for people.
	Version string
	// Types are those whose queues are looked at. Default: none are.
	Types func() []string
	// Stats counts jobs by type; a type that is not in the answer is gone. Required with Types.
	Stats func(ctx context.Context, types []string) (map[string]queue.Stats, error)
	// Running counts the attempts under way. Default: not told.
	Running func() int
	// Draining is closed when this dispatcher takes no more jobs. Default: never.
	Draining <-chan struct{}
	// Every is how often what was counted is brought to Redis. Default: 5 s.
	Every time.Duration
	// Logger hears of trouble at Debug: history is worth no alarm. Default: none.
	Logger *slog.Logger
}

// Validate names the option that is wrong, as an *invalid.Error.
func (o RecorderOptions) Validate() error {
	switch {
	case o.Store == nil:
		return invalid.Errorf("store", "is required")
	case o.Name == "":
		return invalid.Errorf("name", "is required")
	case o.Types != nil && o.Stats == nil:
		return invalid.Errorf("stats", "is required with types")
	case o.Every < 0:
		return invalid.Errorf("every", "must be positive")
	}
	return nil
}

// Recorder counts what this dispatcher does. It is safe for concurrent use.
type Recorder struct {
	opts    RecorderOptions
	tallies sync.Map // type → *tally
	started time.Time
	recent  [12]int64 // attempts ended between the last flushes, in turn
	turn    int
	looked  time.Duration // how long the last look took
}

// tally is what has been counted of a type and not brought to Redis yet.
type tally struct {
	mu sync.Mutex
	s  Sample
}

// NewRecorder makes a Recorder; Run brings what it counts to Redis.
func NewRecorder(o RecorderOptions) (*Recorder, error) {
	if err := o.Validate(); err != nil {
		return nil, fmt.Errorf("history: %w", err)
	}
	if o.Every == 0 {
		o.Every = 5 * time.Second
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Recorder{opts: o, started: time.Now()}, nil
}

// Attempt counts the end of an attempt. outcome is that of a queue.Attempt; took is how long it
// ran, and waited how long the job had been due when it began: negative if not known.
// It costs no more than some additions.
func (r *Recorder) Attempt(typ, outcome string, took, waited time.Duration) {
	t := r.tally(typ)
	t.mu.Lock()
	t.s.count(outcome, took, waited)
	t.mu.Unlock()
}

func (r *Recorder) tally(typ string) *tally {
	v, ok := r.tallies.Load(typ)
	if !ok {
		v, _ = r.tallies.LoadOrStore(typ, &tally{})
	}
	return v.(*tally)
}

// Run brings what was counted to Redis until ctx ends, and then once more.
func (r *Recorder) Run(ctx context.Context) {
	r.Flush(ctx) // a dispatcher shows at once
	tick := time.NewTicker(r.opts.Every)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			r.Flush(ctx)
		case <-ctx.Done():
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
			defer cancel()
			r.flush(ctx, "-", 0)
			return
		}
	}
}

// looking is for how long nobody else looks at the queues: each minute has a look.
const looking = 30 * time.Second

// Flush brings what was counted to Redis now, and looks at the queues if it is this dispatcher's turn.
func (r *Recorder) Flush(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	turn := time.Duration(0)
	if r.opts.Types != nil {
		turn = max(looking, 20*r.looked) // of a slow store, a twentieth of its time at most
	}
	if !r.flush(ctx, r.tell(), turn) {
		return
	}
	began := time.Now()
	err := r.look(ctx)
	if r.looked = time.Since(began); err != nil {
		r.opts.Logger.Debug("the queues could not be looked at", "error", err)
	}
}

// tell is what this dispatcher tells of itself.
func (r *Recorder) tell() string {
	p := Presence{Version: r.opts.Version, Started: r.started, Memory: memory()}
	if r.opts.Running != nil {
		p.Running = r.opts.Running()
	}
	for _, n := range r.recent {
		p.PerMinute += n
	}
	select {
	case <-r.opts.Draining:
		p.Draining = true
	default:
	}
	text, _ := json.Marshal(p) // it always can be written
	return string(text)
}

// memory is what Go's runtime has of the machine and has not given back, in bytes.
func memory() uint64 {
	s := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(s)
	if s[0].Value.Kind() != metrics.KindUint64 || s[1].Value.Kind() != metrics.KindUint64 {
		return 0
	}
	return s[0].Value.Uint64() - s[1].Value.Uint64()
}

// perCall is how many types one script call takes, so that Redis is free for others.
const perCall = 100

// flush brings what was counted, and puts back what could not be brought. It
// reports whether it is this dispatcher's turn to look at the queues.
func (r *Recorder) flush(ctx context.Context, tell string, turn time.Duration) bool {
	counted, all := map[string]Sample{}, Sample{}
	r.tallies.Range(func(k, v any) bool {
		t := v.(*tally)
		t.mu.Lock()
		defer t.mu.Unlock()
		if t.s.Ended() > 0 {
			counted[k.(string)] = t.s
			all.Add(&t.s)
			t.s = Sample{}
		}
		return true
	})
	r.recent[r.turn%len(r.recent)] = all.Ended()
	r.turn++
	mine, left, err := r.send(ctx, counted, all, tell, turn)
	if err != nil {
		r.opts.Logger.Debug("history could not be brought to redis; it is tried again", "error", err)
		for typ, s := range left {
			t := r.tally(typ)
			t.mu.Lock()
			t.s.Add(&s)
			t.mu.Unlock()
		}
	}
	return mine
}

// send makes the calls. What is left over when one fails is returned.
func (r *Recorder) send(ctx context.Context, samples map[string]Sample, all Sample, tell string, turn time.Duration) (mine bool, left map[string]Sample, err error) {
	names := make([]string, 0, len(samples))
	for name := range samples {
		names = append(names, name)
	}
	for first := true; first || len(names) > 0; first = false {
		n := min(len(names), perCall)
		args := []any{rand.Text(), "", r.opts.Name, "", 0}
		if first {
			args[3], args[4] = tell, turn.Milliseconds()
			if all.Ended() > 0 || all.Looked {
				args = append(args, All, all.encode())
			}
		}
		for _, name := range names[:n] {
			s := samples[name]
			args = append(args, name, s.encode())
		}
		got, err := r.opts.Store.record.Run(ctx, r.opts.Store.client, []string{r.opts.Store.base}, args...).Int64()
		if err != nil {
			return mine, samples, queue.Classify(err)
		}
		mine = mine || got == 1
		for _, name := range names[:n] {
			delete(samples, name)
		}
		names = names[n:]
	}
	return mine, nil, nil
}

// look notes how the queues stand. Of types that have no jobs nothing is kept.
func (r *Recorder) look(ctx context.Context) error {
	types := r.opts.Types()
	samples, all := map[string]Sample{}, Sample{Looked: true}
	for len(types) > 0 {
		n := min(len(types), perCall)
		stats, err := r.opts.Stats(ctx, types[:n])
		if err != nil {
			return err
		}
		for typ, q := range stats {
			var s Sample
			s.look(&q)
			all.Waiting += s.Waiting
			all.Scheduled += s.Scheduled
			all.Active += s.Active
			all.Buried += s.Buried
			all.Oldest = max(all.Oldest, s.Oldest)
			if s.Waiting+s.Scheduled+s.Active+s.Buried > 0 {
				samples[typ] = s
			}
		}
		types = types[n:]
	}
	if _, _, err := r.send(ctx, samples, all, "", 0); err != nil {
		return err
	}
	_, err := r.opts.Store.run(ctx, r.opts.Store.sweep)
	return err
}
