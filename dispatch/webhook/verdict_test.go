package webhook

import (
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/deetoo/deetoo/dispatch"
	"github.com/deetoo/deetoo/registry"
)

// A 202 hands the job over only if that is what the type says, and if the handler can call back.
func TestAccepted(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusAccepted) })
	for _, tc := range []struct {
		completion, callbackURL string
		verdict                 dispatch.Verdict
	}{
		{registry.Callback, "http://deetoo.test", dispatch.Accept},
		{registry.Sync, "http://deetoo.test", dispatch.Done},
		{registry.Callback, "", dispatch.Done},
	} {
		typ := testType(s.URL)
		typ.Completion = tc.completion
		d := newTestDeliverer(t, Options{Types: typeMap{"email": typ}, CallbackURL: tc.callbackURL})
		lease := testLease()
		out, said := d.Send(context.Background(), typ, lease)
		if out.Verdict != tc.verdict || out.Status != 202 || out.Err != "" {
			t.Errorf("%+v: %+v", tc, out)
		}
		if token := said.Request.Header.Get("deetoo-callback-token"); (token == "") != (tc.callbackURL == "") || token == lease.CallbackToken() {
			t.Errorf("the token is shown as %q", token)
		}
	}
}

// The answer table of the handler contract.
func TestVerdicts(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for name, tc := range map[string]struct {
		status  int
		header  []string
		verdict dispatch.Verdict
		after   time.Duration
		err     string
	}{
		"200":                    {status: 200, verdict: dispatch.Done},
		"201":                    {status: 201, verdict: dispatch.Done},
		"202":                    {status: 202, verdict: dispatch.Done},
		"204":                    {status: 204, verdict: dispatch.Done},
		"299":                    {status: 299, verdict: dispatch.Done},
		"200 means what it says": {status: 200, header: []string{"deetoo-no-retry", "true"}, verdict: dispatch.Done},
		"300":                    {status: 300, err: "HTTP 300 Multiple Choices: redirects are not followed"},
		"304":                    {status: 304, err: "HTTP 304 Not Modified: redirects are not followed"},
		"400":                    {status: 400, err: "HTTP 400 Bad Request"},
		"404":                    {status: 404, err: "HTTP 404 Not Found"},
		"410":                    {status: 410, verdict: dispatch.Pause, err: "HTTP 410 Gone: the endpoint no longer exists"},
		"410 of one job":         {status: 410, header: []string{"deetoo-no-retry", "true"}, verdict: dispatch.Dead, err: "HTTP 410 Gone, and the handler said deetoo-no-retry"},
		"429":                    {status: 429, err: "HTTP 429 Too Many Requests"},
		"429 in 7 s":             {status: 429, header: []string{"retry-after", "7"}, after: 7 * time.Second, err: "HTTP 429 Too Many Requests"},
		"429 for ever":           {status: 429, header: []string{"retry-after", "1e12"}, after: time.Hour, err: "HTTP 429 Too Many Requests"},
		"429, garbage":           {status: 429, header: []string{"retry-after", "soon"}, err: "HTTP 429 Too Many Requests"},
		"489":                    {status: 489, verdict: dispatch.Dead, err: "HTTP 489: the handler said not to try again"},
		"500":                    {status: 500, err: "HTTP 500 Internal Server Error"},
		"500 ignores the time":   {status: 500, header: []string{"retry-after", "7"}, err: "HTTP 500 Internal Server Error"},
		"500, no retry":          {status: 500, header: []string{"Deetoo-No-Retry", " TRUE "}, verdict: dispatch.Dead, err: "HTTP 500 Internal Server Error, and the handler said deetoo-no-retry"},
		"500, do retry":          {status: 500, header: []string{"deetoo-no-retry", "false"}, err: "HTTP 500 Internal Server Error"},
		"503":                    {status: 503, err: "HTTP 503 Service Unavailable"},
		"503 at a time":          {status: 503, header: []string{"retry-after", "Sun, 01 Mar 2026 12:01:00 GMT"}, after: time.Minute, err: "HTTP 503 Service Unavailable"},
		"503 at a past time":     {status: 503, header: []string{"retry-after", "Sun, 01 Mar 2026 11:00:00 GMT"}, err: "HTTP 503 Service Unavailable"},
		"503, no retry":          {status: 503, header: []string{"deetoo-no-retry", "true", "retry-after", "7"}, verdict: dispatch.Dead, err: "HTTP 503 Service Unavailable, and the handler said deetoo-no-retry"},
		"599":                    {status: 599, err: "HTTP 599"},
		"999":                    {status: 999, err: "HTTP 999"},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				for i := 0; i < len(tc.header); i += 2 {
					w.Header().Set(tc.header[i], tc.header[i+1])
				}
				w.WriteHeader(tc.status)
				if tc.status != 204 && tc.status != 304 {
					_, _ = io.WriteString(w, "answer")
				}
			})
			typ := testType(s.URL)
			d := newTestDeliverer(t, Options{Types: typeMap{"email": typ}, Now: func() time.Time { return now }})
			out := d.Deliver(context.Background(), testLease())
			if out.Verdict != tc.verdict || out.Status != tc.status || out.Err != tc.err || out.RetryAfter != tc.after {
				t.Errorf("got %+v", out)
			}
			answer := "answer"
			if tc.status == 204 || tc.status == 304 {
				answer = ""
			}
			if out.Excerpt != answer {
				t.Errorf("excerpt %q", out.Excerpt)
			}
			if tc.verdict != dispatch.Done {
				answer = ""
			}
			if string(out.Result) != answer {
				t.Errorf("result %q", out.Result)
			}
		})
	}
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	var followed atomic.Int64
	other := serve(t, func(http.ResponseWriter, *http.Request) { followed.Add(1) })
	for location, shown := range map[string]string{
		other.URL + "/x?token=CANARY":          other.URL + "/x?redacted",
		"http://u:CANARY@127.0.0.1/":           "http://127.0.0.1/",
		"/relative?CANARY":                     "/relative?redacted",
		"http://[CANARY%zz":                    "redacted",
		"javascript:CANARY":                    "redacted",
		"http://127.0.0.1/\xffCANARY-is-path":  "http://127.0.0.1/%FFCANARY-is-path",
		"/" + strings.Repeat("long", 1000):     "/redacted",
		"//" + strings.Repeat("h", 300) + "/x": "redacted",
	} {
		for _, status := range []int{301, 302, 303, 307, 308} {
			s := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header()["Location"] = []string{location}
				w.WriteHeader(status)
			})
			out, ex := newTestDeliverer(t, Options{}).Send(context.Background(), testType(s.URL), testLease())
			if out.Verdict != dispatch.Retry || out.Status != status || !strings.HasSuffix(out.Err, ": redirects are not followed (to "+shown+")") {
				t.Errorf("%d to %q: %+v", status, location, out)
			}
			if ex.Response.Header.Get("Location") != shown {
				t.Errorf("%d to %q shown as %q", status, location, ex.Response.Header.Get("Location"))
			}
		}
	}
	if n := followed.Load(); n != 0 {
		t.Errorf("%d redirects followed", n)
	}
}

func TestLongAnswerIsCut(t *testing.T) {
	for size, cut := range map[int]bool{64<<10 - 1: false, 64 << 10: false, 64<<10 + 1: true, 1 << 20: true} {
		s := serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(bytes.Repeat([]byte("a"), size)) })
		out, _ := newTestDeliverer(t, Options{}).Send(context.Background(), testType(s.URL), testLease())
		if out.Verdict != dispatch.Done || len(out.Result) != min(size, 64<<10) || len(out.Excerpt) != 1<<10 {
			t.Errorf("%d bytes: %v, %q, result of %d, excerpt of %d", size, out.Verdict, out.Err, len(out.Result), len(out.Excerpt))
		}
		if (out.Err == "the answer was cut off after 65536 bytes") != cut {
			t.Errorf("%d bytes: error %q", size, out.Err)
		}
	}
}

func TestOwnLimits(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "0123456789") })
	d := newTestDeliverer(t, Options{MaxResult: 5, MaxExcerpt: 3})
	if out, _ := d.Send(context.Background(), testType(s.URL), testLease()); string(out.Result) != "01234" || out.Excerpt != "012" {
		t.Errorf("%+v", out)
	}
}

// A compressed answer is not inflated.
func TestGzipBombStaysSmall(t *testing.T) {
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	for range 8 {
		if _, err := z.Write(make([]byte, 1<<20)); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		_, _ = w.Write(bomb.Bytes())
	})
	out, _ := newTestDeliverer(t, Options{}).Send(context.Background(), testType(s.URL), testLease())
	want := bomb.Bytes()[:min(bomb.Len(), 64<<10)]
	if out.Verdict != dispatch.Done || !bytes.Equal(out.Result, want) {
		t.Errorf("%v %q, %d bytes of result, want the %d sent", out.Verdict, out.Err, len(out.Result), len(want))
	}
}

func TestClean(t *testing.T) {
	for in, want := range map[string]string{
		"plain é €\n\ttab":      "plain é €\n\ttab",
		"a\r\nb\rc":             "a\nb\uFFFDc",
		"nul\x00 esc\x1b[31m":   "nul\uFFFD esc\uFFFD[31m",
		"bad\xff\xc3":           "bad\uFFFD\uFFFD",
		"evil\u202egnp.exe":     "evil\uFFFDgnp.exe",
		"0123456789abcdef+":     "0123456789abcdef",
		"0123456789abcd€":       "0123456789abcd",
		"0123456789abcd\x00":    "0123456789abcd",
		"c1\u0085 surr\xed\xa0": "c1\uFFFD surr\uFFFD\uFFFD",
	} {
		if len(in) > 16 && len(want) > 16 {
			if got := clean([]byte(in), 1024); got != want {
				t.Errorf("%q: %q", in, got)
			}
			continue
		}
		if got := clean([]byte(in), 16); got != want && clean([]byte(in), 1024) != want {
			t.Errorf("%q: %q", in, got)
		}
	}
}

func FuzzClean(f *testing.F) {
	f.Add([]byte("a\r\n\x00\xff€"), 4)
	f.Add([]byte{}, 0)
	f.Fuzz(func(t *testing.T, b []byte, limit int) {
		if limit < 0 || limit > 1<<16 {
			return
		}
		s := clean(b, limit)
		if len(s) > limit || !utf8.ValidString(s) || strings.ContainsAny(s, "\x00\x1b\r\u202e\u0085") {
			t.Errorf("%q within %d: %q", b, limit, s)
		}
	})
}

func FuzzRedactURL(f *testing.F) {
	for _, s := range []string{"http://u:CANARY@h/p?CANARY#CANARY", "//h", "a:b", "./a:b?x", "http://[::1%25CANARY]/", "\x00", "http://h/%zz", "?", "#", "http://é/ü"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		shown := redactURL(raw)
		u, err := http.NewRequest("GET", shown, nil)
		if err != nil || u.URL.User != nil || u.URL.Fragment != "" || (u.URL.RawQuery != "" && u.URL.RawQuery != redacted) || len(shown) > maxShownURL || !isHeaderValue(shown) {
			t.Errorf("%q is shown as %q: %v", raw, shown, err)
		}
	})
}
