// Package auth says who a caller is and what they may do. A Verifier checks
// JSON Web Tokens against a shared secret, a public key or a JWKS endpoint and
// returns an Identity; the Identity answers for scopes and job types. Mint and
// LoadOrCreateSecret serve those who have no identity provider.
//
// The package knows nothing of web frameworks: the ways in hand it a string.
package auth

import (
	"slices"
	"strings"
	"time"

	"github.com/deetoo/deetoo/invalid"
)

// Scope is a permission, as written in a token's scope claim.
type Scope string

// The scopes. Admin implies all others; otherwise none implies another.
const (
	JobsRead   Scope = "jobs:read"
	JobsWrite  Scope = "jobs:write"
	TypesRead  Scope = "types:read"
	TypesWrite Scope = "types:write"
	// SchedulesRead and SchedulesWrite are of the schedules of the types a token reaches. To
	// write one also takes JobsWrite, since it pushes jobs.
	SchedulesRead  Scope = "schedules:read"
	SchedulesWrite Scope = "schedules:write"
	Admin          Scope = "admin"
)

// Scopes lists every Scope.
func Scopes() []Scope {
	return []Scope{JobsRead, JobsWrite, TypesRead, TypesWrite, SchedulesRead, SchedulesWrite, Admin}
}

// ParseScope returns the Scope of that name. The error is an *invalid.Error
// of the field "scope" that lists them.
func ParseScope(s string) (Scope, error) {
	if slices.Contains(Scopes(), Scope(s)) {
		return Scope(s), nil
	}
	return "", invalid.Errorf("scope", "must be one of jobs:read, jobs:write, types:read, types:write, schedules:read, schedules:write, admin; got %q", s)
}

// Identity is a caller whose token was verified. It cannot be changed, so it
// is shared between requests and goroutines. A nil *Identity may nothing.
type Identity struct {
	subject   string
	id        string
	issuer    string
	scopes    []Scope
	jobTypes  []string // nil: all
	expiresAt time.Time
}

// System is the identity of the program itself: what runs in its own process,
// without a token, may everything. Its subject is "system".
func System() *Identity {
	return &Identity{subject: "system", scopes: []Scope{Admin}}
}

// Subject is the token's sub: who it was given to. May be empty.
func (i *Identity) Subject() string {
	if i == nil {
		return ""
	}
	return i.subject
}

// ID is the token's jti, to name it in logs. May be empty.
func (i *Identity) ID() string {
	if i == nil {
		return ""
	}
	return i.id
}

// Issuer is the token's iss. May be empty.
func (i *Identity) Issuer() string {
	if i == nil {
		return ""
	}
	return i.issuer
}

// ExpiresAt is the token's exp. The Verifier accepts it until then plus the
// leeway; whoever keeps a connection open should end it then.
func (i *Identity) ExpiresAt() time.Time {
	if i == nil {
		return time.Time{}
	}
	return i.expiresAt
}

// Scopes lists the scopes in the token that are known here, without those
// they imply, in the order of [Scopes].
func (i *Identity) Scopes() []Scope {
	if i == nil {
		return nil
	}
	return slices.Clone(i.scopes)
}

// JobTypes lists the globs of the job types the token is limited to; nil
// means all types, empty means none.
func (i *Identity) JobTypes() []string {
	if i == nil {
		return []string{}
	}
	return slices.Clone(i.jobTypes)
}

// Can reports whether the token has the scope, or Admin.
func (i *Identity) Can(scope Scope) bool {
	if i == nil {
		return false
	}
	for _, s := range i.scopes {
		if s == scope || s == Admin {
			return true
		}
	}
	return false
}

// CanType reports whether the token reaches the job type of that name. The
// limit is the job_types claim, an array of globs in which '*' stands for any
// run of bytes, also none, and '?' for any one byte; everything else stands
// for itself. The limit holds for Admin as well.
func (i *Identity) CanType(name string) bool {
	if i == nil {
		return false
	}
	return i.jobTypes == nil || slices.ContainsFunc(i.jobTypes, func(g string) bool { return matchGlob(g, name) })
}

// CanAllTypes reports whether the token reaches every job type, also those
// yet to come: what shows or changes all types at once must ask for this.
func (i *Identity) CanAllTypes() bool {
	return i != nil && (i.jobTypes == nil || slices.ContainsFunc(i.jobTypes, func(g string) bool {
		return g != "" && strings.Trim(g, "*") == ""
	}))
}

// Require returns nil if the token has the scope and reaches the job type,
// else a *ScopeError or a *TypeError; both wrap ErrForbidden. An empty typ
// stands for no type in particular and is not checked.
func (i *Identity) Require(scope Scope, typ string) error {
	if !i.Can(scope) {
		return &ScopeError{Scope: scope}
	}
	if typ != "" && !i.CanType(typ) {
		return &TypeError{Type: typ}
	}
	return nil
}

// matchGlob matches '*' and '?' in time proportional to the product of the
// lengths at worst: only the last star ever needs to be tried again.
func matchGlob(glob, name string) bool {
	g, n := 0, 0
	star, mark := -1, 0
	for n < len(name) {
		switch {
		case g < len(glob) && glob[g] == '*':
			star, mark = g, n
			g++
		case g < len(glob) && (glob[g] == '?' || glob[g] == name[n]):
			g++
			n++
		case star >= 0:
			mark++
			g, n = star+1, mark
		default:
			return false
		}
	}
	for g < len(glob) && glob[g] == '*' {
		g++
	}
	return g == len(glob)
}

// BearerToken returns the token of an Authorization header, "Bearer <token>"
// (RFC 6750; the scheme's case does not matter). The error is ErrMissingToken
// if the header is empty or of another scheme. The result shares the header's
// memory, which Verify does not keep.
func BearerToken(authorization string) (string, error) {
	scheme, token, _ := strings.Cut(authorization, " ")
	token = strings.TrimLeft(token, " ")
	if token == "" || !strings.EqualFold(scheme, "bearer") {
		return "", ErrMissingToken
	}
	return token, nil
}
