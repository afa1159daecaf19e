package queue

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"

	"github.com/redis/go-redis/v9"
)

var (
	// ErrNotFound: there is no job of that ID.
	ErrNotFound = errors.New("no such job")
	// ErrActive: the job is running, so it cannot be replaced, promoted or removed.
	ErrActive = errors.New("the job is running")
	// ErrConflict: the job is not in a state that allows the operation; the
	// error is a *StateError, which says what state it is in.
	ErrConflict = errors.New("the job's state does not allow this")
	// ErrFull: Redis has reached its maxmemory and takes no new jobs.
	ErrFull = errors.New("redis is out of memory")
	// ErrUnavailable: Redis did not answer, or cannot serve at the moment.
	// Whether the operation happened is unknown; repeating it is safe.
	ErrUnavailable = errors.New("redis is unavailable")
	// ErrRefused: our credentials or Redis's certificate are wrong. It matches
	// ErrUnavailable, too: only a person can mend it, but that may happen at any time.
	ErrRefused = fmt.Errorf("%w: it refuses us, or we it", ErrUnavailable)
	// ErrNoWorkflow: there is no workflow of that ID, or no more.
	ErrNoWorkflow = errors.New("no such workflow")
	// ErrWorkflowExists: there is another workflow of that ID.
	ErrWorkflowExists = errors.New("there is a workflow of that ID with other jobs")
	// ErrNotEmpty: the type still has jobs.
	ErrNotEmpty = errors.New("the type still has jobs")
)

// StateError says that a job's state does not allow an operation. It matches ErrConflict.
type StateError struct {
	ID    string
	State State
	// Want says what was asked for: "promote", "retry", "remove".
	Want string
}

// Error names the job, its state and the operation.
func (e *StateError) Error() string {
	return fmt.Sprintf("cannot %s job %s: it is %s", e.Want, e.ID, e.State)
}

// Is makes errors.Is(err, ErrConflict) true.
func (e *StateError) Is(target error) bool { return target == ErrConflict }

// Classify wraps what the Redis client returned in the sentinel that says what
// a caller can do about it: ErrFull, ErrUnavailable, or none.
func Classify(err error) error {
	if err == nil || errors.Is(err, ErrUnavailable) || errors.Is(err, ErrFull) {
		return err
	}
	var reply redis.Error
	if errors.As(err, &reply) && !errors.Is(err, redis.Nil) {
		msg := strings.TrimPrefix(reply.Error(), "ERR ")
		switch {
		case strings.Contains(msg, "OOM "):
			return fmt.Errorf("%w: %w", ErrFull, err)
		case hasAnyPrefix(msg, "LOADING", "CLUSTERDOWN", "MASTERDOWN", "READONLY", "TRYAGAIN", "MISCONF", "NOREPLICAS", "BUSY", "UNBLOCKED", "MOVED", "ASK"):
			return fmt.Errorf("%w: %w", ErrUnavailable, err)
		case hasAnyPrefix(msg, "NOAUTH", "WRONGPASS", "NOPERM"):
			return fmt.Errorf("%w: %w", ErrRefused, err)
		}
		return err
	}
	var netErr net.Error
	var certificate *tls.CertificateVerificationError
	if errors.As(err, &certificate) {
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	if errors.As(err, &netErr) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, context.DeadlineExceeded) ||
		errors.Is(err, redis.ErrClosed) || errors.Is(err, redis.ErrPoolTimeout) || errors.Is(err, redis.ErrPoolExhausted) || errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return err
}

func hasAnyPrefix(s string, prefixes ...string) bool {
	for _, p := range prefixes {
		if strings.HasPrefix(s, p) {
			return true
		}
	}
	return false
}
