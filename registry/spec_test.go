package registry

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/deetoo/deetoo/invalid"
)

const someSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

func TestSpecDefaults(t *testing.T) {
	for _, in := range []string{
		`{"target":"http://x.test/"}`,
		`{"target":"http://x.test/","concurrency":null,"rate":null,"groups":null,"timeout":null,"retry":{"max_attempts":null,"jitter":null},"headers":null,"secret":null,"secrets":null,"retention":null,"paused":null,"description":null,"completion":null,"callback_lease":null,"answers":null,"max_retry_after":null,"reconcile_url":null,"format":null,"event_source":null,"event_type":null,"batch":null}`,
	} {
		spec, err := DecodeSpec("a", []byte(in))
		if err != nil {
			t.Fatal(err)
		}
		got, err := spec.Type(nil)
		if err != nil || len(got.Secrets) != 1 || secretRule(got.Secrets[0].Value) != "" {
			t.Fatal(got.Secrets, err)
		}
		got.Secrets = nil
		if want := New("a", "http://x.test/"); !got.same(&want) {
			t.Errorf("got %+v", got.spec())
		}
	}
}

func TestSpecRefusals(t *testing.T) {
	headers := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, `,"X-%d":"v"`, i)
		}
		return `"headers":{` + b.String()[1:] + `}`
	}
	long := strings.Repeat("x", 5000)
	for _, tc := range []struct{ in, want string }{
		{``, "body is empty"},
		{`null`, "must be an object"},
		{`[]`, "must be an object"},
		{`{"concurency":1}`, "concurency is not a known field; did you mean concurrency?"},
		{`{"retry":{"maxAttempts":1}}`, "retry.maxAttempts is not a known field; did you mean max_attempts?"},
		{`{"name":"other"}`, `name must be "a" or absent`},
		{`{"concurrency":"12"}`, "concurrency must be a whole number"},
		{`{"concurrency":1e400}`, "concurrency must be a whole number"},
		{`{"concurrency":99999999999999999999}`, "concurrency is out of range"},
		{`{"timeout":30}`, "timeout must be a string"},
		{`{"timeout":"soon"}`, "timeout must be a duration such as"},
		{`{"timeout":"9999999999h"}`, "timeout must be a duration such as"},
		{`{"retry":{"jitter":"yes"}}`, "retry.jitter must be true or false"},
		{`{"concurrency":1,"concurrency":2}`, "concurrency is given twice"},
		{`{"description":"\ud800"}`, "description has an invalid"},
		{`{"target":null}`, "target is required"},
		{`{"target":"/x"}`, "target must be an absolute http or https URL"},
		{`{"target":"ftp://x.test/"}`, "target must be an absolute http or https URL"},
		{`{"target":"http:x.test"}`, "target must be an absolute http or https URL"},
		{`{"target":"http://:80/"}`, "target must be an absolute http or https URL"},
		{`{"target":"http://[::1/"}`, "target must be an absolute http or https URL"},
		{`{"target":"http://user:hunter2@x.test/"}`, "target must not contain a user or password"},
		{`{"target":"http://@x.test/"}`, "target must not contain a user or password"},
		{`{"target":"http://x.test/#a"}`, "target must not have a fragment"},
		{`{"target":"http://x.test/#"}`, "target must not have a fragment"},
		{`{"target":"http://x.test/a b"}`, "target must not contain spaces"},
		{`{"target":"http://x.test/\u0000"}`, "target must not contain spaces"},
		{`{"target":"http://x.test/\r\nX: y"}`, "target must not contain spaces"},
		{`{"target":"http://x.test:0/"}`, "target must have a port"},
		{`{"target":"http://x.test:65536/"}`, "target must have a port"},
		{`{"target":"http://x.test/` + long + `"}`, "target must be at most 2,048 bytes"},
		{`{"concurrency":0}`, "concurrency must be 1 to 10,000"},
		{`{"concurrency":-1}`, "concurrency must be 1 to 10,000"},
		{`{"concurrency":10001}`, "concurrency must be 1 to 10,000"},
		{`{"timeout":"99ms"}`, "timeout must be 100ms to 24h"},
		{`{"timeout":"-1s"}`, "timeout must be 100ms to 24h"},
		{`{"timeout":"24h1ns"}`, "timeout must be 100ms to 24h"},
		{`{"rate":{}}`, "rate.limit must be 1 to 1,000,000"},
		{`{"rate":{"limit":1000001}}`, "rate.limit must be 1 to 1,000,000"},
		{`{"rate":{"limit":2000,"per":"1ms"}}`, "rate.limit must be at most one a microsecond"},
		{`{"rate":{"limit":1,"per":"999us"}}`, "rate.per must be 1ms to 24h"},
		{`{"rate":{"limit":1,"per":"25h"}}`, "rate.per must be 1ms to 24h"},
		{`{"rate":{"limit":2,"burst":3}}`, "rate.burst must be 1 to limit"},
		{`{"rate":{"limit":2,"burst":0}}`, "rate.burst must be 1 to limit"},
		{`{"groups":{"concurrency":0}}`, "groups.concurrency must be 1 to 10,000"},
		{`{"groups":{"concurrency":10001}}`, "groups.concurrency must be 1 to 10,000"},
		{`{"groups":{"rate":{"limit":-1}}}`, "groups.rate.limit must be 1 to 1,000,000"},
		{`{"groups":{"rat":null}}`, "groups.rat is not a known field; did you mean rate?"},
		{`{"retry":{"max_attempts":0}}`, "retry.max_attempts must be 1 to 100"},
		{`{"retry":{"max_attempts":101}}`, "retry.max_attempts must be 1 to 100"},
		{`{"retry":{"min_backoff":"1us"}}`, "retry.min_backoff must be 1ms to 24h"},
		{`{"retry":{"min_backoff":"25h"}}`, "retry.min_backoff must be 1ms to 24h"},
		{`{"retry":{"min_backoff":"2s","max_backoff":"1s"}}`, "retry.max_backoff must be min_backoff to 168h"},
		{`{"retry":{"max_backoff":"169h"}}`, "retry.max_backoff must be min_backoff to 168h"},
		{`{"retention":{"count":-1}}`, "retention.count must be 0 to 1,000,000"},
		{`{"retention":{"count":1000001}}`, "retention.count must be 0 to 1,000,000"},
		{`{"retention":{"age":"-1s"}}`, "retention.age must be 0s to 8760h"},
		{`{"retention":{"age":"8761h"}}`, "retention.age must be 0s to 8760h"},
		{`{"description":"` + long + `"}`, "description must be at most 1,024 bytes"},
		{`{"description":"a\u0000b"}`, "description must not contain control characters"},
		{`{"description":"\u001b[2J"}`, "description must not contain control characters"},
		{`{"completion":"async"}`, `completion must be "callback" or "sync"`},
		{`{"callback_lease":"999ms"}`, "callback_lease must be 1s to 24h"},
		{`{"callback_lease":"25h"}`, "callback_lease must be 1s to 24h"},
		{`{"reconcile_url":"ftp://x"}`, "reconcile_url must be an absolute http or https URL"},
		{`{"reconcile_url":"http://u:hunter2@x/"}`, "reconcile_url must not contain a user"},
		{`{"reconcile_url":"local:"}`, "reconcile_url is for webhooks only"},
		{`{"target":"local:","reconcile_url":"http://x/"}`, "reconcile_url is for webhooks only"},
		{`{"max_retry_after":"999ms"}`, "max_retry_after must be 1s to 168h"},
		{`{"max_retry_after":"169h"}`, "max_retry_after must be 1s to 168h"},
		{`{"answers":[` + strings.Repeat(`{"status":409,"then":"done"},`, 20) + `{"status":409,"then":"done"}]}`, "answers must be at most 20 rows"},
		{`{"answers":[{"then":"done"}]}`, "answers[0] must have a condition"},
		{`{"answers":[{"status":409}]}`, "answers[0].then must be done, retry, dead, pause or snooze"},
		{`{"answers":[{"status":409,"then":"done"},{"status":409,"then":"accept"}]}`, "answers[1].then must be"},
		{`{"answers":[{"status":"soon","then":"done"}]}`, "answers[0].status must be a status such as 409"},
		{`{"answers":[{"status":409.5,"then":"done"}]}`, "answers[0].status must be a status such as 409"},
		{`{"answers":[{"status":99,"then":"done"}]}`, "answers[0].status must be within 100 to 599"},
		{`{"answers":[{"status":"500-600","then":"done"}]}`, "answers[0].status must be within 100 to 599"},
		{`{"answers":[{"status":"599-500","then":"done"}]}`, "answers[0].status must be within 100 to 599"},
		{`{"answers":[{"header":{"name":"","equals":"x"},"then":"done"}]}`, "answers[0].header.name must be a header name"},
		{`{"answers":[{"header":{"name":"a b","equals":"x"},"then":"done"}]}`, "answers[0].header.name must be a header name"},
		{`{"answers":[{"json":{"field":"a..b","equals":1},"then":"done"}]}`, "answers[0].json.field must be names"},
		{`{"answers":[{"json":{"field":"a"},"then":"done"}]}`, "answers[0].json.equals must be a string, number"},
		{`{"answers":[{"json":{"field":"a","equals":{}},"then":"done"}]}`, "answers[0].json.equals must be a string, number"},
		{`{"answers":[{"status":409,"then":"done","after":"1s"}]}`, "answers[0].after goes with retry and snooze only"},
		{`{"answers":[{"status":409,"then":"snooze","after":"999ms"}]}`, "answers[0].after must be 1s to 168h"},
		{`{"answers":[{"status":409,"then":"snooze","afer":"1s"}]}`, "answers[0].afer is not a known field; did you mean after?"},
		{`{"format":"cloudevents"}`, `format must be "raw", "cloudevents-binary" or "cloudevents-structured"`},
		{`{"event_source":"a b"}`, "event_source must be a URI reference"},
		{`{"event_source":"http://x.test/é"}`, "event_source must be a URI reference"},
		{`{"event_source":"http://[::1/"}`, "event_source must be a URI reference"},
		{`{"event_source":"` + long + `"}`, "event_source must be a URI reference of at most 512 bytes"},
		{`{"event_source":"http://user:hunter2@x.test/"}`, "event_source must not contain a user"},
		{`{"batch":{}}`, "batch.size must be 1 to 1,000"},
		{`{"batch":{"size":1001}}`, "batch.size must be 1 to 1,000"},
		{`{"batch":{"size":10,"wait":"11s"}}`, "batch.wait must be 0s to 10s"},
		{`{"batch":{"size":10,"max_bytes":1023}}`, "batch.max_bytes must be 1,024 to"},
		{`{"batch":{"size":10,"most":1}}`, "batch.most is not a known field"},
		{`{"target":"local:","batch":{"size":10}}`, "batch is for webhooks only"},
		{`{"target":"http://x.test/","batch":{"size":10},"format":"cloudevents-binary"}`, "batch does not go with format"},
		{`{"target":"http://x.test/","batch":{"size":10},"reconcile_url":"http://x.test/"}`, "batch does not go with a reconcile_url"},
		{`{"event_type":"a\u0085b"}`, "event_type must be at most 256 bytes"},
		{`{"event_type":"a\ufffeb"}`, "event_type must be at most 256 bytes"},
		{`{"event_type":"` + long + `"}`, "event_type must be at most 256 bytes"},
		{`{"target":"http://x.test/","format":"cloudevents-binary","headers":{"Ce-Id":"x"}}`, "headers.Ce-Id is set by the dispatcher in this format"},
		{`{"secret":""}`, `secret must be "whsec_" and base64`},
		{`{"secret":"hunter2"}`, `secret must be "whsec_" and base64`},
		{`{"secret":"whsec_c2hvcnQ="}`, `secret must be "whsec_" and base64`},
		{`{"secret":"whsec_` + strings.Repeat("QUFB", 22) + `"}`, `secret must be "whsec_" and base64`},
		{`{"secrets":[]}`, "secrets must be 1 to 5"},
		{`{"secrets":["` + someSecret + `","` + someSecret + `"]}`, "secrets[1] is given twice"},
		{`{"secrets":["` + someSecret + `","x"]}`, `secrets[1] must be "whsec_"`},
		{`{"secrets":["a","b","c","d","e","f"]}`, "secrets must be 1 to 5"},
		{`{"secret":"` + someSecret + `","secrets":["` + someSecret + `"]}`, "secrets must not be given together with secret"},
		{`{` + headers(33) + `}`, "headers must be at most 32"},
		{`{"headers":{"a":1}}`, "headers.a must be a string"},
		{`{"headers":{"":"x"}}`, `headers[""] must be a header name`},
		{`{"headers":{"a b":"x"}}`, `headers["a b"] must be a header name`},
		{`{"headers":{"a\r\nb":"x"}}`, `headers["a\r\nb"] must be a header name`},
		{`{"headers":{"é":"x"}}`, `headers.é must be a header name`},
		{`{"headers":{"X-A":"x\r\nHost: y"}}`, "headers.X-A must not contain line breaks"},
		{`{"headers":{"X-A":"x\u0000"}}`, "headers.X-A must not contain line breaks"},
		{`{"headers":{"X-A":"` + long + `"}}`, "headers.X-A must be at most 4,096 bytes"},
		{`{"headers":{"` + long + `":"x"}}`, "headers." + strings.Repeat("x", 64) + "… must be a header name"},
		{`{"headers":{"X-A":"1","x-a":"2"}}`, "headers.x-a is given twice"},
		{`{"headers":{"Host":"x"}}`, "headers.Host is set by the dispatcher"},
		{`{"headers":{"content-length":"1"}}`, "headers.content-length is set by the dispatcher"},
		{`{"headers":{"Content-Type":"x"}}`, "headers.Content-Type is set by the dispatcher"},
		{`{"headers":{"Webhook-Id":"x"}}`, "headers.Webhook-Id is set by the dispatcher"},
		{`{"headers":{"deetoo-attempt":"x"}}`, "headers.deetoo-attempt is set by the dispatcher"},
		{`{"headers":{"TraceParent":"x"}}`, "headers.TraceParent is set by the dispatcher"},
		{`{"headers":{"Connection":"close"}}`, "headers.Connection belongs to the connection"},
		{`{"headers":{"transfer-encoding":"chunked"}}`, "headers.transfer-encoding belongs to the connection"},
		{`{"headers":{"Authorization":"[redacted]"}}`, "headers.Authorization must have a value"},
		{`{"headers":{"a":"` + long[:4000] + `","b":"` + long[:4000] + `","c":"` + long[:4000] + `","d":"` + long[:4000] + `","e":"` + long[:4000] + `"}}`, "headers must be at most 16 KiB"},
	} {
		in := tc.in
		if strings.HasPrefix(in, "{") && !strings.Contains(in, `"target"`) {
			in = `{"target":"http://x.test/",` + in[1:]
		}
		spec, err := DecodeSpec("a", []byte(in))
		if err == nil {
			_, err = spec.Type(nil)
		}
		if _, ok := errors.AsType[*invalid.Error](err); !ok || !strings.HasPrefix(err.Error(), tc.want) {
			t.Errorf("%.80s\n got %v\nwant %s", tc.in, err, tc.want)
		} else if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("a secret is in the error: %v", err)
		}
	}
}

func TestNames(t *testing.T) {
	for _, ok := range []string{"a", "9", "email", "a.b_c-d", strings.Repeat("x", 64)} {
		typ := New(ok, "http://x.test/")
		typ.Secrets = SecretsOf(someSecret)
		if err := typ.Validate(); err != nil {
			t.Errorf("%q: %v", ok, err)
		}
	}
	for _, bad := range []string{"", ".a", "-a", "_a", "a{b}", "a*", "a\nb", "a/b", "a\x00", "é", "a b", "a:b", strings.Repeat("x", 65)} {
		typ := New(bad, "http://x.test/")
		typ.Secrets = SecretsOf(someSecret)
		if e, ok := errors.AsType[*invalid.Error](typ.Validate()); !ok || e.Field != "name" {
			t.Errorf("%q: %v", bad, e)
		}
	}
}

func TestViolationsListsAll(t *testing.T) {
	typ := Type{Name: "a b"}
	var fields []string
	for _, v := range typ.Violations() {
		fields = append(fields, v.Field)
	}
	want := "[name target concurrency timeout retry.max_attempts retry.min_backoff secrets completion callback_lease max_retry_after format]"
	if fmt.Sprint(fields) != want {
		t.Errorf("got %v\nwant %s", fields, want)
	}
}

// full is a type that differs from the defaults in every field.
func full() Type {
	t := New("email", "https://example.org/hook?x=1&y=<2>")
	t.Concurrency, t.Timeout = 12, 1500*time.Millisecond
	t.Rate = Rate{Limit: 10, Per: time.Minute}
	t.Groups = Groups{Concurrency: 2, Rate: Rate{Limit: 5, Per: time.Second, Burst: 5}}
	t.Retry = Retry{MaxAttempts: 3, MinBackoff: 2 * time.Second, MaxBackoff: 90 * time.Minute, NoJitter: true}
	t.Headers = map[string]string{"Authorization": "Bearer hunter2", "X-Api-Key": "hunter3", "X-Team": "a"}
	t.Secrets = SecretsOf(someSecret, "whsec_"+strings.Repeat("QUFB", 8))
	t.Secrets[1].CreatedAt, t.Secrets[1].ExpiresAt = time.UnixMilli(1), time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)
	t.Retention = Retention{Count: 0, Age: 48 * time.Hour}
	t.Paused, t.PausedReason = true, "the endpoint is gone"
	t.Description = "Mail"
	t.Completion, t.CallbackLease = Sync, 90*time.Second
	t.Answers = []Answer{{Status: &StatusRange{500, 599}, Then: ThenSnooze, After: duration(10 * time.Second)}}
	t.MaxRetryAfter = 2 * time.Hour
	t.Format, t.EventSource, t.EventType = CloudEventsStructured, "https://example.org/jobs", "org.example.email"
	t.ReconcileURL = "https://example.org/status?key=1"
	t.Version = 7
	t.CreatedAt = time.Date(2026, 1, 2, 3, 4, 5, 6_000_000, time.FixedZone("", 3600))
	t.UpdatedAt = t.CreatedAt.Add(time.Hour)
	return t
}

func TestOutputForm(t *testing.T) {
	typ := full()
	got, err := json.MarshalIndent(typ, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	want := `{
  "name": "email",
  "target": "https://example.org/hook?x=1\u0026y=\u003c2\u003e",
  "concurrency": 12,
  "rate": {
    "limit": 10,
    "per": "1m"
  },
  "groups": {
    "concurrency": 2,
    "rate": {
      "limit": 5,
      "per": "1s",
      "burst": 5
    }
  },
  "timeout": "1.5s",
  "retry": {
    "max_attempts": 3,
    "min_backoff": "2s",
    "max_backoff": "1h30m",
    "jitter": false
  },
  "headers": {
    "Authorization": "[redacted]",
    "X-Api-Key": "[redacted]",
    "X-Team": "a"
  },
  "retention": {
    "count": 0,
    "age": "48h"
  },
  "paused": true,
  "description": "Mail",
  "completion": "sync",
  "callback_lease": "1m30s",
  "answers": [
    {
      "status": "500-599",
      "then": "snooze",
      "after": "10s"
    }
  ],
  "max_retry_after": "2h",
  "format": "cloudevents-structured",
  "event_source": "https://example.org/jobs",
  "event_type": "org.example.email",
  "reconcile_url": "https://example.org/status?key=1",
  "version": 7,
  "created_at": "2026-01-02T02:04:05.006Z",
  "updated_at": "2026-01-02T03:04:05.006Z",
  "paused_reason": "the endpoint is gone",
  "secret_fingerprints": [
    "` + Fingerprint(typ.Secrets[0].Value) + `",
    "` + Fingerprint(typ.Secrets[1].Value) + `"
  ],
  "signing_secrets": [
    {
      "id": "` + typ.Secrets[0].ID() + `",
      "kind": "hmac"
    },
    {
      "id": "` + typ.Secrets[1].ID() + `",
      "kind": "hmac",
      "created_at": "1970-01-01T00:00:00.001Z",
      "expires_at": "2100-01-01T00:00:00.000Z"
    }
  ]
}`
	if string(got) != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
	if v := typ.Reveal(); v.Secret == nil || *v.Secret != someSecret || v.Secrets != nil {
		t.Error("Reveal does not show the newest secret alone")
	}
	var logged strings.Builder
	slog.New(slog.NewJSONHandler(&logged, nil)).Info("x", "type", typ)
	for _, shown := range []string{string(got), logged.String(), fmt.Sprintf("%v %+v %#v %s", typ, typ, &typ, &typ)} {
		for _, hidden := range []string{"hunter", "MfKQ9r8", "QUFB"} {
			if strings.Contains(shown, hidden) {
				t.Errorf("%q is in %s", hidden, shown)
			}
		}
	}
	if strings.Contains(logged.String(), "x=1") {
		t.Errorf("the query is in the log: %s", logged.String())
	}
}

func TestDurations(t *testing.T) {
	for in, want := range map[time.Duration]string{
		0: "0s", time.Second: "1s", 20 * time.Second: "20s", time.Minute: "1m", 10 * time.Minute: "10m", time.Hour: "1h", 100 * time.Hour: "100h",
		90 * time.Second: "1m30s", time.Hour + time.Second: "1h0m1s", 1500 * time.Microsecond: "1.5ms", -time.Hour: "-1h",
	} {
		text, _ := Duration(in).MarshalText()
		var back Duration
		if err := back.UnmarshalText(text); err != nil || string(text) != want || time.Duration(back) != in {
			t.Errorf("%d: %s, %v, want %s", in, text, err, want)
		}
	}
}

func TestRoundTripKeepsEverything(t *testing.T) {
	onEach(t, func(t *testing.T, s *Store) {
		stored := put(t, s, full())
		shown, err := json.Marshal(stored)
		if err != nil {
			t.Fatal(err)
		}
		spec, err := DecodeSpec("email", shown)
		if err != nil {
			t.Fatal(err)
		}
		back, created, err := s.PutSpec(t.Context(), spec, PutOptions{IfMatch: stored.Version})
		if err != nil || created || !reflect.DeepEqual(back, stored) {
			t.Errorf("%v\ngot  %+v\nwant %+v", err, back.View(), stored.View())
		}
	})
}

func TestPutSpecReplacesAllButSecrets(t *testing.T) {
	onEach(t, func(t *testing.T, s *Store) {
		before := put(t, s, full())
		spec, err := DecodeSpec("email", []byte(`{"target":"http://x.test/","headers":{"authorization":"[redacted]"}}`))
		if err != nil {
			t.Fatal(err)
		}
		got, created, err := s.PutSpec(t.Context(), spec, PutOptions{})
		want := New("email", "http://x.test/")
		want.Secrets, want.Headers = before.Secrets, map[string]string{"authorization": "Bearer hunter2"}
		if err != nil || created || !got.same(&want) {
			t.Errorf("%v\ngot  %+v\nwant %+v", err, got.spec(), want.spec())
		}
	})
}

func TestPatch(t *testing.T) {
	s := storeOn(t, inProcess(t))
	newer := NewSecret()
	for _, tc := range []struct {
		patch string
		edit  func(*Type)
	}{
		{`{}`, func(*Type) {}},
		{`{"concurrency":3}`, func(t *Type) { t.Concurrency = 3 }},
		{`{"concurrency":null,"timeout":null}`, func(t *Type) { t.Concurrency, t.Timeout = 10, 30*time.Second }},
		{`{"retry":{"max_attempts":9,"jitter":true}}`, func(t *Type) { t.Retry.MaxAttempts, t.Retry.NoJitter = 9, false }},
		{`{"retry":{"min_backoff":null}}`, func(t *Type) { t.Retry.MinBackoff = time.Second }},
		{`{"retry":null,"retention":null}`, func(t *Type) { n := New("", ""); t.Retry, t.Retention = n.Retry, n.Retention }},
		{`{"headers":{"X-Team":null,"X-New":"1"}}`, func(t *Type) { delete(t.Headers, "X-Team"); t.Headers["X-New"] = "1" }},
		{`{"headers":{"Authorization":"Bearer new"}}`, func(t *Type) { t.Headers["Authorization"] = "Bearer new" }},
		{`{"headers":null}`, func(t *Type) { t.Headers = nil }},
		{`{"paused":false}`, func(t *Type) { t.Paused, t.PausedReason = false, "" }},
		{`{"secret":null,"secrets":null}`, func(*Type) {}},
		{`{"secret":"` + newer + `"}`, func(t *Type) { t.Secrets = SecretsOf(newer) }},
		{`{"secrets":["` + newer + `","` + someSecret + `"]}`, func(t *Type) { t.Secrets = SecretsOf(newer, someSecret) }},
		{`{"version":99,"created_at":"x"}`, func(*Type) {}},
	} {
		if err := s.Delete(t.Context(), "email", 0); err != nil && !errors.Is(err, ErrNotFound) {
			t.Fatal(err)
		}
		want := put(t, s, full())
		got, err := s.Patch(t.Context(), "email", []byte(tc.patch), want.Version)
		tc.edit(&want)
		if err != nil || !got.same(&want) {
			t.Errorf("%s: %v\ngot  %+v\nwant %+v", tc.patch, err, got.spec(), want.spec())
		}
	}
	for patch, rule := range map[string]string{
		``: "body is empty", `null`: "must be an object", `[1]`: "must be an object", `{"retry":{"max_attempts":0}}`: "retry.max_attempts must be 1 to 100",
		`{"retry":{"max_attempts":1,"max_attempts":2}}`: "retry.max_attempts is given twice", `{"colour":1}`: "colour is not a known field",
		`{"name":"b"}`: `name must be "email" or absent`, `{"target":null}`: "target is required", `{"secrets":[]}`: "secrets must be 1 to 5",
		`{"headers":{"X-Token":"[redacted]"}}`: "headers.X-Token must have a value",
	} {
		_, err := s.Patch(t.Context(), "email", []byte(patch), 0)
		if _, ok := errors.AsType[*invalid.Error](err); !ok || err.Error()[:min(len(err.Error()), len(rule))] != rule {
			t.Errorf("%s: %v, want %s", patch, err, rule)
		}
	}
	if _, err := s.Patch(t.Context(), "email", []byte(`{}`), 1); !errors.Is(err, ErrVersionMismatch) {
		t.Errorf("stale: %v", err)
	}
	if _, err := s.Patch(t.Context(), "mail", []byte(`{}`), 0); !errors.Is(err, ErrNotFound) {
		t.Errorf("missing: %v", err)
	}
}

func FuzzSpec(f *testing.F) {
	shown, _ := json.Marshal(full())
	for _, s := range []string{
		string(shown), `{}`, `null`, `{"target":"http://x.test/","retry":{"min_backoff":"2h"}}`, `{"secrets":null,"headers":{"a":null}}`, `{"name":"\u0000"}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		old := full()
		spec, err := DecodeSpec("email", in)
		if err != nil {
			if _, ok := errors.AsType[*invalid.Error](err); !ok {
				t.Fatalf("%T: %v", err, err)
			}
			return
		}
		got, err := spec.Type(&old)
		if err != nil {
			return
		}
		// What is accepted survives the store and the way out and in again.
		body, err := encodeBody(nil, &got)
		if err != nil {
			t.Fatal(err)
		}
		read, err := decodeRecord(nil, "email", "7 1 2 r\n"+body)
		if err != nil || !read.same(&got) {
			t.Fatalf("%v\ngot  %+v\nwant %+v", err, read, got.spec())
		}
		out, err := json.Marshal(got)
		if err != nil {
			t.Fatal(err)
		}
		again, err := DecodeSpec("email", out)
		if err != nil {
			t.Fatal(err)
		}
		if back, err := again.Type(&got); err != nil || !back.same(&got) {
			t.Fatalf("%v\ngot  %+v\nwant %+v", err, back.spec(), got.spec())
		}
		if _, err := mergePatch(&got, in); err != nil {
			t.Fatalf("as a patch: %v", err)
		}
	})
}

// A description may have lines, as forms send them.
func TestDescriptionOfSeveralLines(t *testing.T) {
	spec, err := DecodeSpec("a", []byte(`{"target":"http://x.test/","description":"Mails\r\n\tto customers\n"}`))
	if err != nil {
		t.Fatal(err)
	}
	if typ, err := spec.Type(nil); err != nil || typ.Description != "Mails\r\n\tto customers\n" {
		t.Errorf("%q, %v", typ.Description, err)
	}
}
