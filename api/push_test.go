package api

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/deetoo/deetoo/auth"
	"github.com/deetoo/deetoo/intake"
	"github.com/deetoo/deetoo/queue"
)

// batch is the answer to a batch, as clients may read it.
type batch struct {
	Accepted, Rejected int
	Results            []struct {
		ID, State string
		RunAt     time.Time `json:"run_at"`
		Replaced  bool
		Error     *problem
	}
}

func (w *world) pushBatch(media, body string) (batch, *answer) {
	w.Helper()
	a := w.do(call{method: "POST", path: emailJobs, body: body, media: media})
	var b batch
	if a.Status < 300 {
		a.into(&b)
		if b.Accepted+b.Rejected != len(b.Results) {
			w.Errorf("the counts do not add up: %s", a.Body)
		}
	}
	return b, a
}

// stored counts the jobs of type email.
func (w *world) stored() int {
	w.Helper()
	s, err := w.queue.Stats(w.Context(), "email")
	if err != nil {
		w.Fatal(err)
	}
	return s.Waiting + s.Scheduled
}

func TestBatchAnswersForEachJobInOrder(t *testing.T) {
	items := []string{
		`{"id":"a","data":1}`, `{"data":2,"colour":"red"}`, `{"id":"c","data":3,"delay":"1h"}`, `{"data":4,"priority":"urgent"}`, `5`, `{"id":"busy","data":6}`,
	}
	for media, body := range map[string]string{mediaJSON: "[" + strings.Join(items, ",") + "]", mediaNDJSON: strings.Join(items, "\n\n") + "\r\n", "application/jsonl": strings.Join(items, "\n")} {
		t.Run(media, func(t *testing.T) {
			w := newWorld(t).email()
			w.put(emailJobs+"/busy", `{"data":0}`).want(201)
			w.claim("busy")
			a := w.do(call{method: "POST", path: emailJobs, body: body, media: media, odd: true}).want(207)
			var b batch
			a.into(&b)
			if b.Accepted != 2 || b.Rejected != 4 || len(b.Results) != 6 {
				t.Fatalf("%s", a.Body)
			}
			if r := b.Results[0]; r.ID != "a" || r.State != "waiting" || r.Error != nil {
				t.Errorf("%+v", r)
			}
			if r := b.Results[2]; r.ID != "c" || r.State != "scheduled" || time.Until(r.RunAt) < 59*time.Minute {
				t.Errorf("%+v", r)
			}
			for i, want := range map[int]string{1: "colour", 3: "priority", 4: ""} {
				if p := b.Results[i].Error; p == nil || p.Field != want || p.Status != 400 {
					t.Errorf("item %d: %+v", i, p)
				}
			}
			if p := b.Results[5].Error; p == nil || p.Type != "/docs/errors#job-running" {
				t.Errorf("%+v", p)
			}
			if n := w.stored(); n != 2 {
				t.Errorf("%d jobs are stored", n)
			}
		})
	}
}

func TestMalformedBatchStoresNothing(t *testing.T) {
	w := newWorld(t).email()
	good := `{"data":1}`
	for _, c := range []struct{ media, body, field string }{
		{mediaJSON, "[" + good + "," + good, ""},
		{mediaJSON, "[" + good + "," + good + "]]", ""},
		{mediaJSON, "[" + good + `,{"data":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + "}]", ""},
		{mediaJSON, "[]", ""},
		{mediaJSON, "[" + good + `,{"data":"\ud800"}]`, "[1].data"},
		{mediaNDJSON, good + "\n{\"data\":\n", "[1]"},
		{mediaNDJSON, good + "\n" + good + good + "\n", "[1]"},
		{mediaNDJSON, good + "\n{\n\"data\": 1\n}", "[1]"},
		{mediaNDJSON, "\n \n", ""},
		{mediaNDJSON, "[" + good + "]\n" + "\x00", "[1]"},
	} {
		_, a := w.pushBatch(c.media, c.body)
		if p := a.wantProblem(400, "invalid"); c.field != "" && !strings.HasPrefix(p.Field, c.field) {
			t.Errorf("%.60q: field %q", c.body, p.Field)
		}
	}
	if n := w.stored(); n != 0 {
		t.Errorf("%d jobs are stored", n)
	}
}

func TestBatchOfThousands(t *testing.T) {
	w := newWorld(t).email()
	var b strings.Builder
	for i := range 10_000 {
		fmt.Fprintf(&b, "{\"data\":%d}\n", i)
	}
	got, a := w.pushBatch(mediaNDJSON, b.String())
	a.want(201)
	if got.Accepted != 10_000 || w.stored() != 10_000 {
		t.Errorf("accepted %d, stored %d", got.Accepted, w.stored())
	}
	a = w.do(call{method: "POST", path: emailJobs, body: b.String() + `{"data":0}`, media: mediaNDJSON})
	if p := a.wantProblem(400, "invalid"); !strings.Contains(p.Rule, "10000") {
		t.Errorf("rule %q", p.Rule)
	}
}

func TestOneJobTooLarge(t *testing.T) {
	w := newWorldOn(t, inProcess(t), true, intake.Options{MaxJobSize: 1000}).email()
	large := `{"data":"` + strings.Repeat("x", 999) + `"}` // with its quotes 1,001 bytes
	if p := w.post(emailJobs, large).wantProblem(413, "too-large"); p.Field != "data" || p.Rule != "must be at most 1000 bytes" {
		t.Errorf("%+v", p)
	}
	w.post(emailJobs, strings.Replace(large, "xx", "x", 1)).want(201)
	w.put(emailJobs+"/j", large).wantProblem(413, "too-large")
	if p := w.post("/api/v2/email", `[{"jobData":1},`+strings.Replace(large, "data", "jobData", 1)+"]").wantProblem(413, "too-large"); p.Field != "[1].data" {
		t.Errorf("field %q", p.Field)
	}
	got, a := w.pushBatch(mediaJSON, "["+large+`,{"data":1}]`)
	a.want(207)
	if got.Results[0].Error == nil || got.Results[0].Error.Status != 413 || got.Accepted != 1 {
		t.Errorf("%s", a.Body)
	}
	if n := w.stored(); n != 2 {
		t.Errorf("%d jobs are stored", n)
	}
}

func TestBadJobsNameTheField(t *testing.T) {
	w := newWorld(t).email()
	for body, field := range map[string]string{
		`{}`: "data", `null`: "", `"x"`: "", `1`: "", ``: "", `{"data":1`: "", `{"data":1}}`: "", `{"data":01}`: "", "\xef\xbb\xbf{}": "",
		`{"data":1,"data":2}`:                                   "data",
		`{"data":1,"pritority":"high"}`:                         "pritority",
		`{"data":1,"priority":1}`:                               "priority",
		`{"data":1,"priority":"urgent"}`:                        "priority",
		`{"data":1,"id":7}`:                                     "id",
		`{"data":1,"id":""}`:                                    "id",
		`{"data":1,"id":"a b"}`:                                 "id",
		`{"data":1,"id":".."}`:                                  "id",
		`{"data":1,"id":"\u0000"}`:                              "id",
		`{"data":1,"id":"é"}`:                                   "id",
		`{"data":1,"id":"` + strings.Repeat("x", 10<<10) + `"}`: "id",
		`{"data":"\ud800"}`:                                     "data",
		"{\"data\":\"\xff\"}":                                   "data",
		"{\"data\":\"\x00\"}":                                   "",
		`{"data":1,"title":"a\u0000b"}`:                         "title",
		`{"data":1,"title":"` + strings.Repeat("x", 257) + `"}`: "title",
		`{"data":1,"when":"tomorrow"}`:                          "when",
		`{"data":1,"when":-1}`:                                  "when",
		`{"data":1,"when":1e400}`:                               "when",
		`{"data":1,"when":9007199254740993}`:                    "when",
		`{"data":1,"when":"9999-12-31T23:59:59Z"}`:              "when",
		`{"data":1,"when":"0001-01-01T00:00:00Z"}`:              "when",
		`{"data":1,"when":"2030-02-30T00:00:00Z"}`:              "when",
		`{"data":1,"when":true}`:                                "when",
		`{"data":1,"when":{}}`:                                  "when",
		`{"data":1,"delay":"-1s"}`:                              "delay",
		`{"data":1,"delay":60}`:                                 "delay",
		`{"data":1,"delay":"1 hour"}`:                           "delay",
		`{"data":1,"delay":"999999h"}`:                          "delay",
		`{"data":1,"delay":"99999999999999h"}`:                  "delay",
		`{"data":1,"delay":"1s","when":1}`:                      "delay",
		`{"data":1,"max_attempts":0}`:                           "max_attempts",
		`{"data":1,"max_attempts":-1}`:                          "max_attempts",
		`{"data":1,"max_attempts":101}`:                         "max_attempts",
		`{"data":1,"max_attempts":1.5}`:                         "max_attempts",
		`{"data":1,"max_attempts":99999999999999999999}`:        "max_attempts",
		`{"data":1,"timeout":"0s"}`:                             "timeout",
		`{"data":1,"timeout":"25h"}`:                            "timeout",
		`{"data":` + strings.Repeat("[", 10_000):                "*",
		`{"data":` + strings.Repeat(`{"a":`, 10_000):            "*",
	} {
		p := w.do(call{method: "POST", path: emailJobs, body: body, media: mediaJSON}).wantProblem(400, "invalid")
		if p.Field != field && field != "*" || p.Rule == "" || len(p.Detail) > 2000 {
			t.Errorf("%.80q: field %q, rule %q; want %q", body, p.Field, p.Rule, field)
		}
	}
	if n := w.stored(); n != 0 {
		t.Errorf("%d jobs are stored", n)
	}
}

func TestWhatCurlSendsIsTakenForJSON(t *testing.T) {
	w := newWorld(t).email()
	for _, media := range []string{mediaForm, "-", "application/json; charset=UTF-8", "Application/JSON"} {
		w.do(call{method: "POST", path: emailJobs, body: `{"data":1}`, media: media, odd: true}).want(201)
	}
}

func TestJobKeepsNothingOfTheRequestsBuffers(t *testing.T) {
	w := newWorld(t).email()
	body := []byte(`[{"id":"first","data":{"name":"leia"},"title":"Leia","traceparent":"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}]`)
	items, err := intake.DecodeBatch("email", body, false, 10, intake.DecodeJob)
	if err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("%+v", items)
	for i := range body {
		body[i] = '#'
	}
	if got := fmt.Sprintf("%+v", items); got != want {
		t.Errorf("it changed: %s", got)
	}
	// Many requests over the same buffers, each job as it was sent.
	for i := range 50 {
		id := fmt.Sprintf("job-%02d-%s", i, strings.Repeat("x", i))
		w.put(emailJobs+"/"+id, fmt.Sprintf(`{"data":{"n":%d}}`, i)).want(201)
	}
	for i := range 50 {
		id := fmt.Sprintf("job-%02d-%s", i, strings.Repeat("x", i))
		if m := w.get(emailJobs + "/" + id).want(200).object(); m["data"].(map[string]any)["n"] != float64(i) {
			t.Errorf("%s: %v", id, m)
		}
	}
}

func TestTraceparentIsPassedOn(t *testing.T) {
	w := newWorld(t).email()
	const ours, theirs = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "00-00000000000000000000000000000001-0000000000000001-00"
	for i, c := range []struct{ header, field, want string }{{ours, "", ours}, {ours, theirs, theirs}, {"nonsense", "", ""}, {strings.Repeat("0", 300), "", ""}} {
		id, field := fmt.Sprintf("j%d", i), ""
		if c.field != "" {
			field = `,"traceparent":"` + c.field + `"`
		}
		w.do(call{method: "PUT", path: emailJobs + "/" + id, body: `{"data":1` + field + `}`, header: map[string]string{"Traceparent": c.header}}).want(201)
		lease := w.claim(id)
		if lease.Traceparent != c.want {
			t.Errorf("header %.60q, field %q: %q", c.header, c.field, lease.Traceparent)
		}
		w.settle(lease, queue.Done, "succeeded", "", nil)
	}
}

func TestRightsComeBeforeTheBody(t *testing.T) {
	w := newWorld(t).email()
	limited := token(t, auth.MintOptions{JobTypes: []string{"shop.*"}})
	for _, path := range []string{emailJobs, "/api/v1/email", "/api/v2/email/x"} {
		w.do(call{method: "POST", path: path, body: `{`, token: limited, odd: true}).wantProblem(403, "type-out-of-reach")
	}
}
