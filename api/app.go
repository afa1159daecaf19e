package api

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/valyala/fasthttp"
)

// AppOptions configure the Fiber app on which API and UI are mounted. The zero
// value is valid.
type AppOptions struct {
	// Logger hears of internal errors at Error, of a store that is away at Warn, and of each request at
	// Debug. Default: discard.
	Logger *slog.Logger
	// MaxBody is the largest body the server reads, in bytes. Default: DefaultMaxBatchBody.
	MaxBody int
	// MaxForm is the largest form of the UI that brings a job, in bytes: its
	// data may be three times as long there as it is. Default: 3 MiB and a little.
	MaxForm int
	// ReadTimeout is how long a request may take to arrive. Default: 60s.
	ReadTimeout time.Duration
	// WriteTimeout is how long a client may take to read an answer, streams of
	// events aside. Default: 60s.
	WriteTimeout time.Duration
	// IdleTimeout is how long a connection is kept open between requests. Default: 120s.
	IdleTimeout time.Duration
}

// bodyWithoutToken is how much is read of a caller who shows no token, or at a
// path that takes no jobs, in bytes: login forms and settings are small.
const bodyWithoutToken = 1<<20 + maxEnvelope

// NewApp returns a Fiber app that answers errors with problem documents, whose
// connections cannot be held open by doing nothing, and which tells neither
// panics nor unknown errors to callers. Each answer has an X-Request-Id: the
// caller's, if it is 1 to 64 letters, digits, '.', '_' and '-', or a new one.
func NewApp(o AppOptions) *fiber.App {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.MaxBody == 0 {
		o.MaxBody = DefaultMaxBatchBody
	}
	if o.MaxForm == 0 {
		o.MaxForm = 3<<20 + maxEnvelope
	}
	if o.ReadTimeout == 0 {
		o.ReadTimeout = time.Minute
	}
	if o.WriteTimeout == 0 {
		o.WriteTimeout = time.Minute
	}
	if o.IdleTimeout == 0 {
		o.IdleTimeout = 2 * time.Minute
	}
	app := fiber.New(fiber.Config{
		AppName:       "deetoo",
		CaseSensitive: true,
		BodyLimit:     o.MaxBody,
		ReadTimeout:   o.ReadTimeout,
		IdleTimeout:   o.IdleTimeout,
		// Tokens may have 16 KiB, and paths some, too.
		ReadBufferSize:               32 << 10,
		DisableStartupMessage:        true,
		DisablePreParseMultipartForm: true,
		ErrorHandler:                 errorHandler(o.Logger),
	})
	app.Server().HeaderReceived = func(h *fasthttp.RequestHeader) (c fasthttp.RequestConfig) {
		uri := string(h.RequestURI())
		switch {
		case len(h.Peek(fiber.HeaderAuthorization)) > 0 && takesJobs(uri):
		case len(h.Peek(fiber.HeaderCookie)) > 0 && strings.HasSuffix(uri, "/enqueue"):
			c.MaxRequestBodySize = min(o.MaxBody, o.MaxForm)
		default:
			c.MaxRequestBodySize = min(o.MaxBody, bodyWithoutToken)
		}
		// As every EventSource says it: that answer ends when it ends.
		// An export sets its own deadlines, page by page.
		if path, _, _ := strings.Cut(uri, "?"); !bytes.Contains(h.Peek(fiber.HeaderAccept), []byte("text/event-stream")) && !strings.HasSuffix(path, "/dead/export") {
			c.WriteTimeout = o.WriteTimeout
		}
		return c
	}
	// Fiber answers methods it does not know before anything of ours is asked.
	known := app.Server().Handler
	app.Server().Handler = func(fctx *fasthttp.RequestCtx) {
		if slices.Contains(fiber.DefaultMethods, string(fctx.Method())) {
			known(fctx)
			return
		}
		c := app.AcquireCtx(fctx)
		defer app.ReleaseCtx(c)
		if err := app.ErrorHandler(c, fiber.ErrMethodNotAllowed); err != nil {
			fctx.SetStatusCode(fiber.StatusInternalServerError)
		}
	}
	app.Use(envelope(o.Logger))
	return app
}

// takesJobs reports whether a request at that address, which may be absolute,
// can carry jobs. It decides about memory alone, so it need not be exact.
func takesJobs(uri string) bool {
	return strings.Contains(uri, "/api/v") || strings.Contains(uri, "/jobs") || strings.HasSuffix(uri, "/test")
}

// requestIDKey finds the request's ID among its locals.
type requestIDKey struct{}

// RequestID returns the ID of the request, as in its X-Request-Id. It may be kept.
func RequestID(c *fiber.Ctx) string { return requestID(c) }

func requestID(c *fiber.Ctx) string {
	if id, ok := c.Locals(requestIDKey{}).(string); ok {
		return id
	}
	id := strings.Clone(c.Get(fiber.HeaderXRequestID))
	if !validRequestID(id) {
		id = rand.Text()
	}
	c.Locals(requestIDKey{}, id)
	c.Response().Header.Set(fiber.HeaderXRequestID, id)
	return id
}

// validRequestID keeps what strangers write out of logs and headers.
func validRequestID(id string) bool {
	const chars = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"
	return id != "" && len(id) <= 64 && strings.Trim(id, chars) == ""
}

// envelope is around every handler: headers, panics, the access log.
func envelope(log *slog.Logger) fiber.Handler {
	return func(c *fiber.Ctx) error {
		start := time.Now()
		requestID(c)
		secureHeaders(c)
		if err := protect(log, c); err != nil {
			if err := c.App().ErrorHandler(c, err); err != nil {
				return err
			}
		}
		// Asked first, because the arguments cost on each request.
		if log.Enabled(context.Background(), slog.LevelDebug) {
			// Without the query, where a cursor or somebody's mistake may be.
			log.Debug("request", "method", methodOf(c), "path", pathOf(c), "status", c.Response().StatusCode(),
				"duration", time.Since(start), "bytes_in", len(c.BodyRaw()), "remote", c.IP(), "request_id", requestID(c))
		}
		return nil
	}
}

// secureHeaders are those of an answer that is no page; pages set their own policy.
func secureHeaders(c *fiber.Ctx) {
	h := &c.Response().Header
	h.Set(fiber.HeaderXContentTypeOptions, "nosniff")
	h.Set(fiber.HeaderCacheControl, "no-store")
	h.Set(fiber.HeaderContentSecurityPolicy, "default-src 'none'; frame-ancestors 'none'")
	h.Set(fiber.HeaderReferrerPolicy, "no-referrer")
	h.Set(fiber.HeaderXFrameOptions, "DENY")
}

// protect turns a handler's panic into an error.
func protect(log *slog.Logger, c *fiber.Ctx) (err error) {
	defer func() {
		p := recover()
		if p == nil {
			return
		}
		// The value is logged only if the runtime made it: others may quote
		// anything, secrets included.
		what := fmt.Sprintf("a %T", p)
		if e, ok := p.(runtime.Error); ok {
			what = e.Error()
		}
		log.Error("panic in a request", "panic", what, "request_id", requestID(c), "stack", string(debug.Stack()))
		c.Response().ResetBody()
		err = fiber.ErrInternalServerError
	}()
	return c.Next()
}

// errorHandler writes the problem document of an error.
func errorHandler(log *slog.Logger) fiber.ErrorHandler {
	return func(c *fiber.Ctx, err error) error {
		p, known := problemOf(err)
		switch {
		case !known:
			log.Error("request failed", "error", err, "method", methodOf(c), "path", pathOf(c), "request_id", requestID(c))
		case p.Status == fiber.StatusServiceUnavailable && pathOf(c) == "/readyz":
			// Asked every few seconds, and the answer is what the probe is for.
			log.Debug("not ready", "error", err, "request_id", requestID(c))
		case p.Status == fiber.StatusServiceUnavailable:
			log.Warn("request refused", "error", err, "method", methodOf(c), "path", pathOf(c), "request_id", requestID(c))
		}
		if c.Response().Header.Peek(fiber.HeaderXContentTypeOptions) == nil { // refused before any handler
			secureHeaders(c)
		}
		return p.write(c)
	}
}

// methodOf and pathOf are copies, since a log may keep them.
func methodOf(c *fiber.Ctx) string { return strings.Clone(c.Method()) }
func pathOf(c *fiber.Ctx) string   { return strings.Clone(c.Path()) }
