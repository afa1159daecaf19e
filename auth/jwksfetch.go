package auth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"slices"

	"github.com/MicahParks/jwkset"
)

const (
	maxJWKSBytes = 1 << 20
	// A token without a kid is tried with every key that fits its algorithm.
	maxJWKSKeys = 100
)

// fetcher gets the body of a JWKS.
type fetcher struct {
	client *http.Client
	url    string
	close  func()
}

func newFetcher(client *http.Client, url string) fetcher {
	if client != nil {
		return fetcher{client: client, url: url, close: func() {}}
	}
	transport := &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		ForceAttemptHTTP2:      true,
		MaxIdleConns:           1,
		IdleConnTimeout:        jwksRefresh / 2,
		TLSHandshakeTimeout:    jwksTimeout,
		MaxResponseHeaderBytes: 64 << 10,
	}
	return fetcher{
		client: &http.Client{
			Transport:     transport,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		url:   url,
		close: transport.CloseIdleConnections,
	}
}

// get fetches the body. Its errors do not repeat the URL, which may carry
// credentials.
func (f fetcher) get(ctx context.Context) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, jwksTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, f.url, nil)
	if err != nil {
		return nil, withoutURL(err)
	}
	req.Header.Set("Accept", "application/jwk-set+json, application/json")
	resp, err := f.client.Do(req)
	if err != nil {
		return nil, withoutURL(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the endpoint answered %d", resp.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxJWKSBytes+1))
	if err != nil {
		return nil, withoutURL(err)
	}
	if len(body) > maxJWKSBytes {
		return nil, fmt.Errorf("the answer is longer than %d bytes", maxJWKSBytes)
	}
	return body, nil
}

func withoutURL(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		return e.Err
	}
	return err
}

// redactURL returns a URL without userinfo and query.
func redactURL(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return ""
	}
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
}

// parseKeys returns the keys of a JWKS that can verify tokens, and logs why it
// leaves out others. A set without keys is good, and withdraws them all; a
// document that is no set is an error.
func parseKeys(body []byte, log *slog.Logger) ([]jwkset.JWK, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(body, &set); err != nil {
		return nil, fmt.Errorf("the answer is not a JWKS: %w", err)
	}
	switch {
	case set.Keys == nil:
		return nil, errors.New(`the answer is not a JWKS: it has no "keys"`)
	case len(set.Keys) > maxJWKSKeys:
		return nil, fmt.Errorf("the set has more than %d keys", maxJWKSKeys)
	}
	keys := make([]jwkset.JWK, 0, len(set.Keys))
	for i, raw := range set.Keys {
		key, err := parseKey(raw)
		if err != nil {
			log.Warn("ignored a key of the JWKS", "index", i, "error", err)
			continue
		}
		keys = append(keys, key)
	}
	return keys, nil
}

// parseKey returns a key if it can verify tokens.
func parseKey(raw []byte) (jwkset.JWK, error) {
	var m jwkset.JWKMarshal
	if err := json.Unmarshal(raw, &m); err != nil {
		return jwkset.JWK{}, errors.New("is not a JWK")
	}
	switch {
	case m.KTY == jwkset.KtyOct:
		return jwkset.JWK{}, errors.New("is symmetric: whoever can read the set could sign with it")
	case m.USE != "" && m.USE != jwkset.UseSig:
		return jwkset.JWK{}, errors.New("is not for signatures (use)")
	case len(m.KEYOPS) > 0 && !slices.Contains(m.KEYOPS, jwkset.KeyOpsVerify):
		return jwkset.JWK{}, errors.New("is not for verifying (key_ops)")
	}
	m.X5U = "" // jwkset would fetch it
	key, err := jwkset.NewJWKFromMarshal(m, jwkset.JWKMarshalOptions{}, jwkset.JWKValidateOptions{})
	if err != nil {
		return jwkset.JWK{}, err
	}
	methods := methodsFor(key.Key())
	switch {
	case len(methods) == 0:
		return jwkset.JWK{}, errors.New("is of a kind or size that is not accepted")
	case m.ALG != "" && !slices.Contains(methods, m.ALG.String()):
		return jwkset.JWK{}, errors.New("has an alg that does not fit it")
	}
	return key, nil
}
