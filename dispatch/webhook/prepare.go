package webhook

import (
	"context"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"hash"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/deetoo/deetoo/internal/http1"
	"github.com/deetoo/deetoo/registry"
)

// prepared is what all requests of a type have in common. It never changes.
type prepared struct {
	typ *registry.Type
	url *url.URL
	// lines are the type's own headers and our User-Agent, as they are sent; count is how many.
	lines   []byte
	count   int
	signers []*signer
	// start is how each request begins as it is sent; nil if requests go through net/http.
	start []byte
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
	// A message's length does not tell here: it is looked at when there is one.
	if like := p.request(context.Background(), nil); d.wire.Sends(like) {
		if p.start, err = http1.AppendTarget(nil, like); err != nil {
			return nil, errTarget
		}
		p.start = append(p.start, p.lines...)
	}
	d.types.Add(typ.Name, p)
	return p, nil
}

func prepare(typ *registry.Type, userAgent string) (*prepared, error) {
	u, err := url.Parse(typ.Target)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return nil, errTarget
	}
	p, header := &prepared{typ: typ, url: u}, map[string]string{"User-Agent": userAgent}
	if u.User != nil {
		// As a header, and no longer in the URL, which net/http puts into errors.
		r := http.Request{Header: http.Header{}}
		password, _ := u.User.Password()
		r.SetBasicAuth(u.User.Username(), password)
		header["Authorization"] = r.Header.Get("Authorization")
		u.User = nil
	}
	for name, value := range typ.Headers {
		if name = http.CanonicalHeaderKey(name); !contractHeader(name) && !(typ.Format == registry.CloudEventsBinary && strings.HasPrefix(name, eventPrefix)) {
			header[name] = value
		}
	}
	for name, value := range header {
		if !http1.ValidHeader(name, value) {
			return nil, errHeader
		}
		p.lines = appendLine(p.lines, name, value)
		p.count++
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

// appendSignatures appends those of all secrets that have not expired, separated by spaces.
func (p *prepared) appendSignatures(b, id, ts, body []byte, now time.Time) []byte {
	empty := len(b)
	for _, s := range p.signers {
		if s.expired(now) {
			continue
		}
		if len(b) > empty {
			b = append(b, ' ')
		}
		b = s.append(b, id, ts, body)
	}
	return b
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

// append appends the signature of a message.
func (s *signer) append(b, id, ts, body []byte) []byte {
	if s.private != nil {
		return appendAsymmetric(b, s.private, id, ts, body)
	}
	mac := s.hashes.Get().(hash.Hash)
	defer s.hashes.Put(mac)
	mac.Reset()
	return appendSignature(b, mac, id, ts, body)
}
