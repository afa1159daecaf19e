package api

import (
	"strings"
	"testing"
)

func TestRotateSecrets(t *testing.T) {
	w := newWorld(t)
	first := w.put("/v1/types/email", `{"target":"https://example.org/"}`).want(201).object()
	ids := func() (out []string) {
		for _, s := range w.get("/v1/types/email").want(200).object()["signing_secrets"].([]any) {
			out = append(out, s.(map[string]any)["id"].(string))
		}
		return out
	}
	old := ids()[0]
	a := w.post("/v1/types/email/secrets", `{"kind":"ed25519","expires_in":"1h"}`).want(201)
	m := a.object()
	if m["kind"] != "ed25519" || !strings.HasPrefix(m["secret"].(string), "whsk_") || !strings.HasPrefix(m["public_key"].(string), "whpk_") || a.Header.Get("ETag") == "" {
		t.Errorf("%v", m)
	}
	if got := ids(); len(got) != 2 || got[0] != m["id"] || got[1] != old {
		t.Errorf("%v", got)
	}
	shown := w.get("/v1/types/email").want(200)
	listed := shown.object()["signing_secrets"].([]any)
	if listed[0].(map[string]any)["public_key"] != m["public_key"] || listed[0].(map[string]any)["expires_at"] != nil || listed[1].(map[string]any)["expires_at"] == nil {
		t.Errorf("%v", listed)
	}
	for _, secret := range []any{first["secret"], m["secret"]} {
		if strings.Contains(string(shown.Body), secret.(string)) || strings.Contains(w.log.String(), secret.(string)) {
			t.Error("a secret is shown again, or logged")
		}
	}
	// What was read can be sent back, and changes nothing.
	w.put("/v1/types/email", string(shown.Body)).want(200)
	if got := ids(); len(got) != 2 {
		t.Errorf("%v", got)
	}
	// A given one is not echoed; nothing at all makes one.
	own := "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
	if a := w.post("/v1/types/email/secrets", `{"secret":"`+own+`"}`).want(201); strings.Contains(string(a.Body), own) || a.object()["secret"] != nil {
		t.Errorf("%s", a.Body)
	}
	if m := w.post("/v1/types/email/secrets", "").want(201).object(); m["kind"] != "hmac" || !strings.HasPrefix(m["secret"].(string), "whsec_") {
		t.Errorf("%v", m)
	}
	newest := ids()[0]
	w.delete("/v1/types/email/secrets/" + old).want(204)
	w.delete("/v1/types/email/secrets/"+old).wantProblem(404, "unknown-secret")
	if p := w.delete("/v1/types/email/secrets/"+newest).wantProblem(400, "invalid"); p.Field != "id" {
		t.Errorf("%+v", p)
	}
	for body, field := range map[string]string{
		`{"kind":"rsa"}`: "kind", `{"secret":"hunter2"}`: "secret", `{"expires_in":"-1s"}`: "expires_in", `{"expires":"1h"}`: "expires", `{"expires_in":"soon"}`: "expires_in",
	} {
		a := w.do(call{method: "POST", path: "/v1/types/email/secrets", body: body, odd: true})
		if p := a.wantProblem(400, "invalid"); p.Field != field || strings.Contains(string(a.Body), "hunter2") {
			t.Errorf("%s: %+v", body, p)
		}
	}
}

func TestReencrypt(t *testing.T) {
	w := newWorld(t).email()
	if m := w.post("/v1/types/email/secrets/reencrypt", "").want(200).object(); m["changed"] != false {
		t.Errorf("%v", m)
	}
	w.do(call{method: "POST", path: "/v1/types/email/secrets/reencrypt", body: `{"key":"x"}`, odd: true}).wantProblem(400, "invalid")
	w.post("/v1/types/other/secrets/reencrypt", "").wantProblem(404, "unknown-type")
}
