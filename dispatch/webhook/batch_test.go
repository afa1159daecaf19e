package webhook

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/deetoo/deetoo/dispatch"
	"github.com/deetoo/deetoo/queue"
	"github.com/deetoo/deetoo/registry"
)

func batchType(target string) *registry.Type {
	typ := testType(target)
	typ.Batch = registry.Batch{Size: 10, MaxBytes: 1 << 20}
	typ.Completion = registry.Callback
	return typ
}

func batchLeases(ids ...string) []*queue.Lease {
	var out []*queue.Lease
	for i, id := range ids {
		l := testLease()
		l.ID, l.Token, l.Batch = id, fmt.Sprintf("R-1.%d", i+1), "R-1"
		l.Data, l.EnqueuedAt = json.RawMessage(`{ "to":"`+id+`","html":"<b>&" }`), time.UnixMilli(1772366400123)
		out = append(out, l)
	}
	return out
}

// answering delivers a batch to a handler that answers so, and returns the outcomes.
func answering(t *testing.T, typ *registry.Type, o Options, status int, body string, leases []*queue.Lease) ([]dispatch.Outcome, []received) {
	t.Helper()
	var mu sync.Mutex
	var got []received
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		mu.Lock()
		got = append(got, received{r.Method, r.RequestURI, r.Host, r.Header, string(b)})
		mu.Unlock()
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	})
	typ.Target = s.URL
	o.Types = typeMap{typ.Name: typ}
	outs := newTestDeliverer(t, o).DeliverBatch(context.Background(), leases)
	mu.Lock()
	defer mu.Unlock()
	return outs, got
}

func TestBatchRequest(t *testing.T) {
	typ, leases := batchType(""), batchLeases("a", "b.c")
	leases[1].Attempt, leases[1].MaxAttempts, leases[1].Timeout = 3, 4, time.Hour
	leases[1].Traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	leases[1].RunAt = time.UnixMilli(1772366400999)
	leases[0].Data = nil
	at := time.Now()
	_, all := answering(t, typ, Options{CallbackURL: "http://deetoo.test", Now: func() time.Time { return at }}, 200, "", leases)
	if len(all) != 1 {
		t.Fatalf("%d requests", len(all))
	}
	got := all[0]
	var items []struct {
		ID, Traceparent string
		WebhookID       string `json:"webhook_id"`
		Attempt         int
		MaxAttempts     int             `json:"max_attempts"`
		ScheduledAt     string          `json:"scheduled_at"`
		CallbackURL     string          `json:"callback_url"`
		CallbackToken   string          `json:"callback_token"`
		Data            json.RawMessage `json:"data"`
	}
	if err := json.Unmarshal([]byte(got.body), &items); err != nil || len(items) != 2 {
		t.Fatalf("%v: %s", err, got.body)
	}
	if i := items[0]; i.ID != "a" || string(i.Data) != "null" || i.Attempt != 1 || i.MaxAttempts != 12 || i.ScheduledAt != "" || i.WebhookID != messageID(leases[0]) {
		t.Errorf("%+v", i)
	}
	if i := items[1]; i.ID != "b.c" || string(i.Data) != string(leases[1].Data) || i.Attempt != 3 || i.MaxAttempts != 4 || i.Traceparent != leases[1].Traceparent ||
		i.ScheduledAt != "2026-03-01T12:00:00.999Z" || i.WebhookID != "email/b%2Ec/1772366400123" ||
		i.CallbackURL != "http://deetoo.test/v1/types/email/jobs/b%2Ec/callback" || i.CallbackToken != leases[1].CallbackToken() {
		t.Errorf("%+v", i)
	}
	wh, err := standardwebhooks.NewWebhook(testSecret)
	if err != nil {
		t.Fatal(err)
	}
	if err := wh.Verify([]byte(got.body), got.header); err != nil {
		t.Error(err)
	}
	for name, want := range map[string]string{
		"deetoo-batch-size": "2", "content-type": "application/json", "deetoo-job-type": "email",
		"deetoo-deadline": at.Add(time.Hour).UTC().Format(timeFormat), // the longest of the jobs' timeouts
		"deetoo-job-id":   "", "deetoo-attempt": "", "deetoo-max-attempts": "", "deetoo-scheduled-at": "", "deetoo-callback-token": "", "traceparent": "",
	} {
		if v := got.header.Get(name); v != want {
			t.Errorf("%s: %q, want %q", name, v, want)
		}
	}
	id := got.header.Get("webhook-id")
	if !strings.HasPrefix(id, "email//") || strings.Contains(got.body+id, "R-1") {
		t.Errorf("webhook-id %s; the lease's token must not be told", id)
	}
}

// CloudEvents' own SDK reads the batch.
func TestBatchOfCloudEvents(t *testing.T) {
	typ := batchType("")
	typ.Format = registry.CloudEventsStructured
	leases := batchLeases("a", "b")
	_, all := answering(t, typ, Options{CallbackURL: "http://deetoo.test"}, 200, "", leases)
	req := httptest.NewRequest("POST", "http://handler.test/", strings.NewReader(all[0].body))
	req.Header = all[0].header
	events, err := cehttp.NewEventsFromHTTPRequest(req)
	if err != nil || len(events) != 2 {
		t.Fatalf("%v: %s", err, all[0].body)
	}
	for i, e := range events {
		if err := e.Validate(); err != nil {
			t.Error(err)
		}
		if e.Subject() != leases[i].ID || e.ID() != messageID(leases[i]) || string(e.Data()) != string(leases[i].Data) || e.Extensions()["deetoocallbacktoken"] != leases[i].CallbackToken() {
			t.Errorf("%s", e)
		}
	}
}

func TestBatchAnswers(t *testing.T) {
	const nothing = "HTTP 200 OK, but the answer says nothing of this job"
	malformed := "HTTP 200 OK, but " + errItems.Error()
	for name, tc := range map[string]struct {
		status int
		body   string
		want   string // verdict status error, of a; then of b
		answer []registry.Answer
	}{
		"no body":           {200, " \n", "Done 200 |Done 200 ", nil},
		"accepted":          {202, "", "Accept 202 |Accept 202 ", nil},
		"all failed":        {503, "[]", "Retry 503 HTTP 503 Service Unavailable|Retry 503 HTTP 503 Service Unavailable", nil},
		"gone":              {410, "", "Pause 410 HTTP 410 Gone: the endpoint no longer exists|Pause 410 HTTP 410 Gone: the endpoint no longer exists", nil},
		"one each":          {200, `[{"id":"b","status":500,"error":"no\u0007"},{"id":"a","status":201}]`, "Done 201 |Retry 500 HTTP 500 Internal Server Error: no�", nil},
		"status of all":     {202, `[{"id":"a"},{"id":"b","status":200}]`, "Accept 202 |Done 200 ", nil},
		"error alone":       {207, `[{"id":"a","error":"boom"},{"id":"b"}]`, "Retry 500 HTTP 500 Internal Server Error: boom|Done 207 ", nil},
		"no retry":          {200, `[{"id":"a","status":422,"no_retry":true},{"id":"b","status":489}]`, "Dead 422 HTTP 422 Unprocessable Entity, and the handler said deetoo-no-retry|Dead 489 HTTP 489: the handler said not to try again", nil},
		"one missing":       {200, `[{"id":"a"},{"id":"other"}]`, "Done 200 |Retry 200 " + nothing, nil},
		"all missing":       {200, `[]`, "Retry 200 " + nothing + "|Retry 200 " + nothing, nil},
		"twice":             {200, `[{"id":"a"},{"id":"a","status":500},{"id":"b"}]`, "Done 200 |Done 200 ", nil},
		"not JSON":          {200, `OK`, "Retry 200 " + malformed + "|Retry 200 " + malformed, nil},
		"null":              {200, `null`, "Retry 200 " + malformed + "|Retry 200 " + malformed, nil},
		"an object":         {200, `{"ok":true}`, "Retry 200 " + malformed + "|Retry 200 " + malformed, nil},
		"no ids":            {200, `[{"status":200}]`, "Retry 200 " + malformed + "|Retry 200 " + malformed, nil},
		"one wrong":         {200, `[{"id":"a","status":"200"},{"id":"b","status":99}]`, "", nil},
		"policy of one":     {200, `[{"id":"a","status":500,"code":"dup"},{"id":"b","status":500}]`, "Done 500 |Retry 500 HTTP 500 Internal Server Error", []registry.Answer{{JSON: &registry.AnswerField{Field: "code", Equals: json.RawMessage(`"dup"`)}, Then: registry.ThenDone}}},
		"policy of all":     {409, ``, "Done 409 |Done 409 ", []registry.Answer{{Status: &registry.StatusRange{From: 409, To: 409}, Then: registry.ThenDone}}},
		"policy hides none": {200, `[{"id":"a","status":500},{"id":"b"}]`, "Retry 500 HTTP 500 Internal Server Error|Done 200 ", []registry.Answer{{Status: &registry.StatusRange{From: 200, To: 299}, Then: registry.ThenDone}}},
	} {
		t.Run(name, func(t *testing.T) {
			typ := batchType("")
			typ.Answers = tc.answer
			outs, _ := answering(t, typ, Options{CallbackURL: "http://deetoo.test"}, tc.status, tc.body, batchLeases("a", "b"))
			if len(outs) != 2 {
				t.Fatalf("%+v", outs)
			}
			if name == "one wrong" {
				for _, o := range outs {
					if o.Verdict != dispatch.Retry || !strings.Contains(o.Err, "not as it must be") {
						t.Errorf("%+v", o)
					}
				}
				return
			}
			names := map[dispatch.Verdict]string{dispatch.Done: "Done", dispatch.Retry: "Retry", dispatch.Dead: "Dead", dispatch.Pause: "Pause", dispatch.Accept: "Accept"}
			var got []string
			for _, o := range outs {
				got = append(got, fmt.Sprintf("%s %d %s", names[o.Verdict], o.Status, o.Err))
			}
			if s := strings.Join(got, "|"); s != tc.want {
				t.Errorf("got  %s\nwant %s", s, tc.want)
			}
		})
	}
}

func TestBatchResultsAndDelays(t *testing.T) {
	long := strings.Repeat("x", 70<<10)
	outs, _ := answering(t, batchType(""), Options{}, 200, `[{"id":"a","result":{"n":1}},{"id":"b","result":"`+long+`"},
		{"id":"c","status":500,"retry_after":90},{"id":"d","status":429,"retry_after":"2m"},{"id":"e","status":500,"retry_after":"soon"}]`, batchLeases("a", "b", "c", "d", "e"))
	if string(outs[0].Result) != `{"n":1}` || outs[0].Excerpt != `{"id":"a","result":{"n":1}}` {
		t.Errorf("%+v", outs[0])
	}
	if o := outs[1]; len(o.Result) != 64<<10 || !strings.Contains(o.Err, "cut off") || o.Verdict != dispatch.Done {
		t.Errorf("%d %s", len(o.Result), o.Err)
	}
	if o := outs[2]; o.Delay != 90*time.Second || o.RetryAfter != 0 { // of this job alone
		t.Errorf("%+v", o)
	}
	if o := outs[3]; o.RetryAfter != 2*time.Minute || o.Delay != 0 { // of the type
		t.Errorf("%+v", o)
	}
	if o := outs[4]; o.RetryAfter != 0 || o.Delay != 0 {
		t.Errorf("%+v", o)
	}
	outs, _ = answering(t, batchType(""), Options{MaxResult: 10}, 200, `[{"id":"a","error":"`+long+`"}]`, batchLeases("a"))
	if o := outs[0]; o.Verdict != dispatch.Retry || !strings.Contains(o.Err, "longer than") {
		t.Errorf("%+v", o)
	}
}

// What exceeds max_bytes goes in another request, one after the other.
func TestBatchMaxBytes(t *testing.T) {
	typ, leases := batchType(""), batchLeases("a", "b", "c", "d", "e")
	typ.Batch.MaxBytes = 2*len(leases[0].Data) + 1
	leases[3].Data = json.RawMessage(`"` + strings.Repeat("x", 1000) + `"`)
	outs, got := answering(t, typ, Options{}, 200, "", leases)
	var sizes []string
	ids := map[string]bool{}
	for _, r := range got {
		sizes = append(sizes, r.header.Get("deetoo-batch-size"))
		ids[r.header.Get("webhook-id")] = true
	}
	if s := strings.Join(sizes, " "); s != "2 1 1 1" || len(outs) != 5 || len(ids) != 4 {
		t.Errorf("sizes %s, %d outcomes, %d messages", s, len(outs), len(ids))
	}
	for _, o := range outs {
		if o.Verdict != dispatch.Done {
			t.Errorf("%+v", o)
		}
	}
}

// A job alone comes in an array too; a type that has given batches up gets its jobs one by one; and one
// that is called off says so for all that were not sent.
func TestBatchEdges(t *testing.T) {
	one := batchLeases("a")[0]
	typ := batchType("")
	var mu sync.Mutex
	var got []received
	requests := func() []received { mu.Lock(); defer mu.Unlock(); return got }
	ctx, cancel := context.WithCancelCause(context.Background())
	s := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		mu.Lock()
		got = append(got, received{header: r.Header, body: string(b)})
		n := len(got)
		mu.Unlock()
		if n == 4 {
			cancel(fmt.Errorf("shutting down"))
			<-r.Context().Done()
		}
	})
	typ.Target = s.URL
	types := typeMap{typ.Name: typ}
	d := newTestDeliverer(t, Options{Types: types})
	if out := d.Deliver(context.Background(), one); out.Verdict != dispatch.Done || !strings.HasPrefix(requests()[0].body, `[{"id":"a"`) {
		t.Errorf("%+v, %s", out, requests()[0].body)
	}
	alone := typ.Clone()
	alone.Batch = registry.Batch{}
	types[typ.Name] = &alone
	if outs := d.DeliverBatch(context.Background(), batchLeases("a", "b")); len(outs) != 2 || len(requests()) != 3 || requests()[2].header.Get("deetoo-job-id") != "b" {
		t.Errorf("%+v, %d requests", outs, len(requests()))
	}
	types[typ.Name] = typ
	typ.Batch.MaxBytes = 1
	outs := d.DeliverBatch(ctx, batchLeases("a", "b", "c"))
	for _, o := range outs {
		if o.Verdict != dispatch.Release || !strings.Contains(o.Err, "shutting down") {
			t.Errorf("%+v", o)
		}
	}
	if len(outs) != 3 || len(requests()) != 4 {
		t.Errorf("%d outcomes, %d requests", len(outs), len(requests()))
	}
	for _, bad := range []typeMap{{}, {typ.Name: nil}} {
		outs := newTestDeliverer(t, Options{Types: bad}).DeliverBatch(context.Background(), batchLeases("a", "b"))
		if len(outs) != 2 || outs[1].Verdict != dispatch.Retry || outs[1].Err == "" {
			t.Errorf("%+v", outs)
		}
	}
	if _, ex := d.Send(context.Background(), typ, one); ex.Response == nil || !strings.HasPrefix(string(ex.Request.Body), "[") {
		t.Errorf("%+v", ex)
	}
}
