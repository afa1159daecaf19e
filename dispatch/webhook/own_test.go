package webhook

import (
	"net/http"
	"strings"
	"testing"

	"github.com/deetoo/deetoo/dispatch"
	"github.com/deetoo/deetoo/queue"
)

func TestJobsOwnHeadersAndTarget(t *testing.T) {
	var got *http.Request
	handler := func(w http.ResponseWriter, r *http.Request) { got = r.Clone(r.Context()) }
	typical, other := serve(t, handler), serve(t, handler)
	typ := testType(typical.URL + "/typical")
	typ.Headers = map[string]string{"X-Tenant": "none", "X-Kept": "yes"}
	typ.AllowTargets = []string{other.URL + "/own"}
	d := newTestDeliverer(t, Options{Types: typeMap{"email": typ}})
	lease := func(target string) *queue.Lease {
		return &queue.Lease{Job: queue.Job{
			Type: "email", ID: "1", Attempt: 1, Data: []byte("1"), Target: target,
			Headers: map[string]string{"x-tenant": "42", "webhook-id": "forged", "Content-Type": "text/plain", "deetoo-attempt": "9", "user-agent": "mine"},
		}}
	}
	for target, path := range map[string]string{"": "/typical", other.URL + "/own/a?key=1": "/own/a"} {
		got = nil
		if out := d.Deliver(t.Context(), lease(target)); out.Verdict != dispatch.Done || got == nil {
			t.Fatalf("%q: %+v", target, out)
		}
		h := got.Header
		if got.URL.Path != path || h.Get("X-Tenant") != "42" || h.Get("X-Kept") != "yes" || h.Get("User-Agent") != "mine" {
			t.Errorf("%q: %s %v", target, got.URL, h)
		}
		if h.Get("Webhook-Id") == "forged" || !strings.HasPrefix(h.Get("Content-Type"), "application/json") || h.Get("Deetoo-Attempt") != "1" {
			t.Errorf("%q: a header of the contract was replaced: %v", target, h)
		}
		if err := Verify(h, []byte("1"), 0, testSecret); err != nil {
			t.Errorf("%q: %v", target, err)
		}
	}
	got = nil
	if out := d.Deliver(t.Context(), lease(other.URL+"/elsewhere?key=hidden")); out.Verdict != dispatch.Dead || got != nil || strings.Contains(out.Err, "hidden") {
		t.Errorf("not allowed any more: %+v", out)
	}
	if _, ex := d.Send(t.Context(), typ, lease(other.URL+"/own?key=hidden")); ex.Request.Header.Get("X-Tenant") != redacted || strings.Contains(ex.Request.URL, "hidden") {
		t.Errorf("shown: %+v", ex.Request)
	}
}

func TestJobsOwnTargetIsGuarded(t *testing.T) {
	typ := testType("https://example.org/")
	typ.AllowTargets = []string{"http://169.254.169.254", "http://127.0.0.1:1"}
	d, err := New(Options{Types: typeMap{"email": typ}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	for _, target := range []string{"http://169.254.169.254/latest?key=hidden", "http://127.0.0.1:1/?key=hidden"} {
		out := d.Deliver(t.Context(), &queue.Lease{Job: queue.Job{Type: "email", ID: "1", Attempt: 1, Target: target}})
		if out.Verdict == dispatch.Done || !strings.Contains(out.Err, "refused") || strings.Contains(out.Err, "hidden") {
			t.Errorf("%s: %+v", target, out)
		}
	}
}

func TestJobsWithTheirOwnGoAloneInBatches(t *testing.T) {
	var sizes []string
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		sizes = append(sizes, r.Header.Get("Deetoo-Batch-Size")+r.Header.Get("X-Tenant"))
	})
	typ := testType(s.URL)
	typ.Batch.Size, typ.Batch.MaxBytes = 10, 1<<20
	d := newTestDeliverer(t, Options{Types: typeMap{"email": typ}})
	leases := make([]*queue.Lease, 5)
	for i := range leases {
		leases[i] = &queue.Lease{Job: queue.Job{Type: "email", ID: string(rune('a' + i)), Attempt: 1, Data: []byte("1")}, Token: "t"}
	}
	leases[2].Headers = map[string]string{"X-Tenant": "-42"}
	for i, out := range d.DeliverBatch(t.Context(), leases) {
		if out.Verdict != dispatch.Done {
			t.Errorf("%d: %+v", i, out)
		}
	}
	if got := strings.Join(sizes, " "); got != "2 1-42 2" {
		t.Errorf("batches of %s", got)
	}
}
