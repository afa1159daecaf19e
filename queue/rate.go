package queue

import (
	"fmt"
	"time"

	"github.com/deetoo/deetoo/invalid"
)

// Rate bounds how many jobs start: within any time t at most Burst + t·Limit/Per,
// by the generic cell rate algorithm (GCRA, ITU-T I.371). The zero value is no limit.
type Rate struct {
	// Limit is how many start in each Per: 1 to 1,000,000, and at most one a microsecond.
	Limit int
	// Per: 1ms to 24h, to the microsecond.
	Per time.Duration
	// Burst is how many may start at once after a pause: 1 to Limit. Default: what
	// comes in 100 ms, but at least 1. So starts are spread evenly, and
	// a fast rate does not need a look at Redis for each.
	Burst int
}

// Validate names the field that is wrong, as an *invalid.Error. The zero value is valid.
func (r Rate) Validate() error {
	switch {
	case r == Rate{}:
		return nil
	case r.Limit < 1 || r.Limit > 1_000_000:
		return invalid.Errorf("limit", "must be 1 to 1,000,000")
	case r.Per < time.Millisecond || r.Per > 24*time.Hour:
		return invalid.Errorf("per", "must be 1ms to 24h")
	case time.Duration(r.Limit) > r.Per/time.Microsecond:
		return invalid.Errorf("limit", "must be at most one a microsecond")
	case r.Burst < 0 || r.Burst > r.Limit:
		return invalid.Errorf("burst", "must be 1 to limit")
	}
	return nil
}

// burst is Burst, or its default.
func (r Rate) burst() int {
	if r.Burst > 0 {
		return r.Burst
	}
	perTenth := float64(r.Limit) * float64(100*time.Millisecond) / float64(r.Per)
	return max(min(int(perTenth), r.Limit), 1)
}

// encode is the form that rate.lua reads.
func (r Rate) encode() string {
	if r.Limit == 0 {
		return ""
	}
	return fmt.Sprintf("%d %d %d", r.Limit, r.Per.Microseconds(), r.burst())
}
