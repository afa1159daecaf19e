package auth

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"
)

// RoundTrip answers as the server would, without a network, so that time in a
// synctest bubble can pass. It hangs like a server if the handler waits for the request to end.
func (s *issuer) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	return w.Result(), nil
}

// hang makes the endpoint accept requests and never answer.
func (s *issuer) hang() {
	s.set(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
}

// inBubble runs a test on a fake clock with a JWKS verifier.
func inBubble(t *testing.T, prepare func(*issuer), test func(t *testing.T, s *issuer, v *Verifier)) {
	ours() // slow, and shared: not inside the bubble
	theirs()
	synctest.Test(t, func(t *testing.T) {
		s := &issuer{}
		prepare(s)
		began := time.Now()
		v, err := New(t.Context(), Options{
			JWKSURL: "https://id.example.org/jwks", HTTPClient: &http.Client{Transport: s}, Clock: clock,
		})
		if err != nil {
			t.Fatal(err)
		}
		defer v.Close()
		if took := time.Since(began); took != 0 {
			t.Errorf("New waited %s for the endpoint", took)
		}
		test(t, s, v)
	})
}

func TestJWKSHangingEndpointDoesNotHangRequests(t *testing.T) {
	k := ours()
	token := sign("EdDSA", k.ed, good(), "kid", "1")
	inBubble(t, (*issuer).hang, func(t *testing.T, s *issuer, v *Verifier) {
		began := time.Now()
		expect(t, v, token, ErrKeysUnavailable)
		if took := time.Since(began); took != jwksWait {
			t.Errorf("Verify took %s", took)
		}
		began = time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if _, err := v.Verify(ctx, token); !errors.Is(err, ErrKeysUnavailable) || time.Since(began) != 100*time.Millisecond {
			t.Errorf("with a shorter context: %v after %s", err, time.Since(began))
		}
		s.publish(jwk("1", k.ed.Public()))
		time.Sleep(jwksTimeout + jwksRetryMin) // the first fetch gives up, the next succeeds
		synctest.Wait()
		expect(t, v, token, nil)
		if n := s.fetches.Load(); n != 2 {
			t.Errorf("%d fetches", n)
		}
	})
}

// While the endpoint is slow, known keys serve without waiting.
func TestJWKSSlowRefreshDoesNotSlowKnownKeys(t *testing.T) {
	k := ours()
	inBubble(t, func(s *issuer) { s.publish(jwk("1", k.ed.Public())) }, func(t *testing.T, s *issuer, v *Verifier) {
		expect(t, v, sign("EdDSA", k.ed, good(), "kid", "1"), nil)
		s.hang()
		time.Sleep(jwksRefresh)
		synctest.Wait()
		began := time.Now()
		expect(t, v, sign("EdDSA", k.ed, good(), "kid", "1", "x", "new"), nil)
		expect(t, v, sign("EdDSA", k.ed, good()), nil)
		if took := time.Since(began); took != 0 {
			t.Errorf("waited %s", took)
		}
		expect(t, v, sign("EdDSA", k.ed, good(), "kid", "2"), ErrKeysUnavailable)
		if took := time.Since(began); took != jwksWait {
			t.Errorf("an unknown kid waited %s", took)
		}
	})
}

func TestJWKSFetchesAtItsIntervals(t *testing.T) {
	k, other := ours(), theirs()
	old := sign("EdDSA", k.ed, good(), "kid", "1")
	inBubble(t, func(s *issuer) { s.publish(jwk("1", k.ed.Public())) }, func(t *testing.T, s *issuer, v *Verifier) {
		count := func(want int64, when string) {
			t.Helper()
			synctest.Wait()
			if n := s.fetches.Load(); n != want {
				t.Fatalf("%s: %d fetches, want %d", when, n, want)
			}
		}
		expect(t, v, old, nil)
		count(1, "at the start")
		time.Sleep(jwksRefresh - time.Second)
		count(1, "before the refresh")
		// The key is withdrawn: its tokens, though cached, end with the next fetch.
		s.publish(jwk("2", other.ed.Public()))
		expect(t, v, old, nil)
		time.Sleep(2 * time.Second)
		count(2, "after the refresh")
		expect(t, v, old, ErrSignature)
		count(3, "after an unknown kid")
		expect(t, v, old, ErrSignature)
		count(4, "after a second")
		expect(t, v, old, ErrSignature)
		count(4, "after a third")
		time.Sleep(jwksKickEvery)
		expect(t, v, old, ErrSignature)
		count(5, "after a pause")

		// Failures: the keys stay, and it tries again after 1, 2, 4 … 60 seconds.
		s.fail()
		time.Sleep(jwksRefresh + time.Second/2)
		count(6, "the first failure")
		for i, pause := range []int{1, 2, 4, 8, 16, 32, 60, 60} {
			time.Sleep(time.Duration(pause) * time.Second)
			count(7+int64(i), "a later failure")
		}
		expect(t, v, sign("EdDSA", other.ed, good(), "kid", "2"), nil)
		expect(t, v, old, ErrKeysUnavailable) // perhaps it is back: nobody can tell
		s.publish(jwk("1", k.ed.Public()))
		time.Sleep(jwksRetryMax)
		synctest.Wait()
		expect(t, v, old, nil)
		expect(t, v, sign("EdDSA", other.ed, good(), "kid", "2"), ErrSignature)

		// The next outage begins with short pauses again.
		s.fail()
		time.Sleep(jwksRefresh + time.Second/2)
		synctest.Wait()
		n := s.fetches.Load()
		time.Sleep(jwksRetryMin)
		count(n+1, "the first retry of the second outage")
	})
}

// An unchanged set does not cost the cache.
func TestJWKSUnchangedSetKeepsTheCache(t *testing.T) {
	k := ours()
	token := sign("EdDSA", k.ed, good(), "kid", "1")
	inBubble(t, func(s *issuer) { s.publish(jwk("1", k.ed.Public())) }, func(t *testing.T, s *issuer, v *Verifier) {
		expect(t, v, token, nil)
		first, err := v.Verify(t.Context(), token) // the first entry may be from before the keys came
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * jwksRefresh)
		synctest.Wait()
		if s.fetches.Load() != 4 {
			t.Fatalf("%d fetches", s.fetches.Load())
		}
		if again, err := v.Verify(t.Context(), token); err != nil || again != first {
			t.Errorf("verified again; %v", err)
		}
	})
}

func TestCloseEndsTheBackgroundWork(t *testing.T) {
	k := ours()
	token := sign("EdDSA", k.ed, good(), "kid", "1")
	inBubble(t, func(s *issuer) { s.publish(jwk("1", k.ed.Public())) }, func(t *testing.T, s *issuer, v *Verifier) {
		expect(t, v, token, nil)
		v.Close()
		v.Close()
		expect(t, v, sign("EdDSA", k.ed, good(), "kid", "1", "x", "y"), nil)
		began := time.Now()
		expect(t, v, sign("EdDSA", k.ed, good(), "kid", "2"), ErrKeysUnavailable)
		expect(t, v, sign("EdDSA", k.ed, good(), "kid", "2"), ErrKeysUnavailable)
		if took := time.Since(began); took != 0 {
			t.Errorf("waited %s for a fetch that cannot come", took)
		}
		time.Sleep(2 * jwksRefresh)
		if n := s.fetches.Load(); n != 1 {
			t.Errorf("%d fetches", n)
		}
	})
	// A fetch underway is cut short.
	inBubble(t, (*issuer).hang, func(t *testing.T, _ *issuer, v *Verifier) {
		synctest.Wait()
		began := time.Now()
		v.Close()
		if took := time.Since(began); took != 0 {
			t.Errorf("Close took %s", took)
		}
	})
}
