package auth

import (
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"github.com/deetoo/deetoo/invalid"
)

const (
	// MaxTokenSize is how long a token may be, in bytes.
	MaxTokenSize = 16 << 10
	// MinSecretSize is how long an HS256 secret must be, in bytes: as long as
	// the hash, RFC 7518 section 3.2.
	MinSecretSize = 32

	defaultLeeway    = 30 * time.Second
	maxLeeway        = 10 * time.Minute
	defaultCacheSize = 10_000
	maxCacheSize     = 10_000_000
)

// Options configure a Verifier. Exactly one of Secret, PublicKeyFile and
// JWKSURL must be set.
type Options struct {
	// Secret verifies HS256 tokens, and only those: a secret of MinSecretSize
	// would be too short for HS384 and HS512.
	Secret []byte
	// PublicKeyFile is a PEM file with a public key or a certificate: RSA of at
	// least 2,048 bits (accepts RS256, RS384, RS512, PS256, PS384, PS512), EC
	// (P-256: ES256, P-384: ES384, P-521: ES512) or Ed25519 (EdDSA). It is read
	// once; a certificate's dates are not looked at.
	PublicKeyFile string
	// JWKSURL is where a JSON Web Key Set (RFC 7517) is fetched, with the same
	// algorithms as PublicKeyFile. http or https; use http only where the
	// network is trusted. See New on rotation.
	JWKSURL string

	// Issuer, if set, must be the token's iss.
	Issuer string
	// Audience, if set, must be the token's aud or among them.
	Audience string
	// Leeway is how far this clock and the issuer's may differ, for exp, nbf and
	// iat. Default: 30s; negative: none; at most 10m.
	Leeway time.Duration

	// CacheSize is how many verified tokens are remembered. Default: 10,000;
	// negative: none; at most 10,000,000.
	CacheSize int
	// Clock tells the time. Default: time.Now.
	Clock func() time.Time
	// Logger hears of trouble with the JWKS endpoint. Default: discard.
	Logger *slog.Logger
	// HTTPClient fetches the JWKS. Default: one of its own that does not follow
	// redirects. Each fetch is limited to 5s and 1 MiB whatever the client.
	HTTPClient *http.Client
}

// Validate returns an *invalid.Error that names the field at fault, or nil.
func (o Options) Validate() error {
	sources := 0
	for _, set := range []bool{len(o.Secret) > 0, o.PublicKeyFile != "", o.JWKSURL != ""} {
		if set {
			sources++
		}
	}
	switch {
	case sources != 1:
		return invalid.Errorf("", "exactly one of Secret, PublicKeyFile and JWKSURL must be set; %d are", sources)
	case len(o.Secret) > 0 && len(o.Secret) < MinSecretSize:
		return invalid.Errorf("Secret", "must be at least %d bytes long", MinSecretSize)
	case o.Leeway > maxLeeway:
		return invalid.Errorf("Leeway", "must be at most %s", maxLeeway)
	case o.CacheSize > maxCacheSize:
		return invalid.Errorf("CacheSize", "must be at most %d", maxCacheSize)
	}
	if o.JWKSURL != "" {
		// The URL may carry credentials: say nothing of it.
		u, err := url.Parse(o.JWKSURL)
		if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Hostname() == "" || u.Fragment != "" {
			return invalid.Errorf("JWKSURL", "must be an http or https URL without a fragment")
		}
	}
	return nil
}

func (o Options) withDefaults() Options {
	switch {
	case o.Leeway == 0:
		o.Leeway = defaultLeeway
	case o.Leeway < 0:
		o.Leeway = 0
	}
	if o.CacheSize == 0 {
		o.CacheSize = defaultCacheSize
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}
