package deetoo

import (
	"context"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/deetoo/deetoo/api"
	"github.com/deetoo/deetoo/auth"
	"github.com/deetoo/deetoo/dispatch"
	"github.com/deetoo/deetoo/intake"
	"github.com/deetoo/deetoo/ui"
)

// HTTP is the dialect of the REST API and the UI, served on an address such
// as ":8888". A port of 0 takes a free one; see Deetoo.Addr.
func HTTP(address string) Dialect { return &httpDialect{address: address} }

type httpDialect struct {
	address  string
	deetoo   *Deetoo // set by Speaks
	listener net.Listener
}

// Name is "http".
func (h *httpDialect) Name() string { return "http" }

// listen takes the address before anything else is started, so that one in use is an error of Start.
func (h *httpDialect) listen() (err error) {
	h.listener, err = net.Listen("tcp", h.address)
	return err
}

// Addr is the address that the API and the UI are served on; nil if none is. Call it after Start.
func (d *Deetoo) Addr() net.Addr {
	for _, dialect := range d.dialects {
		if h, ok := dialect.(*httpDialect); ok && h.listener != nil {
			return h.listener.Addr()
		}
	}
	return nil
}

// closeTimeout is how long requests under way may take once ctx has ended.
const closeTimeout = 5 * time.Second

// Serve answers requests until ctx ends.
func (h *httpDialect) Serve(ctx context.Context, in *intake.Intake) error {
	app, err := h.app(ctx, in)
	if err != nil {
		return err
	}
	served := make(chan error, 1)
	go func() { served <- app.Listener(h.listener) }()
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	if err := app.ShutdownWithTimeout(closeTimeout); err != nil {
		h.deetoo.opts.Logger.Warn("requests were cut off", "error", err)
	}
	// A server that was not yet listening has not noticed: end it so.
	_ = h.listener.Close()
	<-served
	return nil
}

func (h *httpDialect) app(ctx context.Context, in *intake.Intake) (*fiber.App, error) {
	d := h.deetoo
	form := 3*in.MaxJobSize() + 64<<10 // URL-encoded, and what is around it
	app := api.NewApp(api.AppOptions{Logger: d.opts.Logger, MaxBody: max(api.DefaultMaxBatchBody, form), MaxForm: form})
	rest, err := api.New(api.Options{
		Intake: in, Verifier: d.verifier, Sender: d.deliverer, Spec: OpenAPI(), Version: d.opts.Version, Logger: d.opts.Logger,
	})
	if err != nil {
		return nil, err
	}
	rest.Mount(app)
	pages, err := ui.New(ui.Options{Intake: in, Verifier: d.verifier, Sender: d.deliverer, Version: d.opts.Version, Logger: d.opts.Logger, Closing: ctx.Done(), Settings: d.settings(), Mint: d.mint()})
	if err != nil {
		return nil, err
	}
	pages.Mount(app)
	return app, nil
}

// mint makes tokens by the key that verifies them; nil if there is none here that also signs.
func (d *Deetoo) mint() func(auth.MintOptions) (string, error) {
	secret := d.opts.JWTSecret
	if d.key != nil {
		secret = d.key.Secret
	}
	if len(secret) == 0 {
		return nil
	}
	return func(o auth.MintOptions) (string, error) {
		o.Issuer, o.Audience = d.opts.JWTIssuer, d.opts.JWTAudience
		return auth.Mint(secret, o)
	}
}

// settings are those of this process that may be shown: no secret is among them.
func (d *Deetoo) settings() []ui.Setting {
	o := d.opts
	keys := "a secret"
	switch {
	case d.key != nil:
		keys = "the generated key, " + d.key.File
	case o.JWTPublicKeyFile != "":
		keys = o.JWTPublicKeyFile
	case o.JWKSURL != "":
		keys = redisPlace(o.JWKSURL)
	}
	encrypted := "no"
	if o.SecretsKeys != "" || o.SecretsKeysFile != "" {
		encrypted = "yes"
	}
	var networks []string
	for _, n := range o.AllowTargets {
		networks = append(networks, n.String())
	}
	onTimeout := o.OnTimeout
	if onTimeout == "" {
		onTimeout = dispatch.ReleaseOnTimeout
	}
	return []ui.Setting{
		{Name: "Name", Value: d.queue.Consumer()}, {Name: "Version", Value: o.Version}, {Name: "Jobs in", Value: d.Place()}, {Name: "Prefix of keys", Value: o.prefix()},
		{Name: "Listens on", Value: fmt.Sprint(d.Addr())}, {Name: "Handlers call back to", Value: d.callbackURL()}, {Name: "Tokens are checked with", Value: keys},
		{Name: "Issuer, audience", Value: strings.Trim(o.JWTIssuer+", "+o.JWTAudience, ", ")}, {Name: "Secrets are encrypted at rest", Value: encrypted},
		{Name: "Largest job", Value: fmt.Sprintf("%d bytes", d.intake.MaxJobSize())}, {Name: "Lease", Value: d.queue.Lease().String()},
		{Name: "Waits for running jobs at shutdown", Value: o.DrainTimeout.String() + ", then " + string(onTimeout)}, {Name: "Private targets", Value: fmt.Sprint(o.AllowPrivateTargets)},
		{Name: "Networks that targets may be in", Value: strings.Join(networks, ", ")}, {Name: "Types file", Value: o.TypesFile},
	}
}
