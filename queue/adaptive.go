package queue

import (
	"encoding/json"
	"fmt"
	"time"
)

// AdaptivePolicy has a type's concurrency found out, between Min and the type's own: it rises
// while all slots are taken and the target answers, and falls to
// 0.7 of itself, at most once per round trip, when the target is Busy or Overloaded, or its
// answers come late. See lua/adaptive.lua for where this comes from.
type AdaptivePolicy struct {
	// Min is the least it falls to, and where it begins. At least 1.
	Min int
	// TargetLatency is what the mean of a window's answers may take; 0: Tolerance counts.
	TargetLatency time.Duration
	// Tolerance is how many times the latency of the fastest window another's may be (and 10 ms
	// more than it are always fine); 0: latency does not count.
	Tolerance float64
}

// encode is how control holds it; see lua/adaptive.lua.
func (p *AdaptivePolicy) encode() string {
	if p == nil {
		return ""
	}
	return fmt.Sprintf("%d %d %g", p.Min, p.TargetLatency.Milliseconds(), p.Tolerance)
}

// Adaptive is the state of an adaptive concurrency.
type Adaptive struct {
	// Limit is how many jobs may run at once at present.
	Limit int
	// Baseline is the mean latency of the fastest window; 0 if it is not known, or does not count.
	Baseline time.Duration
	// MovedAt, From and Reason are when the limit was last changed, from what, and why;
	// zero if it never was.
	MovedAt time.Time
	From    int
	Reason  string
}

// decodeAdaptive reads what lua/adaptive.lua writes; nil without a policy.
func decodeAdaptive(policy, state string, limit int) (*Adaptive, error) {
	if policy == "" {
		return nil, nil
	}
	var least int
	if _, err := fmt.Sscan(policy, &least); err != nil {
		return nil, fmt.Errorf("damaged settings of the adaptive concurrency: %w", err)
	}
	s := struct {
		L, B, At, From float64
		Why            string
	}{L: float64(least)}
	if state != "" {
		if err := json.Unmarshal([]byte(state), &s); err != nil {
			return nil, fmt.Errorf("damaged state of the adaptive concurrency: %w", err)
		}
	}
	a := &Adaptive{
		Limit: min(max(int(s.L), least), limit), Baseline: time.Duration(s.B * float64(time.Millisecond)).Round(time.Microsecond),
		From: int(s.From), Reason: s.Why,
	}
	if s.At > 0 {
		a.MovedAt = time.UnixMilli(int64(s.At))
	}
	return a, nil
}
