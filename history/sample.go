package history

import (
	"math"
	"math/bits"
	"strconv"
	"strings"
	"time"

	"github.com/deetoo/deetoo/queue"
)

// Sample is what happened in a step of time, and how the queue stood in it.
type Sample struct {
	// Attempts by how they ended. Other ones were snoozed, given back or called off: nobody's failure.
	Succeeded, Failed, Dead, Other int64
	// Ran is how long the attempts took, Waited how long jobs were due before they began.
	Ran, Waited Histogram

	// Waiting, Scheduled, Active and Buried (dead jobs kept) are the most there
	// were of each when somebody looked, and Oldest the longest that a waiting job had been due.
	Waiting, Scheduled, Active, Buried int64
	Oldest                             time.Duration
	// Looked says that somebody looked: without it, nothing is known of the queue in that step.
	Looked bool
}

// Ended is how many attempts ended.
func (s *Sample) Ended() int64 { return s.Succeeded + s.Failed + s.Dead + s.Other }

// SuccessRate is the part of the attempts that succeeded, 0 to 1, of those that
// succeeded or failed; ok is false if there were none.
func (s *Sample) SuccessRate() (rate float64, ok bool) {
	n := s.Succeeded + s.Failed + s.Dead
	if n == 0 {
		return 0, false
	}
	return float64(s.Succeeded) / float64(n), true
}

// Add puts another sample of the same or the next step to this one.
func (s *Sample) Add(o *Sample) {
	s.Succeeded += o.Succeeded
	s.Failed += o.Failed
	s.Dead += o.Dead
	s.Other += o.Other
	s.Ran.add(&o.Ran)
	s.Waited.add(&o.Waited)
	s.Waiting, s.Scheduled = max(s.Waiting, o.Waiting), max(s.Scheduled, o.Scheduled)
	s.Active, s.Buried = max(s.Active, o.Active), max(s.Buried, o.Buried)
	s.Oldest = max(s.Oldest, o.Oldest)
	s.Looked = s.Looked || o.Looked
}

// count notes the end of an attempt; negative times are not known.
func (s *Sample) count(outcome string, took, waited time.Duration) {
	switch outcome {
	case "succeeded":
		s.Succeeded++
	case "failed":
		s.Failed++
	case "dead":
		s.Dead++
	default:
		s.Other++
	}
	if took >= 0 {
		s.Ran[bucketOf(took)]++
	}
	if waited >= 0 {
		s.Waited[bucketOf(waited)]++
	}
}

// look notes how the queue stands.
func (s *Sample) look(q *queue.Stats) {
	s.Waiting, s.Scheduled = int64(q.Waiting), int64(q.Scheduled)
	s.Active, s.Buried, s.Oldest, s.Looked = int64(q.Active), int64(q.Dead), q.Oldest, true
}

// buckets reach from 0.1 ms to 29 h, two for each doubling.
const (
	buckets    = 60
	bucketUnit = 100 * time.Microsecond
)

// Histogram counts durations: bucket i those of at least 0.1 ms · √2^i, the first all shorter ones too.
type Histogram [buckets]int64

func bucketOf(d time.Duration) int {
	n := uint64(max(d, 0) / bucketUnit)
	if n < 1 {
		return 0
	}
	log := bits.Len64(n) - 1
	i := 2 * log
	if n*n >= 1<<(2*log+1) { // past the middle, on a logarithmic scale
		i++
	}
	return min(i, buckets-1)
}

func (h *Histogram) add(o *Histogram) {
	for i, n := range o {
		h[i] += n
	}
}

// Count is how many durations there are.
func (h *Histogram) Count() (n int64) {
	for _, c := range h {
		n += c
	}
	return n
}

// Quantile is the duration that a part q of them, 0 to 1, does not exceed, found
// by interpolation within a bucket, on a logarithmic scale as the buckets are: at most 20 % off. 0 if there are none.
func (h *Histogram) Quantile(q float64) time.Duration {
	total := h.Count()
	if total == 0 {
		return 0
	}
	rank, below := q*float64(total), 0.0
	for i, n := range h {
		if n == 0 {
			continue
		}
		if below+float64(n) >= rank {
			part := max(rank-below, 0) / float64(n)
			return time.Duration(float64(bucketUnit) * math.Pow(2, (float64(i)+part)/2))
		}
		below += float64(n)
	}
	return 0
}

// encode writes what is not zero as "name=number", with spaces between; the
// names of what lua/record.lua adds up are small letters, of what it takes the larger of, capitals.
func (s *Sample) encode() string {
	var b strings.Builder
	put := func(name string, n int64) {
		if n == 0 {
			return
		}
		if b.Len() > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(name)
		b.WriteByte('=')
		b.WriteString(strconv.FormatInt(n, 10))
	}
	put("s", s.Succeeded)
	put("f", s.Failed)
	put("d", s.Dead)
	put("o", s.Other)
	for i := range s.Ran {
		put("r"+strconv.Itoa(i), s.Ran[i])
	}
	for i := range s.Waited {
		put("w"+strconv.Itoa(i), s.Waited[i])
	}
	put("W", s.Waiting)
	put("S", s.Scheduled)
	put("A", s.Active)
	put("B", s.Buried)
	put("O", s.Oldest.Milliseconds())
	if s.Looked {
		put("L", 1)
	}
	return b.String()
}

// decode reads what encode has written. What it does not know, a later version has written, and is passed over.
func decode(text string) (s Sample) {
	for pair := range strings.FieldsSeq(text) {
		name, number, _ := strings.Cut(pair, "=")
		n, err := strconv.ParseInt(number, 10, 64)
		if err != nil || name == "" {
			continue
		}
		switch name {
		case "s":
			s.Succeeded = n
		case "f":
			s.Failed = n
		case "d":
			s.Dead = n
		case "o":
			s.Other = n
		case "W":
			s.Waiting = n
		case "S":
			s.Scheduled = n
		case "A":
			s.Active = n
		case "B":
			s.Buried = n
		case "O":
			s.Oldest = time.Duration(n) * time.Millisecond
		case "L":
			s.Looked = true
		default:
			i, err := strconv.Atoi(name[1:])
			if err != nil || i < 0 || i >= buckets {
				continue
			}
			switch name[0] {
			case 'r':
				s.Ran[i] = n
			case 'w':
				s.Waited[i] = n
			}
		}
	}
	return s
}
