// Package ui is the admin UI: pages rendered on the server with html/template,
// kept fresh by server-sent events, embedded in the binary and free of requests to anywhere
// else. Every page can be read without JavaScript, and every action is a form.
//
// It asks and does everything through package intake, as the caller whose
// token the session cookie holds; there is no state on the server.
package ui

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/deetoo/deetoo/auth"
	"github.com/deetoo/deetoo/dispatch"
	"github.com/deetoo/deetoo/dispatch/webhook"
	"github.com/deetoo/deetoo/history"
	"github.com/deetoo/deetoo/intake"
	"github.com/deetoo/deetoo/invalid"
	"github.com/deetoo/deetoo/queue"
	"github.com/deetoo/deetoo/registry"
)

// Verifier says who a token stands for; *auth.Verifier is one.
type Verifier interface {
	Verify(ctx context.Context, token string) (*auth.Identity, error)
}

// Sender makes test deliveries; *webhook.Deliverer is one.
type Sender interface {
	Send(ctx context.Context, typ *registry.Type, lease *queue.Lease) (dispatch.Outcome, *webhook.Exchange)
}

// Options of a UI. Intake and Verifier are required.
type Options struct {
	Intake   *intake.Intake
	Verifier Verifier
	// Sender makes test deliveries. Default: none can be made here.
	Sender Sender
	// Mint makes a token that the Verifier accepts. Default: none can be made here.
	Mint func(auth.MintOptions) (string, error)
	// Settings of this process that may be shown to admins. Default: none are told.
	Settings []Setting
	// Version is shown at the foot of each page. Default: "dev".
	Version string
	// Logger hears of what went wrong on our side; never of tokens or data. Default: discard.
	Logger *slog.Logger
	// Timeout bounds what one request asks of Redis. Default: 5 s; at most 1 min.
	Timeout time.Duration
	// Closing is closed when the server ends: live pages end then. Default: never.
	Closing <-chan struct{}
	// Remove deletes a finished job on behalf of who, after checking that they
	// may. Default: Intake.Remove.
	Remove func(ctx context.Context, who *auth.Identity, typ, id string) error
}

// Validate names the option that is wrong, as an *invalid.Error.
func (o Options) Validate() error {
	switch {
	case o.Intake == nil:
		return invalid.Errorf("intake", "is required")
	case o.Verifier == nil:
		return invalid.Errorf("verifier", "is required")
	case o.Timeout < 0 || o.Timeout > time.Minute:
		return invalid.Errorf("timeout", "must be at most 1m")
	}
	return nil
}

// UI serves the pages. It is safe for concurrent use.
type UI struct {
	opts   Options
	in     *intake.Intake
	log    *slog.Logger
	assets *assets
	pages  pages
	counts *counts
	// What is the same for all who look, a moment old at most.
	series  *cache[*history.Series]
	present *cache[*history.Present]
	health  *cache[*history.Health]
}

// New makes a UI, or returns the option that is wrong.
func New(opts Options) (*UI, error) {
	if err := opts.Validate(); err != nil {
		return nil, err
	}
	if opts.Version == "" {
		opts.Version = "dev"
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.Timeout == 0 {
		opts.Timeout = 5 * time.Second
	}
	if opts.Remove == nil {
		opts.Remove = opts.Intake.Remove
	}
	a, err := loadAssets()
	if err != nil {
		return nil, fmt.Errorf("ui: %w", err)
	}
	p, err := parsePages(a)
	if err != nil {
		return nil, fmt.Errorf("ui: %w", err)
	}
	return &UI{
		opts: opts, in: opts.Intake, log: opts.Logger, assets: a, pages: p, counts: newCounts(opts.Intake),
		series: newCache[*history.Series](8 * time.Second), present: newCache[*history.Present](5 * time.Second), health: newCache[*history.Health](8 * time.Second),
	}, nil
}

// Mount adds the routes: everything under /ui, and GET / redirects there. What is under /ui and
// no page is answered with a page that says so, so Mount comes after other routes below /ui, if any.
func (u *UI) Mount(app *fiber.App) {
	app.Get("/", func(c *fiber.Ctx) error { return c.Redirect("/ui", fiber.StatusSeeOther) })
	g := app.Group("/ui")
	g.Get("/static/*", u.asset)

	g.Get("/login", u.public(u.loginPage))
	g.Post("/login", u.public(u.login))
	g.Get("/again", u.public(u.again))
	g.Post("/logout", u.action(u.logout))

	g.Get("/", u.private(u.overview))
	g.Get("/live", u.live(u.overviewLive))
	g.Get("/go", u.private(u.goTo))
	g.Get("/new-type", u.private(u.newTypePage))
	g.Post("/new-type", u.action(u.newType))

	g.Get("/types/:type", u.private(u.typePage))
	g.Get("/types/:type/live", u.live(u.typeLive))
	g.Get("/types/:type/settings", u.private(u.settingsPage))
	g.Post("/types/:type/settings", u.action(u.saveSettings))
	g.Get("/types/:type/enqueue", u.private(u.enqueuePage))
	g.Post("/types/:type/enqueue", u.action(u.enqueue))
	g.Post("/types/:type/pause", u.action(u.pause))
	g.Post("/types/:type/resume", u.action(u.resume))
	g.Post("/types/:type/bulk", u.action(u.bulk))
	g.Get("/types/:type/bulk", u.private(u.bulkPage))
	g.Post("/types/:type/bulk/all", u.action(u.bulkAll))
	g.Post("/types/:type/limits", u.action(u.setLimits))
	g.Post("/types/:type/hold", u.action(u.hold))
	g.Post("/types/:type/unhold", u.action(u.unhold))
	g.Get("/types/:type/secrets", u.private(u.secretsPage))
	g.Post("/types/:type/secrets", u.action(u.addSecret))
	g.Post("/types/:type/secrets/delete", u.action(u.deleteSecret))
	if u.opts.Sender != nil {
		g.Get("/types/:type/test", u.private(u.trialPage))
		g.Post("/types/:type/test", u.action(u.trial))
	}
	g.Get("/types/:type/handler", u.private(u.handlersPage))
	g.Post("/types/:type/redrive/stop", u.action(u.stopRedrive))
	for _, verb := range []string{"redrive", "purge"} {
		g.Get("/types/:type/"+verb, u.private(u.confirmPage(verb)))
		g.Post("/types/:type/"+verb, u.action(u.confirmed(verb)))
	}

	g.Get("/dead", u.private(u.deadPage))
	g.Get("/schedules", u.private(u.schedulesPage))
	g.Get("/schedule", u.private(u.schedulePage))
	g.Get("/new-schedule", u.private(u.newSchedulePage))
	g.Post("/schedules", u.action(u.saveSchedule))
	for _, verb := range []string{"pause", "resume", "run", "delete"} {
		g.Post("/schedules/"+verb, u.action(u.scheduleAction(verb)))
	}
	g.Get("/settings", u.private(u.settingsOfProcess))
	g.Get("/tokens", u.private(u.tokensPage))
	g.Post("/tokens", u.action(u.mintToken))

	// A job's ID may hold slashes and dots, so it travels as a parameter.
	g.Get("/types/:type/job", u.private(u.jobPage))
	g.Get("/types/:type/job/live", u.live(u.jobLive))
	g.Get("/types/:type/job/data", u.private(u.jobData))
	for _, verb := range []string{"retry", "promote", "cancel", "remove"} {
		g.Post("/types/:type/job/"+verb, u.action(u.jobAction(verb)))
	}
	g.Use("/", u.public(u.noSuchPage))
}
