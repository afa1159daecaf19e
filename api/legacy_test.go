package api

import (
	"testing"
)

func TestDeetooClientsAreUnderstood(t *testing.T) {
	w := newWorld(t).email()
	for i, c := range []call{
		{method: "POST", path: "/api/v1/email", body: `{"jobData":{"title":"Mail to Leia","to":"leia"},"id":"a"}`},
		{method: "POST", path: "/api/v2/email", body: `{"jobData":{"title":"Mail to Leia","to":"leia"},"id":"a","when":1}`},
		{method: "POST", path: "/api/v1/email/a", body: `{"jobData":{"title":"Mail to Leia","to":"leia"}}`},
		{method: "PUT", path: "/api/v1/email/a", body: `{"jobData":{"title":"Mail to Leia","to":"leia"},"when":null}`},
		{method: "POST", path: "/api/v2/email/a", body: `{"jobData":{"title":"Mail to Leia","to":"leia"},"id":"a","when":"1893456000000"}`},
	} {
		a := w.do(c).want(200)
		if string(a.Body) != "OK" || a.Header.Get("Content-Type") != "text/plain; charset=utf-8" {
			t.Errorf("%d: %s (%s)", i, a.Body, a.Header.Get("Content-Type"))
		}
		m := w.get(emailJobs + "/a").want(200).object()
		if m["title"] != "Mail to Leia" || m["data"].(map[string]any)["to"] != "leia" {
			t.Errorf("%d: %v", i, m)
		}
		if (i == 4) != (m["state"] == "scheduled") {
			t.Errorf("%d: %v", i, m)
		}
	}
	json := map[string]string{"Accept": "application/json"}
	if m := w.do(call{method: "POST", path: "/api/v2/email", body: `{"jobData":1,"id":42}`, header: json}).want(200).object(); m["ok"] != true || m["id"] != "42" {
		t.Errorf("%v", m)
	}
	if m := w.do(call{method: "POST", path: "/api/v2/email", body: `[{"jobData":1,"id":1},{"jobData":2}]`, header: json}).want(200).object(); len(m["ids"].([]any)) != 2 || m["ids"].([]any)[0] != "1" {
		t.Errorf("%v", m)
	}
	// deetoo's paths may end in a slash.
	w.do(call{method: "POST", path: "/api/v2/email/", body: `{"jobData":1}`}).want(200)
	for _, path := range []string{"/api/v1/email/a", "/api/v2/email/42"} {
		if a := w.delete(path).want(200); string(a.Body) != "OK" {
			t.Errorf("%s", a.Body)
		}
	}
	if m := w.get(emailJobs + "/a").object(); m["state"] != "cancelled" {
		t.Errorf("%v", m)
	}
}

func TestDeetooBatchIsAllOrNothing(t *testing.T) {
	w := newWorld(t).email()
	for body, field := range map[string]string{
		`[{"jobData":1},{"jobdata":2}]`:               "[1].jobdata",
		`[{"jobData":1},{"jobData":2,"id":"a b"}]`:    "[1].id",
		`[{"jobData":1},{"jobData":2,"when":"soon"}]`: "[1].when",
		`[{"jobData":1},{"id":"x"}]`:                  "[1].jobData",
		`[{"jobData":1},{"jobData":2,"id":1.5}]`:      "[1].id",
		`[{"jobData":1},{"jobData":2,"id":{}}]`:       "[1].id",
		`[{"jobData":1},7]`:                           "[1]",
		`[{"jobData":1},`:                             "",
		`[]`:                                          "",
		`{"data":1}`:                                  "data",
	} {
		if p := w.post("/api/v2/email", body).wantProblem(400, "invalid"); p.Field != field {
			t.Errorf("%s: field %q, want %q", body, p.Field, field)
		}
	}
	if n := w.stored(); n != 0 {
		t.Errorf("%d jobs are stored", n)
	}
	if p := w.post("/api/v2/email/a", `{"jobData":1,"id":"b"}`).wantProblem(400, "invalid"); p.Field != "id" {
		t.Errorf("field %q", p.Field)
	}
}
