package registry

import (
	"encoding/json"
	"testing"
	"time"
)

// What is read can be sent back, a patch changes one of its fields, and null takes all of it away.
func TestBatchForm(t *testing.T) {
	spec, err := DecodeSpec("a", []byte(`{"target":"http://x.test/","batch":{"size":50}}`))
	if err != nil {
		t.Fatal(err)
	}
	typ, err := spec.Type(nil)
	if want := (Batch{50, 100 * time.Millisecond, 4 << 20}); err != nil || typ.Batch != want {
		t.Fatalf("%+v, %v", typ.Batch, err)
	}
	shown, err := json.Marshal(typ)
	if err != nil {
		t.Fatal(err)
	}
	back, err := DecodeSpec("a", shown)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := back.Type(&typ); err != nil || !again.same(&typ) {
		t.Errorf("%+v, %v", again.Batch, err)
	}
	for patch, want := range map[string]Batch{
		`{"batch":{"wait":"0s"}}`:           {50, 0, 4 << 20},
		`{"batch":{"size":2}}`:              {2, 100 * time.Millisecond, 4 << 20},
		`{"batch":null}`:                    {},
		`{"concurrency":3}`:                 {50, 100 * time.Millisecond, 4 << 20},
		`{"batch":{"size":1,"wait":"10s"}}`: {1, 10 * time.Second, 4 << 20},
	} {
		spec, err := mergePatch(&typ, []byte(patch))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := spec.Type(&typ); err != nil || got.Batch != want || got.same(&typ) {
			t.Errorf("%s: %+v, %v", patch, got.Batch, err)
		}
	}
}
