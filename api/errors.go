package api

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/gofiber/fiber/v2"

	"github.com/deetoo/deetoo/auth"
	"github.com/deetoo/deetoo/intake"
	"github.com/deetoo/deetoo/invalid"
	"github.com/deetoo/deetoo/queue"
	"github.com/deetoo/deetoo/registry"
	"github.com/deetoo/deetoo/schedule"
)

// errEncoding: the body is compressed.
var errEncoding = errors.New("the body must not be compressed: no Content-Encoding is accepted")

// mediaTypeError: the body is of another type than these.
type mediaTypeError struct{ want []string }

func (e *mediaTypeError) Error() string {
	return "the Content-Type must be " + strings.Join(e.want, " or ") + ", in UTF-8"
}

// tooLargeError: the body is larger than this, in bytes.
type tooLargeError struct{ limit int }

func (e *tooLargeError) Error() string {
	return fmt.Sprintf("the body must be at most %d bytes", e.limit)
}

// retryAfter is what a 503 asks for, in seconds: a store that restarts or fails over
// is usually back by then.
const retryAfter = 2

// problemOf says what an error means to the caller: the one place that knows.
// known is false if the error is our own mistake, and then the problem says nothing of it.
func problemOf(err error) (p *problem, known bool) {
	switch {
	case errors.Is(err, auth.ErrUnauthenticated), errors.Is(err, auth.ErrForbidden), errors.Is(err, auth.ErrKeysUnavailable):
		return authProblem(err), true
	case errors.Is(err, intake.ErrNotReady):
		p = newProblem("not-ready", err.Error())
		p.retryAfter = retryAfter
		return p, true
	case errors.Is(err, queue.ErrUnavailable), errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		// What the client said names addresses: the log may know them, callers need not.
		p = newProblem("unavailable", queue.ErrUnavailable.Error())
		p.retryAfter = retryAfter
		return p, true
	case errors.Is(err, queue.ErrFull):
		p = newProblem("store-full", queue.ErrFull.Error())
		p.retryAfter = 5 * retryAfter
		return p, true
	case errors.Is(err, intake.ErrTooLarge):
		return invalidProblem("too-large", err), true
	case errors.Is(err, errEncoding):
		return newProblem("unsupported-media-type", err.Error()), true
	case errors.Is(err, queue.ErrNotFound):
		return newProblem("unknown-job", queue.ErrNotFound.Error()), true
	case errors.Is(err, registry.ErrSecretNotFound):
		return newProblem("unknown-secret", registry.ErrSecretNotFound.Error()), true
	case errors.Is(err, queue.ErrActive):
		p = newProblem("job-running", queue.ErrActive.Error())
		p.State = string(queue.Active)
		return p, true
	case errors.Is(err, queue.ErrEnded):
		return newProblem("attempt-ended", queue.ErrEnded.Error()), true
	case errors.Is(err, queue.ErrKeyReused):
		return newProblem("idempotency-key-reused", queue.ErrKeyReused.Error()), true
	case errors.Is(err, queue.ErrNoWorkflow):
		return newProblem("unknown-workflow", queue.ErrNoWorkflow.Error()), true
	case errors.Is(err, queue.ErrWorkflowExists):
		return newProblem("workflow-exists", queue.ErrWorkflowExists.Error()), true
	case errors.Is(err, queue.ErrNoRedrive):
		return newProblem("unknown-redrive", queue.ErrNoRedrive.Error()), true
	case errors.Is(err, queue.ErrRedriving):
		return newProblem("too-many-redrives", queue.ErrRedriving.Error()), true
	case errors.Is(err, queue.ErrNotEmpty):
		return newProblem("type-not-empty", err.Error()), true
	}
	if missing, ok := errors.AsType[*registry.NotFoundError](err); ok {
		p = newProblem("unknown-type", missing.Error())
		p.JobType, p.Nearest = shortened(missing.Name), missing.Nearest
		return p, true
	}
	if changed, ok := errors.AsType[*registry.VersionMismatchError](err); ok {
		p = newProblem("version-mismatch", changed.Error())
		p.Version = changed.Current
		return p, true
	}
	if missing, ok := errors.AsType[*schedule.NotFoundError](err); ok {
		return newProblem("unknown-schedule", missing.Error()), true
	}
	if changed, ok := errors.AsType[*schedule.VersionMismatchError](err); ok {
		p = newProblem("version-mismatch", changed.Error())
		p.Version = changed.Current
		return p, true
	}
	if state, ok := errors.AsType[*queue.StateError](err); ok {
		p = newProblem("job-state", state.Error())
		p.State = string(state.State)
		return p, true
	}
	if dup, ok := errors.AsType[*queue.DuplicateError](err); ok {
		p = newProblem("duplicate-job", dup.Error())
		p.JobID, p.State = dup.ID, string(dup.State)
		return p, true
	}
	if large, ok := errors.AsType[*tooLargeError](err); ok {
		p = newProblem("too-large", large.Error())
		p.Rule = fmt.Sprintf("must be at most %d bytes", large.limit)
		return p, true
	}
	if media, ok := errors.AsType[*mediaTypeError](err); ok {
		return newProblem("unsupported-media-type", media.Error()), true
	}
	if _, ok := errors.AsType[*invalid.Error](err); ok {
		return invalidProblem("invalid", err), true
	}
	if errors.Is(err, registry.ErrVersionMismatch) || errors.Is(err, schedule.ErrVersionMismatch) {
		return newProblem("version-mismatch", "it keeps changing; try again"), true
	}
	if http, ok := errors.AsType[*fiber.Error](err); ok {
		return httpProblem(http.Code)
	}
	return newProblem("internal", ""), false
}

func invalidProblem(slug string, err error) *problem {
	bad, ok := errors.AsType[*invalid.Error](err)
	if !ok {
		return newProblem(slug, "")
	}
	p := newProblem(slug, bad.Error())
	p.Field, p.Rule = bad.Field, bad.Rule
	return p
}

// authProblem writes 401 and 403 with the challenge of RFC 6750 section 3.
func authProblem(err error) *problem {
	if errors.Is(err, auth.ErrKeysUnavailable) {
		p := newProblem("keys-unavailable", auth.ErrKeysUnavailable.Error())
		p.retryAfter = retryAfter
		return p
	}
	if scope, ok := errors.AsType[*auth.ScopeError](err); ok {
		p := newProblem("missing-scope", scope.Error())
		p.Scope = string(scope.Scope)
		p.authenticate = `Bearer realm="deetoo", error="insufficient_scope", scope="` + string(scope.Scope) + `"`
		return p
	}
	if typ, ok := errors.AsType[*auth.TypeError](err); ok {
		name := shortened(typ.Type)
		p := newProblem("type-out-of-reach", (&auth.TypeError{Type: name}).Error())
		p.JobType = name
		return p
	}
	p := newProblem("unauthenticated", strings.TrimPrefix(err.Error(), auth.ErrUnauthenticated.Error()+": "))
	p.authenticate = `Bearer realm="deetoo"`
	if !errors.Is(err, auth.ErrMissingToken) {
		p.authenticate += `, error="invalid_token"`
	}
	return p
}

// httpProblem is for what the server itself found before any handler did.
func httpProblem(status int) (p *problem, known bool) {
	switch status {
	case fiber.StatusNotFound:
		return newProblem("unknown-path", ""), true
	case fiber.StatusMethodNotAllowed:
		return newProblem("method-not-allowed", ""), true
	case fiber.StatusRequestTimeout:
		return newProblem("timeout", ""), true
	case fiber.StatusRequestEntityTooLarge:
		return newProblem("too-large", "the body is larger than the server reads"), true
	case fiber.StatusRequestHeaderFieldsTooLarge:
		return newProblem("headers-too-large", ""), true
	case fiber.StatusInternalServerError:
		return newProblem("internal", ""), false
	}
	// What is left is a connection that broke, or no HTTP.
	return newProblem("bad-request", ""), true
}
