package queue

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/deetoo/deetoo/invalid"
)

// Health is what an attempt tells of its type's target.
type Health byte

// What an attempt can tell, by its letter in the protocol. The zero value tells nothing: the
// attempt was called off, say.
const (
	// Answered: the target works, whatever it said of the job.
	Answered Health = 'w'
	// Busy: the target works, and wants fewer requests.
	Busy Health = 'b'
	// Overloaded: the target failed, as one does that has too much to do: it took too long, say.
	Overloaded Health = 'o'
	// Failing: the target failed in another way.
	Failing Health = 'f'
	// Refused: nobody listens there.
	Refused Health = 'c'
)

// told is how a settlement says it.
func (s *Settlement) told() string {
	if s.Health == 0 {
		return ""
	}
	return string(s.Health) + strconv.FormatInt(max(s.Took.Milliseconds(), 0), 10)
}

// OutagePolicy says when a type's jobs are held because its target is down. The
// pattern is Michael Nygard's circuit breaker ("Release It!", 2007), with
// one state for all dispatchers.
type OutagePolicy struct {
	// The hold opens when the target failed in Share of Of attempts: as soon as
	// Share·Of of the last Of did. 0 < Share ≤ 1; Of 1 to 1,000.
	Share float64
	Of    int
	// Refused opens it too: so many connections refused in a row. 1 to 1,000.
	Refused int
	// While it is open one job is tried at a time, as a canary: the first after
	// CanaryMin, and after each that fails twice as long, up to CanaryMax.
	CanaryMin, CanaryMax time.Duration
}

// encode is how control holds it; see lua/outage.lua.
func (p *OutagePolicy) encode() string {
	if p == nil {
		return ""
	}
	return fmt.Sprintf("%g %d %d %d %d", p.Share, p.Of, p.Refused, p.CanaryMin.Milliseconds(), p.CanaryMax.Milliseconds())
}

// Outage is the hold of a type whose target is down, or was a moment ago. While it is open
// jobs stay where they are, but for one canary at a time; an attempt
// that fails then costs nothing.
type Outage struct {
	// Open says that it is. Otherwise the type is ramping up again.
	Open bool
	// Since is when it opened, or when the ramp began, by Redis's clock.
	Since time.Time
	// Reason is the last error of the target, or what the person said who opened it.
	Reason string
	// Forced says that a person opened it: no canary goes before Until, or if that
	// is zero before a person closes it.
	Forced bool
	Until  time.Time
	// Canary is the ID of the job that is being tried; empty if there is none.
	Canary string
	// NextCanary is when the next may go; zero if one is out, or none is to.
	NextCanary time.Time
	// Interval is the present time between two canaries.
	Interval time.Duration
	// Ramp is how many jobs may run at once while it is ramping up: 1, and twice as
	// many each time that so many attempts were answered, up to the type's concurrency.
	Ramp int
}

// decodeOutage reads the state that lua/outage.lua writes; nil if all is well. Numbers are
// read as what Lua has, which has no integers.
func decodeOutage(state string) (*Outage, error) {
	if state == "" {
		return nil, nil
	}
	var s struct {
		S, U, I, N, R, B float64
		F                int
		E, J             string
	}
	if err := json.Unmarshal([]byte(state), &s); err != nil {
		return nil, fmt.Errorf("damaged state of the outage hold: %w", err)
	}
	ms := func(f float64) time.Time { return time.UnixMilli(int64(f)) }
	switch {
	case s.S > 0:
		o := &Outage{Open: true, Since: ms(s.S), Reason: s.E, Canary: s.J, Interval: time.Duration(s.I) * time.Millisecond}
		switch {
		case s.F == 1:
			o.Forced = true
			if s.U > 0 {
				o.Until, o.NextCanary = ms(s.U), ms(s.U)
			}
		case s.J == "":
			o.NextCanary = ms(s.N)
		}
		return o, nil
	case s.R > 0:
		return &Outage{Since: ms(s.B), Reason: s.E, Ramp: int(s.R), Interval: time.Duration(s.I) * time.Millisecond}, nil
	}
	return nil, nil
}

// MaxReason is how much of the reason of a hold is kept, in bytes.
const MaxReason = 1 << 10

// Hold opens a type's outage hold by hand, whether it has an OutagePolicy or not, for so long
// (0: until Unhold). Then canaries decide. Held again, reason and time are replaced.
func (q *Queue) Hold(ctx context.Context, typ, reason string, d time.Duration) (*Outage, error) {
	if d < 0 || d > MaxDelay {
		return nil, invalid.Errorf("for", "must be positive, and at most ten years")
	}
	until := ""
	if d > 0 {
		until = strconv.FormatInt(d.Milliseconds(), 10)
	}
	return q.hold(ctx, typ, "1", clip(reason, MaxReason), until)
}

// Unhold closes a type's outage hold, however it was opened: the type ramps up. If it does
// already, that ends at once. The answer is nil if all is well then.
func (q *Queue) Unhold(ctx context.Context, typ string) (*Outage, error) {
	return q.hold(ctx, typ, "0", "", "")
}

func (q *Queue) hold(ctx context.Context, typ string, args ...any) (*Outage, error) {
	v, err := q.run(ctx, q.scripts.hold, q.typeKeys(typ, "once:"+nonce()), args)
	if err != nil {
		return nil, err
	}
	return decodeOutage(fmt.Sprint(v))
}
