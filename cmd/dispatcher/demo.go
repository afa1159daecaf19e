package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/deetoo/deetoo"
	"github.com/deetoo/deetoo/auth"
	"github.com/deetoo/deetoo/registry"
	"github.com/deetoo/deetoo/schedule"
)

// demoCmd runs a dispatcher with types, handlers that fail in the ways handlers
// do, and traffic, so that there is something to look at.
type demoCmd struct {
	Listen string `name:"listen" default:"127.0.0.1:8888" placeholder:"ADDR" help:"Address of API and UI. Default: ${default}."`
	Fresh  bool   `help:"Begin with empty charts. Else a week of history is made up for them."`
	logFlags
}

// Run is called by kong. Everything is in a folder that goes when it ends.
func (c *demoCmd) Run(env *environment) error {
	log := c.logger(env)
	dir, err := os.MkdirTemp("", "deetoo-demo-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	handlers, err := serveDemo(log)
	if err != nil {
		return err
	}
	defer func() { _ = handlers.server.Close() }()
	if !c.Fresh {
		if err := makeUpHistory(env.ctx, deetoo.EmbeddedDir(dir), handlers.kinds); err != nil {
			return err
		}
	}
	secret, _, err := auth.LoadOrCreateSecret(dir)
	if err != nil {
		return err
	}
	d := deetoo.New(deetoo.WithOptions(deetoo.Options{
		DataDir: dir, Listen: c.Listen, Logger: log, JWTSecret: secret, AllowPrivateTargets: true, Name: "demo", DrainTimeout: time.Second,
	}))
	if err := d.Start(env.ctx); err != nil {
		return err
	}
	working, stop := context.WithCancel(env.ctx)
	done := make(chan error, 1)
	go func() { done <- handlers.work(working, d) }()
	token, err := auth.Mint(secret, auth.MintOptions{Subject: "leia", Scopes: []auth.Scope{auth.Admin}, TTL: tokenLife})
	if err == nil {
		fmt.Fprintf(env.stdout, "\nA demonstration: types, handlers that fail now and then, traffic%s. It is forgotten when it ends (Ctrl-C).\n\n  UI     %s/ui\n  Token  %s\n\n",
			map[bool]string{false: ", and a past that is made up"}[c.Fresh], localURL(d.Addr().String()), token)
		select {
		case err = <-d.Failed():
		case err = <-done:
			done <- nil
		case <-env.ctx.Done():
		}
	}
	stop()
	<-done
	if again := d.Shutdown(context.WithoutCancel(env.ctx)); again != nil {
		log.Info("ended with jobs unfinished", "error", again)
	}
	return err
}

// demo is the handlers, and the jobs for them.
type demo struct {
	kinds  []kind
	server *http.Server
	url    string
}

func serveDemo(log *slog.Logger) (*demo, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	// Where nobody listens: a port that was free a moment ago.
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		_ = ln.Close()
		return nil, err
	}
	nobody := "http://" + closed.Addr().String()
	_ = closed.Close()
	d := &demo{url: "http://" + ln.Addr().String(), kinds: demoKinds(nobody)}
	mux := http.NewServeMux()
	for _, k := range d.kinds {
		mux.HandleFunc("POST /"+k.name, k.handle)
	}
	d.server = &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	go func() {
		if err := d.server.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
			log.Error("the handlers of the demonstration have ended", "error", err)
		}
	}()
	return d, nil
}

// work registers everything, and gives the types work until ctx ends.
func (x *demo) work(ctx context.Context, d *deetoo.Deetoo) error {
	for _, k := range x.kinds {
		spec, err := registry.DecodeSpec(k.name, []byte(k.settings))
		if err != nil {
			return fmt.Errorf("%s: %w", k.name, err)
		}
		if spec.Target == "" {
			spec.Target = x.url + "/" + k.name
		}
		if _, err := d.Types().Put(ctx, spec); err != nil {
			return ended(ctx, fmt.Errorf("%s: %w", k.name, err))
		}
	}
	if _, err := d.Types().SetPaused(ctx, "newsletter", true, "leia: wrong discount code in issue 47, waiting for marketing"); err != nil {
		return ended(ctx, err)
	}
	for _, s := range demoSchedules() {
		spec, err := schedule.DecodeSpec("", []byte(s))
		if err == nil {
			_, err = d.Schedules().Put(ctx, spec)
		}
		if err != nil {
			return ended(ctx, fmt.Errorf("schedule %s: %w", spec.Name, err))
		}
	}
	for _, k := range x.kinds {
		for range k.backlog {
			if err := k.push(ctx, d); err != nil {
				return ended(ctx, err)
			}
		}
	}
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		for _, k := range x.kinds {
			for n := k.perSecond / 10; rand.Float64() < n; n-- {
				if err := k.push(ctx, d); err != nil && ended(ctx, err) != nil {
					return err
				}
			}
		}
	}
}

// ended is err, unless it is only that the demonstration ends.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// push gives the type a job.
func (k *kind) push(ctx context.Context, d *deetoo.Deetoo) error {
	receipts, err := d.Jobs().Push(ctx, k.job())
	if err != nil {
		return err
	}
	return receipts[0].Err
}
