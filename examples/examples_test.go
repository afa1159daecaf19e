// Package examples_test runs the example handlers, each in a process of its
// own, and delivers to them as the dispatcher does.
package examples_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/deetoo/deetoo/dispatch"
	"github.com/deetoo/deetoo/dispatch/webhook"
	"github.com/deetoo/deetoo/queue"
	"github.com/deetoo/deetoo/registry"
)

// types is a webhook.TypeSource.
type types map[string]*registry.Type

// Get is webhook.TypeSource's.
func (m types) Get(name string) (*registry.Type, bool) { t, ok := m[name]; return t, ok }

// deliver sends a job as the dispatcher does, signed with the secrets.
func deliver(t *testing.T, p *process, data string, secrets ...string) dispatch.Outcome {
	t.Helper()
	d, err := webhook.New(webhook.Options{AllowPrivate: true, Types: types{"email": {
		Name: "email", Target: p.url(), Timeout: 20 * time.Second, Secrets: registry.SecretsOf(secrets...),
		Retry: registry.Retry{MaxAttempts: 12},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	return d.Deliver(context.Background(), &queue.Lease{Job: queue.Job{
		Type: "email", ID: "order.17/ü", Data: json.RawMessage(data), Attempt: 3, EnqueuedAt: time.Now(),
	}})
}

// TestHandlers runs the handler of each language, several at once, and holds it
// to the contract.
func TestHandlers(t *testing.T) {
	for _, l := range languages() {
		if missing := l.missing(); missing != "" {
			if !l.optional {
				t.Errorf("%s is not on this machine", missing)
			}
			t.Logf("examples/%s is left out: %s is not on this machine", l.name, missing)
			continue
		}
		t.Run(l.name, func(t *testing.T) {
			t.Parallel()
			command := l.prepare(t)
			secret := registry.NewSecret()
			p := start(t, command, secret)
			t.Run("jobs", func(t *testing.T) { testJobs(t, p, secret) })
			t.Run("forgeries", func(t *testing.T) { testForgeries(t, p, secret) })
			if l.drains && runtime.GOOS == "linux" { // where the kernel tells that a job has begun
				t.Run("drain", func(t *testing.T) { testDrain(t, p, secret) }) // ends p
			}
			t.Run("bad secret", func(t *testing.T) { testBadSecret(t, command, l.perRequest) })
		})
	}
}

// testJobs: what a handler makes of a job, in the dispatcher's eyes.
func testJobs(t *testing.T, p *process, secret string) {
	other := registry.NewSecret()
	for name, tc := range map[string]struct {
		data    string
		secrets []string
		verdict dispatch.Verdict
		status  int
		to      string // in the result
	}{
		"success":                   {data: `{"to":"leia@example.org"}`, status: 200, verdict: dispatch.Done, to: "leia@example.org"},
		"rotation, ours is new":     {data: `{"to":"han"}`, secrets: []string{secret, other}, status: 200, verdict: dispatch.Done, to: "han"},
		"rotation, ours is old":     {data: `{"to":"han"}`, secrets: []string{other, secret}, status: 200, verdict: dispatch.Done, to: "han"},
		"other fields":              {data: `{"a":{"to":1,"fail":true},"b":["to",{"to":2}],"to" : "han" , "fail":false}`, status: 200, verdict: dispatch.Done, to: "han"},
		"odd quotes":                {data: `{"x":"\",\"to\":\"leia","y\\":"\\","to":"h\"n"}`, status: 200, verdict: dispatch.Done, to: `h"n`},
		"unicode":                   {data: `{"to":"Ünïcödé 🤖 日本 \ud83d\ude80 \"q\" \\ \n \u0000 {[:,]}"}`, status: 200, verdict: dispatch.Done, to: "Ünïcödé 🤖 日本 🚀 \"q\" \\ \n \x00 {[:,]}"},
		"as large as a job can be":  {data: largeData(1 << 20), status: 200, verdict: dispatch.Done, to: "luke"},
		"fail":                      {data: `{"to":"vader","fail":true}`, status: 500, verdict: dispatch.Retry},
		"no to":                     {data: `{"subject":"hello"}`, status: 422, verdict: dispatch.Dead},
		"no to, but inside":         {data: `{"x":{"to":"leia"}}`, status: 422, verdict: dispatch.Dead},
		"no to, but as a value":     {data: `{"x":"to"}`, status: 422, verdict: dispatch.Dead},
		"to is a number":            {data: `{"to":66}`, status: 422, verdict: dispatch.Dead},
		"to is an object":           {data: `{"to":{"to":"leia"}}`, status: 422, verdict: dispatch.Dead},
		"to is empty":               {data: `{"to":""}`, status: 422, verdict: dispatch.Dead},
		"null":                      {data: `null`, status: 422, verdict: dispatch.Dead},
		"nothing":                   {data: ``, status: 422, verdict: dispatch.Dead},
		"an array":                  {data: `[{"to":"leia"},"to"]`, status: 422, verdict: dispatch.Dead},
		"a string":                  {data: `"to"`, status: 422, verdict: dispatch.Dead},
		"a number":                  {data: `1e999`, status: 422, verdict: dispatch.Dead},
		"deep":                      {data: strings.Repeat("[", 1e5) + strings.Repeat("]", 1e5), status: 422, verdict: dispatch.Dead},
		"another's secret":          {data: `{"to":"leia"}`, secrets: []string{other}, status: 401, verdict: dispatch.Retry},
		"two secrets, both another": {data: `{"to":"leia"}`, secrets: []string{other, registry.NewSecret()}, status: 401, verdict: dispatch.Retry},
		"unsigned":                  {data: `{"to":"leia"}`, secrets: []string{}, status: 401, verdict: dispatch.Retry},
	} {
		t.Run(name, func(t *testing.T) {
			secrets := tc.secrets
			if secrets == nil {
				secrets = []string{secret}
			}
			out := deliver(t, p, tc.data, secrets...)
			if out.Verdict != tc.verdict || out.Status != tc.status {
				t.Fatalf("%+v", out)
			}
			if tc.verdict != dispatch.Done {
				return
			}
			var result struct {
				SentTo string `json:"sent_to"`
			}
			if err := json.Unmarshal(out.Result, &result); err != nil || result.SentTo != tc.to {
				t.Errorf("result %.300q, error %v", out.Result, err)
			}
		})
	}
	p.waitFor(t, `email to "leia@example.org" job order.17/%C3%BC attempt 3`)
	if s := p.output.String(); strings.Contains(s, "vader") || strings.Contains(s, strings.TrimPrefix(secret, "whsec_")) {
		t.Errorf("it printed:\n%s", s)
	}
}

// largeData is a job's data of so many bytes.
func largeData(size int) string {
	const begin, end = `{"to":"luke","html":"`, `"}`
	return begin + strings.Repeat("x", size-len(begin)-len(end)) + end
}

// testForgeries: what a handler refuses although it looks signed.
func testForgeries(t *testing.T, p *process, secret string) {
	const body = `{"to":"leia@example.org"}`
	now := time.Now()
	sign := func(id string, ts time.Time, body string) string {
		sig, err := webhook.Sign(secret, id, ts, []byte(body))
		if err != nil {
			t.Fatal(err)
		}
		return sig
	}
	good := sign("email/1", now, body)
	unix := func(ts time.Time) string { return strconv.FormatInt(ts.Unix(), 10) }
	for name, tc := range map[string]struct {
		id, ts, sig, body string
		status            int
	}{
		"none":                      {"email/1", unix(now), good, body, 200},
		"4 minutes ago":             {"email/1", unix(now.Add(-4 * time.Minute)), sign("email/1", now.Add(-4*time.Minute), body), body, 200},
		"unknown signatures beside": {"email/1", unix(now), "v1a,AAAA v1,AAAA v1 " + good, body, 200},
		"6 minutes ago":             {"email/1", unix(now.Add(-6 * time.Minute)), sign("email/1", now.Add(-6*time.Minute), body), body, 401},
		"in 6 minutes":              {"email/1", unix(now.Add(6 * time.Minute)), sign("email/1", now.Add(6*time.Minute), body), body, 401},
		"tampered body":             {"email/1", unix(now), good, `{"to":"vader@example.org"}`, 401},
		"body with a space more":    {"email/1", unix(now), good, body + " ", 401},
		"other id":                  {"email/2", unix(now), good, body, 401},
		"other timestamp":           {"email/1", unix(now.Add(time.Second)), good, body, 401},
		// What is signed is the same: "email/1.<then>.<now>.5".
		"full stop moved into the id": {"email/1." + unix(now.Add(-time.Hour)), unix(now),
			sign("email/1", now.Add(-time.Hour), unix(now)+".5"), "5", 401},
		"no id":             {"", unix(now), good, body, 401},
		"no timestamp":      {"email/1", "", good, body, 401},
		"odd timestamp":     {"email/1", "now", good, body, 401},
		"endless timestamp": {"email/1", strings.Repeat("9", 5000), good, body, 401},
		"no signature":      {"email/1", unix(now), "", body, 401},
		"empty signature":   {"email/1", unix(now), "v1,", body, 401},
		"odd signature":     {"email/1", unix(now), "v1,\xff\xfe , é", body, 401},
		"other version":     {"email/1", unix(now), strings.Replace(good, "v1,", "v2,", 1), body, 401},
		"body too large":    {"email/1", unix(now), sign("email/1", now, largeData(1<<20+1)), largeData(1<<20 + 1), 413},
	} {
		t.Run(name, func(t *testing.T) {
			status, err := post(p.url(), tc.id, tc.ts, tc.sig, tc.body)
			if err != nil || status != tc.status {
				t.Errorf("status %d, error %v; want %d\n%s", status, err, tc.status, p.output)
			}
		})
	}
	if status, err := post("http://"+p.addr+"/sms", "email/1", unix(now), good, body); err != nil || status != 404 {
		t.Errorf("another path: %d, %v", status, err)
	}
}

// post sends headers that the dispatcher would not.
func post(url, id, ts, sig, body string) (int, error) {
	req, err := http.NewRequest(http.MethodPost, url, bytes.NewReader([]byte(body)))
	if err != nil {
		return 0, err
	}
	for name, value := range map[string]string{"Webhook-Id": id, "Webhook-Timestamp": ts, "Webhook-Signature": sig} {
		if value != "" {
			req.Header.Set(name, value)
		}
	}
	client := &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, err
}

// testBadSecret: a handler without a proper secret must not serve, or a key of
// no bytes would let anyone sign.
func testBadSecret(t *testing.T, command func(port string) *exec.Cmd, perRequest bool) {
	for _, secret := range []string{"", "whsec_c2hvcnQ=", strings.TrimPrefix(registry.NewSecret(), "whsec_")} {
		p := launch(t, command, secret)
		if perRequest {
			if !p.accepts(t) {
				t.Fatalf("it does not start:\n%s", p.output)
			}
			if status, err := post(p.url(), "email/1", strconv.FormatInt(time.Now().Unix(), 10), "v1,", "1"); err != nil || status != 500 {
				t.Errorf("with %q: %d, %v", secret, status, err)
			}
		} else {
			select {
			case <-p.exited:
			case <-time.After(60 * time.Second): // a busy machine takes long to start Java
				t.Fatalf("it serves with %q", secret)
			}
			if p.cmd.ProcessState.Success() {
				t.Errorf("it ended without an error with %q", secret)
			}
		}
		p.waitFor(t, "DEETOO_SECRET")
	}
}

// TestGoRun: the README's command for Go compiles what it says.
func TestGoRun(t *testing.T) {
	cmd := exec.Command("go", "run", "./examples/go")
	cmd.Dir = ".."
	cmd.Env = append(cmd.Environ(), "DEETOO_SECRET=")
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "DEETOO_SECRET") {
		t.Errorf("%v\n%s", err, out)
	}
}
