// Package webhook delivers jobs over HTTP: one POST per attempt, signed as
// Standard Webhooks, guarded against targets in networks that are none of the
// job's business, and an answer read with suspicion. It follows the handler
// contract in docs/architecture.md. Retries are the queue's: nothing here
// sleeps through a backoff.
package webhook

import (
	"context"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-retryablehttp"
	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/deetoo/deetoo/dispatch"
	"github.com/deetoo/deetoo/internal/http1"
	"github.com/deetoo/deetoo/invalid"
	"github.com/deetoo/deetoo/queue"
	"github.com/deetoo/deetoo/registry"
)

const (
	resultLimit          = 64 << 10 // of dispatch.Outcome.Result
	excerptLimit         = 1 << 10  // of dispatch.Outcome.Excerpt
	defaultMaxRetryAfter = time.Hour
	defaultTimeout       = 30 * time.Second // of a type without one
)

// TypeSource finds the registered type of a job.
type TypeSource interface {
	// Get returns the type of that name, and whether there is one. The type is
	// only read.
	Get(name string) (*registry.Type, bool)
}

// Options of a Deliverer. Only Types is required.
type Options struct {
	// Types finds the type of a job to deliver. Required.
	Types TypeSource
	// AllowPrivate lets targets be in private networks, on the loopback and in
	// shared address space (RFC 1918, RFC 4193, RFC 6598). Link-local and cloud
	// metadata addresses stay refused. Default: false.
	AllowPrivate bool
	// AllowCIDRs are addresses that targets may have whatever the guard thinks
	// of them, metadata addresses included. Not in IPv4-mapped form.
	AllowCIDRs []netip.Prefix
	// UserAgent of the requests, unless a type's headers have one. Default: "deetoo".
	UserAgent string
	// Logger hears of each attempt at Debug, and of panics at Error. Default: none.
	Logger *slog.Logger
	// MaxResult is how many bytes of a successful answer are kept: up to
	// 65,536, which is the default.
	MaxResult int
	// MaxExcerpt is how many bytes of any answer are shown to people: up to
	// 1,024, which is the default.
	MaxExcerpt int
	// MaxRetryAfter caps what a Retry-After may ask for where the type does not say. Default: 1h.
	MaxRetryAfter time.Duration
	// RootCAs verify the targets' certificates. Default: the system's.
	RootCAs *x509.CertPool
	// Resolver looks up the targets' names. Default: the system's.
	Resolver *net.Resolver
	// CallbackURL is where handlers reach the API: the base of what they get in
	// deetoo-callback-url, without a slash at its end. Empty: handlers are not told, and a 202 is
	// plain success, since nobody could call back.
	CallbackURL string
	// Now is the clock of timestamps and HTTP dates. Default: time.Now.
	Now func() time.Time
}

func (o Options) withDefaults() Options {
	if o.UserAgent == "" {
		o.UserAgent = "deetoo"
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.MaxResult == 0 {
		o.MaxResult = resultLimit
	}
	if o.MaxExcerpt == 0 {
		o.MaxExcerpt = excerptLimit
	}
	if o.MaxRetryAfter == 0 {
		o.MaxRetryAfter = defaultMaxRetryAfter
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return o
}

// Validate returns an *invalid.Error that names the first field at fault. Zero
// values stand for the defaults.
func (o Options) Validate() error {
	switch {
	case o.Types == nil:
		return invalid.Errorf("Types", "is required")
	case !isHeaderValue(o.UserAgent):
		return invalid.Errorf("UserAgent", "must be printable ASCII")
	case o.MaxResult < 0 || o.MaxResult > resultLimit:
		return invalid.Errorf("MaxResult", "must be 1 to %d bytes", resultLimit)
	case o.MaxExcerpt < 0 || o.MaxExcerpt > excerptLimit:
		return invalid.Errorf("MaxExcerpt", "must be 1 to %d bytes", excerptLimit)
	case o.MaxRetryAfter < 0:
		return invalid.Errorf("MaxRetryAfter", "must be positive")
	}
	for i, p := range o.AllowCIDRs {
		if !p.IsValid() || p.Addr().Is4In6() {
			return invalid.Errorf(fmt.Sprintf("AllowCIDRs[%d]", i), "must be an IPv4 or IPv6 prefix such as 10.0.0.0/8")
		}
	}
	return nil
}

// Deliverer makes attempts at jobs by POSTing them to their type's target. It
// is a dispatch.Deliverer, safe for concurrent use.
type Deliverer struct {
	opts      Options
	guard     guard
	transport *http.Transport // what is out of the ordinary, and all settings
	wire      *http1.Transport
	client    *retryablehttp.Client
	types     *lru.Cache[string, *prepared]
	messages  sync.Pool // of *http1.Message
}

// New makes a Deliverer, or returns the error of Options.Validate.
func New(o Options) (*Deliverer, error) {
	if err := o.Validate(); err != nil {
		return nil, fmt.Errorf("webhook options: %w", err)
	}
	o = o.withDefaults()
	d := &Deliverer{opts: o, guard: newGuard(o)}
	d.transport = newTransport(o, d.guard)
	d.wire = http1.New(d.transport)
	d.client = newClient(d.wire)
	d.messages.New = func() any { return &http1.Message{} }
	var err error
	if d.types, err = lru.New[string, *prepared](preparedTypes); err != nil {
		return nil, err
	}
	return d, nil
}

// Close closes the idle connections. Attempts in flight are ended by their
// context, not by Close.
func (d *Deliverer) Close() { d.wire.CloseIdleConnections() }

// Deliver makes one attempt: it POSTs the lease's data to the target of its
// type and says what the answer means. It never panics.
//
// An attempt that outlasts its timeout (the job's own, else its type's) or the
// deadline of ctx is a Retry. If ctx is cancelled for any other cause the
// verdict is Release: the caller called it off, and knows why. A job whose
// type is not registered is a Retry.
func (d *Deliverer) Deliver(ctx context.Context, lease *queue.Lease) (out dispatch.Outcome) {
	defer d.rescue(lease, &out)
	typ, ok := d.opts.Types.Get(lease.Type)
	if !ok {
		return dispatch.Outcome{Err: "its job type is not registered"}
	}
	return d.attempt(ctx, typ, lease, nil)
}

// Send is Deliver for a type that need not be registered, and also returns
// what was said on the wire, for people to look at. The Exchange is never nil.
func (d *Deliverer) Send(ctx context.Context, typ *registry.Type, lease *queue.Lease) (out dispatch.Outcome, ex *Exchange) {
	ex = &Exchange{}
	defer d.rescue(lease, &out)
	out = d.attempt(ctx, typ, lease, ex)
	return out, ex
}

// attempt sends the request of one lease and judges the answer. ex may be nil.
func (d *Deliverer) attempt(ctx context.Context, typ *registry.Type, lease *queue.Lease, ex *Exchange) (out dispatch.Outcome) {
	if typ.Batch.Size > 0 { // its handler reads arrays, of one too
		return d.attemptBatch(ctx, typ, []*queue.Lease{lease}, ex)[0]
	}
	start := time.Now()
	defer func() {
		took := time.Since(start)
		if ex != nil {
			ex.Duration = took
		}
		d.logAttempt(lease, out, took)
	}()

	ctx, cancel, limit := withLimit(ctx, typ, lease)
	defer cancel()
	var sent atomic.Bool
	if typ.ReconcileURL != "" { // else nobody is asked what became of it
		ctx = noticeConnection(ctx, &sent)
	}

	var req *retryablehttp.Request
	var err error
	if ex == nil {
		var msg *http1.Message
		if req, msg, err = d.wireRequest(ctx, typ, lease, limit); msg != nil {
			defer d.messages.Put(msg)
		}
	}
	if req == nil && err == nil {
		req, err = d.newRequest(ctx, typ, lease, limit)
	}
	if err != nil {
		return unsendable(err)
	}
	if ex != nil {
		sent, err := req.BodyBytes()
		if err != nil {
			return dispatch.Outcome{Err: err.Error()}
		}
		ex.Request = showRequest(req, typ, lease, sent)
	}

	resp, err := d.client.Do(req)
	if resp != nil {
		// Beside an error too: the client may hand out both.
		defer func() { _ = resp.Body.Close() }()
	}
	if err != nil {
		out := failure(ctx, limit, err)
		out.Unsure = sent.Load()
		return out
	}
	return d.judge(ctx, limit, typ, resp, ex)
}

// withLimit ends ctx after the job's own timeout, else its type's, and returns
// how long that leaves. A deadline of ctx that is not later is left to end it,
// since it may have a cause of its own.
func withLimit(ctx context.Context, typ *registry.Type, lease *queue.Lease) (context.Context, context.CancelFunc, time.Duration) {
	limit := timeoutOf(typ, lease)
	if t, ok := ctx.Deadline(); ok {
		if left := time.Until(t); left <= limit {
			return ctx, func() {}, left
		}
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	return ctx, cancel, limit
}

// timeoutOf is how long an attempt at the job may take.
func timeoutOf(typ *registry.Type, lease *queue.Lease) time.Duration {
	switch {
	case lease.Timeout > 0:
		return lease.Timeout
	case typ.Timeout > 0:
		return typ.Timeout
	}
	return defaultTimeout
}

func (d *Deliverer) logAttempt(lease *queue.Lease, out dispatch.Outcome, took time.Duration) {
	// Asked first, because the arguments cost allocations on each attempt.
	if !d.opts.Logger.Enabled(context.Background(), slog.LevelDebug) {
		return
	}
	d.opts.Logger.Debug("webhook attempt", "type", lease.Type, "job", lease.ID, "attempt", lease.Attempt,
		"status", out.Status, "error", out.Err, "duration", took)
}

// rescue makes a failed attempt of a panic. It must be deferred itself.
func (d *Deliverer) rescue(lease *queue.Lease, out *dispatch.Outcome) {
	p := recover()
	if p == nil {
		return
	}
	*out = dispatch.Outcome{Err: "internal error of the dispatcher; its log says more"}
	// The value is logged only if the runtime made it: others may quote
	// anything, secrets included.
	what := fmt.Sprintf("a %T", p)
	if e, ok := p.(runtime.Error); ok {
		what = e.Error()
	}
	d.opts.Logger.Error("panic in a webhook attempt", "type", lease.Type, "job", lease.ID,
		"panic", what, "stack", string(debug.Stack()))
}
