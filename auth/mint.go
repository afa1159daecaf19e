package auth

import (
	"crypto/rand"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/deetoo/deetoo/invalid"
)

// MaxTTL is how long a minted token may be valid.
const MaxTTL = 10 * 365 * 24 * time.Hour

// MintOptions say what a new token is for.
type MintOptions struct {
	// Subject is whom it is given to; optional.
	Subject string
	// Scopes it has; at least one.
	Scopes []Scope
	// JobTypes limits it to types that match one of these globs; see
	// [Identity.CanType]. Empty: all types.
	JobTypes []string
	// TTL is how long it is valid: 1s to MaxTTL, in whole seconds (a fraction is cut off).
	TTL time.Duration
	// Issuer and Audience must be what the Verifier expects; optional.
	Issuer, Audience string
	// Now is when it becomes valid. Default: time.Now().
	Now time.Time
}

// Validate returns an *invalid.Error that names the field at fault, or nil.
func (o MintOptions) Validate() error {
	if len(o.Scopes) == 0 {
		return invalid.Errorf("Scopes", "must have at least one scope")
	}
	for i, s := range o.Scopes {
		if _, err := ParseScope(string(s)); err != nil {
			return invalid.Errorf("Scopes["+strconv.Itoa(i)+"]", "must be one of jobs:read, jobs:write, types:read, types:write, schedules:read, schedules:write, admin; got %q", string(s))
		}
	}
	for i, g := range o.JobTypes {
		if !validGlob(g) {
			return invalid.Errorf("JobTypes["+strconv.Itoa(i)+"]", "must be 1 to 64 of letters, digits, '.', '_', '-', '*' and '?'; got %q", g)
		}
	}
	if o.TTL < time.Second || o.TTL > MaxTTL {
		return invalid.Errorf("TTL", "must be 1s to %s", MaxTTL)
	}
	return nil
}

// validGlob reports whether a glob can match the name of a job type.
func validGlob(g string) bool {
	return len(g) >= 1 && len(g) <= 64 && strings.Trim(g, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-*?") == ""
}

// Mint makes a token signed with HS256, for Options.Secret, with a random ID
// (jti). The error is an *invalid.Error that names the field at fault.
func Mint(secret []byte, o MintOptions) (string, error) {
	if len(secret) < MinSecretSize {
		return "", invalid.Errorf("Secret", "must be at least %d bytes long", MinSecretSize)
	}
	if err := o.Validate(); err != nil {
		return "", err
	}
	now := o.Now
	if now.IsZero() {
		now = time.Now()
	}
	words := make([]string, len(o.Scopes))
	for i, s := range o.Scopes {
		words[i] = string(s)
	}
	c := jwt.MapClaims{
		"jti":   rand.Text(),
		"iat":   now.Unix(),
		"exp":   now.Unix() + int64(o.TTL/time.Second),
		"scope": strings.Join(words, " "),
	}
	for name, value := range map[string]string{"sub": o.Subject, "iss": o.Issuer, "aud": o.Audience} {
		if value != "" {
			c[name] = value
		}
	}
	if len(o.JobTypes) > 0 {
		c["job_types"] = o.JobTypes
	}
	token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, c).SignedString(secret)
	if err != nil {
		return "", fmt.Errorf("sign token: %w", err)
	}
	if len(token) > MaxTokenSize {
		return "", invalid.Errorf("", "the token would be longer than %d bytes", MaxTokenSize)
	}
	return token, nil
}
