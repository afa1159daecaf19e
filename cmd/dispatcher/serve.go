package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"github.com/deetoo/deetoo"
	"github.com/deetoo/deetoo/auth"
)

// gcPercent is how much the heap grows before it is collected, in percent of what
// is live, unless GOGC says otherwise. Little is live here, and most of it dies with
// its request: 100, Go's default, takes a third more memory and no less CPU (docs/performance.md).
const gcPercent = 50

// serveCmd runs the dispatcher until SIGTERM or SIGINT.
type serveCmd struct {
	storeFlags  `group:"Jobs:"`
	serverFlags `group:"Dispatcher:"`
	keyFlags    `group:"Tokens:"`
	logFlags    `group:"Logs:"`
	PrintToken  bool `name:"print-token" env:"DEETOO_PRINT_TOKEN" help:"Print an admin token at every start, not only when the key has just been made." group:"Tokens:"`
}

// Run is called by kong.
func (c *serveCmd) Run(env *environment) error {
	log := c.logger(env)
	// Before anything else: unheard, it would end the process.
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	d := deetoo.New(deetoo.WithOptions(options(c.storeFlags, c.keyFlags, c.serverFlags, log)))
	if err := d.Start(env.ctx); err != nil {
		return err
	}
	log.Info("dispatcher started", "version", deetoo.BuildVersion(), "listen", d.Addr().String(), "jobs", d.Place())
	if err := c.welcome(env, d); err != nil {
		log.Error("no token could be made", "error", err)
	}
	var failure error
	for failure == nil {
		select {
		case <-hup:
			c.reload(env.ctx, d, log)
			continue
		case failure = <-d.Failed():
		case <-env.ctx.Done():
		}
		break
	}
	return c.shutdown(d, log, failure)
}

func (c *serveCmd) reload(ctx context.Context, d *deetoo.Deetoo, log *slog.Logger) {
	if c.Types == "" {
		log.Warn("SIGHUP is for the types file, and there is none: see --types")
		return
	}
	changed, err := d.Reload(ctx)
	switch {
	case err != nil && len(changed) > 0: // Redis went away in the middle
		log.Error("the types file was applied only in part", "changed", changed, "error", err)
	case err != nil:
		log.Error("the types file could not be applied; everything stays as it was", "error", err)
	default:
		log.Info("types file applied", "changed", changed)
	}
}

// shutdown drains; a second signal ends the process at once.
func (c *serveCmd) shutdown(d *deetoo.Deetoo, log *slog.Logger, failure error) error {
	again := make(chan os.Signal, 1)
	signal.Notify(again, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(again)
	go func() {
		if _, ok := <-again; ok {
			log.Warn("second signal: quitting at once; running jobs are taken over when their leases end")
			os.Exit(1)
		}
	}()
	log.Info("shutting down: waiting for running jobs", "timeout", c.DrainTimeout)
	begun := time.Now()
	if err := d.Shutdown(context.Background()); err != nil {
		log.Warn("shut down with jobs unfinished", "error", err, "on_timeout", c.OnShutdownTimeout)
		if failure == nil {
			return nil // as configured: those jobs are not lost
		}
	} else {
		log.Info("shut down", "took", time.Since(begun).Round(time.Millisecond))
	}
	return failure
}

// tokenLife is how long the token printed at start is good.
const tokenLife = 24 * time.Hour

// welcome says on standard output how to go on. It prints a token only if it is
// asked for, or the key is our own and new: standard output may be kept.
func (c *serveCmd) welcome(env *environment, d *deetoo.Deetoo) error {
	url := localURL(d.Addr().String())
	fmt.Fprintf(env.stdout, "\nDeeToo %s\n  UI        %s/ui\n  API       %s/v1     docs %s/docs\n  Jobs in   %s\n", deetoo.BuildVersion(), url, url, url, d.Place())
	if c.RedisURL == "" {
		fmt.Fprintln(env.stdout, "            (for one machine; set REDIS_URL for more)")
	}
	secret, wanted := []byte(c.JWTSecret), c.PrintToken
	if key := d.GeneratedKey(); key != nil {
		fmt.Fprintf(env.stdout, "  Key       %s\n", key.File)
		secret, wanted = key.Secret, wanted || key.Created
	}
	if len(secret) == 0 { // whoever has the private key makes tokens
		return nil
	}
	if !wanted {
		fmt.Fprintln(env.stdout, "\nFor a token:  dispatcher token --scope admin --ttl 24h")
		return nil
	}
	token, err := auth.Mint(secret, auth.MintOptions{
		Subject: "admin", Scopes: []auth.Scope{auth.Admin}, TTL: tokenLife, Issuer: c.JWTIssuer, Audience: c.JWTAudience,
	})
	if err != nil {
		return err
	}
	fmt.Fprintf(env.stdout, `
Admin token, good for 24 h:

  export TOKEN=%s

Register a job type, then push a job:

  curl -X PUT  %s/v1/types/email -H "Authorization: Bearer $TOKEN" -H "Content-Type: application/json" -d '{"target":"http://127.0.0.1:9000/email","concurrency":12}'
  curl -X POST %s/v1/types/email/jobs -H "Authorization: Bearer $TOKEN" -H "Content-Type: application/json" -d '{"data":{"to":"leia@example.org"}}'

`, token, url, url)
	return nil
}

// localURL is how to reach a listening address from this machine.
func localURL(address string) string {
	if host, port, ok := strings.Cut(address, ":"); ok && (host == "" || host == "0.0.0.0") {
		return "http://127.0.0.1:" + port
	}
	return "http://" + strings.Replace(address, "[::]", "[::1]", 1)
}
