package examples_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/deetoo/deetoo/dispatch"
	"github.com/deetoo/deetoo/dispatch/webhook"
	"github.com/deetoo/deetoo/queue"
	"github.com/deetoo/deetoo/registry"
)

// TestBatch runs the handler of batches: each job gets its own answer, a repeated one is not done twice, and what is
// not signed, or no batch, is refused.
func TestBatch(t *testing.T) {
	t.Parallel()
	secret := registry.NewSecret()
	p := start(t, func(string) *exec.Cmd { return exec.Command("python3", "python/batch_handler.py") }, secret)
	typ := &registry.Type{
		Name: "orders", Target: "http://" + p.addr + "/orders", Timeout: 20 * time.Second, Secrets: registry.SecretsOf(secret),
		Retry: registry.Retry{MaxAttempts: 12}, Batch: registry.Batch{Size: 10, MaxBytes: 4 << 20},
	}
	d, err := webhook.New(webhook.Options{AllowPrivate: true, Types: types{"orders": typ}})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	at := time.Now()
	lease := func(id, data string, attempt int) *queue.Lease {
		return &queue.Lease{Job: queue.Job{Type: "orders", ID: id, Data: json.RawMessage(data), Attempt: attempt, EnqueuedAt: at}, Token: "R-1." + id}
	}
	batch := []*queue.Lease{
		lease("a", `{"amount":1.5}`, 1), lease("b", `{"amount":2,"fail":true}`, 1), lease("c", `{"amount":"much"}`, 1), lease("d", `null`, 1), lease("e", `{"amount":4}`, 1),
	}
	outs := d.DeliverBatch(context.Background(), batch)
	var got []string
	for _, o := range outs {
		got = append(got, fmt.Sprint(o.Status, o.Verdict == dispatch.Done, o.Verdict == dispatch.Dead))
	}
	if s := strings.Join(got, ", "); s != "200 true false, 503 false false, 422 false true, 422 false true, 200 true false" {
		t.Errorf("%s: %+v", s, outs)
	}
	if string(outs[0].Result) != `{"booked": 1.5}` || !strings.Contains(outs[2].Err, "data lacks amount") {
		t.Errorf("%+v", outs)
	}
	p.waitFor(t, "batch of 5 orders; in all 2 of 5.5")
	// The answer got lost, say: all come again, with the one that failed.
	if outs := d.DeliverBatch(context.Background(), []*queue.Lease{lease("a", `{"amount":1.5}`, 2), lease("b", `{"amount":2,"fail":true}`, 2)}); outs[0].Verdict != dispatch.Done || outs[1].Verdict != dispatch.Done {
		t.Errorf("%+v", outs)
	}
	p.waitFor(t, "batch of 2 orders; in all 3 of 7.5")

	alone := *typ
	alone.Batch = registry.Batch{}
	if out, _ := d.Send(context.Background(), &alone, lease("a", `{"amount":1}`, 1)); out.Status != 489 {
		t.Errorf("%+v", out)
	}
	resp, err := http.Post(typ.Target, "application/json", strings.NewReader("[]"))
	if err != nil || resp.StatusCode != 401 {
		t.Fatalf("unsigned: %v %v", resp, err)
	}
	resp.Body.Close()
}
