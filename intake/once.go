package intake

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/deetoo/deetoo/auth"
	"github.com/deetoo/deetoo/invalid"
	"github.com/deetoo/deetoo/queue"
)

// OnceFor is how long an idempotency key is remembered, counted from the first push.
const OnceFor = 24 * time.Hour

// ValidateKey reports whether a string can be an idempotency key: 1 to 255
// printable ASCII characters.
func ValidateKey(key string) error {
	bad := key == "" || len(key) > 255
	for i := range len(key) {
		bad = bad || key[i] < ' ' || key[i] > '~'
	}
	if bad {
		return invalid.Errorf("Idempotency-Key", "must be 1 to 255 printable ASCII characters")
	}
	return nil
}

// Once is an idempotency key and what came under it
// (draft-ietf-httpapi-idempotency-key-header).
type Once struct {
	// Key as the caller made it; see ValidateKey. Keys of different callers have nothing to do with each other.
	Key string
	// Scope is what the key is bound to besides the caller: the address it was sent to.
	Scope string
	// Content is what was sent: with another one, the same key is refused.
	Content []byte
}

// PushOnce is Push for jobs of one type under a key. The first call with the
// key does it; each repetition within OnceFor changes nothing and gets the receipts of the
// first, marked as Replayed, rejections included. A call that stores nothing uses up no key.
//
// The error is queue.ErrKeyReused if the key came with another content before.
func (in *Intake) PushOnce(ctx context.Context, who *auth.Identity, typ string, o Once, items []Item) ([]queue.Receipt, error) {
	if err := ValidateKey(o.Key); err != nil {
		return nil, err
	}
	if len(items) > in.opts.MaxBatch {
		return nil, errTooMany(in.opts.MaxBatch)
	}
	if err := in.CanPush(ctx, who, typ); err != nil {
		return nil, err
	}
	sum := sha256.Sum256(o.Content)
	once := queue.Once{
		// The caller may choose neither of the first two, and no line break is in any.
		Key:         fmt.Sprintf("%q %q %s\n%s", who.Issuer(), who.Subject(), o.Scope, o.Key),
		Fingerprint: hex.EncodeToString(sum[:16]), TTL: OnceFor,
	}
	// What is valid can change, with the type or with time; what was answered cannot.
	known, memo, err := in.opts.Queue.Recall(ctx, typ, once)
	if err != nil {
		return nil, err
	}
	if known != nil {
		return recalled(known, memo)
	}
	chosen, err := in.sift(ctx, who, len(items), func(i int) (*queue.Job, error) { return &items[i].Job, items[i].Err })
	if err != nil || len(chosen.jobs) == 0 {
		return chosen.receipts, err
	}
	if once.Memo, err = memoOf(chosen.receipts); err != nil {
		return nil, err
	}
	pushed, err := in.opts.Queue.PushOnce(ctx, once, chosen.jobs...)
	chosen.stored(pushed)
	if err != nil {
		// What was stored before it failed stays, and a repetition completes it.
		return nil, err
	}
	in.opts.Wake(queue.Event{Type: typ})
	return chosen.receipts, nil
}

// rejection is a job of a batch that was refused, as it is remembered.
type rejection struct {
	Index int    `json:"i"`
	ID    string `json:"id,omitempty"`
	Field string `json:"f,omitempty"`
	Rule  string `json:"r"`
	Large bool   `json:"l,omitempty"`
}

// memoOf writes down the receipts that are rejections; "" if there are none.
func memoOf(receipts []queue.Receipt) (string, error) {
	var out []rejection
	for i, r := range receipts {
		if r.Err == nil {
			continue
		}
		bad, ok := errors.AsType[*invalid.Error](r.Err)
		if !ok {
			bad = &invalid.Error{Rule: r.Err.Error()}
		}
		out = append(out, rejection{Index: i, ID: r.ID, Field: bad.Field, Rule: bad.Rule, Large: errors.Is(r.Err, ErrTooLarge)})
	}
	if out == nil {
		return "", nil
	}
	b, err := json.Marshal(out)
	return string(b), err
}

// recalled puts the rejections of a memo among the receipts of what was pushed.
func recalled(pushed []queue.Receipt, memo string) ([]queue.Receipt, error) {
	if memo == "" {
		return pushed, nil
	}
	var rejected []rejection
	if err := json.Unmarshal([]byte(memo), &rejected); err != nil {
		return nil, fmt.Errorf("the memo of an idempotency key is damaged: %w", err)
	}
	out := make([]queue.Receipt, 0, len(pushed)+len(rejected))
	for _, r := range rejected {
		n := min(max(r.Index-len(out), 0), len(pushed))
		out, pushed = append(out, pushed[:n]...), pushed[n:]
		var err error = &invalid.Error{Field: r.Field, Rule: r.Rule}
		if r.Large {
			err = fmt.Errorf("%w: %w", ErrTooLarge, err)
		}
		out = append(out, queue.Receipt{ID: r.ID, Err: err, Replayed: true})
	}
	return append(out, pushed...), nil
}
