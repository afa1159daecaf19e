package webhook

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strconv"
	"time"

	"github.com/hashicorp/go-retryablehttp"

	"github.com/deetoo/deetoo/dispatch"
	"github.com/deetoo/deetoo/queue"
	"github.com/deetoo/deetoo/registry"
)

var _ dispatch.BatchDeliverer = (*Deliverer)(nil)

const (
	// headerBatchSize is how many jobs a delivery has, of a type that has batches.
	headerBatchSize = "Deetoo-Batch-Size"

	mediaCloudEvents = "application/cloudevents-batch+json; charset=utf-8"
)

// DeliverBatch makes one attempt at several jobs of a type: one POST with all of
// them in a JSON array, or one after the other where their data exceed the
// type's MaxBytes. The answer says of each job what became of it; see Answer in
// docs/handlers.md. Each POST may take as long as the longest timeout of its jobs. It never panics.
func (d *Deliverer) DeliverBatch(ctx context.Context, leases []*queue.Lease) (outs []dispatch.Outcome) {
	var failed dispatch.Outcome
	defer func() {
		for len(outs) < len(leases) {
			outs = append(outs, failed)
		}
	}()
	defer d.rescue(leases[0], &failed)
	typ, ok := d.opts.Types.Get(leases[0].Type)
	if !ok {
		failed.Err = "its job type is not registered"
		return nil
	}
	for len(outs) < len(leases) {
		if len(outs) > 0 && ctx.Err() != nil {
			failed = failure(ctx, 0, ctx.Err())
			return outs
		}
		rest := leases[len(outs):]
		outs = append(outs, d.attemptBatch(ctx, typ, rest[:fitting(typ, rest)], nil)...)
	}
	return outs
}

// fitting is how many of the jobs one delivery takes: at least one. One that has headers or a target of its own goes alone. A type that
// has given up batches since they were claimed gets them one by one.
func fitting(typ *registry.Type, leases []*queue.Lease) int {
	if typ.Batch.Size <= 0 {
		return 1
	}
	n, size := 1, len(leases[0].Data)
	if own(leases[0]) {
		return 1
	}
	for n < len(leases) && !own(leases[n]) && size+len(leases[n].Data) <= typ.Batch.MaxBytes {
		size += len(leases[n].Data)
		n++
	}
	return n
}

// attemptBatch sends one request for all of the leases and judges the answer. ex may be nil.
func (d *Deliverer) attemptBatch(ctx context.Context, typ *registry.Type, leases []*queue.Lease, ex *Exchange) (outs []dispatch.Outcome) {
	if typ.Batch.Size <= 0 {
		return []dispatch.Outcome{d.attempt(ctx, typ, leases[0], ex)}
	}
	begun := time.Now()
	defer func() {
		took := time.Since(begun)
		if ex != nil {
			ex.Duration = took
		}
		for i, out := range outs {
			d.logAttempt(leases[i], out, took)
		}
	}()
	longest := *leases[0]
	for _, lease := range leases {
		longest.Timeout = max(timeoutOf(typ, &longest), timeoutOf(typ, lease))
	}
	ctx, cancel, limit := withLimit(ctx, typ, &longest)
	defer cancel()

	req, err := d.batchRequest(ctx, typ, leases, limit)
	if err != nil {
		return alike(leases, unsendable(err))
	}
	if ex != nil {
		sent, err := req.BodyBytes()
		if err != nil {
			return alike(leases, dispatch.Outcome{Err: err.Error()})
		}
		ex.Request = showRequest(req, typ, leases[0], sent)
	}
	resp, err := d.client.Do(req)
	if resp != nil {
		defer func() { _ = resp.Body.Close() }()
	}
	if err != nil {
		return alike(leases, failure(ctx, limit, err))
	}
	return d.judgeBatch(ctx, limit, typ, leases, resp, ex)
}

// alike is one outcome for all of the leases.
func alike(leases []*queue.Lease, out dispatch.Outcome) []dispatch.Outcome {
	outs := make([]dispatch.Outcome, len(leases))
	for i := range outs {
		outs[i] = out
	}
	return outs
}

// batchItem is a job in the body of a batch.
type batchItem struct {
	ID            string `json:"id"`
	WebhookID     string `json:"webhook_id"`
	Attempt       int    `json:"attempt"`
	MaxAttempts   int    `json:"max_attempts"`
	ScheduledAt   string `json:"scheduled_at,omitempty"`
	Traceparent   string `json:"traceparent,omitempty"`
	CallbackURL   string `json:"callback_url,omitempty"`
	CallbackToken string `json:"callback_token,omitempty"`
}

// batchRequest makes the signed request of a batch. Its headers are those of a
// delivery, but for what is of each job: that is in the body.
func (d *Deliverer) batchRequest(ctx context.Context, typ *registry.Type, leases []*queue.Lease, limit time.Duration) (*retryablehttp.Request, error) {
	p, err := d.prepared(typ)
	if err != nil {
		return nil, err
	}
	m, err := d.newBatchMessage(typ, leases)
	if err != nil {
		return nil, err
	}
	h := d.header(p, typ, leases[0], m, limit)
	for _, name := range []string{headerJobID, headerAttempt, headerMaxAttempts, headerScheduledAt, headerCallbackURL, headerCallbackToken, headerTraceparent} {
		h.Del(name)
	}
	h.Set(headerBatchSize, strconv.Itoa(len(leases)))
	req, err := request(ctx, p, h, m.body)
	if err == nil && own(leases[0]) {
		err = setOwn(req, typ, leases[0])
	}
	return req, err
}

// newBatchMessage is the body of a batch: a JSON array, of items with the data
// in each byte for byte, or of CloudEvents.
func (d *Deliverer) newBatchMessage(typ *registry.Type, leases []*queue.Lease) (message, error) {
	size := 0
	for _, lease := range leases {
		size += len(lease.Data) + 512
	}
	// The message is this delivery alone: which jobs go together changes from attempt to attempt. Of the
	// token, which is nobody's business, it shows nothing.
	sum := sha256.Sum256([]byte("batch " + leases[0].Token))
	m := message{
		id: string(appendEscaped(nil, typ.Name, isWordByte)) + "//" + hex.EncodeToString(sum[:16]), contentType: mediaJSON,
		body: append(make([]byte, 0, size), '['),
	}
	for i, lease := range leases {
		if i > 0 {
			m.body = append(m.body, ',')
		}
		callbackURL, callbackToken := "", ""
		if d.opts.CallbackURL != "" {
			callbackURL, callbackToken = string(d.appendCallbackURL(nil, lease)), lease.CallbackToken()
		}
		if typ.Format == registry.CloudEventsStructured {
			m.contentType = mediaCloudEvents
			attributes := append(eventAttributes(typ, lease, messageID(lease)), extensions(typ, lease)...)
			if callbackURL != "" {
				attributes = append(attributes, attribute{name: "deetoocallbackurl", value: callbackURL}, attribute{name: "deetoocallbacktoken", value: callbackToken})
			}
			m.body = appendEvent(m.body, attributes, data(lease))
			continue
		}
		item := batchItem{
			ID: lease.ID, WebhookID: messageID(lease), Attempt: lease.Attempt, MaxAttempts: maxAttempts(typ, lease),
			CallbackURL: callbackURL, CallbackToken: callbackToken,
		}
		if !lease.RunAt.IsZero() {
			item.ScheduledAt = lease.RunAt.UTC().Format(timeFormat)
		}
		if isTraceparent(lease.Traceparent) {
			item.Traceparent = lease.Traceparent
		}
		head, err := json.Marshal(item)
		if err != nil {
			return message{}, err
		}
		m.body = append(append(append(append(m.body, head[:len(head)-1]...), `,"data":`...), data(lease)...), '}')
	}
	m.body = append(m.body, ']')
	return m, nil
}
