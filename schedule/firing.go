package schedule

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// entry is a tick that was taken and has to become a job.
type entry struct {
	schedule string
	tick     time.Time
	typ      string
	// created is when the schedule was, so that one of the same name is told from it.
	created string
	// decided says that the tick becomes a job; before then is what was last when that was decided, and
	// latest what is now.
	decided        bool
	before, latest last
	// record of the schedule, "" if it was deleted.
	record string
}

// last is the job pushed for the latest tick of a schedule; zero if there is none.
type last struct {
	typ, id string
	tick    time.Time
}

func decodeLast(f []string) last {
	if len(f) != 3 {
		return last{}
	}
	return last{typ: f[0], id: f[1], tick: fromMs(f[2])}
}

// field is the entry's name in the outbox.
func (e *entry) field() string { return e.schedule + " " + ms(e.tick) }

// job is the ID of the job it becomes: the schedule and the tick, "nightly:2026-11-23T03:00:00Z".
func (e *entry) job() string {
	return e.schedule + ":" + e.tick.UTC().Format("2006-01-02T15:04:05.999Z07:00")
}

// key is the same for whoever pushes this entry's job, and for no other.
func (e *entry) key() string { return "schedule:" + e.schedule + ":" + e.created + ":" + ms(e.tick) }

// value is what the outbox holds at first; lua/decide.lua adds to it.
func (e *entry) value() string { return e.typ + " " + e.created }

// decodeEntry is the reverse of field and value.
func decodeEntry(field, value, record string) (*entry, error) {
	name, tick, _ := strings.Cut(field, " ")
	e := &entry{schedule: name, tick: fromMs(tick), record: record}
	f := strings.Fields(value)
	if e.tick.IsZero() || len(f) < 2 {
		return nil, fmt.Errorf("the outbox of the schedules is damaged: %q", field)
	}
	e.typ, e.created = f[0], f[1]
	if e.decided = len(f) > 2; e.decided {
		e.before = decodeLast(f[3:])
	}
	return e, nil
}

// firingLine is a Firing as history holds it; times are ms.
type firingLine struct {
	Tick    int64   `json:"tick"`
	Until   int64   `json:"until,omitempty"`
	At      int64   `json:"at"`
	Outcome Outcome `json:"outcome"`
	Type    string  `json:"type,omitempty"`
	Job     string  `json:"job,omitempty"`
	Manual  bool    `json:"manual,omitempty"`
	Error   string  `json:"error,omitempty"`
}

func encodeFiring(f Firing) (string, error) {
	line := firingLine{Tick: f.Tick.UnixMilli(), At: f.At.UnixMilli(), Outcome: f.Outcome, Type: f.Type, Job: f.Job, Manual: f.Manual, Error: f.Error}
	if !f.Until.IsZero() {
		line.Until = f.Until.UnixMilli()
	}
	b, err := json.Marshal(line)
	return string(b), err
}

func decodeFiring(text string) (Firing, error) {
	var line firingLine
	if err := json.Unmarshal([]byte(text), &line); err != nil {
		return Firing{}, err
	}
	f := Firing{Tick: fromUnixMs(line.Tick), At: fromUnixMs(line.At), Outcome: line.Outcome, Type: line.Type, Job: line.Job, Manual: line.Manual, Error: line.Error}
	if line.Until != 0 {
		f.Until = fromUnixMs(line.Until)
	}
	return f, nil
}

// due is what there is to do.
type due struct {
	now time.Time
	// next is when there will be more; zero: not known of anything.
	next  time.Time
	ticks []dueTick
	// taken are entries of others that have not finished them in time.
	taken []*entry
}

type dueTick struct {
	name   string
	tick   time.Time
	record string
}

// due asks for what there is to do.
func (s *Store) due(ctx context.Context) (*due, error) {
	v, err := s.run(ctx, s.scripts.due, "", "", dueLimit, takeover.Milliseconds())
	if err != nil {
		return nil, err
	}
	bad := fmt.Errorf("schedules: unexpected answer %v", v)
	parts, ok := v.([]any)
	if !ok || len(parts) != 4 {
		return nil, bad
	}
	head, err := texts(parts[:2], 2)
	if err != nil {
		return nil, err
	}
	d := &due{now: fromMs(head[0]), next: fromMs(head[1])}
	ticks, ok := parts[2].([]any)
	taken, ok2 := parts[3].([]any)
	if !ok || !ok2 || len(ticks)%3 != 0 || len(taken)%3 != 0 {
		return nil, bad
	}
	for ; len(ticks) > 0; ticks = ticks[3:] {
		t, err := texts(ticks[:3], 3)
		if err != nil {
			return nil, err
		}
		d.ticks = append(d.ticks, dueTick{name: t[0], tick: fromMs(t[1]), record: t[2]})
	}
	var errs []error
	for ; len(taken) > 0; taken = taken[3:] {
		t, err := texts(taken[:3], 3)
		if err != nil {
			return nil, err
		}
		e, err := decodeEntry(t[0], t[1], t[2])
		if err != nil {
			errs = append(errs, err)
			continue
		}
		d.taken = append(d.taken, e)
	}
	if len(errs) > 0 {
		s.log.Error("a tick cannot be fired", "error", errors.Join(errs...))
	}
	return d, nil
}

// advance takes the ticks up to now of a schedule; false if another process did so first.
func (s *Store) advance(ctx context.Context, t dueTick, version int64, next time.Time, missed *Firing, entries []*entry) (bool, error) {
	line := ""
	if missed != nil {
		var err error
		if line, err = encodeFiring(*missed); err != nil {
			return false, err
		}
	}
	args := []any{t.name, ms(t.tick), version, ms(next), takeover.Milliseconds(), line}
	for _, e := range entries {
		args = append(args, e.field(), e.value())
	}
	v, err := s.run(ctx, s.scripts.advance, t.name, "", args...)
	return v == int64(1), err
}

// decide settles that an entry becomes a job; nil if somebody has finished it.
func (s *Store) decide(ctx context.Context, e *entry) (*entry, error) {
	v, err := s.run(ctx, s.scripts.decide, e.schedule, "", e.field(), e.schedule)
	if err != nil {
		return nil, err
	}
	answer, err := texts(v, 2)
	if err != nil || answer[0] == "" {
		return nil, err
	}
	decided, err := decodeEntry(e.field(), answer[0], e.record)
	if err == nil {
		decided.latest = decodeLast(strings.Fields(answer[1]))
	}
	return decided, err
}

// last names the job that the ticks before e led to, if any; pending: one of them has not become a job yet.
func (s *Store) last(ctx context.Context, e *entry) (l last, pending bool, err error) {
	v, err := s.run(ctx, s.scripts.last, e.schedule, "", e.schedule, ms(e.tick))
	if err != nil {
		return l, false, err
	}
	return decodeLast(strings.Fields(fmt.Sprint(v))), v == "pending", nil
}

// finish ends an entry ("" for none); the answer is lua/finish.lua's.
func (s *Store) finish(ctx context.Context, field, name string, f Firing) (string, error) {
	line, err := encodeFiring(f)
	if err != nil {
		return "", err
	}
	skip, job := "0", ""
	switch f.Outcome {
	case Skipped:
		skip = "1"
	case Fired:
		job = f.Type + " " + f.Job
	}
	v, err := s.run(ctx, s.scripts.finish, name, "", field, name, skip, line, job, ms(f.Tick))
	return fmt.Sprint(v), err
}
