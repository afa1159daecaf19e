package ui

import (
	"html"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/deetoo/deetoo/auth"
	"github.com/deetoo/deetoo/queue"
)

// done checks that an action led to a page, and that this tells of it.
func done(t *testing.T, b *browser, r response, to, flash string) {
	t.Helper()
	if r.status != 303 || !strings.HasPrefix(r.header.Get("Location"), to) {
		t.Fatalf("status %d to %q, want 303 to %q: %s", r.status, r.header.Get("Location"), to, visible(r.body))
	}
	b.get(r.header.Get("Location")).wants(t, 200, flash)
	b.get("/ui").wants(t, 200, "!"+flash)
}

func TestPauseAndResume(t *testing.T) {
	s := newSite(t)
	s.register("email", "")
	b := s.browse(s.token("admin"))
	done(t, b, b.act("/ui/types/email/pause"), "/ui/types/email", "Paused.")
	st, err := s.in.Stats(t.Context(), auth.System(), "email")
	must(t, err)
	if !st.Paused {
		t.Error("the queue is not paused")
	}
	b.get("/ui/types/email").wants(t, 200, "Paused by leia", "/resume", "!/pause\"")
	done(t, b, b.act("/ui/types/email/resume"), "/ui/types/email", "Resumed.")
	if st, err = s.in.Stats(t.Context(), auth.System(), "email"); err != nil || st.Paused {
		t.Errorf("still paused: %v", err)
	}
	b.act("/ui/types/nothing/pause").wants(t, 404, "No such type")
}

func TestJobActions(t *testing.T) {
	s := newSite(t)
	s.register("email", "")
	b := s.browse(s.token("admin"))
	act := func(verb, id string) response { return b.act("/ui/types/email/job/"+verb, "id", id) }
	want := func(id string, state queue.State) {
		t.Helper()
		if got := s.state("email", id); got != state {
			t.Errorf("job %s is %s, want %s", id, got, state)
		}
	}
	s.push(queue.Job{Type: "email", ID: "later", Delay: time.Hour})
	done(t, b, act("promote", "later"), "/ui/types/email/job?id=later", "It is due now.")
	want("later", queue.Waiting)
	done(t, b, act("cancel", "later"), "/ui/types/email/job?id=later", "Cancelled.")
	want("later", queue.Cancelled)
	act("promote", "later").wants(t, 409, "The job has moved on")
	done(t, b, act("retry", "later"), "/ui/types/email/job?id=later", "It waits to run again.")
	want("later", queue.Waiting)
	s.settle("email", queue.Bury, queue.Attempt{Outcome: "dead", Error: "gone for good"}, "")
	b.get("/ui/types/email/job?id=later").wants(t, 200, "It is dead after its first attempt, since ", "UTC: gone for good.", ">Retry<")
	act("cancel", "later").wants(t, 409, "Cannot cancel job later: it is dead")
	done(t, b, act("remove", "later"), "/ui/types/email", "The job was removed.")
	want("later", "none")
	act("retry", "later").wants(t, 404, "No such job")

	s.push(queue.Job{Type: "email", ID: "running"})
	s.claim("email")
	done(t, b, act("cancel", "running"), "/ui/types/email/job?id=running", "the attempt under way is being aborted")
	b.get("/ui/types/email/job?id=running").wants(t, 200, "It is being cancelled", "!/job/cancel")
	act("remove", "running").wants(t, 409, "The job is running")
}

func TestRedriveAndPurge(t *testing.T) {
	s := newSite(t)
	s.register("email", "")
	b := s.browse(s.token("admin"))
	b.get("/ui/types/email/redrive").wants(t, 200, "No dead jobs")
	for _, id := range []string{"a", "b"} {
		s.push(queue.Job{Type: "email", ID: id})
		s.settle("email", queue.Bury, queue.Attempt{Outcome: "dead"}, "")
	}
	b.get("/ui/types/email?state=dead").wants(t, 200, "Retry all dead", "Delete all dead")
	b.get("/ui/types/email/redrive").wants(t, 200, "Retry 2 dead jobs of email?")
	done(t, b, b.act("/ui/types/email/redrive"), "/ui/types/email", "2 dead jobs wait again.")
	if s.state("email", "a") != queue.Waiting {
		t.Error("a does not wait")
	}
	s.settle("email", queue.Bury, queue.Attempt{Outcome: "dead"}, "")
	b.get("/ui/types/email/purge").wants(t, 200, "Delete 1 dead job of email?", "gone for good")
	done(t, b, b.act("/ui/types/email/purge"), "/ui/types/email", "1 dead job deleted.")
	if a, c := s.state("email", "a"), s.state("email", "b"); a != "none" || c != queue.Waiting {
		t.Errorf("a is %s, b is %s", a, c)
	}
}

func TestEnqueue(t *testing.T) {
	s := newSite(t)
	s.register("email", "")
	b := s.browse(s.token("admin"))
	const path = "/ui/types/email/enqueue"
	b.get(path).wants(t, 200, "1,048,576 bytes", "<option selected>normal</option>")
	done(t, b, b.act(path, "data", "{\r\n  \"to\": \"leia\"\r\n}", "id", "mine", "title", "To Leia", "delay", "10m", "priority", "critical"), "/ui/types/email/job?id=mine", "Enqueued.")
	j, err := s.in.Job(t.Context(), auth.System(), "email", "mine")
	must(t, err)
	if string(j.Data) != "{\n  \"to\": \"leia\"\n}" || j.Title != "To Leia" || j.Priority != queue.Critical || j.State != queue.Scheduled || time.Until(j.RunAt) < 9*time.Minute {
		t.Errorf("got %+v with data %q", j, j.Data)
	}
	done(t, b, b.act(path, "data", "1", "id", "mine"), "/ui/types/email/job?id=mine", "was replaced")

	b.act(path, "data", `{"to":`, "id", "has space", "delay", "soon", "priority", "urgent", "title", `"><script>`).
		wants(t, 422, `id="e-data"`, `id="e-id"`, "Must be printable ASCII", `id="e-delay"`, "Must be a duration", "Must be one of the list", "{&#34;to&#34;:", "!<script>alert", `value="soon"`, `value="&#34;&gt;&lt;script&gt;"`)
	b.act(path, "data", "").wants(t, 422, "Is required")
	b.act(path, "data", "1", "delay", "-5s").wants(t, 422, `id="e-delay"`, "Must not be negative")
	b.act(path, "data", "1", "title", strings.Repeat("x", 300)).wants(t, 422, `id="e-title"`)
	b.act(path, "data", `"`+strings.Repeat("x", 1<<20)+`"`).wants(t, 422, `id="e-data"`, "Must be at most 1048576 bytes")
	s.claim("email")
	b.act(path, "data", "2", "id", "mine").wants(t, 409, `id="e-id"`, "is running")
	b.act("/ui/types/none/enqueue", "data", "1").wants(t, 404, "No such type")
}

func TestRegister(t *testing.T) {
	s := newSite(t)
	b := s.browse(s.token("admin"))
	b.get("/ui/new-type").wants(t, 200, `name="target"`, `value="30s"`, `value="12"`, "checked")
	r := b.act("/ui/new-type", "name", "email", "target", "http://127.0.0.1:9000/email", "concurrency", "12", "timeout", "45s", "retry.max_attempts", "3",
		"retention.count", "1,000", "headers", "X-Team: rebels\r\nX-Key: a:b", "description", "Mails")
	r.wants(t, 200, "It is shown this once", "whsec_")
	secret := regexp.MustCompile(`whsec_[A-Za-z0-9+/=&#;]+`).FindString(r.body)
	got, err := s.in.Type(t.Context(), auth.System(), "email")
	must(t, err)
	if got.Concurrency != 12 || got.Timeout != 45*time.Second || got.Retry.MaxAttempts != 3 || !got.Retry.NoJitter || got.Headers["X-Key"] != "a:b" || got.Description != "Mails" || got.Retention.Age != 24*time.Hour {
		t.Errorf("got %+v", got.View())
	}
	if strings.ReplaceAll(secret, "&#43;", "+") != got.Secrets[0].Value {
		t.Error("another secret was shown than is stored")
	}
	b.get("/ui/types/email").wants(t, 200, "!"+secret, "!"+got.Secrets[0].Value)
	if strings.Contains(s.log.String(), got.Secrets[0].Value) {
		t.Error("the secret is in the log")
	}
	b.act("/ui/new-type", "name", "email", "target", "http://127.0.0.1:9000/").wants(t, 409, `id="e-name"`, "Is taken")
	b.act("/ui/new-type", "name", "bad name", "target", "ftp://x", "concurrency", "0", "timeout", "1h1", "retry.max_attempts", "many", "headers", "nonsense", "secret", "hunter2").
		wants(t, 422, `id="e-name"`, `id="e-timeout"`, `id="e-retry.max_attempts"`, `id="e-headers"`, `id="e-secret"`, "!hunter2", `value="ftp://x"`)
	b.act("/ui/new-type", "name", "bad name", "target", "ftp://x", "concurrency", "0", "headers", "Host: evil").
		wants(t, 422, `id="e-name"`, `id="e-target"`, "absolute http or https", `id="e-concurrency"`, "Must be 1 to 10,000", `id="e-headers"`, "Host is set by the dispatcher")
	own := "whsec_" + strings.Repeat("QUFB", 10)
	done(t, b, b.act("/ui/new-type", "name", "own", "target", "http://127.0.0.1:9000/", "secret", own), "/ui/types/own", "Registered.")
}

// What the form does not show stays as it is.
func TestSettingsNotInTheForm(t *testing.T) {
	s := newSite(t)
	s.register("email", `"concurrency":4,"rate":{"limit":100,"per":"1m0s","burst":7},"groups":{"concurrency":2,"rate":{"limit":5,"per":"1s","burst":3}},
		"outage":{"canary_min":"3s","canary_max":"2m"},"adaptive":{"min":2},"batch":{"size":50,"wait":"700ms","max_bytes":100000},
		"answers":[{"status":"409","then":"done"},{"json":{"field":"error","equals":"closed"},"then":"dead"}],
		"completion":"sync","callback_lease":"2m","max_retry_after":"2h","allow_targets":["https://*.example.org/in/"]`)
	b := s.browse(s.token("admin"))
	const path = "/ui/types/email/settings"
	before, err := s.in.Type(t.Context(), auth.System(), "email")
	must(t, err)
	if before.Rate.Limit == 0 || before.Groups.Rate.Limit == 0 || before.Outage == nil || before.Adaptive == nil || before.Batch.Size == 0 || len(before.Answers) != 2 {
		t.Fatalf("got %+v", before.View())
	}
	form := b.get(path)
	form.wants(t, 200)
	pairs := []string{"version", strconv.FormatInt(before.Version, 10)}
	for _, name := range typeFields() {
		if m := regexp.MustCompile(`name="` + regexp.QuoteMeta(name) + `"[^>]*? value="([^"]*)"`).FindStringSubmatch(form.body); m != nil {
			pairs = append(pairs, name, html.UnescapeString(m[1]))
		}
	}
	pairs = append(pairs, "retry.jitter", "on", "concurrency", "9")
	done(t, b, b.act(path, pairs...), "/ui/types/email", "Settings saved")
	after, err := s.in.Type(t.Context(), auth.System(), "email")
	must(t, err)
	if after.Concurrency != 9 || after.Version == before.Version {
		t.Errorf("nothing was saved: %+v", after.View())
	}
	want, got := *before, *after
	want.Concurrency, want.Version, want.UpdatedAt = got.Concurrency, got.Version, got.UpdatedAt
	if got, want := jsonOf(t, got.View()), jsonOf(t, want.View()); got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
}

func TestSettings(t *testing.T) {
	s := newSite(t)
	s.register("email", `"concurrency":4,"headers":{"X-Team":"rebels","Authorization":"Bearer swordfish"}`)
	b := s.browse(s.token("admin"))
	const path = "/ui/types/email/settings"
	form := b.get(path)
	form.wants(t, 200, "Authorization: [redacted]", "X-Team: rebels", "!swordfish", "!hidden-in-query", `value="http://127.0.0.1:9000/email?…"`)
	before, err := s.in.Type(t.Context(), auth.System(), "email")
	must(t, err)
	version := func() string {
		return regexp.MustCompile(`name="version" value="(\d+)"`).FindStringSubmatch(b.get(path).body)[1]
	}
	first := version()
	same := []string{"target", "http://127.0.0.1:9000/email?…", "concurrency", "7", "timeout", "1m", "retry.jitter", "on", "headers", "authorization: [redacted]\nX-New: 1"}
	done(t, b, b.act(path, append(same, "version", first)...), "/ui/types/email", "Settings saved")
	after, err := s.in.Type(t.Context(), auth.System(), "email")
	must(t, err)
	if after.Target != before.Target || after.Concurrency != 7 || after.Timeout != time.Minute || after.Retry.NoJitter || after.Secrets[0].Value != before.Secrets[0].Value {
		t.Errorf("got %+v", after.View())
	}
	if len(after.Headers) != 2 || after.Headers["authorization"] != "Bearer swordfish" || after.Headers["X-New"] != "1" {
		t.Errorf("headers %v", after.View().Headers)
	}
	b.act(path, append(same, "version", first)...).wants(t, 409, "Somebody changed this type", `name="version" value="`+version()+`"`)
	b.act(path, "version", version(), "target", "nowhere", "concurrency", "-1", "headers", "X-Key: [redacted]").
		wants(t, 422, `id="e-headers"`, "there is none")
	b.act(path, "version", version(), "target", "nowhere", "concurrency", "-1").wants(t, 422, `id="e-target"`, `id="e-concurrency"`)
	b.act(path, "target", "http://127.0.0.1/").wants(t, 403, "An old form")
	fresh := "whsec_" + strings.Repeat("QkJC", 10)
	done(t, b, b.act(path, "version", version(), "target", "http://127.0.0.1:9000/new", "secret", fresh), "/ui/types/email", "Settings saved")
	if after, err = s.in.Type(t.Context(), auth.System(), "email"); err != nil || after.Secrets[0].Value != fresh || after.Target != "http://127.0.0.1:9000/new" || after.Concurrency != 10 {
		t.Errorf("got %+v, %v", after.View(), err)
	}
}
