package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"github.com/deetoo/deetoo"
	"github.com/deetoo/deetoo/auth"
)

// tokenCmd mints a token with the HS256 secret: the configured one, or the generated key.
type tokenCmd struct {
	Scope       []string      `help:"What the token may: jobs:read, jobs:write, types:read, types:write, schedules:read, schedules:write, admin. Separated by commas." default:"admin" env:"DEETOO_TOKEN_SCOPE"`
	Types       []string      `help:"Globs of the job types it is limited to, such as mail-*. Default: all." placeholder:"GLOB"`
	TTL         time.Duration `name:"ttl" default:"1h" help:"How long it is good. Default: ${default}."`
	Subject     string        `default:"cli" help:"Who it is for; shown in logs. Default: ${default}."`
	DataDir     string        `name:"data-dir" env:"DEETOO_DATA_DIR" default:"data" placeholder:"DIR" help:"Folder with the generated key. Default: ${default}."`
	JWTSecret   string        `name:"jwt-secret" env:"DEETOO_JWT_SECRET" placeholder:"SECRET" help:"HS256 secret to sign with, instead of the generated key."`
	JWTIssuer   string        `name:"jwt-issuer" env:"DEETOO_JWT_ISSUER" help:"Issuer to put in."`
	JWTAudience string        `name:"jwt-audience" env:"DEETOO_JWT_AUDIENCE" help:"Audience to put in."`
}

// AfterApply is called by kong. It refuses --types with nothing in it, which
// "$TYPES" is in a script that forgot to set it: no list would mean all types.
func (c *tokenCmd) AfterApply(parsed *kong.Context) error {
	for _, p := range parsed.Path {
		if p.Flag != nil && p.Flag.Name == "types" && len(c.Types) == 0 {
			return errors.New("--types must name a type or a glob; without it the token is good for all types")
		}
	}
	return nil
}

// Run is called by kong. It prints the token alone, for scripts.
func (c *tokenCmd) Run(env *environment) error {
	token, err := c.mint(env)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(env.stdout, token)
	return err
}

func (c *tokenCmd) mint(env *environment) (string, error) {
	o := auth.MintOptions{Subject: c.Subject, JobTypes: c.Types, TTL: c.TTL, Issuer: c.JWTIssuer, Audience: c.JWTAudience}
	for _, list := range c.Scope {
		for _, s := range strings.Fields(list) {
			scope, err := auth.ParseScope(s)
			if err != nil {
				return "", usageError{err}
			}
			o.Scopes = append(o.Scopes, scope)
		}
	}
	if err := o.Validate(); err != nil {
		return "", usageError{err}
	}
	secret := []byte(c.JWTSecret)
	if len(secret) == 0 {
		var err error
		var created bool
		if secret, created, err = auth.LoadOrCreateSecret(c.DataDir); err != nil {
			return "", err
		}
		if created {
			fmt.Fprintf(env.stderr, "dispatcher: there was no key in %s, so one was made; the token is good for dispatchers with this data folder\n", c.DataDir)
		}
	} else if len(secret) < auth.MinSecretSize {
		return "", usageError{fmt.Errorf("jwt-secret must be at least %d bytes", auth.MinSecretSize)}
	}
	return auth.Mint(secret, o)
}

// versionCmd prints the version.
type versionCmd struct{}

// Run is called by kong.
func (versionCmd) Run(env *environment) error {
	_, err := fmt.Fprintln(env.stdout, deetoo.BuildVersion())
	return err
}

// loadKey returns the generated key of a data folder, if there is one, without making one.
func loadKey(dataDir string) []byte {
	if _, err := os.Stat(filepath.Join(dataDir, auth.SecretFile)); err != nil {
		return nil
	}
	secret, _, err := auth.LoadOrCreateSecret(dataDir)
	if err != nil {
		return nil
	}
	return secret
}
