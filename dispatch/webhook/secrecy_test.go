package webhook

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/deetoo/deetoo/internal/transcript"
	"github.com/deetoo/deetoo/registry"
)

// Whatever goes wrong: no secret of the type is in what people get to see.
func TestSecretsStaySecret(t *testing.T) {
	const canary = "CANARY"
	ok := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		http.SetCookie(w, &http.Cookie{Name: "session", Value: canary})
		w.WriteHeader(500)
	})
	redirecting := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", "https://u:"+canary+"@h/?"+r.URL.RawQuery)
		w.WriteHeader(302)
	})
	badLocation := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", "http://[::1/?"+r.URL.RawQuery)
		w.WriteHeader(302)
	})
	// Whatever is sent comes back as what should be a status line, a header, a
	// length, or a chunk.
	echoAfter := func(prefix string) string {
		target, _ := serveRaw(t, func(c *net.TCPConn, head []byte) {
			_, _ = io.WriteString(c, prefix+strings.ReplaceAll(string(head), "\r\n", " ")+"\r\n\r\n")
		})
		return target
	}
	resetting, _ := serveRaw(t, reset)
	targets := []string{
		ok.URL, redirecting.URL, badLocation.URL, resetting,
		echoAfter(""), echoAfter("HTTP/1.1 "), echoAfter("HTTP/1.1 200 OK\r\n"), echoAfter("HTTP/1.1 200 OK\r\nContent-Length: "),
		echoAfter("HTTP/1.1 200 OK\r\nTransfer-Encoding: "), echoAfter("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
		"http://" + closedPort(t), "https://" + strings.TrimPrefix(ok.URL, "http://"), "http://169.254.169.254", "http://nowhere.example", "http://%zz", "ftp://127.0.0.1",
	}

	logged := &transcript.Buffer{}
	defer log.SetOutput(log.Writer())
	log.SetOutput(logged) // net/http's own
	d := newTestDeliverer(t, Options{Logger: loggerTo(logged), Resolver: fakeDNS(t, func(string, int) []string { return nil })})
	for _, target := range targets {
		for _, edit := range []func(*registry.Type){
			func(*registry.Type) {},
			func(p *registry.Type) { p.Headers["X-Bad"] = canary + "\r\n" },
			func(p *registry.Type) { p.Secrets = append(p.Secrets, registry.Secret{Value: "whsec_" + canary}) },
		} {
			typ := testType(strings.Replace(target, "://", "://leia:"+canary+"@", 1) + "/hook?token=" + canary)
			typ.Headers = map[string]string{"Authorization": "Bearer " + canary, "X-Api-Key": canary, "cookie": canary}
			edit(typ)
			out, ex := d.Send(context.Background(), typ, testLease())
			shown := fmt.Sprintf("%q %q %q", out.Err, ex.Request.URL, ex.Request.Header)
			if ex.Response != nil {
				// Headers the handler echoes are its own doing; those that carry
				// secrets by design are not.
				shown += fmt.Sprintf("%q %q", ex.Response.Header["Location"], ex.Response.Header["Set-Cookie"])
			}
			if out.Err == "" && out.Status == 0 {
				t.Errorf("%s: no reason", target)
			}
			if strings.Contains(shown, canary) {
				t.Errorf("%s: %s", target, shown)
			}
		}
	}
	if s := logged.String(); strings.Contains(s, canary) || strings.Count(s, "webhook attempt") != 3*len(targets) {
		t.Errorf("log: %s", s)
	}
}

func TestExchange(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Odd", "a\xffb")
		w.Header().Set("Set-Cookie", "a=b")
		_, _ = io.WriteString(w, "hello\x00")
	})
	typ := testType(strings.Replace(s.URL, "://", "://leia:organa@", 1) + "/hook?a=b")
	typ.Headers = map[string]string{"x-key": "k", "webhook-id": "forged"}
	out, ex := newTestDeliverer(t, Options{}).Send(context.Background(), typ, testLease())
	q, r := ex.Request, ex.Response
	if q.Method != "POST" || q.URL != s.URL+"/hook?redacted" || string(q.Body) != `{"to":"leia"}` {
		t.Errorf("request %+v", q)
	}
	for name, want := range map[string]string{"X-Key": redacted, "Authorization": redacted, "Webhook-Id": "email/01JOB", "Deetoo-Attempt": "1"} {
		if got := q.Header.Get(name); got != want {
			t.Errorf("%s is shown as %q, want %q", name, got, want)
		}
	}
	if err := Verify(q.Header, q.Body, 0, testSecret); err != nil {
		t.Error("the signature shown:", err)
	}
	if r == nil || r.Status != 200 || r.Excerpt != "hello\uFFFD" || r.Header.Get("X-Odd") != "a\uFFFDb" || r.Header.Get("Set-Cookie") != redacted {
		t.Errorf("response %+v", r)
	}
	if string(out.Result) != "hello\x00" || ex.Duration <= 0 {
		t.Errorf("%+v in %v", out, ex.Duration)
	}
}
