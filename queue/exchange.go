package queue

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/deetoo/deetoo/invalid"
)

// Verdict is what a settlement does with a job.
type Verdict byte

// The verdicts, by their letter in the protocol.
const (
	// Done: the job succeeded.
	Done Verdict = 'd'
	// Retry: the attempt failed; the job is scheduled again after Delay.
	Retry Verdict = 'r'
	// Bury: the job is dead: it failed for good, or used up its attempts.
	Bury Verdict = 'x'
	// Release: the job goes back to the head of its list, and it costs no attempt.
	Release Verdict = 'l'
	// Accept: the attempt goes on at its handler, which holds the lease from now
	// on. It lasts Delay, anew with each Report; when it ends, the attempt has failed.
	Accept Verdict = 'h'
	// Snooze: the job waits for Delay, and it costs no attempt.
	Snooze Verdict = 's'
)

// Settlement ends an attempt. It counts only if the token is still that of the
// job's lease.
type Settlement struct {
	ID, Token string
	Verdict   Verdict
	// Delay before the next attempt, for Retry and Snooze, or the lease of the handler, for
	// Accept; to the millisecond.
	Delay time.Duration
	// Unsure says that nobody knows what became of the attempt; see Job.Unsure.
	Unsure bool
	// Health is what the attempt told of the type's target, and Took how long it
	// took, to the millisecond: what an outage hold and an adaptive concurrency go by.
	Health Health
	Took   time.Duration
	// Hold, if positive, makes the type run one job at a time for so long.
	Hold time.Duration
	// Attempt goes into the job's history. A Release with an empty Outcome leaves no trace.
	Attempt Attempt
	// Result of a job that is done: what is over MaxResultSize is cut off.
	Result []byte
	// Plain says that the job is Done at its first attempt, none having been
	// lost: its record says it all, so that no line of history need be sent.
	Plain bool
}

// Batch is the answer to an Exchange.
type Batch struct {
	// Leases are the jobs claimed.
	Leases []Lease
	// Stale are the IDs of settlements that changed nothing, because the lease
	// had been lost.
	Stale []string
	// Damaged are the IDs of jobs that were claimed but cannot be read; see Fsck.
	Damaged []string
	// Next is how long until there is something to do without a wake: a job
	// due, a lease ending, a hold lifted, a canary's turn, a rate that lets the next job start. Negative: nothing is known to come.
	Next time.Duration
	// Waiting and Active count the type's jobs in the whole cluster.
	Waiting, Active int
	// Limit is the type's concurrency; 0 if the type is not configured.
	Limit  int
	Paused bool
	// Hold is how much longer the type runs one job at a time.
	Hold time.Duration
	// InForce is how many jobs could be active at the claim: Limit, or fewer, for an outage or an adaptive concurrency.
	InForce int
	// Outage is nil if all is well. Event is what this exchange changed of it: "opened",
	// "closed" (and ramping up) or "recovered"; else empty.
	Outage *Outage
	Event  string
	// Outbox says that jobs have ended whose follow-ups are to be pushed; see TakeEndings.
	Outbox bool
	// Redrive says that a step of the type's redrives is due, and that nobody else
	// has been told: StepRedrives makes it.
	Redrive bool
	// Limited is how long the type's rate lets no job start; 0 if none waits for it.
	Limited time.Duration
	// Reaped jobs had lost their dispatcher, or their handler was silent; Promoted ones became due.
	Reaped, Promoted int
}

// Request is one exchange. One that failed may be given to ExchangeRequest
// again, unchanged, for as long as it takes: it settles once, and gets the jobs
// it may have claimed the first time, as long as their leases last.
type Request struct {
	// Done are the settlements: at most MaxSettlements.
	Done []Settlement
	// Want is how many slots there are to fill, each with a job, or with a batch if
	// the type has them; capped at MaxSettlements. At most MaxClaim jobs come of it.
	Want int

	id string // made before the first try
}

// MaxSettlements is how many settlements one Request may hold.
const MaxSettlements = chunkSize

// MaxClaim is how many jobs one Request may bring in batches; batch.lua knows it too.
const MaxClaim = 1000

// Exchange settles attempts and claims up to want jobs of a type in one round
// trip; on the way it takes back expired leases and promotes due jobs. It never
// claims more than the type's concurrency leaves free in the whole cluster.
//
// One consumer must have one Exchange of a type under way at a time: its last
// answer is remembered, so that a repeated request gets the same jobs again.
func (q *Queue) Exchange(ctx context.Context, typ string, done []Settlement, want int) (Batch, error) {
	var stale []string
	var reaped, promoted int
	// Larger batches would keep Redis from others for long.
	for len(done) > MaxSettlements {
		b, err := q.ExchangeRequest(ctx, typ, &Request{Done: done[:MaxSettlements]})
		stale, reaped, promoted = append(stale, b.Stale...), reaped+b.Reaped, promoted+b.Promoted
		if err != nil {
			return b, err
		}
		done = done[MaxSettlements:]
	}
	b, err := q.ExchangeRequest(ctx, typ, &Request{Done: done, Want: want})
	b.Stale, b.Reaped, b.Promoted = append(stale, b.Stale...), reaped+b.Reaped, promoted+b.Promoted
	return b, err
}

// ExchangeRequest is Exchange for a caller that repeats what failed.
func (q *Queue) ExchangeRequest(ctx context.Context, typ string, r *Request) (Batch, error) {
	if len(r.Done) > MaxSettlements {
		return Batch{}, invalid.Errorf("done", "must be at most %d settlements", MaxSettlements)
	}
	if r.id == "" {
		r.id = nonce()
	}
	args, err := q.exchangeArgs(r)
	if err != nil {
		return Batch{}, err
	}
	// The lease may begin when Redis gets the request at the earliest, so
	// counting from here can only be too short.
	sent := time.Now()
	v, err := q.run(ctx, q.scripts.exchange, q.typeKeys(typ, "claim:"+q.consumer), args)
	if err != nil {
		return Batch{}, err
	}
	return decodeBatch(typ, r.id, sent, q.lease.Truncate(time.Millisecond), asSlice(v))
}

func (q *Queue) exchangeArgs(r *Request) ([]any, error) {
	args := make([]any, 0, 5+6*len(r.Done))
	args = append(args, r.id, q.consumer, q.lease.Milliseconds(), max(min(r.Want, MaxSettlements), 0), q.maxLost)
	for i := range r.Done {
		s := &r.Done[i]
		line := ""
		if s.Attempt.Outcome != "" && !s.Plain {
			s.Attempt.Dispatcher = q.consumer
			s.Attempt.Error = clip(s.Attempt.Error, MaxExcerptSize)
			s.Attempt.Excerpt = clip(s.Attempt.Excerpt, MaxExcerptSize)
			b, err := json.Marshal(s.Attempt)
			if err != nil {
				return nil, err
			}
			line = string(b)
		}
		result := s.Result
		if len(result) > MaxResultSize {
			result = result[:MaxResultSize]
		}
		args = append(args, s.ID, s.Token, s.how(), line, result, s.told())
	}
	return args, nil
}

// how is the way the attempt ended, in the protocol; most end in the same.
func (s *Settlement) how() string {
	if s.Verdict == Done && s.Attempt.Status == 200 && s.Delay == 0 && s.Hold == 0 && !s.Unsure {
		return "d 0 200 0"
	}
	unsure := ""
	if s.Unsure {
		unsure = "u"
	}
	return fmt.Sprintf("%c%s %d %d %d", s.Verdict, unsure, s.Delay.Milliseconds(), s.Attempt.Status, s.Hold.Milliseconds())
}

func decodeBatch(typ, request string, sent time.Time, lease time.Duration, values []any) (Batch, error) {
	r := reply{values: values}
	now := time.UnixMilli(r.int())
	b := Batch{Limit: int(r.int()), Active: int(r.int()), Waiting: int(r.int()), Paused: r.str() == "1"}
	b.Next = time.Duration(r.int()) * time.Millisecond
	b.Reaped, b.Promoted, b.Hold = int(r.int()), int(r.int()), time.Duration(r.int())*time.Millisecond
	left := time.Duration(r.int()) * time.Millisecond
	deadline := sent.Add(left)
	b.Limited = time.Duration(r.int()) * time.Millisecond
	b.InForce = int(r.int())
	outage, err := decodeOutage(r.str())
	b.Outage, b.Event = outage, r.str()
	if err != nil {
		return b, fmt.Errorf("exchange: %w", err)
	}
	b.Outbox = r.int() == 1
	b.Redrive = r.str() == "1"
	for range r.int() {
		b.Stale = append(b.Stale, r.str())
	}
	for i := 1; r.more(); i++ {
		l := Lease{Deadline: deadline}
		l.ID, l.Token = r.str(), r.str()
		if l.Token == "" {
			l.Token = request + "-" + strconv.Itoa(i)
		}
		rec, blob := r.str(), r.str()
		if r.err != nil {
			break
		}
		if _, err := decodeRecord(&l.Job, rec, blob); err != nil {
			b.Damaged = append(b.Damaged, l.ID) // and the others go on
			continue
		}
		// A repeated request's leases began with the first.
		l.Type, l.State, l.StartedAt = typ, Active, now.Add(left-lease)
		if name, _, ok := strings.Cut(l.Token, "."); ok {
			l.Batch = name
		}
		l.Attempt++
		b.Leases = append(b.Leases, l)
	}
	if r.err != nil {
		return b, fmt.Errorf("exchange: %w", r.err)
	}
	return b, nil
}

// Renewal is what became of a lease that was to be renewed.
type Renewal byte

const (
	// Kept: the lease is ours for another period.
	Kept Renewal = 'k'
	// Lost: it is ours no more; whatever the attempt brings will be stale.
	Lost Renewal = 'l'
	// CancelRequested: the lease is kept, but the job is to be called off.
	CancelRequested Renewal = 'c'
)

// Renew extends leases of one type and says for each what became of it. A kept
// lease ends q.Lease() after the call began.
func (q *Queue) Renew(ctx context.Context, typ string, leases []*Lease) ([]Renewal, error) {
	out := make([]Renewal, 0, len(leases))
	for len(leases) > 0 {
		n := min(len(leases), chunkSize)
		args := make([]any, 0, 1+2*n)
		args = append(args, q.lease.Milliseconds())
		for _, l := range leases[:n] {
			args = append(args, l.ID, l.Token)
		}
		v, err := q.run(ctx, q.scripts.renew, q.typeKeys(typ, ""), args)
		if err != nil {
			return out, err
		}
		s, ok := v.(string)
		if !ok || len(s) != n {
			return out, fmt.Errorf("renew: unexpected answer %v", v)
		}
		out = append(out, []Renewal(s)...)
		leases = leases[n:]
	}
	return out, nil
}

// clip cuts a string to at most n bytes of valid UTF-8.
func clip(s string, n int) string {
	s = strings.ToValidUTF8(s, "�")
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}
