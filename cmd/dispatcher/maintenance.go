package main

import (
	"fmt"
	"net/http"
	"time"

	"github.com/deetoo/deetoo"
)

// fsckCmd checks the queues of all types.
type fsckCmd struct {
	storeFlags
	logFlags
	Types []string `arg:"" optional:"" help:"Job types. Default: all that have a queue."`
}

// Run is called by kong.
func (c *fsckCmd) Run(env *environment) error {
	q, _, closeStore, err := deetoo.OpenStore(env.ctx, storeOptions(c.storeFlags, c.logger(env)))
	if err != nil {
		return err
	}
	defer closeStore()
	types := c.Types
	if len(types) == 0 {
		if types, err = q.Types(env.ctx); err != nil {
			return err
		}
	}
	bad := 0
	for _, typ := range types {
		problems, err := q.Fsck(env.ctx, typ)
		if err != nil {
			return fmt.Errorf("type %s: %w", typ, err)
		}
		for _, p := range problems {
			fmt.Fprintf(env.stdout, "%s: %s\n", typ, p)
		}
		bad += len(problems)
	}
	if bad > 0 {
		return fmt.Errorf("%d problems in %d types", bad, len(types))
	}
	fmt.Fprintf(env.stdout, "%d types: every job is in exactly one place, nothing is orphaned\n", len(types))
	return nil
}

// migrateCmd moves an embedded store into a Redis.
type migrateCmd struct {
	logFlags
	From   string `required:"" type:"existingdir" placeholder:"DIR" help:"Data folder of the dispatcher on the embedded store; it must not be running."`
	To     string `required:"" placeholder:"URL" help:"Redis to move into; see serve --redis-url."`
	Prefix string `env:"DEETOO_PREFIX" default:"deetoo" help:"Beginning of every Redis key. Default: ${default}."`
}

// Run is called by kong.
func (c *migrateCmd) Run(env *environment) error {
	moved, err := deetoo.Migrate(env.ctx, deetoo.MigrateOptions{DataDir: c.From, RedisURL: c.To, Prefix: c.Prefix, Logger: c.logger(env)})
	if err != nil {
		return err
	}
	fmt.Fprintf(env.stdout, "%d keys of %d job types moved and checked. Now start the dispatcher with that Redis; the old store will not be started again.\n", moved.Keys, moved.Types)
	return nil
}

// healthcheckCmd asks a dispatcher on this machine whether it is alive.
type healthcheckCmd struct {
	serverFlags
	Timeout time.Duration `default:"3s" help:"How long to wait. Default: ${default}."`
	Ready   bool          `help:"Ask whether it is ready, Redis included, and not only alive."`
}

// Run is called by kong.
func (c *healthcheckCmd) Run(env *environment) error {
	path := "/healthz"
	if c.Ready {
		path = "/readyz"
	}
	cl := &http.Client{Timeout: c.Timeout}
	resp, err := cl.Get(localURL(c.address()) + path)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("it answers %s", resp.Status)
	}
	_, err = fmt.Fprintln(env.stdout, "ok")
	return err
}
