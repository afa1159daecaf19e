package ui

import (
	"html"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/deetoo/deetoo/auth"
	"github.com/deetoo/deetoo/queue"
)

// TestFailures looks at the ways in which jobs failed, and retries and deletes those of one.
func TestFailures(t *testing.T) {
	s := newSite(t)
	s.register("email", "")
	s.push(queue.Job{Type: "email", ID: "a"}, queue.Job{Type: "email", ID: "b"}, queue.Job{Type: "email", ID: "c"}, queue.Job{Type: "email", ID: "d"})
	for _, e := range []string{"mailbox 17 is full", "mailbox 4711 is full", "<img src=x onerror=alert(1)>", "mailbox 3 is full"} {
		s.settle("email", queue.Bury, queue.Attempt{Outcome: "dead", Status: 500, Error: e}, "")
	}
	groups, err := s.in.DeadGroups(t.Context(), auth.System(), "email", "", 10)
	must(t, err)
	if len(groups.Groups) != 2 {
		t.Fatalf("%d groups", len(groups.Groups))
	}
	full := groups.Groups[0].Fingerprint
	b := s.browse(s.token("admin"))
	b.get("/ui/types/email").wants(t, 200, "How the dead jobs failed", "mailbox # is full", "&lt;img src=x onerror", "!<img", `redrive?fingerprint=`+full, "an example")
	b.get("/ui/types/email?state=dead&fingerprint="+full).wants(t, 200, "mailbox 17", "mailbox 4711", `<bdi title="mailbox 3 is full">`, "!<bdi title=\"&lt;img", "Show all")
	b.get("/ui/types/email?state=dead&error=4711").wants(t, 200, `<bdi title="mailbox 4711`, `!<bdi title="mailbox 17`)
	b.get("/ui/types/email?state=dead&fingerprint=zz").wants(t, 422, "Fingerprint must be")
	s.browse(s.token("types:read jobs:read")).get("/ui/types/email").wants(t, 200, "mailbox # is full", "!redrive", "!purge")

	b.get("/ui/types/email/redrive?fingerprint="+full).wants(t, 200, "Retry 3 dead jobs of email?", "mailbox # is full", "with status 500")
	b.act("/ui/types/email/redrive", "fingerprint", full, "canary", "1000", "rate", "fast").wants(t, 422, "Must be a whole number, 1 to 100", "Must be a number and how long", `value="fast"`)
	done(t, b, b.act("/ui/types/email/redrive", "fingerprint", full, "canary", "1", "rate", "60/m"), "/ui/types/email#failures", "1 dead job waits again.")
	redrives, err := s.in.Redrives(t.Context(), auth.System(), "email")
	must(t, err)
	if r := redrives[0]; r.Spec.Fingerprint != full || r.Spec.Canary != 1 || r.Spec.Rate != (queue.RedriveRate{Jobs: 60, Period: time.Minute}) || r.State != queue.RedriveCanary {
		t.Errorf("the redrive is %+v", r)
	}
	b.get("/ui/types/email").wants(t, 200, "0 of 1 canaries succeeded", "by <bdi>leia</bdi>", "/redrive/stop")
	done(t, b, b.act("/ui/types/email/redrive/stop", "id", redrives[0].ID), "/ui/types/email#failures", "Stopped.")
	b.act("/ui/types/email/redrive/stop", "id", "01HZZZZZZZZZZZZZZZZZZZZZZZ").wants(t, 404, "No such redrive")

	done(t, b, b.act("/ui/types/email/purge", "fingerprint", full), "/ui/types/email", "2 dead jobs deleted.")
	st, err := s.in.Stats(t.Context(), auth.System(), "email")
	must(t, err)
	if st.Dead != 1 || st.Waiting != 1 {
		t.Errorf("%d are dead, %d wait", st.Dead, st.Waiting)
	}
	b.get("/ui/types/email/redrive?fingerprint="+full).wants(t, 200, "No such dead jobs")
}

func TestLimitsAndHold(t *testing.T) {
	s := newSite(t)
	s.register("email", `"concurrency":4,"rate":{"limit":5,"per":"1s","burst":3}`)
	b := s.browse(s.token("admin"))
	b.get("/ui/types/email").wants(t, 200, `name="rate" value="5/1s"`)
	done(t, b, b.act("/ui/types/email/limits", "concurrency", "9", "rate", "120/1m"), "/ui/types/email", "In force from the next job on")
	typ, err := s.in.Type(t.Context(), auth.System(), "email")
	must(t, err)
	if typ.Concurrency != 9 || typ.Rate.Limit != 120 || typ.Rate.Per != time.Minute || typ.Rate.Burst != 3 {
		t.Errorf("its limits are %d, %+v", typ.Concurrency, typ.Rate)
	}
	done(t, b, b.act("/ui/types/email/limits", "concurrency", "9", "rate", ""), "/ui/types/email", "In force from the next job on")
	if typ, err = s.in.Type(t.Context(), auth.System(), "email"); err != nil || typ.Rate.Limit != 0 {
		t.Errorf("the rate is still %+v (%v)", typ.Rate, err)
	}
	b.act("/ui/types/email/limits", "concurrency", "0").wants(t, 422, "Concurrency must be 1 to 10,000")
	b.act("/ui/types/email/limits", "concurrency", "2", "rate", "-1/s").wants(t, 422, "Rate must be a number and how long")

	done(t, b, b.act("/ui/types/email/hold", "for", "10m", "reason", "maintenance <b>"), "/ui/types/email", "Held: jobs wait")
	b.get("/ui/types/email").wants(t, 200, "Held by hand: Maintenance &lt;b&gt;", "Lift the hold")
	b.get("/ui").wants(t, 200, ">held 10 min<")
	done(t, b, b.act("/ui/types/email/unhold"), "/ui/types/email", "The hold is lifted.")
	b.act("/ui/types/email/hold", "for", "ever").wants(t, 422, "For must be a duration")
	// Who may not change types has none of it.
	reader := s.browse(s.token("types:read jobs:read jobs:write"))
	reader.get("/ui/types/email").wants(t, 200, "!/limits", "!/hold", "!/secrets", "!/test\"", "9 at once")
	reader.act("/ui/types/email/limits", "concurrency", "2").wants(t, 403)
	reader.act("/ui/types/email/hold").wants(t, 403)
	reader.get("/ui/types/email/secrets").wants(t, 403)
	reader.get("/ui/types/email/test").wants(t, 403)
}

func TestSecretsPage(t *testing.T) {
	s := newSite(t)
	s.register("email", "")
	b := s.browse(s.token("admin"))
	first, err := s.in.Type(t.Context(), auth.System(), "email")
	must(t, err)
	b.get("/ui/types/email/secrets").wants(t, 200, first.Secrets[0].ID(), "it is deleted", "!"+first.Secrets[0].Value)
	made := b.act("/ui/types/email/secrets", "kind", "ed25519", "expires_in", "1h")
	made.wants(t, 200, "has a new secret", "It is shown this once", "whsk_", "whpk_")
	now, err := s.in.Type(t.Context(), auth.System(), "email")
	must(t, err)
	if len(now.Secrets) != 2 || !strings.Contains(html.UnescapeString(made.body), now.Secrets[0].Value) {
		t.Errorf("there are %d secrets", len(now.Secrets))
	}
	b.get("/ui/types/email/secrets").wants(t, 200, "in 59 min", "ed25519", "whpk_", "!whsk_")
	b.act("/ui/types/email/secrets", "secret", "short", "expires_in", "1h").wants(t, 422, `class="err"`, "!value=\"short\"")
	b.act("/ui/types/email/secrets", "expires_in", "soon").wants(t, 422, "Must be a duration")
	b.act("/ui/types/email/secrets/delete", "id", now.Secrets[0].ID()).wants(t, 422, "only secret that does not expire")
	done(t, b, b.act("/ui/types/email/secrets/delete", "id", first.Secrets[0].ID()), "/ui/types/email/secrets", "Deleted: it signs nothing")
	b.act("/ui/types/email/secrets/delete", "id", "ffffffff").wants(t, 404, "No such secret")
}

func TestTrial(t *testing.T) {
	s := newSite(t)
	s.register("email", "")
	b := s.browse(s.token("admin"))
	b.get("/ui/types/email/test").wants(t, 200, "Send a test of email", "!Response")
	b.act("/ui/types/email/test", "data", `{"to":"leia"}`).wants(t, 200, "The job would have succeeded", "POST http://127.0.0.1:9000/email?…", "Webhook-Id: test-", "&lt;script&gt;alert(1)", "!<script>alert", "It took 12 ms", "!hidden-in-query")
	b.act("/ui/types/email/test", "data", `"bad"`).wants(t, 200, "be tried again after a backoff", "connection refused", "There was none.")
	b.act("/ui/types/email/test", "data", `{`).wants(t, 422, `class="err"`)
	if st, err := s.in.Stats(t.Context(), auth.System(), "email"); err != nil || st.Waiting+st.Finished+st.Dead != 0 {
		t.Errorf("a test left a job: %+v (%v)", st, err)
	}
}

func TestHandlers(t *testing.T) {
	s := newSite(t)
	s.register("sms.send", "")
	typ, err := s.in.Type(t.Context(), auth.System(), "sms.send")
	must(t, err)
	b := s.browse(s.token("types:read"))
	page := b.get("/ui/types/sms.send/handler")
	page.wants(t, 200, "webhook.Verify", "&#34;POST /sms.send&#34;", typ.Secrets[0].ID(), "!"+typ.Secrets[0].Value)
	languages := regexp.MustCompile(`href="(/ui/types/sms.send/handler\?in=[a-z]+)"`).FindAllStringSubmatch(page.body, -1)
	if len(languages) != 6 {
		t.Fatalf("there are %d languages", len(languages))
	}
	for _, l := range languages {
		b.get(l[1]).wants(t, 200, "DEETOO_SECRET", "/sms.send", `href="`+l[1]+`" aria-current="page"`)
	}
}

// TestMoreSettings changes those that have no field of their own.
func TestMoreSettings(t *testing.T) {
	s := newSite(t)
	s.register("email", `"concurrency":4,"answers":[{"status":"409","then":"done"}],"outage":{}`)
	b := s.browse(s.token("admin"))
	page := b.get("/ui/types/email/settings")
	page.wants(t, 200, "&#34;answers&#34;", "&#34;409&#34;", "&#34;outage&#34;")
	b.get("/ui/types/email").wants(t, 200, "What answers mean", "status 409", "<dd>done</dd>")
	form := func(more string) url.Values {
		v := url.Values{"csrf": {b.csrf()}, "more": {more}, "version": {regexp.MustCompile(`name="version" value="(\d+)"`).FindStringSubmatch(b.get("/ui/types/email/settings").body)[1]}}
		for name, value := range map[string]string{"target": "http://127.0.0.1:9000/email?…", "concurrency": "4", "timeout": "30s", "retry.max_attempts": "12", "retry.min_backoff": "1s", "retry.max_backoff": "1h", "retention.count": "10", "retention.age": "1h"} {
			v.Set(name, value)
		}
		return v
	}
	b.submit("/ui/types/email/settings", form(`{"answers":[{"status":"409","then":"explode"}]}`)).wants(t, 422, "Answers[0].then must be", `id="e-more"`)
	b.submit("/ui/types/email/settings", form(`{"paused":true}`)).wants(t, 422, "which is not one of")
	b.submit("/ui/types/email/settings", form(`[`)).wants(t, 422, `id="e-more"`)
	done(t, b, b.submit("/ui/types/email/settings", form(`{"answers":[{"status":"404","then":"dead"}],"rate":{"limit":7}}`)), "/ui/types/email", "Settings saved")
	typ, err := s.in.Type(t.Context(), auth.System(), "email")
	must(t, err)
	if len(typ.Answers) != 1 || typ.Answers[0].Then != "dead" || typ.Rate.Limit != 7 || typ.Outage != nil {
		t.Errorf("the type is %+v", typ)
	}
}
