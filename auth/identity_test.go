package auth

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/deetoo/deetoo/invalid"
)

// verifyClaims returns the identity of a token with these claims.
func verifyClaims(t testing.TB, claims map[string]any) *Identity {
	t.Helper()
	id, err := newVerifier(t, Options{Secret: secret}).Verify(t.Context(), sign("HS256", secret, claims))
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func TestScopes(t *testing.T) {
	for name, c := range map[string]struct {
		claim string
		value any
		want  []Scope
	}{
		"one":                {"scope", "jobs:read", []Scope{JobsRead}},
		"several":            {"scope", "types:write  jobs:read", []Scope{JobsRead, TypesWrite}},
		"an array":           {"scopes", []string{"jobs:write", "types:read"}, []Scope{JobsWrite, TypesRead}},
		"scope as an array":  {"scope", []string{"jobs:write"}, []Scope{JobsWrite}},
		"scopes as a string": {"scopes", "jobs:write jobs:read", []Scope{JobsRead, JobsWrite}},
		"repeated":           {"scope", "jobs:read jobs:read", []Scope{JobsRead}},
		"unknown ones":       {"scope", "openid jobs:read email jobs:* JOBS:WRITE jobs:write,admin administrator", []Scope{JobsRead}},
		"none":               {"scope", "", nil},
		"null":               {"scope", nil, nil},
		"admin":              {"scope", "admin", []Scope{Admin}},
	} {
		t.Run(name, func(t *testing.T) {
			id := verifyClaims(t, map[string]any{"exp": now.Unix() + 60, c.claim: c.value})
			if got := id.Scopes(); !slices.Equal(got, c.want) {
				t.Fatalf("got %v, want %v", got, c.want)
			}
			for _, s := range Scopes() {
				want := slices.Contains(c.want, s) || slices.Contains(c.want, Admin)
				if id.Can(s) != want {
					t.Errorf("Can(%s) = %v", s, !want)
				}
				err := id.Require(s, "email")
				if missing, ok := errors.AsType[*ScopeError](err); ok == want || !want && (missing.Scope != s || !errors.Is(err, ErrForbidden) || !strings.Contains(err.Error(), string(s))) {
					t.Errorf("Require(%s) = %v", s, err)
				}
			}
		})
	}
}

func TestJobTypes(t *testing.T) {
	for name, c := range map[string]struct {
		globs    any // nil: no claim
		yes, no  []string
		allTypes bool
	}{
		"no claim":           {nil, []string{"email", "x"}, nil, true},
		"none":               {[]string{}, nil, []string{"email", ""}, false},
		"exact":              {[]string{"email"}, []string{"email"}, []string{"email2", "Email", "emai", ""}, false},
		"star":               {[]string{"mail.*"}, []string{"mail.", "mail.out", "mail.a.b"}, []string{"mail", "xmail.out"}, false},
		"several":            {[]string{"a", "b?"}, []string{"a", "bb"}, []string{"b", "aa", "bbb"}, false},
		"all":                {[]string{"x", "*"}, []string{"email"}, nil, true},
		"two stars":          {[]string{"*-eu-*"}, []string{"mail-eu-1", "-eu-"}, []string{"mail-us-1"}, false},
		"no other specials":  {[]string{"[ab]", `\*`, "{a,b}"}, nil, []string{"a", "b", "*"}, false},
		"an empty glob":      {[]string{""}, nil, []string{"email"}, false},
		"admin is not above": {[]string{"email"}, []string{"email"}, []string{"sms"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			claims := map[string]any{"exp": now.Unix() + 60, "scope": "admin"}
			if c.globs != nil {
				claims["job_types"] = c.globs
			}
			id := verifyClaims(t, claims)
			for _, typ := range c.yes {
				if err := id.Require(JobsWrite, typ); err != nil {
					t.Error(err)
				}
			}
			for _, typ := range c.no {
				if id.CanType(typ) {
					t.Errorf("CanType(%q)", typ)
				}
				err := id.Require(JobsWrite, typ)
				if wrong, ok := errors.AsType[*TypeError](err); typ != "" && (!ok || wrong.Type != typ || !errors.Is(err, ErrForbidden) || !strings.Contains(err.Error(), typ)) {
					t.Errorf("Require(%q) = %v", typ, err)
				}
			}
			if id.CanAllTypes() != c.allTypes || (id.JobTypes() == nil) != (c.globs == nil) {
				t.Errorf("CanAllTypes = %v, JobTypes = %v", id.CanAllTypes(), id.JobTypes())
			}
			if err := id.Require(Admin, ""); err != nil {
				t.Errorf("no type in particular: %v", err)
			}
		})
	}
}

// The quick matcher against the plain recursive definition.
func TestGlobMatchesItsDefinition(t *testing.T) {
	var match func(g, n string) bool
	match = func(g, n string) bool {
		switch {
		case g == "":
			return n == ""
		case g[0] == '*':
			return match(g[1:], n) || n != "" && match(g, n[1:])
		default:
			return n != "" && (g[0] == '?' || g[0] == n[0]) && match(g[1:], n[1:])
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		glob := rapid.StringMatching(`[ab*?]{0,8}`).Draw(t, "glob")
		name := rapid.StringMatching(`[ab*]{0,10}`).Draw(t, "name")
		if got := matchGlob(glob, name); got != match(glob, name) {
			t.Fatalf("matchGlob(%q, %q) = %v", glob, name, got)
		}
	})
	if matchGlob(strings.Repeat("*a", 2000)+"b", strings.Repeat("a", 4000)) {
		t.Error("matched")
	}
}

// An identity is shared by all requests with the token: what it hands out is a copy.
func TestIdentityCannotBeChanged(t *testing.T) {
	id := verifyClaims(t, map[string]any{
		"exp": now.Unix() + 60, "scope": "jobs:read", "job_types": []string{"email"},
		"sub": "leia", "jti": "42", "iss": "alderaan",
	})
	id.Scopes()[0] = Admin
	id.JobTypes()[0] = "*"
	if id.Can(Admin) || id.CanType("sms") {
		t.Error("changed")
	}
	if id.Subject() != "leia" || id.ID() != "42" || id.Issuer() != "alderaan" || !id.ExpiresAt().Equal(now.Add(time.Minute)) {
		t.Errorf("got %+v", id)
	}
}

func TestNobodyMayNothing(t *testing.T) {
	var id *Identity
	if id.Can(JobsRead) || id.CanType("email") || id.CanAllTypes() || id.Require(JobsRead, "") == nil ||
		id.Scopes() != nil || id.JobTypes() == nil || id.Subject()+id.ID()+id.Issuer() != "" || !id.ExpiresAt().IsZero() {
		t.Error("a nil identity may something")
	}
}

func TestParseScope(t *testing.T) {
	for _, s := range Scopes() {
		if got, err := ParseScope(string(s)); got != s || err != nil {
			t.Errorf("%s: %v, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "jobs", "Admin", "jobs:read "} {
		_, err := ParseScope(s)
		if bad, ok := errors.AsType[*invalid.Error](err); !ok || bad.Field != "scope" {
			t.Errorf("%q: %v", s, err)
		}
	}
}

func TestBearerToken(t *testing.T) {
	for header, want := range map[string]string{
		"Bearer abc": "abc", "bearer abc": "abc", "BEARER  abc": "abc", "Bearer a b": "a b",
		"": "", "Bearer": "", "Bearer ": "", "Basic abc": "", "abc": "", "Bearerabc": "", " Bearer abc": "",
	} {
		got, err := BearerToken(header)
		if got != want || (err == nil) != (want != "") || err != nil && !errors.Is(err, ErrMissingToken) {
			t.Errorf("%q: got %q, %v", header, got, err)
		}
	}
}
