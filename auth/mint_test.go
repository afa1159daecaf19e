package auth

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/deetoo/deetoo/invalid"
)

func TestMintedTokensVerify(t *testing.T) {
	at := now
	v := newVerifier(t, Options{Secret: secret, Issuer: "deetoo", Audience: "prod", Clock: func() time.Time { return at }})
	o := MintOptions{
		Subject: "leia", Scopes: []Scope{JobsWrite, JobsRead}, JobTypes: []string{"email", "sms-*"},
		TTL: time.Hour, Issuer: "deetoo", Audience: "prod", Now: now.Add(700 * time.Millisecond),
	}
	token, err := Mint(secret, o)
	if err != nil {
		t.Fatal(err)
	}
	id, err := v.Verify(t.Context(), token)
	if err != nil {
		t.Fatal(err)
	}
	if id.Subject() != "leia" || id.Issuer() != "deetoo" || !slices.Equal(id.Scopes(), []Scope{JobsRead, JobsWrite}) ||
		!slices.Equal(id.JobTypes(), o.JobTypes) || !id.ExpiresAt().Equal(now.Add(time.Hour)) {
		t.Errorf("got %+v", id)
	}
	again, err := Mint(secret, o)
	if err != nil {
		t.Fatal(err)
	}
	if other, err := v.Verify(t.Context(), again); err != nil || other.ID() == id.ID() || len(id.ID()) < 20 {
		t.Errorf("IDs %q and %q, %v", id.ID(), other.ID(), err)
	}
	at = now.Add(time.Hour + time.Minute)
	if _, err := v.Verify(t.Context(), token); !errors.Is(err, ErrExpired) {
		t.Errorf("after its time: %v", err)
	}
}

func TestMintWithoutOptionsIsForAllTypesFromNow(t *testing.T) {
	token, err := Mint(secret, MintOptions{Scopes: []Scope{Admin}, TTL: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	v := newVerifier(t, Options{Secret: secret, Clock: time.Now})
	if id, err := v.Verify(t.Context(), token); err != nil || !id.CanAllTypes() || id.Issuer() != "" {
		t.Errorf("got %+v, %v", id, err)
	}
}

func TestMintNamesTheFieldAtFault(t *testing.T) {
	fine := MintOptions{Scopes: []Scope{JobsRead}, TTL: time.Hour}
	for name, c := range map[string]struct {
		secret []byte
		change func(*MintOptions)
		field  string
	}{
		"short secret":   {secret[:31], func(*MintOptions) {}, "Secret"},
		"no scope":       {secret, func(o *MintOptions) { o.Scopes = nil }, "Scopes"},
		"unknown scope":  {secret, func(o *MintOptions) { o.Scopes = []Scope{JobsRead, "jobs"} }, "Scopes[1]"},
		"no TTL":         {secret, func(o *MintOptions) { o.TTL = 0 }, "TTL"},
		"negative TTL":   {secret, func(o *MintOptions) { o.TTL = -time.Hour }, "TTL"},
		"short TTL":      {secret, func(o *MintOptions) { o.TTL = time.Millisecond }, "TTL"},
		"long TTL":       {secret, func(o *MintOptions) { o.TTL = MaxTTL + 1 }, "TTL"},
		"empty glob":     {secret, func(o *MintOptions) { o.JobTypes = []string{"a", ""} }, "JobTypes[1]"},
		"bracket glob":   {secret, func(o *MintOptions) { o.JobTypes = []string{"[ab]"} }, "JobTypes[0]"},
		"long glob":      {secret, func(o *MintOptions) { o.JobTypes = []string{strings.Repeat("*", 65)} }, "JobTypes[0]"},
		"newline glob":   {secret, func(o *MintOptions) { o.JobTypes = []string{"a\n"} }, "JobTypes[0]"},
		"larger than is": {secret, func(o *MintOptions) { o.Subject = strings.Repeat("x", MaxTokenSize) }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			o := fine
			c.change(&o)
			token, err := Mint(c.secret, o)
			if bad, ok := errors.AsType[*invalid.Error](err); token != "" || !ok || bad.Field != c.field {
				t.Errorf("got %q, %v; want an error of the field %q", token, err, c.field)
			}
		})
	}
}
