package deetoo_test

import (
	"context"
	"encoding/json"
	"errors"
	"testing"

	"github.com/deetoo/deetoo"
	"github.com/deetoo/deetoo/queue"
)

func TestWorkflow(t *testing.T) {
	d := deetoo.New(deetoo.WithOptions(deetoo.Options{DataDir: t.TempDir(), Logger: quiet()}))
	d.Can("a", 2, func(_ context.Context, j *deetoo.Job) (any, error) { return j.Data, nil })
	d.Can("b", 2, func(context.Context, *deetoo.Job) (any, error) { return nil, nil })
	told := make(chan json.RawMessage, 10)
	d.Can("last", 1, func(_ context.Context, j *deetoo.Job) (any, error) { told <- j.Data; return nil, nil })
	if err := d.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := d.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	}()
	w := &queue.Workflow{Jobs: []deetoo.Job{{Type: "a", Data: json.RawMessage("1")}, {Type: "b"}, {Type: "a"}}, OnComplete: &deetoo.Job{Type: "last"}}
	made, err := d.Jobs().Workflow(t.Context(), w)
	if err != nil || made.ID == "" || w.ID != made.ID || len(made.Jobs) != 3 {
		t.Fatalf("%+v, %v", made, err)
	}
	if _, err := d.Jobs().Workflow(t.Context(), w); err != nil { // a repetition
		t.Error(err)
	}
	var got struct {
		Workflow struct {
			ID    string
			State queue.WorkflowState
			Jobs  []struct{ Result json.RawMessage }
		}
	}
	if err := json.Unmarshal(<-told, &got); err != nil || got.Workflow.ID != w.ID || got.Workflow.State != queue.WorkflowSucceeded || string(got.Workflow.Jobs[0].Result) != "1" {
		t.Errorf("%+v, %v", got, err)
	}
	if now, err := d.Jobs().GetWorkflow(t.Context(), w.ID); err != nil || now.State() != queue.WorkflowSucceeded {
		t.Errorf("%+v, %v", now, err)
	}
	if len(told) > 0 {
		t.Error("told twice")
	}
	if _, err := d.Jobs().GetWorkflow(t.Context(), "other"); !errors.Is(err, queue.ErrNoWorkflow) {
		t.Error(err)
	}
}
