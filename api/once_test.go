package api

import (
	"strings"
	"testing"

	"github.com/deetoo/deetoo/auth"
	"github.com/deetoo/deetoo/queue"
)

// keyed is a push under an idempotency key.
func (w *world) keyed(method, path, key, media, body string) *answer {
	w.Helper()
	return w.do(call{method: method, path: path, body: body, media: media, header: map[string]string{"Idempotency-Key": key}})
}

func TestKeyMakesEveryPushHappenOnce(t *testing.T) {
	w := newWorld(t).email()
	for name, c := range map[string]struct{ method, path, media, body, other string }{
		"one":           {"POST", emailJobs, mediaJSON, `{"data":1}`, `{"data":2}`},
		"array":         {"POST", emailJobs, mediaJSON, `[{"data":1},{"data":2}]`, `[{"data":1}]`},
		"ndjson":        {"POST", emailJobs, mediaNDJSON, "{\"data\":1}\n{\"data\":2}", "{\"data\":1}\n{\"data\":3}"},
		"put":           {"PUT", emailJobs + "/put", mediaJSON, `{"data":1}`, `{"data":2}`},
		"deetoo v1":     {"POST", "/api/v1/email", mediaJSON, `{"jobData":1}`, `{"jobData":2}`},
		"deetoo v1 id":  {"POST", "/api/v1/email/one", mediaJSON, `{"jobData":1}`, `{"jobData":2}`},
		"deetoo v1 put": {"PUT", "/api/v1/email/two", mediaJSON, `{"jobData":1}`, `{"jobData":2}`},
		"deetoo v2":     {"POST", "/api/v2/email", mediaJSON, `[{"jobData":1},{"jobData":2}]`, `[{"jobData":2}]`},
		"deetoo v2 id":  {"POST", "/api/v2/email/three", mediaJSON, `{"jobData":1}`, `{"jobData":2}`},
	} {
		t.Run(name, func(t *testing.T) {
			before := w.stored()
			key := strings.ReplaceAll(name, " ", "-")
			first := w.keyed(c.method, c.path, key, c.media, c.body)
			stored := w.stored()
			if first.Status >= 300 || first.Header.Get("Idempotent-Replayed") != "" || stored == before {
				t.Fatalf("%d, %v, %d of %d stored: %s", first.Status, first.Header, stored, before, first.Body)
			}
			again := w.keyed(c.method, c.path, key, c.media, c.body).want(first.Status)
			if again.Header.Get("Idempotent-Replayed") != "true" || string(again.Body) != string(first.Body) || again.Header.Get("Location") != first.Header.Get("Location") {
				t.Errorf("%v: %s, first %s", again.Header, again.Body, first.Body)
			}
			w.keyed(c.method, c.path, key, c.media, c.other).wantProblem(422, "idempotency-key-reused")
			if n := w.stored(); n != stored {
				t.Errorf("%d jobs, after the first push %d", n, stored)
			}
		})
	}
}

func TestReplayOutlivesItsJobs(t *testing.T) {
	w := newWorld(t).email()
	first := w.keyed("POST", emailJobs, "k", "", `{"data":1}`).want(201)
	var r struct{ ID string }
	first.into(&r)
	w.settle(w.claim(r.ID), queue.Done, "succeeded", "", nil)
	if err := w.queue.Remove(t.Context(), "email", r.ID); err != nil {
		t.Fatal(err)
	}
	if again := w.keyed("POST", emailJobs, "k", "", `{"data":1}`).want(201); string(again.Body) != string(first.Body) || w.stored() != 0 {
		t.Errorf("%s, first %s", again.Body, first.Body)
	}
}

func TestRejectedItemsAreReplayedToo(t *testing.T) {
	w := newWorld(t).email()
	w.put(emailJobs+"/busy", `{"data":0}`).want(201)
	lease := w.claim("busy")
	body := "{\"date\":1}\n{\"data\":1}\n{\"data\":2,\"timeout\":\"1ms\"}\n{\"data\":3,\"id\":\"busy\"}\n{\"data\":\"" + strings.Repeat("x", 1<<20) + "\"}"
	push := func() *answer {
		return w.do(call{method: "POST", path: emailJobs, body: body, media: mediaNDJSON, odd: true, header: map[string]string{"Idempotency-Key": "k"}}).want(207)
	}
	first := push()
	w.settle(lease, queue.Done, "succeeded", "", nil) // "busy" could be replaced now
	again := push()
	if string(again.Body) != string(first.Body) || again.Header.Get("Idempotent-Replayed") != "true" || w.stored() != 1 {
		t.Errorf("%s\nfirst %s\n%d stored", again.Body, first.Body, w.stored())
	}
	var b batch
	again.into(&b)
	if b.Accepted != 1 || b.Results[1].ID == "" || b.Results[4].Error.Status != 413 {
		t.Errorf("%+v", b)
	}
}

func TestKeyIsTheCallersAndThePaths(t *testing.T) {
	w := newWorld(t).email()
	w.put("/v1/types/other", `{"target":"https://example.org/other"}`).want(201)
	seen := map[string]bool{}
	note := func(a *answer) {
		t.Helper()
		a.want(201)
		if a.Header.Get("Idempotent-Replayed") != "" || seen[string(a.Body)] {
			t.Errorf("%v %s is a replay", a.Header, a.Body)
		}
		seen[string(a.Body)] = true
	}
	push := func(path, key, token string) *answer {
		return w.do(call{method: "POST", path: path, body: `{"data":1}`, token: token, header: map[string]string{"Idempotency-Key": key}})
	}
	note(push(emailJobs, "k", ""))
	note(push("/v1/types/other/jobs", "k", ""))
	note(push(emailJobs, "l", ""))
	other, err := auth.Mint(secret, auth.MintOptions{Subject: "somebody else", Scopes: []auth.Scope{auth.Admin}, TTL: 1e11, Audience: "deetoo"})
	if err != nil {
		t.Fatal(err)
	}
	note(push(emailJobs, "k", other))
	// As the draft writes it, in quotes, it is the same key.
	if a := push(emailJobs, `"k"`, "").want(201); a.Header.Get("Idempotent-Replayed") != "true" {
		t.Errorf("%v %s", a.Header, a.Body)
	}
}

func TestBadKeysAreRefused(t *testing.T) {
	w := newWorld(t).email()
	for _, key := range []string{"", `""`, `"`, `"a`, `"a"b"`, `"a\b"`, strings.Repeat("k", 256), "schlüssel", "a\tb"} {
		a := w.do(call{method: "POST", path: emailJobs, body: `{"data":1}`, odd: true, header: map[string]string{"Idempotency-Key": key}})
		if p := a.wantProblem(400, "invalid"); p.Field != "Idempotency-Key" {
			t.Errorf("%q: %+v", key, p)
		}
	}
	if n := w.stored(); n != 0 {
		t.Errorf("%d jobs are stored", n)
	}
	// What stores nothing uses up no key.
	w.do(call{method: "POST", path: emailJobs, body: `{"date":1}`, odd: true, header: map[string]string{"Idempotency-Key": "k"}}).want(400)
	w.keyed("POST", emailJobs, "k", "", `{"data":1}`).want(201)
	w.keyed("POST", emailJobs, strings.Repeat("k", 255), "", `{"data":1}`).want(201)
	w.keyed("POST", emailJobs, `"a \"b\" \\ c"`, "", `{"data":1}`).want(201)
}
