package auth_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/deetoo/deetoo/auth"
)

// A token for one producer: it may push jobs of its own types and no more.
func Example() {
	ctx := context.Background()
	secret := bytes.Repeat([]byte("k"), auth.MinSecretSize) // in earnest: LoadOrCreateSecret
	token, err := auth.Mint(secret, auth.MintOptions{
		Subject: "shop", Scopes: []auth.Scope{auth.JobsWrite}, JobTypes: []string{"shop.*"}, TTL: time.Hour,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	verifier, err := auth.New(ctx, auth.Options{Secret: secret})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer verifier.Close()

	caller, err := verifier.Verify(ctx, token)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(caller.Subject(), caller.Require(auth.JobsWrite, "shop.receipt"))
	fmt.Println(caller.Require(auth.JobsWrite, "payroll"))
	fmt.Println(caller.Require(auth.TypesWrite, "shop.receipt"))

	_, err = verifier.Verify(ctx, token+"x")
	fmt.Println(errors.Is(err, auth.ErrUnauthenticated))
	// Output:
	// shop <nil>
	// the token's job_types do not include "payroll"
	// the token lacks the scope "types:write"
	// true
}
