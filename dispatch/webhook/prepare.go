package webhook

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"hash"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/deetoo/deetoo/registry"
)

// prepared is what all requests of a type have in common. It never changes.
type prepared struct {
	typ *registry.Type
	url *url.URL
	// header has the type's own headers, by canonical name, and our User-Agent.
	header  map[string]string
	signers []*signer
}

// preparedTypes is how many types are kept prepared: those used last.
const preparedTypes = 1024

// prepared returns what requests of the type have in common. A type that
// changes is another *registry.Type, since types are only read.
func (d *Deliverer) prepared(typ *registry.Type) (*prepared, error) {
	if p, ok := d.types.Get(typ.Name); ok && p.typ == typ {
		return p, nil
	}
	p, err := prepare(typ, d.opts.UserAgent)
	if err != nil {
		return nil, err
	}
	d.types.Add(typ.Name, p)
	return p, nil
}

func prepare(typ *registry.Type, userAgent string) (*prepared, error) {
	u, err := url.Parse(typ.Target)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return nil, errTarget
	}
	p := &prepared{typ: typ, url: u, header: map[string]string{"User-Agent": userAgent}}
	if u.User != nil {
		// As a header, and no longer in the URL, which net/http puts into errors.
		r := http.Request{Header: http.Header{}}
		password, _ := u.User.Password()
		r.SetBasicAuth(u.User.Username(), password)
		p.header["Authorization"] = r.Header.Get("Authorization")
		u.User = nil
	}
	for name, value := range typ.Headers {
		if name = http.CanonicalHeaderKey(name); !contractHeader(name) && !(typ.Format == registry.CloudEventsBinary && strings.HasPrefix(name, eventPrefix)) {
			p.header[name] = value
		}
	}
	for _, secret := range typ.Secrets {
		s, err := newSigner(secret)
		if err != nil {
			return nil, errSecret
		}
		p.signers = append(p.signers, s)
	}
	return p, nil
}

// sign returns the signatures of all secrets that have not expired, separated by spaces.
func (p *prepared) sign(id, ts string, body []byte, now time.Time) string {
	all := ""
	for _, s := range p.signers {
		switch {
		case s.expired(now):
		case all == "":
			all = s.sign(id, ts, body)
		default:
			all += " " + s.sign(id, ts, body)
		}
	}
	return all
}

// signer signs with one secret: by Ed25519 if it has a private key, else by HMAC. Its hashes are
// used again, because mixing the key into a new one costs more than signing a small body.
type signer struct {
	private   ed25519.PrivateKey
	hashes    sync.Pool
	expiresAt time.Time // zero: never
}

func newSigner(secret registry.Secret) (*signer, error) {
	if key := secret.PrivateKey(); key != nil {
		return &signer{private: key, expiresAt: secret.ExpiresAt}, nil
	}
	key, err := decodeSecret(secret.Value)
	if err != nil {
		return nil, err
	}
	s := &signer{expiresAt: secret.ExpiresAt}
	s.hashes.New = func() any { return hmac.New(sha256.New, key) }
	return s, nil
}

func (s *signer) expired(now time.Time) bool {
	return !s.expiresAt.IsZero() && !now.Before(s.expiresAt)
}

func (s *signer) sign(id, ts string, body []byte) string {
	if s.private != nil {
		return asymmetric(s.private, id, ts, body)
	}
	mac := s.hashes.Get().(hash.Hash)
	defer s.hashes.Put(mac)
	mac.Reset()
	return signature(mac, id, ts, body)
}
