package queue

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/deetoo/deetoo/invalid"
)

// ErrKeyReused: an idempotency key came again with other jobs.
var ErrKeyReused = errors.New("the idempotency key was used for another request")

// Once makes a push happen once, however often it is repeated, by any process.
type Once struct {
	// Key names the push within its type. Any string; a hash of it is kept.
	Key string
	// Fingerprint says what is pushed: with another one, the same key is refused. Printable, without spaces.
	Fingerprint string
	// TTL is how long the key is remembered, counted from the first push.
	TTL time.Duration
	// Memo is kept with the key, for the caller to find there; see Recall.
	Memo string
}

// PushOnce is Push for jobs of one type that come under a key: the first push does
// it, and each repetition within the TTL changes nothing and gets the receipts of the first,
// even if the jobs are long finished and deleted. A push that failed half-way
// is completed by its repetition, if it brings the same jobs in the same order.
//
// The error is ErrKeyReused if the key came with another fingerprint before.
func (q *Queue) PushOnce(ctx context.Context, o Once, jobs ...Job) ([]Receipt, error) {
	if o.Key == "" || o.TTL <= 0 {
		return nil, invalid.Errorf("key", "must be given, with how long to remember it")
	}
	fresh := make([]bool, len(jobs))
	idx := make([]int, len(jobs))
	for i := range jobs {
		if err := jobs[i].Validate(); err != nil {
			return nil, inBatch(err, i, len(jobs))
		}
		if jobs[i].Type != jobs[0].Type {
			return nil, invalid.Errorf("type", "must be the same for all jobs under one key")
		}
		if jobs[i].ID == "" {
			jobs[i].ID, fresh[i] = q.entropy.newID(), true
		}
		idx[i] = i
	}
	receipts := make([]Receipt, 0, len(jobs))
	for len(idx) > 0 {
		n := chunk(jobs, idx)
		args := make([]any, 0, n*argsPerJob)
		var err error
		for _, i := range idx[:n] {
			if args, err = appendJob(args, &jobs[i], fresh[i]); err != nil {
				return receipts, err
			}
		}
		got, err := q.pushOnce(ctx, o, jobs, len(receipts), args)
		if err != nil {
			return receipts, err
		}
		receipts = append(receipts, got...)
		idx = idx[n:]
	}
	return receipts, nil
}

// pushOnce pushes the jobs that begin at the nth of those under the key.
func (q *Queue) pushOnce(ctx context.Context, o Once, jobs []Job, nth int, args []any) ([]Receipt, error) {
	mine := onceNote{fingerprint: o.Fingerprint, nonce: nonce(), total: len(jobs)}
	for i := 0; i < len(args); i += argsPerJob {
		mine.ids = append(mine.ids, args[i].(string))
	}
	if nth == 0 {
		mine.memo = o.Memo
	}
	answer, err := q.sendPush(ctx, jobs[0].Type, o.request(nth), o.TTL, mine.String(), args)
	if err != nil {
		return nil, err
	}
	receipts, first, err := decodeOnce(answer, o)
	if err != nil {
		return nil, err
	}
	if len(receipts) != len(mine.ids) {
		return nil, ErrKeyReused
	}
	for i := range receipts {
		receipts[i].Replayed = first.nonce != mine.nonce
	}
	return receipts, nil
}

// Recall returns the receipts and the memo of a push of jobs of that type which
// was made under the key: no receipts if there was none, or none that was completed. Like PushOnce,
// it refuses a key with another fingerprint. TTL and Memo are not looked at.
func (q *Queue) Recall(ctx context.Context, typ string, o Once) (receipts []Receipt, memo string, err error) {
	for total := -1; len(receipts) != total; {
		answer, err := q.client.Get(ctx, q.typeKeys(typ, o.request(len(receipts)))[keyCount]).Result()
		if errors.Is(err, redis.Nil) {
			return nil, "", nil
		}
		if err != nil {
			return nil, "", Classify(err)
		}
		part, first, err := decodeOnce(answer, o)
		if err != nil {
			return nil, "", err
		}
		if total < 0 {
			total, memo = first.total, first.memo
		}
		receipts = append(receipts, part...)
	}
	for i := range receipts {
		receipts[i].Replayed = true
	}
	return receipts, memo, nil
}

// request names what is remembered of the jobs from the nth on.
func (o Once) request(nth int) string {
	sum := sha256.Sum256([]byte(o.Key))
	return "once:" + hex.EncodeToString(sum[:16]) + ":" + strconv.Itoa(nth)
}

// onceNote is remembered with the answer to a push under a key: which push was
// the first, and its IDs.
type onceNote struct {
	fingerprint string
	nonce       string // tells the first push from its repetitions
	total       int    // jobs under the key
	ids         []string
	memo        string
}

func (n onceNote) String() string {
	return "=" + n.fingerprint + " " + n.nonce + " " + strconv.Itoa(n.total) + " " + strings.Join(n.ids, " ") + "\n" + n.memo
}

// decodeOnce reads the script's answer with the note behind it.
func decodeOnce(answer string, o Once) ([]Receipt, onceNote, error) {
	answer, text, _ := strings.Cut(answer, "\n")
	line, memo, _ := strings.Cut(text, "\n")
	f := strings.Fields(line)
	if len(f) < 4 || f[0] != "="+o.Fingerprint {
		return nil, onceNote{}, ErrKeyReused
	}
	total, err := strconv.Atoi(f[2])
	if err != nil {
		return nil, onceNote{}, fmt.Errorf("push: unexpected note %q", line)
	}
	n := onceNote{fingerprint: o.Fingerprint, nonce: f[1], total: total, ids: f[3:], memo: memo}
	receipts, err := decodePush(answer, len(n.ids), func(i int) string { return n.ids[i] })
	return receipts, n, err
}

// ReleaseOnce has the key of a push of one job forgotten after ttl, for a caller who knows
// that nobody will repeat the push later than that; 0: at once.
func (q *Queue) ReleaseOnce(ctx context.Context, typ, key string, ttl time.Duration) error {
	sum := sha256.Sum256([]byte(key))
	name := q.typeKeys(typ, "once:"+hex.EncodeToString(sum[:16])+":0")[keyCount]
	if ttl <= 0 {
		return Classify(q.client.Del(ctx, name).Err())
	}
	return Classify(q.client.PExpire(ctx, name, ttl).Err())
}
