package deetoo

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/deetoo/deetoo/auth"
	"github.com/deetoo/deetoo/dispatch"
	"github.com/deetoo/deetoo/dispatch/webhook"
	"github.com/deetoo/deetoo/history"
	"github.com/deetoo/deetoo/intake"
	"github.com/deetoo/deetoo/queue"
	"github.com/deetoo/deetoo/queue/embedded"
	"github.com/deetoo/deetoo/registry"
	"github.com/deetoo/deetoo/relay"
	"github.com/deetoo/deetoo/schedule"
)

// GeneratedKey is the key that tokens are signed with when none is configured.
type GeneratedKey struct {
	// Secret signs tokens by HS256.
	Secret []byte
	// Created says that it was made by this start.
	Created bool
	// File it is kept in, mode 0600.
	File string
}

// GeneratedKey returns the key made for want of a configured one; nil if one is configured. Call it after Start.
func (d *Deetoo) GeneratedKey() *GeneratedKey { return d.key }

// Place says for people where the jobs are kept.
func (d *Deetoo) Place() string {
	if d.opts.RedisURL != "" {
		return redisPlace(d.opts.RedisURL)
	}
	return "the embedded store in " + d.opts.DataDir
}

// EmbeddedDir is the folder of the embedded store in a data folder.
func EmbeddedDir(dataDir string) string { return filepath.Join(dataDir, "store") }

// OpenStore opens the Redis or the embedded store that options name, and
// the queue on it, without running anything: for maintenance. An embedded
// store that is not there is an error (fs.ErrNotExist), and is not made.
func OpenStore(ctx context.Context, o Options) (q *queue.Queue, client redis.UniversalClient, closeStore func() error, err error) {
	if err := o.Validate(); err != nil {
		return nil, nil, nil, err
	}
	o = o.withDefaults()
	if o.RedisURL == "" {
		if err := storeExists(o.DataDir); err != nil {
			return nil, nil, nil, err
		}
	}
	client, closeStore, err = openClient(ctx, o)
	if err != nil {
		return nil, nil, nil, err
	}
	q, err = newQueue(client, o)
	if err != nil {
		return nil, nil, nil, errors.Join(err, closeStore())
	}
	return q, client, closeStore, nil
}

// storeExists refuses to look for a store where there is none, which opening it would make.
func storeExists(dataDir string) error {
	if _, err := os.Stat(EmbeddedDir(dataDir)); err != nil {
		return fmt.Errorf("there is no embedded store in the data folder %s: %w", dataDir, err)
	}
	return nil
}

func openClient(ctx context.Context, o Options) (redis.UniversalClient, func() error, error) {
	if o.RedisURL != "" {
		c, err := ConnectRedis(o.RedisURL)
		if err != nil {
			return nil, nil, err
		}
		return c, c.Close, nil
	}
	store, err := embedded.Open(ctx, embedded.Options{Dir: EmbeddedDir(o.DataDir), Logger: o.Logger})
	if err != nil {
		return nil, nil, err
	}
	return store.Client(), store.Close, nil
}

func newQueue(client redis.UniversalClient, o Options) (*queue.Queue, error) {
	return queue.New(client, queue.Options{Prefix: o.Prefix, Consumer: o.Name, Lease: o.Lease, Embedded: o.RedisURL == ""})
}

// open makes the parts, each from what it is built on.
func (d *Deetoo) open(ctx, background context.Context) error {
	o := d.opts
	for _, dialect := range d.dialects {
		if h, ok := dialect.(*httpDialect); ok {
			if err := h.listen(); err != nil {
				return err
			}
			d.closers = append(d.closers, func() error { _ = h.listener.Close(); return nil }) // closed by Serve, if it came to that
		}
	}
	client, closeClient, err := openClient(ctx, o)
	if err != nil {
		return err
	}
	d.client = client
	d.closers = append(d.closers, closeClient)
	if d.queue, err = newQueue(client, o); err != nil {
		return err
	}
	keys, err := keyring(o)
	if err != nil {
		return err
	}
	if d.store, err = registry.NewStore(client, registry.Options{Prefix: o.Prefix, Keys: keys, Logger: o.Logger}); err != nil {
		return err
	}
	if d.schedules, err = schedule.NewStore(client, schedule.Options{Prefix: o.Prefix, Logger: o.Logger}); err != nil {
		return err
	}
	d.directory = registry.NewDirectory(d.store, o.Logger)
	if err := d.openHistory(); err != nil {
		return err
	}
	if d.deliverer, err = webhook.New(webhook.Options{
		Types: d.directory, AllowPrivate: o.AllowPrivateTargets, AllowCIDRs: o.AllowTargets,
		Logger: o.Logger, CallbackURL: d.callbackURL(),
	}); err != nil {
		return err
	}
	d.closers = append(d.closers, func() error { d.deliverer.Close(); return nil })
	if err := d.openAuth(background); err != nil {
		return err
	}
	if d.intake, err = intake.New(intake.Options{
		Queue: d.queue, Store: d.store, Directory: d.directory, Schedules: d.schedules, MaxJobSize: o.MaxJobSize,
		CheckTarget: d.checkTarget, Wake: d.wake, Draining: d.draining,
		History: d.history, Ended: func(typ, outcome string) { d.recorder.Attempt(typ, outcome, -1, -1) },
	}); err != nil {
		return err
	}
	if d.relay, err = relay.New(relay.Options{Outbox: d.queue, Pusher: d.intake, Workflows: d.queue, Types: d.elsewhere, Logger: o.Logger}); err != nil {
		return err
	}
	poll := time.Second
	if o.RedisURL == "" {
		// Nobody else writes to the embedded store: no wake can come from elsewhere.
		poll = 10 * time.Second
	}
	if d.clock, err = schedule.NewClock(schedule.ClockOptions{Store: d.schedules, Jobs: d.intake.Ticks(), Logger: o.Logger}); err != nil {
		return err
	}
	d.dispatcher, err = dispatch.New(dispatch.Options{
		Queue: d.queue, Deliverer: deliverer{d}, Pause: d.intake.PauseGone,
		Reconcile: d.deliverer.Reconcile, Redrive: d.queue.StepRedrives,
		Logger: o.Logger, OnTimeout: o.OnTimeout, Poll: poll, Ended: d.relay.Notify, Attempted: d.recorder.Attempt,
	})
	return err
}

// openHistory makes what keeps history, which others tell.
func (d *Deetoo) openHistory() (err error) {
	if d.history, err = history.NewStore(d.client, history.Options{Prefix: d.opts.Prefix}); err != nil {
		return err
	}
	d.recorder, err = history.NewRecorder(history.RecorderOptions{
		Store: d.history, Name: d.queue.Consumer(), Version: d.opts.Version, Logger: d.opts.Logger, Draining: d.draining,
		Running: func() int { return d.dispatcher.Running() }, Stats: d.queue.StatsOf,
		Types: func() []string {
			var names []string
			for _, t := range d.directory.List() {
				names = append(names, t.Name)
			}
			return names
		},
	})
	return err
}

// callbackURL is the base of the addresses that handlers call back; "" if there is no API.
func (d *Deetoo) callbackURL() string {
	if d.opts.PublicURL != "" {
		return strings.TrimRight(d.opts.PublicURL, "/")
	}
	addr, ok := d.Addr().(*net.TCPAddr)
	if !ok {
		return ""
	}
	host := addr.IP.String()
	if addr.IP.IsUnspecified() {
		host = "127.0.0.1"
	}
	return "http://" + net.JoinHostPort(host, strconv.Itoa(addr.Port))
}

func (d *Deetoo) openAuth(background context.Context) (err error) {
	o := auth.Options{
		Secret: d.opts.JWTSecret, PublicKeyFile: d.opts.JWTPublicKeyFile, JWKSURL: d.opts.JWKSURL,
		Issuer: d.opts.JWTIssuer, Audience: d.opts.JWTAudience, Leeway: d.opts.JWTLeeway, Logger: d.opts.Logger,
	}
	if len(o.Secret) == 0 && o.PublicKeyFile == "" && o.JWKSURL == "" {
		key := &GeneratedKey{File: filepath.Join(d.opts.DataDir, auth.SecretFile)}
		if key.Secret, key.Created, err = auth.LoadOrCreateSecret(d.opts.DataDir); err != nil {
			return err
		}
		o.Secret, d.key = key.Secret, key
		if d.opts.RedisURL != "" {
			d.opts.Logger.Warn("tokens are verified with a key of this machine alone; dispatchers that share a Redis need the same: configure a JWT secret, public key or JWKS", "key", key.File)
		}
	}
	if d.verifier, err = auth.New(background, o); err != nil {
		return err
	}
	d.closers = append(d.closers, func() error { d.verifier.Close(); return nil })
	return nil
}

// deliverer makes attempts: here, if the type is one this process Can, else by webhook.
type deliverer struct{ d *Deetoo }

// Deliver is that of a dispatch.Deliverer.
func (x deliverer) Deliver(ctx context.Context, lease *queue.Lease) dispatch.Outcome {
	if l, ok := x.d.local[lease.Type]; ok {
		return l.handler.deliver(ctx, lease)
	}
	if lease.Type == registry.CallbackType {
		return x.d.deliverer.DeliverCallback(ctx, lease)
	}
	return x.d.deliverer.Deliver(ctx, lease)
}

// DeliverBatch is that of a dispatch.BatchDeliverer. Only types of webhooks have batches.
func (x deliverer) DeliverBatch(ctx context.Context, leases []*queue.Lease) []dispatch.Outcome {
	return x.d.deliverer.DeliverBatch(ctx, leases)
}

// here reports whether jobs of a type are run by this process.
func (d *Deetoo) here(t *registry.Type) bool {
	_, local := d.local[t.Name]
	return local || t.Target != registry.LocalTarget || t.Name == registry.CallbackType
}

// elsewhere are the types that have no lane here. Their jobs end in another
// process, which may be gone before it has pushed what follows them.
func (d *Deetoo) elsewhere() []string {
	var out []string
	for _, t := range d.directory.List() {
		if !d.here(t) {
			out = append(out, t.Name)
		}
	}
	return out
}

func (d *Deetoo) checkTarget(target string) error {
	if target == registry.LocalTarget {
		return nil
	}
	return d.deliverer.CheckTarget(target)
}

func (d *Deetoo) wake(e queue.Event) { d.dispatcher.Heard(e) }

// register stores the types of Can and of the types file. If Redis is away it
// goes on trying in the background.
func (d *Deetoo) register(ctx, background context.Context) error {
	specs, err := loadFile(d.opts.TypesFile)
	if err != nil {
		return err
	}
	store := func(ctx context.Context) error {
		if err := migrated(ctx, d.client, d.opts); err != nil {
			return err
		}
		stale, err := d.store.CheckKeys(ctx)
		if err != nil {
			return queue.Classify(err)
		}
		if len(stale) > 0 {
			d.opts.Logger.Warn("secrets stored before are not encrypted with the first key; see dispatcher types reencrypt", "types", len(stale))
		}
		for name, l := range d.local {
			if err := d.registerLocal(ctx, name, l.concurrency); err != nil {
				return err
			}
		}
		changed, err := d.applyFile(ctx, specs)
		if len(changed) > 0 {
			d.opts.Logger.Info("job types and schedules registered from the file", "names", changed)
		}
		return err
	}
	// A Redis that hangs must not hold up the start: whoever asks for our health waits.
	quick, cancel := context.WithTimeout(ctx, startPatience)
	err = store(quick)
	cancel()
	if !errors.Is(err, queue.ErrUnavailable) || errors.Is(err, queue.ErrRefused) || ctx.Err() != nil {
		return err // a mistake in the settings is told at once
	}
	d.opts.Logger.Warn("redis is away; job types will be registered when it comes", "error", err)
	d.working.Go(func() {
		retry(background, func() error {
			err := store(background)
			if err != nil && !errors.Is(err, queue.ErrUnavailable) && background.Err() == nil {
				d.opts.Logger.Error("job types could not be registered", "error", err)
				return nil
			}
			return err
		})
	})
	return nil
}

// fileSpecs is what a types file says.
type fileSpecs struct {
	types     []registry.Spec
	schedules []schedule.Spec
}

// loadFile reads a types file; "" is one that says nothing.
func loadFile(path string) (f fileSpecs, err error) {
	if path == "" {
		return f, nil
	}
	if f.types, err = registry.LoadFile(path); err != nil {
		return f, err
	}
	f.schedules, err = schedule.LoadFile(path)
	return f, err
}

// applyFile registers the types file's types and schedules.
func (d *Deetoo) applyFile(ctx context.Context, f fileSpecs) ([]string, error) {
	if len(f.types)+len(f.schedules) == 0 {
		return nil, nil
	}
	named := func(err error) error {
		if err != nil {
			return fmt.Errorf("%s: %w", d.opts.TypesFile, err)
		}
		return nil
	}
	if err := d.intake.CheckSchedules(ctx, f.schedules, f.types); err != nil {
		return nil, named(err)
	}
	changed, err := d.intake.TypesFrom(ctx, f.types)
	for _, s := range f.types {
		if slices.Contains(changed, s.Name) && !s.HasSecret() {
			d.opts.Logger.Warn("a type of the file names no secret: unless it had one, its deliveries are signed with a new one that nobody has seen; give it one in the file", "type", s.Name)
		}
	}
	if err != nil {
		return changed, named(err)
	}
	planned, err := d.intake.SchedulesFrom(ctx, f.schedules)
	return append(changed, planned...), named(err)
}

// startPatience is how long Start waits for Redis before it goes on without.
const startPatience = 3 * time.Second

// registerLocal registers a type of Can. Settings changed by others stay, but
// the concurrency is the program's.
func (d *Deetoo) registerLocal(ctx context.Context, name string, concurrency int) error {
	t, _, err := d.store.Update(ctx, name, registry.PutOptions{}, func(old *registry.Type) (registry.Type, error) {
		t := registry.New(name, registry.LocalTarget)
		if old != nil {
			if old.Target != registry.LocalTarget {
				return t, fmt.Errorf("type %s is registered as a webhook: it cannot be run by this program as well", name)
			}
			t = old.Clone()
		}
		t.Concurrency = concurrency
		return t, nil
	})
	if err != nil {
		return queue.Classify(err)
	}
	d.directory.Note(t)
	return d.intake.Apply(ctx, &t)
}

// retry calls do until it succeeds or ctx ends, once a second.
func retry(ctx context.Context, do func() error) {
	for do() != nil {
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Second):
		}
	}
}

// follow runs lanes for the types there are, as they come, change and go.
func (d *Deetoo) follow(ctx context.Context) {
	settings := newSettler(d.intake, d.opts.Logger)
	d.working.Go(func() { settings.run(ctx) })
	d.working.Go(func() { d.relay.Run(ctx) })
	d.working.Go(func() { d.recorder.Run(ctx) })
	if d.opts.RedisURL != "" {
		d.working.Go(func() { warnOfRisks(ctx, d.client, d.opts.Logger) })
	}
	d.working.Go(func() {
		if err := d.directory.Run(ctx); err != nil {
			d.opts.Logger.Error("job types are not followed any more", "error", err)
		}
	})
	d.working.Go(func() { d.clock.Run(ctx) })
	d.working.Go(func() { d.dropExpiredSecrets(ctx) })
	d.working.Go(func() { d.queue.Listen(ctx, d.dispatcher.Heard, d.dispatcher.WakesArrive) })
	cancel := d.directory.Subscribe(func(c registry.Change) {
		switch {
		case c.New == nil:
			d.dispatcher.Remove(c.Name)
			settings.drop(c.Name)
			return
		case d.here(c.New):
			d.dispatcher.Set(c.New)
		default: // another process's function: its jobs are not ours to take
			d.dispatcher.Remove(c.Name)
		}
		settings.add(c.New)
	})
	d.closers = append(d.closers, func() error { cancel(); return nil })
}

// speak starts the dialects.
func (d *Deetoo) speak(background context.Context) {
	ctx, hush := context.WithCancel(background)
	d.hush = hush
	for _, dialect := range d.dialects {
		d.speaking.Go(func() {
			if err := dialect.Serve(ctx, d.intake); err != nil && ctx.Err() == nil {
				select {
				case d.failed <- fmt.Errorf("%s: %w", dialect.Name(), err):
				default: // the first failure is enough to stop for
				}
			}
		})
	}
}

// processName makes a name that no other process has, since two of one name would
// be taken for one: of the given one, or else the host's, and random characters.
func processName(given string) string {
	if given == "" {
		given, _ = os.Hostname()
	}
	if given == "" {
		given = "dispatcher"
	}
	clean := strings.Map(func(r rune) rune {
		if r <= ' ' || r > '~' {
			return '-'
		}
		return r
	}, given)
	return clean + "-" + strings.ToLower(rand.Text()[:6])
}

// BuildVersion is the version of this build: the module's, or the commit it
// was built from, or "dev".
func BuildVersion() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "dev"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 {
			return s.Value[:12]
		}
	}
	return "dev"
}
