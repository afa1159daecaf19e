package deetoo_test

import (
	"context"
	"encoding/json"
	"errors"
	"testing"

	"github.com/deetoo/deetoo"
	"github.com/deetoo/deetoo/invalid"
	"github.com/deetoo/deetoo/queue"
)

func TestPushOnce(t *testing.T) {
	d := deetoo.New(deetoo.WithOptions(deetoo.Options{DataDir: t.TempDir(), Logger: quiet()}))
	d.Can("email", 1, func(context.Context, *deetoo.Job) (any, error) { return nil, nil })
	d.Can("other", 1, func(context.Context, *deetoo.Job) (any, error) { return nil, nil })
	if err := d.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := d.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	}()
	push := func(data string) ([]deetoo.Receipt, error) {
		return d.Jobs().PushOnce(t.Context(), "k", deetoo.Job{Type: "email", Data: json.RawMessage(data)})
	}
	first, err := push("1")
	if err != nil || len(first) != 1 || first[0].ID == "" || first[0].Replayed {
		t.Fatalf("%+v, %v", first, err)
	}
	if again, err := push("1"); err != nil || again[0].ID != first[0].ID || !again[0].Replayed {
		t.Errorf("%+v, %v; first %+v", again, err, first)
	}
	if r, err := push("2"); !errors.Is(err, queue.ErrKeyReused) {
		t.Errorf("%+v, %v", r, err)
	}
	var bad *invalid.Error
	if _, err := d.Jobs().PushOnce(t.Context(), "", deetoo.Job{Type: "email"}); !errors.As(err, &bad) || bad.Field != "Idempotency-Key" {
		t.Errorf("no key: %v", err)
	}
	r, err := d.Jobs().PushOnce(t.Context(), "mixed", deetoo.Job{Type: "email"}, deetoo.Job{Type: "other"})
	if err != nil || r[0].Err != nil || !errors.As(r[1].Err, &bad) || bad.Field != "type" {
		t.Errorf("two types: %+v, %v", r, err)
	}
}
