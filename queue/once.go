package queue

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strconv"
	"strings"
	"time"

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
		got, err := q.pushOnce(ctx, jobs[0].Type, o, len(receipts), args)
		if err != nil {
			return receipts, err
		}
		receipts = append(receipts, got...)
		idx = idx[n:]
	}
	return receipts, nil
}

// pushOnce pushes the jobs that begin at the nth of those under the key.
func (q *Queue) pushOnce(ctx context.Context, typ string, o Once, nth int, args []any) ([]Receipt, error) {
	sum := sha256.Sum256([]byte(o.Key))
	request := "once:" + hex.EncodeToString(sum[:16]) + ":" + strconv.Itoa(nth)
	note := make([]string, 1, 1+len(args)/argsPerJob)
	note[0] = "=" + o.Fingerprint
	for i := 0; i < len(args); i += argsPerJob {
		note = append(note, args[i].(string))
	}
	answer, err := q.sendPush(ctx, typ, request, o.TTL, strings.Join(note, " "), args)
	if err != nil {
		return nil, err
	}
	answer, first, _ := strings.Cut(answer, "\n")
	ids := strings.Fields(first)
	if len(ids) != len(note) || ids[0] != note[0] {
		return nil, ErrKeyReused
	}
	receipts, err := decodePush(answer, args)
	for i := range receipts {
		receipts[i].ID = ids[1+i]
	}
	return receipts, err
}
