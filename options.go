package deetoo

import (
	"cmp"
	"log/slog"
	"net/netip"
	"net/url"
	"time"

	"github.com/deetoo/deetoo/dispatch"
	"github.com/deetoo/deetoo/invalid"
	"github.com/deetoo/deetoo/queue"
)

// Options of a Deetoo. The zero value keeps its jobs in ./data, in this
// process, and listens nowhere.
type Options struct {
	// RedisURL of the Redis that holds the jobs: redis://, rediss://,
	// redis+sentinel:// or redis+cluster://, see ConnectRedis. Empty: the embedded store in DataDir.
	RedisURL string
	// DataDir holds the embedded store and the generated key. Default: "data".
	DataDir string
	// Prefix begins every Redis key, so that installations can share a Redis. Default: "deetoo".
	Prefix string
	// Name of this process in leases and attempts; random characters are added, because no two
	// may have the same. Default: the host's name.
	Name string

	// Listen is the address that REST API and UI are served on. Empty: none.
	// Speaks(HTTP(addr)) says the same.
	Listen string
	// PublicURL is where handlers reach the REST API to call back, as http or
	// https URL without query: https://jobs.example.org. Default: Listen's address, on this machine
	// if it listens on all.
	PublicURL string
	// MaxJobSize is the largest data of one job, in bytes. Default: 1 MiB.
	MaxJobSize int

	// JWTSecret verifies tokens by HS256: at least 32 bytes. With none of
	// JWTSecret, JWTPublicKeyFile and JWKSURL a key is generated and kept in DataDir.
	JWTSecret []byte
	// JWTPublicKeyFile is a PEM file with the RSA, EC or Ed25519 key that verifies tokens.
	JWTPublicKeyFile string
	// JWKSURL is where the keys that verify tokens are fetched, and fetched again as they rotate.
	JWKSURL string
	// JWTIssuer and JWTAudience must be those of a token, if set.
	JWTIssuer, JWTAudience string
	// JWTLeeway allows for clocks that differ. Default: 30 s; negative: none.
	JWTLeeway time.Duration

	// AllowPrivateTargets lets targets be in private networks and on this machine. Default: false.
	AllowPrivateTargets bool
	// AllowTargets are networks that targets may be in, whatever the guard thinks of them.
	AllowTargets []netip.Prefix

	// SecretsKeys encrypt, in the store, signing secrets and headers that are credentials:
	// "<id>:<base64 of 32 bytes>", separated by commas. The first encrypts, all decrypt; see registry.ParseKeyring.
	// Empty: they are stored as they are, unless SecretsKeysFile has some.
	SecretsKeys string
	// SecretsKeysFile is a file with the SecretsKeys. Not together with them.
	SecretsKeysFile string

	// TypesFile is a YAML file of job types, and schedules, to register at start and on Reload.
	TypesFile string
	// DrainTimeout is how long Shutdown waits for running attempts. Default: 30 s.
	DrainTimeout time.Duration
	// OnTimeout is what becomes of attempts that outlast it. Default: dispatch.ReleaseOnTimeout.
	OnTimeout dispatch.OnTimeout
	// Lease is how long a job stays with a dispatcher that is not heard of. Default: 15 s.
	Lease time.Duration

	// Logger hears what happens. Default: slog.Default().
	Logger *slog.Logger
	// Version is shown in the UI and by the API. Default: from the build.
	Version string
}

// Option changes one of the Options.
type Option func(*Options)

// WithOptions sets all options at once.
func WithOptions(o Options) Option { return func(to *Options) { *to = o } }

// WithRedis keeps the jobs in the Redis at a URL; see Options.RedisURL.
func WithRedis(url string) Option { return func(o *Options) { o.RedisURL = url } }

// WithDataDir keeps the embedded store and the generated key in a directory.
func WithDataDir(dir string) Option { return func(o *Options) { o.DataDir = dir } }

// WithLogger sets the logger.
func WithLogger(l *slog.Logger) Option { return func(o *Options) { o.Logger = l } }

// WithJWTSecret verifies tokens by HS256 with a secret of at least 32 bytes.
func WithJWTSecret(secret []byte) Option { return func(o *Options) { o.JWTSecret = secret } }

// WithPrivateTargets lets targets be in private networks and on this machine.
func WithPrivateTargets() Option { return func(o *Options) { o.AllowPrivateTargets = true } }

// Validate names the option that is wrong, as an *invalid.Error. What the
// parts check themselves is found when Start makes them.
func (o Options) Validate() error {
	sources := 0
	for _, given := range []bool{len(o.JWTSecret) > 0, o.JWTPublicKeyFile != "", o.JWKSURL != ""} {
		if given {
			sources++
		}
	}
	switch {
	case sources > 1:
		return invalid.Errorf("jwt_secret", "must not be given together with jwt_public_key_file or jwks_url: one source of keys")
	case len(o.JWTSecret) > 0 && len(o.JWTSecret) < 32:
		return invalid.Errorf("jwt_secret", "must be at least 32 bytes")
	case o.SecretsKeys != "" && o.SecretsKeysFile != "":
		return invalid.Errorf("secrets_keys", "must not be given together with secrets_keys_file")
	case o.DrainTimeout < 0:
		return invalid.Errorf("drain_timeout", "must not be negative")
	case o.OnTimeout != "" && o.OnTimeout != dispatch.ReleaseOnTimeout && o.OnTimeout != dispatch.FailOnTimeout:
		return invalid.Errorf("on_shutdown_timeout", "must be release or fail")
	case o.MaxJobSize < 0 || o.MaxJobSize > queue.MaxDataSize:
		return invalid.Errorf("max_job_size", "must be 1 to %d bytes", queue.MaxDataSize)
	}
	if err := validPublicURL(o.PublicURL); err != nil {
		return err
	}
	return (queue.Options{Prefix: o.Prefix, Lease: o.Lease}).Validate()
}

// prefix is what package queue makes of Prefix.
func (o Options) prefix() string { return cmp.Or(o.Prefix, "deetoo") }

func validPublicURL(s string) error {
	if s == "" {
		return nil
	}
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" {
		return invalid.Errorf("public_url", "must be an absolute http or https URL without user, query and fragment")
	}
	return nil
}

func (o Options) withDefaults() Options {
	if o.DataDir == "" {
		o.DataDir = "data"
	}
	o.Name = processName(o.Name)
	if o.DrainTimeout == 0 {
		o.DrainTimeout = 30 * time.Second
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.Version == "" {
		o.Version = BuildVersion()
	}
	return o
}
