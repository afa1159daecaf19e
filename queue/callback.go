package queue

import (
	"context"
	"crypto/sha1"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/deetoo/deetoo/invalid"
)

const (
	// MaxLogLines is how many lines of an attempt's log are kept: the last ones.
	MaxLogLines = 100
	// MaxLogLine is how much of a line of the log is kept, in bytes.
	MaxLogLine = 1 << 10
	// MaxProgressMessage is how much of a progress's message is kept, in bytes.
	MaxProgressMessage = 1 << 10
)

// ErrEnded: the callback token is none of an attempt that still runs. The
// attempt was concluded, or its lease ended, or the job is gone. Nothing was changed.
var ErrEnded = errors.New("the attempt has ended")

// CallbackToken is what the handler of this attempt proves itself with: 40
// hexadecimal digits, the SHA-1 of the word "callback", a space and the lease's token. It
// opens nothing else. Handlers do not get the token itself, because those of jobs
// claimed together differ only in their last digits.
func (l *Lease) CallbackToken() string {
	sum := sha1.Sum([]byte("callback " + l.Token))
	return hex.EncodeToString(sum[:])
}

// Progress is how far a handler says it is.
type Progress struct {
	// Number of Total is done; Total is 0 if unknown. Not negative.
	Number float64 `json:"number"`
	Total  float64 `json:"total,omitempty"`
	// Message is for people. At most MaxProgressMessage bytes are kept.
	Message string `json:"message,omitempty"`
	// At is when it was said, by Redis's clock. Set by the queue.
	At time.Time `json:"-"`
}

// Validate names the field that is wrong, as an *invalid.Error.
func (p Progress) Validate() error {
	for _, f := range []struct {
		name  string
		value float64
	}{{"number", p.Number}, {"total", p.Total}} {
		if !(f.value >= 0) || math.IsInf(f.value, 0) {
			return invalid.Errorf(f.name, "must be a number that is not negative")
		}
	}
	return nil
}

// LogLine is a line of an attempt's log.
type LogLine struct {
	// At is when it came, by Redis's clock.
	At   time.Time
	Text string
}

// Report is what a handler says while its attempt runs. Empty, it only says that it is alive.
type Report struct {
	// Progress replaces what was said before; nil: it stays.
	Progress *Progress
	// Log is appended to the attempt's log. Each line of it is one; the last
	// MaxLogLines are kept.
	Log string
}

// Answer is what a handler is told.
type Answer struct {
	// Cancelled says that the job is to be called off: the handler should stop,
	// and fail it.
	Cancelled bool
	// Left is how long until the lease ends, unless the handler (or, while its
	// request is under way, the dispatcher) extends it.
	Left time.Duration
	// Until is when that is, by Redis's clock.
	Until time.Time
}

// Report takes what a handler says, and extends the lease if the handler holds it; see
// Accept. token is the attempt's CallbackToken. ErrEnded, or an *invalid.Error.
func (q *Queue) Report(ctx context.Context, typ, id, token string, r Report) (Answer, error) {
	progress := ""
	if r.Progress != nil {
		p := *r.Progress
		if err := p.Validate(); err != nil {
			return Answer{}, err
		}
		p.Message = clip(p.Message, MaxProgressMessage)
		b, err := json.Marshal(p)
		if err != nil {
			return Answer{}, err
		}
		progress = string(b)
	}
	args := []any{id, token, progress, MaxLogLines}
	for _, line := range logLines(r.Log) {
		args = append(args, line)
	}
	v, err := q.run(ctx, q.scripts.report, q.typeKeys(typ, "once:"+nonce()), args)
	if err != nil {
		return Answer{}, err
	}
	answer := fmt.Sprint(v)
	if answer == "" {
		return Answer{}, ErrEnded
	}
	var now, until int64
	var cancelled int
	if _, err := fmt.Sscanf(answer, "%d %d %d", &now, &until, &cancelled); err != nil {
		return Answer{}, fmt.Errorf("report: unexpected answer %q", answer)
	}
	return Answer{Cancelled: cancelled == 1, Left: time.Duration(until-now) * time.Millisecond, Until: time.UnixMilli(until)}, nil
}

// logLines returns the last lines of a text that are not empty, each cut to its limit.
func logLines(text string) []string {
	var out []string
	for line := range strings.Lines(text) {
		if line = strings.TrimRight(line, "\r\n"); line != "" {
			out = append(out, line)
		}
	}
	out = out[max(0, len(out)-MaxLogLines):]
	for i := range out {
		out[i] = clip(out[i], MaxLogLine)
	}
	return out
}

// Conclusion is how a handler ends its attempt.
type Conclusion struct {
	// Verdict is Done, Retry or Bury. After a Retry the job is due again, or
	// dead, as the type's policy says.
	Verdict Verdict
	// Result of a job that is Done; at most MaxResultSize bytes.
	Result []byte
	// Error of one that is not. At most MaxExcerptSize bytes are kept.
	Error string
	// Delay, if positive, replaces the backoff before the next attempt.
	Delay time.Duration
}

// Conclude ends an attempt as its handler says. token is the attempt's
// CallbackToken. A job whose cancellation was requested ends as Cancelled, unless it is Done.
// ErrEnded, or an *invalid.Error.
func (q *Queue) Conclude(ctx context.Context, typ, id, token string, c Conclusion) error {
	text, delay := clip(c.Error, MaxExcerptSize), ""
	switch c.Verdict {
	case Done:
		if len(c.Result) > MaxResultSize {
			return invalid.Errorf("result", "must be at most %d bytes", MaxResultSize)
		}
		text = string(c.Result)
	case Retry, Bury:
		if c.Delay > 0 {
			delay = strconv.FormatInt(min(c.Delay, MaxDelay).Milliseconds(), 10)
		}
	default:
		return invalid.Errorf("verdict", "must be done, retry or bury")
	}
	v, err := q.run(ctx, q.scripts.conclude, q.typeKeys(typ, "once:"+nonce()),
		[]any{id, token, string(c.Verdict), text, delay, q.wakeChannel(), typ})
	if err != nil {
		return err
	}
	if fmt.Sprint(v) != "1" {
		return ErrEnded
	}
	return nil
}

// decodeReport fills in what a job's handler said; see lua/report.lua.
func (j *Job) decodeReport(report string) error {
	if report == "" {
		return nil
	}
	lines := strings.Split(report, "\n")
	if len(lines) < 2 {
		return errors.New("damaged report")
	}
	if at, said, ok := strings.Cut(lines[1], " "); ok {
		j.Progress = &Progress{At: parseMs(at)}
		if err := json.Unmarshal([]byte(said), j.Progress); err != nil {
			return fmt.Errorf("damaged report: %w", err)
		}
	}
	for _, line := range lines[2:] {
		at, text, _ := strings.Cut(line, " ")
		j.Log = append(j.Log, LogLine{At: parseMs(at), Text: text})
	}
	return nil
}
