package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/deetoo/deetoo/registry"
)

// rotateSecretCmd gives a type another signing secret.
type rotateSecretCmd struct {
	clientFlags
	Type       string `arg:"" help:"Job type."`
	Kind       string `enum:"hmac,ed25519," default:"" help:"hmac or ed25519: what the new secret signs with. Default: hmac."`
	SecretFile string `placeholder:"FILE" help:"File with the new secret, whsec_… or whsk_…; \"-\" is standard input. Default: one is made, and printed."`
	ExpiresIn  string `default:"24h" help:"How long the secrets there are go on signing. Default: ${default}."`
}

// Run is called by kong.
func (c *rotateSecretCmd) Run(env *environment) error {
	spec := map[string]string{"expires_in": c.ExpiresIn}
	switch {
	case c.SecretFile != "" && c.Kind != "":
		return usageError{errors.New("--kind is for a secret that is made")}
	case c.SecretFile != "":
		// Not on the command line, which every process on the machine can read.
		in := os.Stdin
		if c.SecretFile != "-" {
			var err error
			if in, err = os.Open(c.SecretFile); err != nil {
				return err
			}
			defer in.Close()
		}
		secret, err := io.ReadAll(io.LimitReader(in, 4<<10))
		if err != nil {
			return err
		}
		spec["secret"] = strings.TrimSpace(string(secret))
	case c.Kind != "":
		spec["kind"] = c.Kind
	}
	body, err := json.Marshal(spec)
	if err != nil {
		return err
	}
	return c.send(env, "POST", typePath(c.Type, "secrets"), body)
}

// deleteSecretCmd deletes one.
type deleteSecretCmd struct {
	clientFlags
	Type string `arg:"" help:"Job type."`
	ID   string `arg:"" name:"id" help:"The secret's ID, as types show prints it."`
}

// Run is called by kong.
func (c *deleteSecretCmd) Run(env *environment) error {
	cl, err := c.client()
	if err != nil {
		return err
	}
	return cl.call(env.ctx, "DELETE", typePath(c.Type, "secrets", c.ID), "", nil, nil)
}

// reencryptCmd puts the first of the dispatcher's keys in force for what was stored before.
type reencryptCmd struct {
	clientFlags
	Types []string `arg:"" optional:"" help:"Job types. Default: all."`
}

// Run is called by kong.
func (c *reencryptCmd) Run(env *environment) error {
	cl, err := c.client()
	if err != nil {
		return err
	}
	types := c.Types
	if len(types) == 0 {
		var answer struct{ Types []struct{ Name string } }
		if err := cl.call(env.ctx, "GET", "/v1/types", "", nil, &answer); err != nil {
			return err
		}
		for _, t := range answer.Types {
			types = append(types, t.Name)
		}
	}
	changed := 0
	for _, name := range types {
		var answer struct{ Changed bool }
		if err := cl.call(env.ctx, "POST", typePath(name, "secrets", "reencrypt"), "", nil, &answer); err != nil {
			return fmt.Errorf("type %s: %w", name, err)
		}
		if answer.Changed {
			changed++
		}
	}
	_, err = fmt.Fprintf(env.stdout, "%d types, all encrypted with the first key; %d were not before\n", len(types), changed)
	return err
}

// secretsKeyCmd makes a key for --secrets-keys.
type secretsKeyCmd struct {
	ID string `arg:"" help:"What to call it: 1 to 32 letters, digits, '.', '_' and '-'."`
}

// Run is called by kong.
func (c *secretsKeyCmd) Run(env *environment) error {
	key := c.ID + ":" + registry.NewKey()
	if _, err := registry.ParseKeyring(key); err != nil {
		return usageError{errors.New("the ID must be 1 to 32 letters, digits, '.', '_' and '-'")}
	}
	_, err := fmt.Fprintln(env.stdout, key)
	return err
}
