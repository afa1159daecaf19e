package webhook

import (
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// parseRetryAfter reads a Retry-After (RFC 9110, 10.2.3): seconds, or an HTTP
// date in any of its three formats; or a duration as Go writes it. The result is
// between 0 and limit: what is past or negative is 0, what is huge is limit. Fractions
// of a second are understood, because servers send them. False if it is none of these.
//
// retryablehttp's own parser is not used: it is not exported, knows one of the
// date formats, and overflows.
func parseRetryAfter(v string, now time.Time, limit time.Duration) (time.Duration, bool) {
	v = strings.TrimSpace(v)
	if s, ok := parseSeconds(v); ok {
		return within(s, limit), true
	}
	if d, err := time.ParseDuration(v); err == nil {
		return min(max(d, 0), limit), true
	}
	t, err := http.ParseTime(v)
	if err != nil {
		return 0, false
	}
	return min(max(t.Sub(now), 0), limit), true
}

// firstEpoch is the number of seconds from which on an X-RateLimit-Reset is a
// time, and no longer a duration: 32 years, or September 2001.
const firstEpoch = 1e9

// parseReset reads an X-RateLimit-Reset, which nobody has standardised: Unix
// seconds as GitHub sends them, or whatever a Retry-After may be.
func parseReset(v string, now time.Time, limit time.Duration) (time.Duration, bool) {
	if s, ok := parseSeconds(strings.TrimSpace(v)); ok && s >= firstEpoch {
		return within(s-float64(now.UnixMilli())/1000, limit), true
	}
	return parseRetryAfter(v, now, limit)
}

func parseSeconds(v string) (float64, bool) {
	s, err := strconv.ParseFloat(v, 64)
	return s, !math.IsNaN(s) && (err == nil || math.IsInf(s, 0))
}

func within(seconds float64, limit time.Duration) time.Duration {
	switch {
	case seconds <= 0:
		return 0
	case seconds >= limit.Seconds():
		return limit
	}
	return time.Duration(seconds * float64(time.Second))
}
