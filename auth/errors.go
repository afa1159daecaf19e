package auth

import (
	"errors"
	"fmt"
)

// ErrUnauthenticated is behind every error that means "I do not know who you
// are": the answer is 401. The errors below say why. None of them repeats any
// part of the token.
var ErrUnauthenticated = errors.New("unauthenticated")

// Why a token was refused. All of them wrap ErrUnauthenticated.
var (
	// ErrMissingToken: there is no token at all.
	ErrMissingToken = fmt.Errorf("%w: no token was given", ErrUnauthenticated)
	// ErrMalformed: not a JWT, or its claims are not what they should be.
	ErrMalformed = fmt.Errorf("%w: the token is malformed", ErrUnauthenticated)
	// ErrTooLarge: longer than MaxTokenSize.
	ErrTooLarge = fmt.Errorf("%w: the token is longer than %d bytes", ErrUnauthenticated, MaxTokenSize)
	// ErrAlgorithm: signed with an algorithm that does not belong to the key.
	ErrAlgorithm = fmt.Errorf("%w: the token's algorithm is not accepted", ErrUnauthenticated)
	// ErrSignature: not signed by a key that is known here.
	ErrSignature = fmt.Errorf("%w: the token's signature is not valid", ErrUnauthenticated)
	// ErrExpired: its exp has passed.
	ErrExpired = fmt.Errorf("%w: the token has expired", ErrUnauthenticated)
	// ErrNotYetValid: its nbf or iat lies in the future.
	ErrNotYetValid = fmt.Errorf("%w: the token is not valid yet", ErrUnauthenticated)
	// ErrMissingExpiry: it has no exp, and would be valid forever.
	ErrMissingExpiry = fmt.Errorf("%w: the token has no expiry (exp)", ErrUnauthenticated)
	// ErrIssuer: its iss is missing or another than Options.Issuer.
	ErrIssuer = fmt.Errorf("%w: the token is from another issuer", ErrUnauthenticated)
	// ErrAudience: its aud is missing or does not have Options.Audience.
	ErrAudience = fmt.Errorf("%w: the token is for another audience", ErrUnauthenticated)
)

// ErrKeysUnavailable means that the JWKS endpoint does not answer, so that
// nobody can say whether the token is good: the answer is 503, not 401. It
// does not wrap ErrUnauthenticated.
var ErrKeysUnavailable = errors.New("the keys to verify tokens with are not available; try again")

// ErrForbidden is behind *ScopeError and *TypeError: the answer is 403.
var ErrForbidden = errors.New("forbidden")

// ScopeError says which scope the token lacks.
type ScopeError struct{ Scope Scope }

// Error names the scope.
func (e *ScopeError) Error() string {
	return fmt.Sprintf("the token lacks the scope %q", string(e.Scope))
}

// Unwrap returns ErrForbidden.
func (e *ScopeError) Unwrap() error { return ErrForbidden }

// TypeError says which job type the token does not reach.
type TypeError struct{ Type string }

// Error names the job type.
func (e *TypeError) Error() string {
	return fmt.Sprintf("the token's job_types do not include %q", e.Type)
}

// Unwrap returns ErrForbidden.
func (e *TypeError) Unwrap() error { return ErrForbidden }
