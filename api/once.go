package api

import (
	"slices"
	"strings"

	"github.com/deetoo/deetoo/intake"
	"github.com/deetoo/deetoo/invalid"
	"github.com/deetoo/deetoo/queue"
)

const (
	// headerKey makes a push happen once (draft-ietf-httpapi-idempotency-key-header).
	headerKey = "Idempotency-Key"
	// headerReplayed says that an answer is that of an earlier request with the same key.
	headerReplayed = "Idempotent-Replayed"
)

// once returns the idempotency key of the request, bound to its address and
// body; nil if it has none.
func (r *request) once(body []byte) (*intake.Once, error) {
	all := r.Request().Header.PeekAll(headerKey)
	if len(all) == 0 {
		return nil, nil
	}
	if len(all) > 1 {
		return nil, invalid.Errorf(headerKey, "is given twice")
	}
	key, err := decodeKey(strings.TrimSpace(string(all[0])))
	if err != nil {
		return nil, err
	}
	return &intake.Once{Key: key, Scope: r.Method() + " " + string(r.Request().URI().PathOriginal()), Content: body}, nil
}

// decodeKey reads a key, which the draft wants to be a quoted string of RFC 9651, section 3.3.3;
// most clients send it without the quotes.
func decodeKey(key string) (string, error) {
	if quoted, ok := strings.CutPrefix(key, `"`); ok {
		inner, ok := strings.CutSuffix(quoted, `"`)
		rest := strings.NewReplacer(`\\`, "", `\"`, "").Replace(inner)
		if !ok || strings.ContainsAny(rest, `\"`) {
			return "", invalid.Errorf(headerKey, "must end with the quote that it begins with")
		}
		key = strings.NewReplacer(`\\`, `\`, `\"`, `"`).Replace(inner)
	}
	return key, intake.ValidateKey(key)
}

// push stores the items of one request, all of one type, under its idempotency key if it has one.
func (a *API) push(r *request, typ string, body []byte, items []intake.Item) ([]queue.Receipt, error) {
	once, err := r.once(body)
	if err != nil {
		return nil, err
	}
	if once == nil {
		return a.pushItems(r, items)
	}
	receipts, err := a.intake.PushOnce(r.ctx, r.who, typ, *once, items)
	if err == nil && !slices.ContainsFunc(receipts, func(r queue.Receipt) bool { return !r.Replayed }) {
		r.Response().Header.Set(headerReplayed, "true")
	}
	return receipts, err
}
