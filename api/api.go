// Package api is the REST API: it reads requests, has intake do what they ask,
// and writes answers. Rights, validity and what belongs together are decided
// in intake; here is HTTP. openapi.yaml is the contract; the routes are one
// table (routes.go), and tests hold the two against each other.
package api

import (
	"context"
	"log/slog"
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/deetoo/deetoo/auth"
	"github.com/deetoo/deetoo/dispatch"
	"github.com/deetoo/deetoo/dispatch/webhook"
	"github.com/deetoo/deetoo/intake"
	"github.com/deetoo/deetoo/invalid"
	"github.com/deetoo/deetoo/queue"
	"github.com/deetoo/deetoo/registry"
)

// DefaultMaxBatchBody is how large a request with many jobs may be, in bytes: 32 MiB.
const DefaultMaxBatchBody = 32 << 20

// Verifier says who a caller is. *auth.Verifier is one.
type Verifier interface {
	// Verify returns the identity in a token; an error matches
	// auth.ErrUnauthenticated or auth.ErrKeysUnavailable. It does not keep the token.
	Verify(ctx context.Context, token string) (*auth.Identity, error)
}

// Sender makes test deliveries. *webhook.Deliverer is one.
type Sender interface {
	// Send makes one attempt at a job of a type and returns what was said on the
	// wire, without secrets.
	Send(ctx context.Context, typ *registry.Type, lease *queue.Lease) (dispatch.Outcome, *webhook.Exchange)
}

// Options of an API. Intake, Verifier, Sender and Spec are required.
type Options struct {
	// Intake does what is asked.
	Intake *intake.Intake
	// Verifier says who asks.
	Verifier Verifier
	// Sender makes test deliveries.
	Sender Sender
	// Spec is the OpenAPI document that /openapi.yaml answers with.
	Spec []byte
	// Version of the program, for /healthz. Default: "dev".
	Version string
	// Logger hears of errors that are nobody's fault but ours. Default: discard.
	Logger *slog.Logger
	// MaxBatchBody is how large a request with many jobs may be, in bytes; it
	// should not exceed AppOptions.MaxBody. Default: DefaultMaxBatchBody.
	MaxBatchBody int
	// Timeout is how long a request may take once it has been read. Default: 30s.
	Timeout time.Duration
	// TestTimeout is how long a test delivery may take, if its type's timeout
	// is not shorter. Default: 20s; at most Timeout.
	TestTimeout time.Duration
}

// Validate names the option that is wrong, as an *invalid.Error.
func (o Options) Validate() error {
	switch {
	case o.Intake == nil:
		return invalid.Errorf("Intake", "is required")
	case o.Verifier == nil:
		return invalid.Errorf("Verifier", "is required")
	case o.Sender == nil:
		return invalid.Errorf("Sender", "is required")
	case len(o.Spec) == 0:
		return invalid.Errorf("Spec", "is required")
	case o.MaxBatchBody < 0:
		return invalid.Errorf("MaxBatchBody", "must be positive")
	case o.Timeout < 0:
		return invalid.Errorf("Timeout", "must be positive")
	case o.TestTimeout < 0 || o.TestTimeout > o.withDefaults().Timeout:
		return invalid.Errorf("TestTimeout", "must be positive and at most Timeout")
	}
	return nil
}

func (o Options) withDefaults() Options {
	if o.Version == "" {
		o.Version = "dev"
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.MaxBatchBody == 0 {
		o.MaxBatchBody = DefaultMaxBatchBody
	}
	if o.Timeout == 0 {
		o.Timeout = 30 * time.Second
	}
	if o.TestTimeout == 0 {
		o.TestTimeout = min(20*time.Second, o.Timeout)
	}
	return o
}

// API answers REST requests. It is safe for concurrent use.
type API struct {
	opts   Options
	intake *intake.Intake
	docs   map[string]document
}

// New makes an API, or returns the error of Options.Validate.
func New(o Options) (*API, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	o = o.withDefaults()
	docs, err := loadDocs()
	if err != nil {
		return nil, err
	}
	return &API{opts: o, intake: o.Intake, docs: docs}, nil
}

// Mount adds the routes to an app, which should be one of NewApp: its error
// handler writes the problem documents.
func (a *API) Mount(app *fiber.App) {
	for _, r := range a.Routes() {
		path := fiberPath(r.Path)
		if r.Method == fiber.MethodGet {
			app.Head(path, a.handle(r))
		}
		app.Add(r.Method, path, a.handle(r))
	}
}
