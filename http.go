package deetoo

import (
	"context"
	"net"
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/deetoo/deetoo/api"
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
	pages, err := ui.New(ui.Options{Intake: in, Verifier: d.verifier, Sender: d.deliverer, Version: d.opts.Version, Logger: d.opts.Logger, Closing: ctx.Done()})
	if err != nil {
		return nil, err
	}
	pages.Mount(app)
	return app, nil
}
