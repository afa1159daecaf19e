package queue

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/deetoo/deetoo/internal/strictjson"
	"github.com/deetoo/deetoo/invalid"
)

const (
	// MaxRedriveIDs is how many jobs a redrive may name.
	MaxRedriveIDs = 1000
	// MaxCanaries is how many jobs of a redrive may go first.
	MaxCanaries = 100
	// MaxPatchSize is how large the patch of a redrive may be, in bytes.
	MaxPatchSize = 64 << 10
	// MaxRedriving is how many redrives of a type may go on at once.
	MaxRedriving = 16
	// keptRedrives is how many redrives of a type are remembered.
	keptRedrives = 100
)

var (
	// ErrNoRedrive: there is no redrive of that ID, or it is forgotten.
	ErrNoRedrive = errors.New("no such redrive")
	// ErrRedriving: MaxRedriving redrives of the type go on already.
	ErrRedriving = fmt.Errorf("%d redrives of the type go on already: wait for one to end, or stop one", MaxRedriving)
)

// RedriveSpec says which dead jobs are to wait again, and how. The zero value is all of them, at once.
type RedriveSpec struct {
	// DeadFilter chooses the jobs, among those that were dead when the redrive began.
	DeadFilter
	// IDs names the jobs instead of a filter: at most MaxRedriveIDs. Those that are not dead are passed over.
	IDs []string `json:",omitempty"`
	// Patch is a JSON merge patch (RFC 7396) that each job's data gets: an object of at most MaxPatchSize.
	Patch json.RawMessage `json:",omitempty"`
	// Canary is how many of the jobs go first. The rest follow when all of these have succeeded; when
	// one dies again, or is cancelled or deleted, the redrive stops. 0: none; at most MaxCanaries.
	Canary int
	// Rate is how many jobs wait again in how long, the canaries aside. Zero: all at once.
	Rate RedriveRate
}

// RedriveRate is so many jobs in so long, spread evenly.
type RedriveRate struct {
	// Jobs: 1 to 1,000,000.
	Jobs int
	// Period: 1 ms to 24 h.
	Period time.Duration
}

// Validate names the field that is wrong, as an *invalid.Error.
func (s RedriveSpec) Validate() error {
	if err := s.DeadFilter.Validate(); err != nil {
		return err
	}
	switch r := s.Rate; {
	case len(s.IDs) > MaxRedriveIDs:
		return invalid.Errorf("ids", "must be at most %d", MaxRedriveIDs)
	case len(s.IDs) > 0 && s.DeadFilter != (DeadFilter{}):
		return invalid.Errorf("ids", "must not be given together with what chooses jobs otherwise")
	case len(s.Patch) > MaxPatchSize:
		return invalid.Errorf("patch", "must be at most %d bytes", MaxPatchSize)
	case len(s.Patch) > 0 && (!isObject(s.Patch) || strictjson.Valid(s.Patch) != nil):
		return invalid.Errorf("patch", "must be an object: a JSON merge patch")
	case s.Canary < 0 || s.Canary > MaxCanaries:
		return invalid.Errorf("canary", "must be 1 to %d jobs, or absent", MaxCanaries)
	case r == RedriveRate{}:
	case r.Jobs < 1 || r.Jobs > 1_000_000:
		return invalid.Errorf("rate.jobs", "must be 1 to 1000000")
	case r.Period < time.Millisecond || r.Period > 24*time.Hour:
		return invalid.Errorf("rate.period", "must be 1ms to 24h")
	}
	for i, id := range s.IDs {
		if ValidateID(id) != nil {
			return invalid.Errorf("ids["+strconv.Itoa(i)+"]", "must be 1 to %d printable ASCII characters without spaces", MaxIDLength)
		}
	}
	return nil
}

// RedriveState says how far a redrive is.
type RedriveState string

const (
	// RedriveCanary: the first jobs go ahead; the others follow when all of them have succeeded.
	RedriveCanary RedriveState = "canary"
	// RedriveRunning: the jobs are being made to wait.
	RedriveRunning RedriveState = "running"
	// RedriveDone: they all are.
	RedriveDone RedriveState = "done"
	// RedriveStopped: by a canary or by somebody; see Reason. What it had not come to is still dead.
	RedriveStopped RedriveState = "stopped"
)

// Ended reports whether nothing more will happen.
func (s RedriveState) Ended() bool { return s == RedriveDone || s == RedriveStopped }

// Redrive is an operation that makes dead jobs wait again, step by step, by
// whichever dispatcher of the type is there: it dies with none.
type Redrive struct {
	ID    string
	Spec  RedriveSpec
	State RedriveState
	// Reason says why it stopped.
	Reason string
	// Count is how many jobs it has made to wait.
	Count int
	// Placed is how many of these are canaries, and Succeeded how many of those have succeeded.
	Placed, Succeeded int
	// By says who asked for it.
	By string
	// StartedAt and UpdatedAt are when it began and when its last step was, by Redis's clock.
	StartedAt, UpdatedAt time.Time

	cursor string
	ended  bool
}

// StartRedrive begins to make dead jobs wait again, oldest first, and goes on
// until that is done, or something has to be waited for: canaries, or a rate. Then, and when
// ctx ends, the type's dispatchers go on with it; see StepRedrives. by says who asks. ErrRedriving.
func (q *Queue) StartRedrive(ctx context.Context, typ string, s RedriveSpec, by string) (*Redrive, error) {
	if err := s.Validate(); err != nil {
		return nil, err
	}
	spec, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	interval := ""
	if s.Rate.Jobs > 0 {
		interval = strconv.FormatFloat(float64(s.Rate.Period)/float64(time.Millisecond)/float64(s.Rate.Jobs), 'g', -1, 64)
	}
	id := q.entropy.newID()
	v, err := q.run(ctx, q.scripts.redriveStart, q.typeKeys(typ, ""), []any{
		id, s.Canary, interval, by, string(spec), MaxRedriving, keptRedrives, q.wakeChannel(), typ,
	})
	if err != nil {
		return nil, err
	}
	if v != int64(1) {
		return nil, ErrRedriving
	}
	for {
		r, wait, _, err := q.stepRedrive(ctx, typ, id)
		// It has begun: what remains is the dispatchers' to do.
		if err != nil || r.State.Ended() || r.State == RedriveCanary && r.Placed >= s.Canary || wait > 0 || ctx.Err() != nil {
			return q.GetRedrive(context.WithoutCancel(ctx), typ, id)
		}
	}
}

// Redrive makes all the type's dead jobs wait again, oldest first; those that
// die meanwhile are left alone. It returns how many.
func (q *Queue) Redrive(ctx context.Context, typ string) (int, error) {
	r, err := q.StartRedrive(ctx, typ, RedriveSpec{}, "")
	for err == nil && !r.State.Ended() { // Redis was away for a moment
		id := r.ID
		if _, _, _, err = q.stepRedrive(ctx, typ, id); err == nil {
			r, err = q.GetRedrive(ctx, typ, id)
		}
	}
	if err != nil {
		return 0, err
	}
	return r.Count, nil
}

// GetRedrive returns a redrive, or ErrNoRedrive. The last 100 of a type are remembered, and all that go on.
func (q *Queue) GetRedrive(ctx context.Context, typ, id string) (*Redrive, error) {
	m, err := q.client.HGetAll(ctx, q.keyBeside(typ, "redrive:"+id)).Result()
	if err != nil {
		return nil, Classify(err)
	}
	return decodeRedrive(id, m)
}

// Redrives returns a type's redrives, the latest first.
func (q *Queue) Redrives(ctx context.Context, typ string) ([]Redrive, error) {
	ids, err := q.client.ZRevRange(ctx, q.keyBeside(typ, "redrives"), 0, -1).Result()
	if err != nil {
		return nil, Classify(err)
	}
	pipe := q.client.Pipeline()
	found := make([]*redis.MapStringStringCmd, len(ids))
	for i, id := range ids {
		found[i] = pipe.HGetAll(ctx, q.keyBeside(typ, "redrive:"+id))
	}
	if len(ids) == 0 {
		return nil, nil
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, Classify(err)
	}
	out := make([]Redrive, 0, len(ids))
	for i, id := range ids {
		r, err := decodeRedrive(id, found[i].Val())
		if errors.Is(err, ErrNoRedrive) {
			continue // forgotten between the two
		}
		if err != nil {
			return nil, err
		}
		out = append(out, *r)
	}
	return out, nil
}

func decodeRedrive(id string, m map[string]string) (*Redrive, error) {
	if len(m) == 0 {
		return nil, ErrNoRedrive
	}
	r := &Redrive{
		ID: id, State: RedriveState(m["state"]), Reason: m["reason"], By: m["by"], StartedAt: parseMs(m["created"]), UpdatedAt: parseMs(m["updated"]),
		cursor: m["cursor"], ended: m["ended"] == "1",
	}
	if err := json.Unmarshal([]byte(m["spec"]), &r.Spec); err != nil {
		return nil, fmt.Errorf("damaged redrive %s: %w", id, err)
	}
	for name, n := range map[string]*int{"count": &r.Count, "placed": &r.Placed, "succeeded": &r.Succeeded} {
		var err error
		if *n, err = strconv.Atoi(m[name]); err != nil {
			return nil, fmt.Errorf("damaged redrive %s: %s: %w", id, name, err)
		}
	}
	return r, nil
}

// StopRedrive stops a redrive, unless it has ended, and returns it. The jobs it has
// come to go on; the others stay dead. by says who asks. ErrNoRedrive.
func (q *Queue) StopRedrive(ctx context.Context, typ, id, by string) (*Redrive, error) {
	if err := q.stopRedrive(ctx, typ, id, "stopped by "+by); err != nil {
		return nil, err
	}
	return q.GetRedrive(ctx, typ, id)
}

func (q *Queue) stopRedrive(ctx context.Context, typ, id, reason string) error {
	v, err := q.run(ctx, q.scripts.redriveStop, q.typeKeys(typ, ""), []any{id, reason})
	if err != nil {
		return err
	}
	if v != int64(1) {
		return ErrNoRedrive
	}
	return nil
}

// keyBeside returns a key of the type that is not among the scripts' KEYS.
func (q *Queue) keyBeside(typ, name string) string { return tag(q.prefix, typ) + name }
