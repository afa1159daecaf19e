package webhook

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-retryablehttp"

	"github.com/deetoo/deetoo/dispatch"
	"github.com/deetoo/deetoo/queue"
	"github.com/deetoo/deetoo/registry"
)

// noticeConnection has sent become true when a request has a connection: from
// then on the other side may have received it. A name that is not found, or a
// connection that is refused, leaves it false.
func noticeConnection(ctx context.Context, sent *atomic.Bool) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { sent.Store(true) }})
}

// Reconcile asks the reconcile_url of the job's type what became of the job, by
// GET with its id, type and attempt in the query, and the headers of a delivery. The
// webhook-signature is that of an empty body. It is a dispatch.Reconciler.
//
// 200 and {"state": "done" | "running" | "unknown", "result": …} decides; 404 is
// unknown. Any other answer, or none, leaves the question open.
func (d *Deliverer) Reconcile(ctx context.Context, lease *queue.Lease) (known dispatch.Reconciled) {
	var out dispatch.Outcome
	defer func() {
		if out.Err != "" { // of a panic
			known = dispatch.Reconciled{Err: out.Err}
		}
	}()
	defer d.rescue(lease, &out)
	typ, ok := d.opts.Types.Get(lease.Type)
	if !ok {
		return dispatch.Reconciled{Err: "the job type is not registered"}
	}
	limit := timeLeft(ctx)
	req, err := d.question(ctx, typ, lease, limit)
	if err != nil {
		return dispatch.Reconciled{Err: err.Error()}
	}
	resp, err := d.client.Do(req)
	if resp != nil {
		defer func() { _ = resp.Body.Close() }()
	}
	if err != nil {
		return dispatch.Reconciled{Err: failure(ctx, limit, err).Err}
	}
	body, err := read(resp, d.opts.MaxResult)
	switch {
	case resp.StatusCode == http.StatusNotFound:
		return dispatch.Reconciled{State: dispatch.FateUnknown}
	case resp.StatusCode != http.StatusOK:
		return dispatch.Reconciled{Err: statusLine(resp.StatusCode)}
	case errors.Is(err, errTooLong):
		return dispatch.Reconciled{Err: fmt.Sprintf("the answer is longer than %d bytes", len(body))}
	case err != nil:
		return dispatch.Reconciled{Err: failure(ctx, limit, err).Err}
	}
	return fate(body)
}

// fate reads the answer of a reconcile_url.
func fate(body []byte) dispatch.Reconciled {
	var in struct {
		State  string          `json:"state"`
		Result json.RawMessage `json:"result"`
	}
	if err := json.Unmarshal(body, &in); err == nil {
		switch in.State {
		case "done":
			return dispatch.Reconciled{State: dispatch.FateDone, Result: in.Result}
		case "running":
			return dispatch.Reconciled{State: dispatch.FateRunning}
		case "unknown":
			return dispatch.Reconciled{State: dispatch.FateUnknown}
		}
	}
	return dispatch.Reconciled{Err: `the answer must be {"state": "done"}, "running" or "unknown"`}
}

// question makes the request of Reconcile.
func (d *Deliverer) question(ctx context.Context, typ *registry.Type, lease *queue.Lease, limit time.Duration) (*retryablehttp.Request, error) {
	p, err := d.prepared(typ)
	if err != nil {
		return nil, err
	}
	u, err := url.Parse(typ.ReconcileURL)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return nil, errReconcileURL
	}
	// Added to the query as it is: encoding it anew would change its order.
	if u.RawQuery != "" {
		u.RawQuery += "&"
	}
	u.RawQuery += url.Values{"id": {lease.ID}, "type": {lease.Type}, "attempt": {strconv.Itoa(lease.Attempt)}}.Encode()
	h := d.header(p, typ, lease, message{}, limit)
	for _, name := range []string{"Content-Type", headerCallbackURL, headerCallbackToken} {
		h.Del(name)
	}
	return retryablehttp.FromRequest((&http.Request{
		Method: http.MethodGet, URL: u, Host: u.Host,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: h,
	}).WithContext(ctx))
}

// timeLeft is how long ctx leaves; an hour if it has no end.
func timeLeft(ctx context.Context) time.Duration {
	if t, ok := ctx.Deadline(); ok {
		return time.Until(t)
	}
	return time.Hour
}

var errReconcileURL = errors.New("the reconcile_url is not an http or https URL")
