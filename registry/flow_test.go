package registry

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/deetoo/deetoo/invalid"
)

func TestOutageAndAdaptive(t *testing.T) {
	build := func(in string, old *Type) (Type, error) {
		t.Helper()
		spec, err := DecodeSpec("a", []byte(`{"target":"http://x.test/",`+in+`}`))
		if err != nil {
			return Type{}, err
		}
		return spec.Type(old)
	}
	got, err := build(`"outage":{},"adaptive":{}`, nil)
	if err != nil {
		t.Fatal(err)
	}
	if want := (Outage{Share: 0.5, Of: 20, Refused: 3, CanaryMin: time.Second, CanaryMax: time.Minute}); *got.Outage != want {
		t.Errorf("defaults %+v", *got.Outage)
	}
	if want := (Adaptive{Min: 1, Tolerance: 2}); *got.Adaptive != want {
		t.Errorf("defaults %+v", *got.Adaptive)
	}
	all := `"concurrency":9,"outage":{"share":0.25,"of":8,"refused":1,"canary_min":"2m","canary_max":"1h"},"adaptive":{"min":3,"target_latency":"1.5s","tolerance":0}`
	full, err := build(all, nil)
	if err != nil {
		t.Fatal(err)
	}
	// What is shown can be sent back.
	shown, err := json.Marshal(full.View())
	if err != nil {
		t.Fatal(err)
	}
	spec, err := DecodeSpec("a", shown)
	if err != nil {
		t.Fatal(err)
	}
	again, err := spec.Type(&full)
	if err != nil || !again.same(&full) || again.Outage.CanaryMax != time.Hour || again.Adaptive.TargetLatency != 1500*time.Millisecond {
		t.Errorf("%s became %+v, %v", shown, again.spec(), err)
	}
	copied := full.Clone()
	copied.Outage.Of, copied.Adaptive.Min = 9, 4
	if full.Outage.Of != 8 || full.Adaptive.Min != 3 || copied.same(&full) {
		t.Error("a clone shares them")
	}
	for patch, want := range map[string]string{
		`{"outage":{"of":10}}`:                "10 true",
		`{"outage":null}`:                     "none true",
		`{"adaptive":null,"outage":{"of":1}}`: "1 false",
	} {
		spec, err := mergePatch(&full, []byte(patch))
		if err != nil {
			t.Fatal(err)
		}
		patched, err := spec.Type(&full)
		if err != nil {
			t.Fatal(err)
		}
		got := "none"
		if patched.Outage != nil {
			b, err := json.Marshal(patched.Outage.Of)
			if err != nil {
				t.Fatal(err)
			}
			got = string(b)
		}
		if patched.Adaptive != nil {
			got += " true"
		} else {
			got += " false"
		}
		if got != want {
			t.Errorf("%s: %s, want %s", patch, got, want)
		}
	}
	if slow, err := build(`"outage":{"canary_min":"10m"}`, nil); err != nil || slow.Outage.CanaryMax != 10*time.Minute {
		t.Errorf("%+v, %v", slow.Outage, err)
	}
	for in, want := range map[string]string{
		`"outage":{"share":0}`:                       "outage.share must be more than 0",
		`"outage":{"share":1.1}`:                     "outage.share must be more than 0",
		`"outage":{"of":0}`:                          "outage.of must be 1 to 1,000",
		`"outage":{"of":1001}`:                       "outage.of must be 1 to 1,000",
		`"outage":{"refused":0}`:                     "outage.refused must be 1 to 1,000",
		`"outage":{"canary_min":"99ms"}`:             "outage.canary_min must be 100ms to 1h",
		`"outage":{"canary_max":"25h"}`:              "outage.canary_max must be canary_min to 24h",
		`"outage":{"canary_max":"500ms"}`:            "outage.canary_max must be canary_min to 24h",
		`"outage":{"shar":1}`:                        "outage.shar is not a known field",
		`"outage":true`:                              "outage must be an object",
		`"adaptive":{"min":0}`:                       "adaptive.min must be 1 to the type's concurrency",
		`"adaptive":{"min":11}`:                      "adaptive.min must be 1 to the type's concurrency",
		`"adaptive":{"target_latency":"1us"}`:        "adaptive.target_latency must be 1ms to 24h",
		`"adaptive":{"tolerance":1}`:                 "adaptive.tolerance must be 1.1 to 100",
		`"adaptive":{"tolerance":-1}`:                "adaptive.tolerance must be 1.1 to 100",
		`"adaptive":{"tolerance":"2"}`:               "adaptive.tolerance must be a number",
		`"concurrency":2,"adaptive":{"min":3}`:       "adaptive.min must be 1 to the type's concurrency",
		`"adaptive":{"target_latency":"24h0m0.01s"}`: "adaptive.target_latency must be 1ms to 24h",
	} {
		_, err := build(in, nil)
		if _, ok := errors.AsType[*invalid.Error](err); !ok || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: %v, want %s", in, err, want)
		}
	}
}
