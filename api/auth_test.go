package api

import (
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"github.com/deetoo/deetoo/auth"
)

func TestBadTokensAreNamedButNotRepeated(t *testing.T) {
	w := newWorld(t)
	good := token(t, auth.MintOptions{})
	parts := strings.Split(good, ".")
	encode := base64.RawURLEncoding.EncodeToString
	other, err := auth.Mint([]byte(strings.Repeat("another key", 4)), auth.MintOptions{Scopes: []auth.Scope{auth.Admin}, TTL: time.Hour, Audience: "deetoo"})
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ token, detail string }{
		"expired":        {token(t, auth.MintOptions{Now: time.Now().Add(-2 * time.Hour)}), "the token has expired"},
		"not yet":        {token(t, auth.MintOptions{Now: time.Now().Add(2 * time.Hour)}), "the token is not valid yet"},
		"wrong key":      {other, "the token's signature is not valid"},
		"wrong audience": {token(t, auth.MintOptions{Audience: "somebody else"}), "the token is for another audience"},
		"none":           {encode([]byte(`{"alg":"none","typ":"JWT"}`)) + "." + parts[1] + ".", "the token's algorithm is not accepted"},
		"cut":            {parts[0] + "." + parts[1], "the token is malformed"},
		"no token":       {"nonsense", "the token is malformed"},
		"changed":        {parts[0] + "." + encode([]byte(`{"aud":"deetoo","exp":99999999999,"scope":"admin"}`)) + "." + parts[2], "the token's signature is not valid"},
		"huge":           {strings.Repeat("x", auth.MaxTokenSize+1), "the token is longer than 16384 bytes"},
	} {
		a := w.do(call{method: "GET", path: "/v1/types", token: c.token})
		if p := a.wantProblem(401, "unauthenticated"); p.Detail != c.detail {
			t.Errorf("%s: %q, want %q", name, p.Detail, c.detail)
		}
		if a.Header.Get("WWW-Authenticate") != `Bearer realm="deetoo", error="invalid_token"` {
			t.Errorf("%s: WWW-Authenticate %s", name, a.Header.Get("WWW-Authenticate"))
		}
		if strings.Contains(w.log.String(), c.token) || strings.Contains(string(a.Body), c.token) {
			t.Errorf("%s: the token is repeated", name)
		}
	}
	for _, header := range []string{"Basic dXNlcjpwYXNz", "Bearer", "Bearer ", good} {
		w.do(call{method: "GET", path: "/v1/types", token: "-", header: map[string]string{"Authorization": header}}).wantProblem(401, "unauthenticated")
	}
	w.do(call{method: "GET", path: "/v1/types", token: "-", header: map[string]string{"Authorization": "bearer  " + good}}).want(200)
}

func TestTokenWithLargeClaimsFits(t *testing.T) {
	w := newWorld(t).email()
	var globs []string
	for range 150 {
		globs = append(globs, strings.Repeat("x", 60))
	}
	large := token(t, auth.MintOptions{JobTypes: append(globs, "email")})
	if len(large) < 12_000 {
		t.Fatalf("only %d bytes", len(large))
	}
	w.do(call{method: "GET", path: "/v1/types/email", token: large}).want(200)
}
