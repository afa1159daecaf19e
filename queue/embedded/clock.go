package embedded

import "time"

// clock is the time the store sees, in whole microseconds, as Redis' TIME. It
// never goes backwards, not over restarts either. While the machine's clock is
// behind it, after a correction, it goes on at half its pace until that has
// caught up: standing still would keep leases and delays from ever ending.
type clock struct {
	now     func() time.Time
	reading time.Time // of now, at the last tick
	last    time.Time // what the last tick returned
}

func (c *clock) tick() time.Time {
	reading := c.now()
	elapsed := max(0, reading.Sub(c.reading)) // by the monotonic clock where now has one
	c.reading = reading
	next := time.UnixMicro(reading.UnixMicro())
	if next.Before(c.last) {
		next = c.last.Add((elapsed / 2).Truncate(time.Microsecond))
	}
	c.last = next
	return next
}

// behind is how far the machine's clock is behind what was already journalled.
func (c *clock) behind() time.Duration { return max(0, c.last.Sub(c.now())) }
