package examples_test

import (
	"testing"

	"github.com/deetoo/deetoo/registry"
	"github.com/deetoo/deetoo/schedule"
)

// TestTypesFile holds the example of a types file to what it says.
func TestTypesFile(t *testing.T) {
	secret := registry.NewSecret()
	t.Setenv("EMAIL_SECRET", secret)
	t.Setenv("EMAIL_API_KEY", "key")
	specs, err := registry.LoadFile("types.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if len(specs) != 1 {
		t.Fatalf("%d types", len(specs))
	}
	schedules, err := schedule.LoadFile("types.yaml")
	if err != nil || len(schedules) != 1 || schedules[0].Name != "newsletter" || schedules[0].Type != "email" || schedules[0].Overlap != schedule.Skip {
		t.Errorf("schedules %+v, %v", schedules, err)
	}
	typ, err := specs[0].Type(nil)
	if err != nil {
		t.Fatal(err)
	}
	if typ.Name != "email" || typ.Concurrency != 12 || len(typ.Secrets) != 1 || typ.Secrets[0].Value != secret || typ.Headers["x-api-key"] != "key" {
		t.Errorf("%s, concurrency %d, %d secrets, %d headers: not what the file says", typ.Name, typ.Concurrency, len(typ.Secrets), len(typ.Headers))
	}
}
