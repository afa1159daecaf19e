// Package registry keeps the job types: what is valid, where they are stored,
// and who hears of a change.
package registry

import "time"

// LocalTarget is the target of types whose jobs are run by a function of the
// program that embeds the dispatcher, not by a webhook.
const LocalTarget = "local:"

// What a handler's 202 means.
const (
	// Callback: the job is accepted; the handler calls back, and a silent one has failed.
	Callback = "callback"
	// Sync: done, as any other 2xx.
	Sync = "sync"
)

// How a delivery carries a job.
const (
	// Raw: the job's data as they are.
	Raw = "raw"
	// CloudEventsBinary: the job's data as they are, and a CloudEvent's attributes in headers.
	CloudEventsBinary = "cloudevents-binary"
	// CloudEventsStructured: a CloudEvent in JSON, with the job's data in it.
	CloudEventsStructured = "cloudevents-structured"
)

// Type is a registered job type: where its jobs go, how many at once, and how
// failures are treated.
type Type struct {
	// Name identifies the type: 1 to 64 of letters, digits, '.', '_' and '-',
	// beginning with a letter or digit.
	Name string
	// Target is the URL jobs are POSTed to: http or https, no fragment. Or LocalTarget.
	Target string
	// Concurrency is how many jobs, or deliveries of a type with Batch, run at once across the whole cluster: 1 to 10,000. Default: 10.
	Concurrency int
	// Rate bounds how many attempts start in the whole cluster. Default: no limit.
	Rate Rate
	// Groups are the limits of each group of jobs. Default: none.
	Groups Groups
	// Timeout of one attempt: 100ms to 24h. Default: 30s.
	Timeout time.Duration
	Retry   Retry
	// Headers are sent with each delivery. Hop-by-hop headers and those of the
	// handler contract are refused.
	Headers map[string]string
	// Secrets sign deliveries. The first is the newest; each signs until it expires,
	// so that a secret can be rotated. At most 5, and one that does not expire.
	Secrets   []Secret
	Retention Retention
	// Paused types keep their jobs and start none.
	Paused bool
	// PausedReason says who or what paused it.
	PausedReason string
	// PausedAt is when it was paused; zero unless it is, or if that is not known.
	PausedAt time.Time
	// Description is for people. At most 1,024 bytes.
	Description string
	// Completion says what a 202 means: Callback or Sync. Default: Callback.
	Completion string
	// AllowTargets are patterns of URLs that jobs may have as targets of their
	// own; see AllowsTarget. At most 20. None: every job goes to Target.
	AllowTargets []string
	// CallbackLease is how long a handler that answered 202 may be silent: 1s to 24h. Default: 60s.
	CallbackLease time.Duration
	// Answers say what the handler's answers mean, before the contract's own
	// rules: the first row that fits counts. At most MaxAnswers. Default: none.
	Answers []Answer
	// MaxRetryAfter caps what an answer's Retry-After or X-RateLimit-Reset may
	// ask for: 1s to 7 days. Default: 1h.
	MaxRetryAfter time.Duration
	// Format is how a delivery carries the job: Raw, CloudEventsBinary or CloudEventsStructured
	// (CloudEvents 1.0.2, https://github.com/cloudevents/spec). Default: Raw.
	Format string
	// EventSource is the source of the CloudEvents, a URI reference of at most 512 bytes. Default, if
	// empty: "/deetoo/" and the type's name.
	EventSource string
	// EventType is the type of the CloudEvents, of at most 256 bytes: "com.example.email.send".
	// Default, if empty: the type's name.
	EventType string
	// Batch says how jobs go together in one delivery. Default: each goes alone.
	Batch Batch
	// ReconcileURL is asked what became of an attempt whose answer was lost,
	// before the job is tried again: http or https, no fragment. Empty: nobody is asked.
	ReconcileURL string
	// Outage has the type's jobs held while its target is down. Nil: never, unless by hand.
	Outage *Outage
	// Adaptive has its concurrency found out. Nil: Concurrency is always what counts.
	Adaptive *Adaptive

	// Version rises with every change, across all types. It is the ETag.
	Version   int64
	CreatedAt time.Time
	UpdatedAt time.Time
}

// Retry says how failed attempts are repeated: after attempt n the job waits a
// random time ("full jitter") between 0 and min(MaxBackoff, MinBackoff·2^(n−1)).
type Retry struct {
	// MaxAttempts before the job is dead: 1 to 100. Default: 12.
	MaxAttempts int
	// MinBackoff: 1ms to 24h. Default: 1s.
	MinBackoff time.Duration
	// MaxBackoff: MinBackoff to 7 days. Default: 1h.
	MaxBackoff time.Duration
	// NoJitter waits the whole backoff each time. ("jitter": false.)
	NoJitter bool
}

// Retention says how long finished jobs are kept. Dead jobs are not finished
// in this sense: they stay until retried or purged.
type Retention struct {
	// Count is how many finished jobs are kept. 0: none, they vanish at once. Default: 1,000.
	Count int
	// Age is how long a finished job is kept. 0: none, they vanish at once. Default: 24h.
	Age time.Duration
}
