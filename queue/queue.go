package queue

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"strings"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/redis/go-redis/v9"

	"github.com/deetoo/deetoo/invalid"
)

// Limits of what a job may be.
const (
	// MaxIDLength is the longest job ID, in bytes.
	MaxIDLength = 255
	// MaxTitleLength is the longest title, in bytes.
	MaxTitleLength = 256
	// MaxDataSize is the largest body Push takes, in bytes; ways in may set a lower limit.
	MaxDataSize = 16 << 20
	// MaxResultSize is how much of a result is kept, in bytes.
	MaxResultSize = 64 << 10
	// MaxExcerptSize is how much of a response an attempt's record keeps, in bytes.
	MaxExcerptSize = 1 << 10
	// MaxDelay is how far ahead a job may be scheduled: ten years.
	MaxDelay = 10 * 365 * 24 * time.Hour
	// maxHistory is how many attempts are kept; prelude.lua knows it too.
	maxHistory = 25
	// blobSize is where data moves out of the record, in bytes, so that no step
	// of a job's life copies it.
	blobSize = 4 << 10
	// chunkSize is how many jobs one script call handles at most: it keeps Redis
	// free for others, and Lua's stack holds a few thousand values.
	chunkSize = 500
	// rememberPush is how long a push's answer is kept for a repeated request:
	// longer than a client retries one.
	rememberPush = 30 * time.Second
	// sharedCalls is how many shared pushes of a type may be under way at once: more make
	// smaller batches, one would have all wait for a connection that hangs.
	sharedCalls = 2
	// wakeInterval is the time between two wakes of a type that has jobs waiting.
	wakeInterval = 50 * time.Millisecond
)

// Options of a Queue. The zero value is valid.
type Options struct {
	// Prefix begins every key, so that installations can share a Redis.
	// Default: "deetoo". Letters, digits, '.', '_' and '-'.
	Prefix string
	// Consumer names this process in leases and attempts. Default: random.
	// Printable, without spaces.
	Consumer string
	// Lease is how long a job stays with a dispatcher that is not heard of.
	// Default: 15 s. At least 100 ms.
	Lease time.Duration
	// MaxLost is how many attempts may be lost with their dispatcher before a
	// job is dead. Default: 5.
	MaxLost int
	// Embedded says that the client leads to the in-process engine, whose
	// scripts take no header line.
	Embedded bool
}

// Validate names the option that is wrong, as an *invalid.Error.
func (o Options) Validate() error {
	if strings.Trim(o.Prefix, nameChars) != "" || len(o.Prefix) > 64 {
		return invalid.Errorf("prefix", "must be at most 64 letters, digits, '.', '_' and '-'")
	}
	for _, c := range []byte(o.Consumer) {
		if c <= ' ' || c > '~' {
			return invalid.Errorf("consumer", "must be printable ASCII without spaces")
		}
	}
	if o.Lease != 0 && o.Lease < 100*time.Millisecond {
		return invalid.Errorf("lease", "must be at least 100ms")
	}
	if o.MaxLost < 0 {
		return invalid.Errorf("max_lost", "must be positive")
	}
	return nil
}

const nameChars = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"

// Queue is the jobs of all types in one Redis. Its methods may be called
// concurrently.
type Queue struct {
	client   redis.UniversalClient
	scripts  *scripts
	prefix   string
	consumer string
	lease    time.Duration
	maxLost  int
	entropy  *entropy
	shared   *shared
	embedded bool
}

// New makes a Queue on a client, which stays the caller's to close.
func New(client redis.UniversalClient, opts Options) (*Queue, error) {
	if err := opts.Validate(); err != nil {
		return nil, err
	}
	s, err := loadScripts(!opts.Embedded)
	if err != nil {
		return nil, err
	}
	q := &Queue{client: client, scripts: s, prefix: "deetoo", lease: 15 * time.Second, maxLost: 5, entropy: &entropy{}, shared: &shared{types: map[string]*lineup{}}, embedded: opts.Embedded}
	if opts.Prefix != "" {
		q.prefix = opts.Prefix
	}
	if q.consumer = opts.Consumer; q.consumer == "" {
		q.consumer = nonce()
	}
	if opts.Lease != 0 {
		q.lease = opts.Lease
	}
	if opts.MaxLost != 0 {
		q.maxLost = opts.MaxLost
	}
	return q, nil
}

// Lease returns how long a claimed job stays with its dispatcher unless renewed.
func (q *Queue) Lease() time.Duration { return q.lease }

// Consumer returns the name of this process in leases and attempts.
func (q *Queue) Consumer() string { return q.consumer }

// NewID makes an ID as Push does: a ULID.
func (q *Queue) NewID() string { return q.entropy.newID() }

// Ping reports whether Redis answers; an error matches ErrUnavailable.
func (q *Queue) Ping(ctx context.Context) error { return Classify(q.client.Ping(ctx).Err()) }

// entropy makes ULIDs (https://github.com/ulid/spec) that rise within one process.
type entropy struct {
	mu   sync.Mutex
	mono *ulid.MonotonicEntropy
}

func (e *entropy) newID() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.mono == nil {
		e.mono = ulid.Monotonic(rand.Reader, 0)
	}
	id, err := ulid.New(ulid.Timestamp(time.Now()), e.mono)
	if err != nil { // the random part overflowed within this millisecond: begin anew
		e.mono = ulid.Monotonic(rand.Reader, 0)
		id = ulid.MustNew(ulid.Timestamp(time.Now()), e.mono)
	}
	return id.String()
}

// nonce returns 80 random bits, as 16 letters and digits.
func nonce() string {
	var b [10]byte
	rand.Read(b[:])
	return base32.StdEncoding.EncodeToString(b[:])
}
