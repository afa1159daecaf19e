package webhook

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

func signedHeaders(t testing.TB, id string, ts time.Time, body []byte, secrets ...string) http.Header {
	t.Helper()
	h := http.Header{}
	h.Set(headerID, id)
	h.Set(headerTimestamp, formatInt(ts.Unix()))
	var sigs []string
	for _, s := range secrets {
		sig, err := Sign(s, id, ts, body)
		if err != nil {
			t.Fatal(err)
		}
		sigs = append(sigs, sig)
	}
	h.Set(headerSignature, strings.Join(sigs, " "))
	return h
}

// The example of the Standard Webhooks specification and its libraries' tests.
func TestSignKnownAnswer(t *testing.T) {
	got, err := Sign("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "msg_p5jXN8AQM9LWM0D4loKWxJek", time.Unix(1614265330, 0), []byte(`{"test": 2432232314}`))
	if err != nil || got != "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=" {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestSignAgreesWithIndependentImplementation(t *testing.T) {
	body := []byte(`{"to":"leia@example.org"}`)
	theirs, err := standardwebhooks.NewWebhook(testSecret)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	if err := theirs.Verify(body, signedHeaders(t, "email/1", now, body, testSecretOld, testSecret)); err != nil {
		t.Error("they refuse ours:", err)
	}
	sig, err := theirs.Sign("email/1", now, body)
	if err != nil {
		t.Fatal(err)
	}
	h := http.Header{}
	h.Set(headerID, "email/1")
	h.Set(headerTimestamp, formatInt(now.Unix()))
	h.Set(headerSignature, sig)
	if err := Verify(h, body, 0, testSecret); err != nil {
		t.Error("we refuse theirs:", err)
	}
}

func TestSignRefuses(t *testing.T) {
	for name, tc := range map[string]struct {
		secret, id string
		want       error
	}{
		"no prefix":      {strings.TrimPrefix(testSecret, secretPrefix), "a", ErrSecret},
		"not base64":     {"whsec_SECRET!CANARY", "a", ErrSecret},
		"short key":      {"whsec_c2hvcnQ=", "a", ErrSecret},
		"long key":       {"whsec_" + strings.Repeat("QUFB", 22), "a", ErrSecret},
		"no id":          {testSecret, "", ErrHeaders},
		"stop in id":     {testSecret, "a.b", ErrHeaders},
		"newline in id":  {testSecret, "a\nb", ErrHeaders},
		"non-ASCII in i": {testSecret, "é", ErrHeaders},
	} {
		_, err := Sign(tc.secret, tc.id, time.Now(), nil)
		if !errors.Is(err, tc.want) {
			t.Errorf("%s: got %v, want %v", name, err, tc.want)
		}
		if err != nil && strings.Contains(err.Error(), "CANARY") {
			t.Errorf("%s: the error quotes the secret", name)
		}
	}
}

func TestVerify(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		body := []byte("body")
		now := time.Now()
		edit := func(name, value string) http.Header {
			h := signedHeaders(t, "id", now, body, testSecret)
			h.Set(name, value)
			return h
		}
		good := signedHeaders(t, "id", now, body, testSecret)
		for name, tc := range map[string]struct {
			h         http.Header
			body      string
			tolerance time.Duration
			secrets   []string
			want      error
		}{
			"good":                   {good, "body", 0, []string{testSecret}, nil},
			"any secret will do":     {good, "body", 0, []string{testSecretOld, testSecret}, nil},
			"any signature will do":  {edit(headerSignature, "v2,x v1, v1a,y "+good.Get(headerSignature)), "body", 0, []string{testSecret}, nil},
			"no secret":              {good, "body", 0, nil, ErrSignature},
			"another secret":         {good, "body", 0, []string{testSecretOld}, ErrSignature},
			"a malformed secret":     {good, "body", 0, []string{"whsec_"}, ErrSecret},
			"another body":           {good, "bodY", 0, []string{testSecret}, ErrSignature},
			"another id":             {edit(headerID, "id2"), "body", 0, []string{testSecret}, ErrSignature},
			"another time":           {edit(headerTimestamp, formatInt(now.Unix()+1)), "body", 0, []string{testSecret}, ErrSignature},
			"signature cut":          {edit(headerSignature, good.Get(headerSignature)[:20]), "body", 0, []string{testSecret}, ErrSignature},
			"signature unversioned":  {edit(headerSignature, good.Get(headerSignature)[3:]), "body", 0, []string{testSecret}, ErrSignature},
			"no signature":           {edit(headerSignature, ""), "body", 0, []string{testSecret}, ErrHeaders},
			"no id":                  {edit(headerID, ""), "body", 0, []string{testSecret}, ErrHeaders},
			"id moved into the time": {edit(headerID, "id.1"), "body", 0, []string{testSecret}, ErrHeaders},
			"no time":                {edit(headerTimestamp, ""), "body", 0, []string{testSecret}, ErrHeaders},
			"time of another form":   {edit(headerTimestamp, "+"+formatInt(now.Unix())), "body", 0, []string{testSecret}, ErrHeaders},
			"huge time":              {edit(headerTimestamp, "9223372036854775807"), "body", 0, []string{testSecret}, ErrTimestamp},
			"5 min old":              {signedHeaders(t, "id", now.Add(-5*time.Minute), body, testSecret), "body", 0, []string{testSecret}, nil},
			"older":                  {signedHeaders(t, "id", now.Add(-301*time.Second), body, testSecret), "body", 0, []string{testSecret}, ErrTimestamp},
			"5 min early":            {signedHeaders(t, "id", now.Add(5*time.Minute), body, testSecret), "body", 0, []string{testSecret}, nil},
			"earlier":                {signedHeaders(t, "id", now.Add(301*time.Second), body, testSecret), "body", 0, []string{testSecret}, ErrTimestamp},
			"own tolerance":          {signedHeaders(t, "id", now.Add(-2*time.Second), body, testSecret), "body", time.Second, []string{testSecret}, ErrTimestamp},
		} {
			if err := Verify(tc.h, []byte(tc.body), tc.tolerance, tc.secrets...); !errors.Is(err, tc.want) {
				t.Errorf("%s: got %v, want %v", name, err, tc.want)
			}
		}
	})
}

// Whatever the headers and the body: Verify does not panic, and accepts what
// the independent implementation accepts, but for what we refuse by rule.
func FuzzVerify(f *testing.F) {
	body := []byte("body")
	now := time.Now()
	good := signedHeaders(f, "id", now, body, testSecret)
	f.Add("id", formatInt(now.Unix()), good.Get(headerSignature), body)
	f.Add("id", formatInt(now.Unix()), "v1,", body)
	f.Add("a.b", "1e9", "v1,a,b  v1", []byte(nil))
	f.Add("", "-1", " ", []byte{0xff})
	theirs, err := standardwebhooks.NewWebhook(testSecret)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, id, ts, sig string, body []byte) {
		h := http.Header{}
		h.Set(headerID, id)
		h.Set(headerTimestamp, ts)
		h.Set(headerSignature, sig)
		ours := Verify(h, body, 0, testSecret)
		if ours == nil && theirs.Verify(body, h) != nil {
			t.Errorf("only we accept %q %q %q %q", id, ts, sig, body)
		}
		if errors.Is(ours, ErrSignature) && theirs.Verify(body, h) == nil && strings.Count(sig, ",") == strings.Count(sig, " ")+1 {
			t.Errorf("only they accept %q %q %q %q", id, ts, sig, body)
		}
	})
}
