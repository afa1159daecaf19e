package auth

import (
	"errors"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/golang-jwt/jwt/v5"
)

// claims are what we read of a token: the registered claims of RFC 7519 and
// our own. Names are matched exactly and none may appear twice, so that we
// cannot read another token than the one its issuer meant.
type claims struct {
	Issuer    string       `json:"iss"`
	Subject   string       `json:"sub"`
	Audience  stringList   `json:"aud"`
	ExpiresAt *numericDate `json:"exp"`
	NotBefore *numericDate `json:"nbf"`
	IssuedAt  *numericDate `json:"iat"`
	ID        string       `json:"jti"`
	// Scope is RFC 8693's string with spaces between, Scopes the array some
	// issuers write instead; either form is read under either name.
	Scope  stringList `json:"scope"`
	Scopes stringList `json:"scopes"`
	// JobTypes is kept raw to tell a missing claim, which means all types, from
	// null, which is refused.
	JobTypes jsontext.Value `json:"job_types"`
}

// UnmarshalJSON is called by the jwt package, which would otherwise match
// names without regard to case and let the last of several win.
func (c *claims) UnmarshalJSON(b []byte) error {
	type plain claims
	return json.Unmarshal(b, (*plain)(c))
}

// The jwt.Claims interface, for its validator.

func (c *claims) GetExpirationTime() (*jwt.NumericDate, error) { return c.ExpiresAt.jwt(), nil }
func (c *claims) GetNotBefore() (*jwt.NumericDate, error)      { return c.NotBefore.jwt(), nil }
func (c *claims) GetIssuedAt() (*jwt.NumericDate, error)       { return c.IssuedAt.jwt(), nil }
func (c *claims) GetIssuer() (string, error)                   { return c.Issuer, nil }
func (c *claims) GetSubject() (string, error)                  { return c.Subject, nil }
func (c *claims) GetAudience() (jwt.ClaimStrings, error)       { return jwt.ClaimStrings(c.Audience), nil }

// identity makes an Identity of verified claims.
func (c *claims) identity() (*Identity, error) {
	id := &Identity{subject: c.Subject, id: c.ID, issuer: c.Issuer, expiresAt: time.Time(*c.ExpiresAt)}
	for _, s := range Scopes() {
		if c.Scope.has(string(s)) || c.Scopes.has(string(s)) {
			id.scopes = append(id.scopes, s)
		}
	}
	if c.JobTypes != nil {
		// Whatever cannot be read as a limit must not be read as none.
		if c.JobTypes.Kind() != '[' {
			return nil, errors.New("job_types must be an array of strings")
		}
		if err := json.Unmarshal(c.JobTypes, &id.jobTypes); err != nil {
			return nil, err
		}
	}
	return id, nil
}

// numericDate is RFC 7519's NumericDate: a JSON number of seconds since 1970,
// whole or not. Strings and times beyond the year 9999 are refused.
type numericDate time.Time

const maxNumericDate = 253402300799

func (d *numericDate) UnmarshalJSON(b []byte) error {
	f, err := strconv.ParseFloat(string(b), 64)
	if err != nil || !(f >= 0 && f <= maxNumericDate) {
		return errors.New("must be a number of seconds between 1970 and 9999")
	}
	sec, frac := math.Modf(f)
	*d = numericDate(time.Unix(int64(sec), int64(frac*1e9)))
	return nil
}

func (d *numericDate) jwt() *jwt.NumericDate {
	if d == nil {
		return nil
	}
	return &jwt.NumericDate{Time: time.Time(*d)}
}

// stringList is a claim that may be one string or an array of them.
type stringList []string

func (l *stringList) UnmarshalJSON(b []byte) error {
	switch jsontext.Value(b).Kind() {
	case 'n':
		return nil
	case '"':
		var s string
		if err := json.Unmarshal(b, &s); err != nil {
			return err
		}
		*l = []string{s}
		return nil
	default:
		return json.Unmarshal(b, (*[]string)(l))
	}
}

// has reports whether a word is in one of the strings, between spaces.
func (l stringList) has(word string) bool {
	return slices.ContainsFunc(l, func(s string) bool { return slices.Contains(strings.Fields(s), word) })
}
