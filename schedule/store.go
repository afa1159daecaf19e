package schedule

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/deetoo/deetoo/invalid"
	"github.com/deetoo/deetoo/queue"
	"github.com/deetoo/deetoo/registry"
)

// maxTries bounds how often a change is computed anew because another came
// first. Each time somebody's change got in.
const maxTries = 100

// Options of a Store. The zero value is ready to use.
type Options struct {
	// Prefix begins the name of every key, as in queue.Options. Default: "deetoo".
	Prefix string
	// Logger hears of each change made here. Default: slog.Default().
	Logger *slog.Logger
}

// Store keeps the schedules in Redis: the records in one hash, beside it who
// ticks when and what is under way. Errors of Redis are those of package queue.
type Store struct {
	client  redis.UniversalClient
	log     *slog.Logger
	scripts scripts
	key     string
	channel string
}

// NewStore returns a Store, or the option that is wrong.
func NewStore(client redis.UniversalClient, o Options) (*Store, error) {
	if err := (queue.Options{Prefix: o.Prefix}).Validate(); err != nil {
		return nil, err
	}
	if o.Prefix == "" {
		o.Prefix = "deetoo"
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	s, err := loadScripts()
	if err != nil {
		return nil, err
	}
	return &Store{client: client, log: o.Logger, scripts: s, key: "{" + o.Prefix + "}:schedules", channel: o.Prefix + ":schedules"}, nil
}

// PutOptions are the conditions of a change, as those of a type's are.
type PutOptions = registry.PutOptions

// check returns a *VersionMismatchError if the conditions do not hold for what is stored.
func check(o PutOptions, name string, old *Schedule) error {
	var version int64
	if old != nil {
		version = old.Version
	}
	if !o.Met(version) {
		return &VersionMismatchError{Name: name, Current: version}
	}
	return nil
}

// Get returns the schedule of that name, or a *NotFoundError.
func (s *Store) Get(ctx context.Context, name string) (Schedule, error) {
	found, err := s.lookup(ctx, name)
	if err != nil {
		return Schedule{}, err
	}
	if found == nil {
		return Schedule{}, &NotFoundError{Name: name}
	}
	return *found, nil
}

// List returns all schedules, sorted by name. One whose record is damaged is left out, and logged.
func (s *Store) List(ctx context.Context) ([]Schedule, error) {
	pipe := s.client.Pipeline()
	records, due := pipe.HGetAll(ctx, s.key), pipe.ZRangeWithScores(ctx, s.key+":due", 0, -1)
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, queue.Classify(fmt.Errorf("schedules: %w", err))
	}
	next := map[string]time.Time{}
	for _, z := range due.Val() {
		if name, ok := z.Member.(string); ok {
			next[name] = time.UnixMilli(int64(z.Score)).UTC()
		}
	}
	out := make([]Schedule, 0, len(records.Val()))
	for name, record := range records.Val() {
		found, err := decodeRecord(name, record)
		if err != nil {
			s.log.Error("a schedule is left out", "schedule", name, "error", err)
			continue
		}
		found.Next = next[name]
		out = append(out, *found)
	}
	slices.SortFunc(out, func(a, b Schedule) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

// Update stores what change makes of the schedule (nil: there is none), provided
// that the conditions hold, and returns what is now stored and whether it is new.
// If others come first, change is called again. A change that differs in nothing
// leaves the version alone; one that moves no tick leaves the next tick alone. What change returns must be
// valid, or the error is an *[invalid.Error]; a failed condition is a *[VersionMismatchError]; errors of change come as they are.
func (s *Store) Update(ctx context.Context, name string, o PutOptions, change func(old *Schedule) (Schedule, error)) (Schedule, bool, error) {
	if err := o.Validate(); err != nil {
		return Schedule{}, false, err
	}
	for range maxTries {
		old, err := s.lookup(ctx, name)
		if err != nil {
			return Schedule{}, false, err
		}
		if err := check(o, name, old); err != nil {
			return Schedule{}, false, err
		}
		changed, err := change(old)
		if err != nil {
			return Schedule{}, false, err
		}
		if changed.Name != name {
			return Schedule{}, false, invalid.Errorf("name", "cannot be changed")
		}
		if err := changed.Validate(); err != nil {
			return Schedule{}, false, err
		}
		if old != nil && old.same(&changed) {
			return *old, false, nil
		}
		stored, status, err := s.put(ctx, old, changed)
		if err != nil {
			return Schedule{}, false, err
		}
		if status == "mismatch" {
			continue
		}
		s.log.Info("schedule stored", "schedule", name, "type", stored.Type, "version", stored.Version, "next", stored.Next, "paused", stored.Paused)
		return *stored, status == "created", nil
	}
	return Schedule{}, false, fmt.Errorf("schedule %q changed %d times meanwhile: %w", name, maxTries, ErrVersionMismatch)
}

// put stores a changed schedule with its next tick, if it is still at the version of old.
func (s *Store) put(ctx context.Context, old *Schedule, changed Schedule) (*Schedule, string, error) {
	body, err := encode(changed.spec())
	if err != nil {
		return nil, "", err
	}
	var expected int64
	next := ""
	if old != nil {
		expected = old.Version
	}
	if old == nil || !old.sameTicks(&changed) {
		now, err := s.Now(ctx)
		if err != nil {
			return nil, "", err
		}
		if old == nil {
			changed.CreatedAt = now
		}
		timing, err := changed.Timing()
		if err != nil {
			return nil, "", err
		}
		next = "-"
		if at := timing.Next(now); !at.IsZero() && !changed.Paused {
			next = ms(at)
		}
	}
	request := rand.Text()
	v, err := s.run(ctx, s.scripts.put, changed.Name, request, changed.Name, expected, request, body, s.channel, next, changed.CreatedAt.UnixMilli())
	if err != nil {
		return nil, "", err
	}
	reply, err := texts(v, 3)
	if err != nil || reply[0] == "mismatch" {
		return nil, "mismatch", err
	}
	stored, err := decodeRecord(changed.Name, reply[1])
	if err != nil {
		return nil, "", err
	}
	stored.Next = fromMs(reply[2])
	return stored, reply[0], nil
}

// PutSpec stores what the spec describes; see [Store.Update].
func (s *Store) PutSpec(ctx context.Context, spec Spec, o PutOptions) (Schedule, bool, error) {
	return s.Update(ctx, spec.Name, o, spec.Schedule)
}

// Modify is Update of a schedule that must exist, or the error is a *NotFoundError.
func (s *Store) Modify(ctx context.Context, name string, ifMatch int64, change func(old *Schedule) (Schedule, error)) (Schedule, error) {
	out, _, err := s.Update(ctx, name, PutOptions{}, func(old *Schedule) (Schedule, error) {
		if old == nil {
			return Schedule{}, &NotFoundError{Name: name}
		}
		if err := check(PutOptions{IfMatch: ifMatch}, name, old); err != nil {
			return Schedule{}, err
		}
		return change(old)
	})
	return out, err
}

// Patched returns what an RFC 7396 merge patch makes of a schedule: null resets a field to its default.
func Patched(old *Schedule, patch []byte) (Schedule, error) {
	spec, err := mergePatch(old, patch)
	if err != nil {
		return Schedule{}, err
	}
	return spec.Schedule(old)
}

// Delete removes the schedule and its history; jobs that it has pushed stay. ifMatch is the
// version it must have; 0: any. A missing schedule is a *NotFoundError.
func (s *Store) Delete(ctx context.Context, name string, ifMatch int64) error {
	if !validName(name) {
		return &NotFoundError{Name: name}
	}
	v, err := s.run(ctx, s.scripts.delete, name, rand.Text(), name, ifMatch, s.channel)
	if err != nil {
		return err
	}
	reply, err := texts(v, 2)
	if err != nil {
		return err
	}
	switch reply[0] {
	case "deleted":
		s.log.Info("schedule deleted", "schedule", name)
		return nil
	case "missing":
		return &NotFoundError{Name: name}
	default:
		current, _ := strconv.ParseInt(reply[1], 10, 64)
		return &VersionMismatchError{Name: name, Current: current}
	}
}

// History returns what became of the schedule's last ticks, newest first, at most MaxHistory.
func (s *Store) History(ctx context.Context, name string) ([]Firing, error) {
	lines, err := s.client.LRange(ctx, s.key+":history:"+name, 0, -1).Result()
	if err != nil {
		return nil, queue.Classify(fmt.Errorf("schedules: %w", err))
	}
	out := make([]Firing, 0, len(lines))
	for _, line := range lines {
		f, err := decodeFiring(line)
		if err != nil {
			return nil, fmt.Errorf("schedule %q: its history is damaged: %w", name, err)
		}
		out = append(out, f)
	}
	return out, nil
}

// Note adds a firing outside the ticks to the history, and makes its job the last one.
func (s *Store) Note(ctx context.Context, name string, f Firing) error {
	_, err := s.finish(ctx, "", name, f)
	return err
}

// Now returns the time by the clock that all ticks go by: Redis's, to the millisecond.
func (s *Store) Now(ctx context.Context) (time.Time, error) {
	t, err := s.client.Time(ctx).Result()
	if err != nil {
		return t, queue.Classify(fmt.Errorf("schedules: %w", err))
	}
	return t.Truncate(time.Millisecond).UTC(), nil
}

// lookup returns the schedule, or nil if there is none.
func (s *Store) lookup(ctx context.Context, name string) (*Schedule, error) {
	if !validName(name) {
		return nil, nil
	}
	pipe := s.client.Pipeline()
	record, next := pipe.HGet(ctx, s.key, name), pipe.ZScore(ctx, s.key+":due", name)
	if _, err := pipe.Exec(ctx); err != nil && !errors.Is(err, redis.Nil) {
		return nil, queue.Classify(fmt.Errorf("schedules: %w", err))
	}
	if errors.Is(record.Err(), redis.Nil) {
		return nil, nil
	}
	if err := errors.Join(record.Err(), ignoreNil(next.Err())); err != nil {
		return nil, queue.Classify(fmt.Errorf("schedules: %w", err))
	}
	found, err := decodeRecord(name, record.Val())
	if err == nil && next.Err() == nil {
		found.Next = time.UnixMilli(int64(next.Val())).UTC()
	}
	return found, err
}

func ignoreNil(err error) error {
	if errors.Is(err, redis.Nil) {
		return nil
	}
	return err
}

// decodeRecord reads a record as lua/put.lua writes it. Fields it does not know
// are left out, so that an older dispatcher can follow a newer one.
func decodeRecord(name, record string) (*Schedule, error) {
	stamp, body, _ := strings.Cut(record, "\n")
	fields := strings.Fields(stamp)
	damaged := fmt.Errorf("the record of schedule %q is damaged", name)
	if len(fields) != 4 {
		return nil, damaged
	}
	var numbers [3]int64
	for i := range numbers {
		n, err := strconv.ParseInt(fields[i], 10, 64)
		if err != nil {
			return nil, damaged
		}
		numbers[i] = n
	}
	var spec Spec
	if err := json.Unmarshal([]byte(body), &spec); err != nil {
		return nil, damaged
	}
	spec.Name = name
	out, err := spec.Schedule(&Schedule{Version: numbers[0], CreatedAt: fromUnixMs(numbers[1]), UpdatedAt: fromUnixMs(numbers[2])})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", damaged, err)
	}
	return &out, nil
}

func fromUnixMs(n int64) time.Time { return time.UnixMilli(n).UTC() }

// fromMs is the reverse of ms.
func fromMs(s string) time.Time {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return time.Time{}
	}
	return fromUnixMs(n)
}
