package main

import (
	"errors"
	"log/slog"
	"net/netip"
	"net/url"
	"os"
	"time"

	"github.com/deetoo/deetoo"
	"github.com/deetoo/deetoo/dispatch"
)

// storeFlags say where the jobs are.
type storeFlags struct {
	RedisURL string `name:"redis-url" env:"DEETOO_REDIS_URL,REDIS_URL" placeholder:"URL" help:"Redis that holds the jobs: redis://, rediss://, redis+sentinel://host,host/master, redis+cluster://host,host. Absent: an embedded store in the data folder, for one machine."`
	// The password can come from elsewhere than the URL: those who run a Redis publish one, seldom a URL.
	RedisPassword string `name:"redis-password" env:"DEETOO_REDIS_PASSWORD" placeholder:"PASSWORD" help:"Password for the Redis, in place of one in the URL."`
	DataDir       string `name:"data-dir" env:"DEETOO_DATA_DIR" default:"data" placeholder:"DIR" help:"Folder of the embedded store and of the generated key. Default: ${default}."`
	Prefix        string `name:"prefix" env:"DEETOO_PREFIX" default:"deetoo" help:"Beginning of every Redis key. Default: ${default}."`
}

// url is where the Redis is, with the password in it. What is no URL is left to whoever parses it.
func (f storeFlags) url() string {
	u, err := url.Parse(f.RedisURL)
	if f.RedisPassword == "" || err != nil || u.Host == "" {
		return f.RedisURL
	}
	u.User = url.UserPassword(u.User.Username(), f.RedisPassword)
	return u.String()
}

// Validate is called by kong.
func (f storeFlags) Validate() error {
	if f.RedisPassword != "" && f.RedisURL == "" {
		return errors.New("--redis-password needs --redis-url")
	}
	return nil
}

// keyFlags say how tokens are verified.
type keyFlags struct {
	JWTSecret        string        `name:"jwt-secret" env:"DEETOO_JWT_SECRET" placeholder:"SECRET" help:"HS256 secret of at least 32 bytes. With no key configured, one is made and kept in the data folder."`
	JWTPublicKeyFile string        `name:"jwt-public-key-file" env:"DEETOO_JWT_PUBLIC_KEY_FILE" placeholder:"FILE" help:"PEM file with the RSA, EC or Ed25519 public key that verifies tokens."`
	JWKSURL          string        `name:"jwks-url" env:"DEETOO_JWKS_URL" placeholder:"URL" help:"Where the keys that verify tokens are published."`
	JWTIssuer        string        `name:"jwt-issuer" env:"DEETOO_JWT_ISSUER" help:"Issuer that tokens must have."`
	JWTAudience      string        `name:"jwt-audience" env:"DEETOO_JWT_AUDIENCE" help:"Audience that tokens must have."`
	JWTLeeway        time.Duration `name:"jwt-leeway" env:"DEETOO_JWT_LEEWAY" default:"30s" help:"Allowance for clocks that differ. Default: ${default}."`
}

// logFlags say how to log.
type logFlags struct {
	LogFormat string `name:"log-format" env:"DEETOO_LOG_FORMAT" enum:"text,json" default:"text" help:"text or json. Default: ${default}."`
	LogLevel  string `name:"log-level" env:"DEETOO_LOG_LEVEL" enum:"debug,info,warn,error" default:"info" help:"debug, info, warn or error. Default: ${default}."`
}

func (f logFlags) logger(env *environment) *slog.Logger {
	var level slog.Level
	_ = level.UnmarshalText([]byte(f.LogLevel)) // one of four, says the parser
	o := &slog.HandlerOptions{Level: level}
	if f.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(env.stderr, o))
	}
	return slog.New(slog.NewTextHandler(env.stderr, o))
}

// serverFlags say how the dispatcher behaves.
type serverFlags struct {
	Listen              string         `name:"listen" env:"DEETOO_LISTEN" placeholder:"ADDR" help:"Address of API and UI. Default: 127.0.0.1:8888, or all addresses at $PORT if that is set."`
	PublicURL           string         `name:"public-url" env:"DEETOO_PUBLIC_URL" placeholder:"URL" help:"Where handlers reach the API to call back. Default: the listening address, which handlers on other machines need not reach."`
	Types               string         `name:"types" env:"DEETOO_TYPES" type:"path" placeholder:"FILE" help:"YAML file of job types and schedules to register at start, and again on SIGHUP."`
	SecretsKeys         string         `name:"secrets-keys" env:"DEETOO_SECRETS_KEYS" placeholder:"ID:KEY,…" help:"Keys that encrypt signing secrets and credentials in the store: <id>:<base64 of 32 bytes>. The first encrypts, all decrypt. Make one with types new-key."`
	SecretsKeysFile     string         `name:"secrets-keys-file" env:"DEETOO_SECRETS_KEYS_FILE" type:"path" placeholder:"FILE" help:"File with these keys."`
	AllowPrivateTargets bool           `name:"allow-private-targets" env:"DEETOO_ALLOW_PRIVATE_TARGETS" help:"Let targets be in private networks and on this machine."`
	AllowTargets        []netip.Prefix `name:"allow-targets" env:"DEETOO_ALLOW_TARGETS" placeholder:"CIDR" help:"Networks that targets may be in, whatever they are."`
	DrainTimeout        time.Duration  `name:"drain-timeout" env:"DEETOO_DRAIN_TIMEOUT" default:"30s" help:"How long to wait for running jobs at SIGTERM. Default: ${default}."`
	OnShutdownTimeout   string         `name:"on-shutdown-timeout" env:"DEETOO_ON_SHUTDOWN_TIMEOUT" enum:"release,fail" default:"release" help:"What becomes of jobs still running then: release gives them back at no cost, fail counts the attempt. Default: ${default}."`
	MaxJobSize          int            `name:"max-job-size" env:"DEETOO_MAX_JOB_SIZE" default:"1048576" help:"Largest data of one job, in bytes. Default: ${default}."`
	Lease               time.Duration  `name:"lease" env:"DEETOO_LEASE" default:"15s" help:"How long a job stays with a dispatcher that is not heard of. Default: ${default}."`
	Name                string         `name:"name" env:"DEETOO_NAME" help:"Name of this process in leases and attempts; random characters are added. Default: the host's name."`
}

// address is where to listen: PORT, as platforms set it, means every address.
func (f serverFlags) address() string {
	if f.Listen != "" {
		return f.Listen
	}
	if port := os.Getenv("PORT"); port != "" {
		return ":" + port
	}
	return defaultListen
}

const defaultListen = "127.0.0.1:8888"

// storeOptions are the options that maintenance needs.
func storeOptions(f storeFlags, log *slog.Logger) deetoo.Options {
	return deetoo.Options{RedisURL: f.url(), DataDir: f.DataDir, Prefix: f.Prefix, Logger: log, Version: deetoo.BuildVersion()}
}

func options(s storeFlags, k keyFlags, f serverFlags, log *slog.Logger) deetoo.Options {
	o := storeOptions(s, log)
	o.Name, o.Listen, o.MaxJobSize, o.Lease = f.Name, f.address(), f.MaxJobSize, f.Lease
	o.PublicURL = f.PublicURL
	o.SecretsKeys, o.SecretsKeysFile = f.SecretsKeys, f.SecretsKeysFile
	o.JWTSecret, o.JWTPublicKeyFile, o.JWKSURL = []byte(k.JWTSecret), k.JWTPublicKeyFile, k.JWKSURL
	o.JWTIssuer, o.JWTAudience, o.JWTLeeway = k.JWTIssuer, k.JWTAudience, k.JWTLeeway
	o.AllowPrivateTargets, o.AllowTargets = f.AllowPrivateTargets, f.AllowTargets
	o.TypesFile, o.DrainTimeout, o.OnTimeout = f.Types, f.DrainTimeout, dispatch.OnTimeout(f.OnShutdownTimeout)
	// To the library a zero is "not said". Here it was said, or is the flag's own default.
	if o.DrainTimeout == 0 {
		o.DrainTimeout = time.Nanosecond
	}
	if o.JWTLeeway == 0 {
		o.JWTLeeway = -1
	}
	return o
}
