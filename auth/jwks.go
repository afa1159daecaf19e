package auth

import (
	"context"
	"crypto/sha256"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/MicahParks/jwkset"
	"github.com/MicahParks/keyfunc/v3"
	"github.com/golang-jwt/jwt/v5"
	"golang.org/x/time/rate"
)

const (
	jwksRefresh   = 5 * time.Minute  // between fetches while all is well
	jwksRetryMin  = time.Second      // after the first failure, doubling
	jwksRetryMax  = time.Minute      // after many failures
	jwksTimeout   = 5 * time.Second  // of one fetch
	jwksWait      = 2 * time.Second  // of a request for a fetch
	jwksKickEvery = 10 * time.Second // between fetches that unknown keys cause
	jwksKickBurst = 2                // such fetches in a row
)

// remoteKeys is a keySource that follows a JWKS endpoint. keyfunc chooses the
// key for a token; as its storage this type adds what jwkset's own client
// lacks: requests share one fetch instead of queueing for the next, a request
// that hangs up does not cut the fetch short, failures are retried soon, and
// one bad key or an endless body does no harm.
type remoteKeys struct {
	*jwkset.MemoryJWKSet
	choose keyfunc.Keyfunc
	log    *slog.Logger
	fetch  fetcher
	kicks  *rate.Limiter
	kick   chan struct{}
	end    context.CancelFunc
	ended  chan struct{}
	ver    atomic.Uint64
	// lastSum is of the body the keys are from; follow alone uses it.
	lastSum [sha256.Size]byte

	mu sync.Mutex
	// underway is closed when the fetch that runs, or is about to, is over; nil between fetches.
	underway chan struct{}
	loaded   bool  // some fetch succeeded
	lastErr  error // of the last fetch
}

func newRemoteKeys(ctx context.Context, o Options) (*remoteKeys, error) {
	ctx, cancel := context.WithCancel(ctx)
	r := &remoteKeys{
		MemoryJWKSet: jwkset.NewMemoryStorage(),
		log:          o.Logger.With("jwks_url", redactURL(o.JWKSURL)),
		fetch:        newFetcher(o.HTTPClient, o.JWKSURL),
		kicks:        rate.NewLimiter(rate.Every(jwksKickEvery), jwksKickBurst),
		kick:         make(chan struct{}, 1),
		end:          cancel,
		ended:        make(chan struct{}),
		underway:     make(chan struct{}),
	}
	var err error
	if r.choose, err = keyfunc.New(keyfunc.Options{Ctx: ctx, Storage: r}); err != nil {
		cancel()
		return nil, err
	}
	go r.follow(ctx)
	return r, nil
}

func (r *remoteKeys) version() uint64 { return r.ver.Load() }

func (r *remoteKeys) close() {
	r.end()
	<-r.ended
}

func (r *remoteKeys) methods() []string {
	return []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}
}

// keyFor returns the key the token names, or, if it names none, all keys that
// fit its algorithm.
func (r *remoteKeys) keyFor(ctx context.Context, t *jwt.Token) (any, error) {
	key, err := r.choose.KeyfuncCtx(ctx)(t)
	if err != nil {
		return nil, err
	}
	if set, ok := key.(jwt.VerificationKeySet); ok {
		set.Keys = slices.DeleteFunc(set.Keys, func(k jwt.VerificationKey) bool { return !fits(k, t.Method.Alg()) })
		return set, nil
	}
	if !fits(key, t.Method.Alg()) {
		return nil, ErrAlgorithm
	}
	return key, nil
}

// KeyRead returns the key of that ID, after another fetch if need be. The
// error is jwkset.ErrKeyNotFound if there is no such key, and
// ErrKeysUnavailable if that is not known.
func (r *remoteKeys) KeyRead(ctx context.Context, kid string) (jwkset.JWK, error) {
	key, err := r.MemoryJWKSet.KeyRead(ctx, kid)
	if err == nil {
		return key, nil
	}
	if err := r.awaitFetch(ctx); err != nil {
		return jwkset.JWK{}, err
	}
	return r.MemoryJWKSet.KeyRead(ctx, kid)
}

// KeyReadAll returns all keys, waiting for the first fetch.
func (r *remoteKeys) KeyReadAll(ctx context.Context) ([]jwkset.JWK, error) {
	r.mu.Lock()
	loaded := r.loaded
	r.mu.Unlock()
	if !loaded {
		if err := r.awaitFetch(ctx); err != nil {
			return nil, err
		}
	}
	return r.MemoryJWKSet.KeyReadAll(ctx)
}

// awaitFetch waits for the fetch underway, or starts one if the rate allows,
// and returns nil if the last fetch succeeded, so that what is not there now
// does not exist.
func (r *remoteKeys) awaitFetch(ctx context.Context) error {
	r.mu.Lock()
	if r.underway == nil {
		if !r.kicks.Allow() {
			err := r.lastErr
			r.mu.Unlock()
			return unavailable(err)
		}
		r.underway = make(chan struct{})
		r.kick <- struct{}{} // has room: one kick for each underway
	}
	underway := r.underway
	r.mu.Unlock()

	timer := time.NewTimer(jwksWait)
	defer timer.Stop()
	select {
	case <-underway:
		r.mu.Lock()
		defer r.mu.Unlock()
		return unavailable(r.lastErr)
	case <-timer.C:
	case <-ctx.Done():
	case <-r.ended:
	}
	return ErrKeysUnavailable
}

func unavailable(err error) error {
	if err != nil {
		return ErrKeysUnavailable
	}
	return nil
}

// follow fetches the keys until ctx ends.
func (r *remoteKeys) follow(ctx context.Context) {
	defer close(r.ended)
	defer r.fetch.close()
	retry := jwksRetryMin
	for {
		err := r.load(ctx)
		pause := jwksRefresh
		if err == nil {
			retry = jwksRetryMin
		} else {
			// Logged before anyone who waits is told, so that whoever acts on the failure finds it in the log.
			if ctx.Err() == nil {
				r.log.Warn("cannot fetch the JWKS; the keys known so far stay good", "error", err, "retry_in", retry)
			}
			pause, retry = retry, min(2*retry, jwksRetryMax)
		}
		r.mu.Lock()
		r.loaded, r.lastErr = r.loaded || err == nil, err
		close(r.underway)
		r.underway = nil
		r.mu.Unlock()

		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		case <-r.kick:
			timer.Stop()
		}

		r.mu.Lock()
		if r.underway == nil {
			r.underway = make(chan struct{})
		}
		select {
		case <-r.kick: // came together with the timer, and is served by the same fetch
		default:
		}
		r.mu.Unlock()
	}
}

// load fetches the keys once and puts them in place of the old ones.
func (r *remoteKeys) load(ctx context.Context) error {
	body, err := r.fetch.get(ctx)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(body)
	if sum == r.lastSum {
		return nil
	}
	keys, err := parseKeys(body, r.log)
	if err != nil {
		return err
	}
	if err := r.KeyReplaceAll(ctx, keys); err != nil {
		return err
	}
	// After the keys, so that a token verified in between is not taken for one
	// verified with the new ones.
	r.ver.Add(1)
	r.lastSum = sum
	r.log.Info("fetched the JWKS", "keys", len(keys))
	return nil
}
