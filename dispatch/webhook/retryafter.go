package webhook

import (
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// parseRetryAfter reads a Retry-After (RFC 9110, 10.2.3): seconds, or an HTTP
// date in any of its three formats. The result is between 0 and limit: what is
// past or negative is 0, what is huge is limit. Fractions of a second are
// understood, because servers send them. False if it is neither.
//
// retryablehttp's own parser is not used: it is not exported, knows one of the
// date formats, and overflows.
func parseRetryAfter(v string, now time.Time, limit time.Duration) (time.Duration, bool) {
	v = strings.TrimSpace(v)
	if s, err := strconv.ParseFloat(v, 64); !math.IsNaN(s) && (err == nil || math.IsInf(s, 0)) {
		switch {
		case s <= 0:
			return 0, true
		case s >= limit.Seconds():
			return limit, true
		}
		return time.Duration(s * float64(time.Second)), true
	}
	t, err := http.ParseTime(v)
	if err != nil {
		return 0, false
	}
	return min(max(t.Sub(now), 0), limit), true
}
