// Package history keeps what has become of attempts, and how the queues stood,
// in steps of a minute, ten minutes and an hour, in Redis: so it outlives
// dispatchers, and all of them share it. It is bounded: what is older than is
// shown expires by itself.
//
// Each dispatcher counts in memory and brings what it counted every few
// seconds, in one script call; jobs pay for it with some additions. One of them looks at the
// queues twice a minute. A dispatcher that crashes takes the counts of these seconds with it.
package history

import (
	"context"
	"crypto/rand"
	"embed"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/deetoo/deetoo/invalid"
	"github.com/deetoo/deetoo/queue"
)

//go:embed lua/*.lua
var luaFiles embed.FS

// All stands for all types together where a type is asked for. No type has that name.
const All = "*"

// Store is the history in a Redis. It is safe for concurrent use.
type Store struct {
	client                   redis.UniversalClient
	base                     string
	record, read, now, sweep *redis.Script
}

// Options of a Store.
type Options struct {
	// Prefix begins every key. Default: "deetoo".
	Prefix string
}

// NewStore makes a Store on a client, which stays the caller's to close.
func NewStore(client redis.UniversalClient, o Options) (*Store, error) {
	if err := (queue.Options{Prefix: o.Prefix}).Validate(); err != nil {
		return nil, err
	}
	if o.Prefix == "" {
		o.Prefix = "deetoo"
	}
	// No type's name begins with "@".
	s := &Store{client: client, base: "{" + o.Prefix + ":@history}:h"}
	for name, script := range map[string]**redis.Script{"record": &s.record, "read": &s.read, "now": &s.now, "sweep": &s.sweep} {
		text, err := luaFiles.ReadFile("lua/" + name + ".lua")
		if err != nil {
			return nil, fmt.Errorf("history: script %s: %w", name, err)
		}
		*script = redis.NewScript(string(text))
	}
	return s, nil
}

func (s *Store) run(ctx context.Context, script *redis.Script, args ...any) ([]any, error) {
	v, err := script.Run(ctx, s.client, []string{s.base}, args...).Result()
	if err != nil {
		return nil, queue.Classify(fmt.Errorf("history: %w", err))
	}
	list, _ := v.([]any)
	return list, nil
}

// Window is how far back one looks: "15m", "1h", "24h" or "7d".
type Window string

// Windows lists the windows, the shortest first.
func Windows() []Window { return []Window{"15m", "1h", "24h", "7d"} }

// ParseWindow returns the window of that name; the empty string is an hour.
func ParseWindow(name string) (Window, error) {
	if name == "" {
		return "1h", nil
	}
	if _, ok := tierOf(Window(name)); !ok {
		return "", invalid.Errorf("window", "must be 15m, 1h, 24h or 7d")
	}
	return Window(name), nil
}

// tier is how a window is stored; lua/record.lua writes so.
type tier struct {
	letter       string
	step         time.Duration
	chunk, steps int
}

func tierOf(w Window) (tier, bool) {
	switch w {
	case "15m":
		return tier{"m", time.Minute, 60, 15}, true
	case "1h":
		return tier{"m", time.Minute, 60, 60}, true
	case "24h":
		return tier{"t", 10 * time.Minute, 72, 144}, true
	case "7d":
		return tier{"h", time.Hour, 96, 168}, true
	}
	return tier{}, false
}

// Series is the history of a type, or of All, in equal steps.
type Series struct {
	// At is now, by Redis's clock, to the second.
	At time.Time
	// Start is when the first step begins; the last one is under way.
	Start time.Time
	Step  time.Duration
	Steps []Sample
}

// Total is all steps together.
func (s *Series) Total() (t Sample) {
	for i := range s.Steps {
		t.Add(&s.Steps[i])
	}
	return t
}

// Add puts another series of the same window to this one: types together. What
// queues hold is added up, too.
func (s *Series) Add(o *Series) {
	for i := range min(len(s.Steps), len(o.Steps)) {
		a, b := &s.Steps[i], &o.Steps[i]
		waiting, scheduled, active, buried := a.Waiting+b.Waiting, a.Scheduled+b.Scheduled, a.Active+b.Active, a.Buried+b.Buried
		a.Add(b)
		a.Waiting, a.Scheduled, a.Active, a.Buried = waiting, scheduled, active, buried
	}
}

// Read returns the history of a type, or of All, as far back as a window reaches.
func (s *Store) Read(ctx context.Context, typ string, w Window) (*Series, error) {
	t, ok := tierOf(w)
	if !ok {
		return nil, invalid.Errorf("window", "must be 15m, 1h, 24h or 7d")
	}
	seconds := int64(t.step / time.Second)
	list, err := s.run(ctx, s.read, typ, t.letter, seconds, t.chunk, t.steps)
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("history: unexpected answer %v", list)
	}
	now := number(list[0])
	first := now/seconds - int64(t.steps) + 1
	out := &Series{At: time.Unix(now, 0), Start: time.Unix(first*seconds, 0), Step: t.step, Steps: make([]Sample, t.steps)}
	for i := 1; i+1 < len(list); i += 2 {
		if n := number(list[i]) - first; n >= 0 && n < int64(t.steps) {
			text, _ := list[i+1].(string)
			out.Steps[n] = decode(text)
		}
	}
	return out, nil
}

// Put adds samples, by type, to the step of a time: of the past too, for an import or a demonstration.
func (s *Store) Put(ctx context.Context, at time.Time, samples map[string]Sample) error {
	args := []any{rand.Text(), at.Unix(), "", "", 0}
	for typ, sample := range samples {
		args = append(args, typ, sample.encode())
	}
	return queue.Classify(s.record.Run(ctx, s.client, []string{s.base}, args...).Err())
}

// HistogramOf counts the durations given.
func HistogramOf(durations ...time.Duration) (h Histogram) {
	for _, d := range durations {
		h[bucketOf(d)]++
	}
	return h
}

// SparkLen is how many minutes a Spark has.
const SparkLen = 30

// Spark is how many attempts succeeded and failed in each of the last 30 minutes, the oldest first.
type Spark struct{ Succeeded, Failed [SparkLen]int64 }

// Presence is what a dispatcher tells of itself.
type Presence struct {
	Name    string    `json:"-"`
	At      time.Time `json:"-"` // when it was last heard of, by Redis's clock
	Version string    `json:"version"`
	// Started is when, by its own clock.
	Started time.Time `json:"started"`
	// Running is how many attempts are under way in it.
	Running int `json:"running"`
	// PerMinute is how many attempts ended in the last minute, or since it began.
	PerMinute int64 `json:"per_minute"`
	// Memory it uses, in bytes, as far as Go's runtime knows.
	Memory uint64 `json:"memory"`
	// Draining says that it takes no more jobs.
	Draining bool `json:"draining,omitempty"`
}

// Present is how things stand: of every type that had attempts of late, and of the dispatchers.
type Present struct {
	At     time.Time
	Sparks map[string]Spark
	// Dispatchers are those heard of in the last minute, in no order.
	Dispatchers []Presence
}

// gone is how long a dispatcher may be silent before it is not shown any more.
const gone = time.Minute

// Now returns how things stand, in one call however many types there are.
func (s *Store) Now(ctx context.Context) (*Present, error) {
	list, err := s.run(ctx, s.now)
	if err != nil {
		return nil, err
	}
	if len(list) != 3 {
		return nil, fmt.Errorf("history: unexpected answer %v", list)
	}
	now := number(list[0])
	p := &Present{At: time.Unix(now, 0), Sparks: map[string]Spark{}}
	pairs(list[1], func(typ, points string) { p.Sparks[typ] = decodeSpark(points, now/60) })
	pairs(list[2], func(name, told string) {
		at, text, _ := strings.Cut(told, " ")
		d := Presence{Name: name, At: time.Unix(number(at), 0)}
		if json.Unmarshal([]byte(text), &d) == nil && p.At.Sub(d.At) < gone {
			p.Dispatchers = append(p.Dispatchers, d)
		}
	})
	return p, nil
}

// decodeSpark reads "minute succeeded:failed …".
func decodeSpark(points string, minute int64) (s Spark) {
	f := strings.Fields(points)
	for i := 0; i+1 < len(f); i += 2 {
		n := number(f[i]) - minute + SparkLen - 1
		if n < 0 || n >= SparkLen {
			continue
		}
		ok, bad, _ := strings.Cut(f[i+1], ":")
		s.Succeeded[n], s.Failed[n] = number(ok), number(bad)
	}
	return s
}

func pairs(v any, each func(name, value string)) {
	list, _ := v.([]any)
	for i := 0; i+1 < len(list); i += 2 {
		name, _ := list[i].(string)
		value, _ := list[i+1].(string)
		each(name, value)
	}
}

func number(v any) int64 {
	text, _ := v.(string)
	n, _ := strconv.ParseInt(text, 10, 64) // what is damaged counts as nothing
	return n
}
