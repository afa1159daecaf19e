package registry

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/deetoo/deetoo/invalid"
)

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "types.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func load(t *testing.T, text string) []Spec {
	t.Helper()
	specs, err := LoadFile(write(t, text))
	if err != nil {
		t.Fatal(err)
	}
	return specs
}

func TestLoadFile(t *testing.T) {
	t.Setenv("REGISTRY_TEST_SECRET", someSecret)
	t.Setenv("REGISTRY_TEST_TOKEN", "hunter2")
	list := `
types:
  - name: email
    target: https://example.org/email
    concurrency: 12
    timeout: 5s
    retry: {max_attempts: 3, jitter: false}
    headers:
      Authorization: Bearer ${REGISTRY_TEST_TOKEN}
      X-Price: $5 {x}
    secret: ${REGISTRY_TEST_SECRET}
    retention: {count: 0}
  - name: sms
    target: https://example.org/sms
`
	byName := `
types:
  email: &base
    target: https://example.org/email
    concurrency: 12
    timeout: 5s
    retry: {max_attempts: 3, jitter: false}
    headers:
      Authorization: Bearer ${REGISTRY_TEST_TOKEN}
      X-Price: $5 {x}
    secret: ${REGISTRY_TEST_SECRET}
    retention: {count: 0}
  sms:
    target: https://example.org/sms
`
	for _, text := range []string{list, byName} {
		specs := load(t, text)
		if len(specs) != 2 || specs[0].Name != "email" || specs[1].Name != "sms" {
			t.Fatalf("got %d specs", len(specs))
		}
		got, err := specs[0].Type(nil)
		want := New("email", "https://example.org/email")
		want.Concurrency, want.Timeout, want.Retry.MaxAttempts, want.Retry.NoJitter = 12, 5*time.Second, 3, true
		want.Headers = map[string]string{"Authorization": "Bearer hunter2", "X-Price": "$5 {x}"}
		want.Secrets, want.Retention.Count = SecretsOf(someSecret), 0
		if err != nil || !got.same(&want) {
			t.Errorf("%v\ngot  %+v\nwant %+v", err, got.spec(), want.spec())
		}
	}
}

func TestLoadFileErrors(t *testing.T) {
	for _, tc := range []struct{ text, want string }{
		{"", "types.yaml: the file is empty"},
		{"types: 3", "types.yaml: types must be a list of types"},
		{"{}", "types.yaml: types must be a list of types"},
		{"tips: []", "types.yaml: yaml: unmarshal errors:\n  line 1: field tips not found"},
		{"types: [\n", "types.yaml: yaml: line "},
		{"types: []\n---\ntypes: []", "types.yaml: must be a single YAML document"},
		{"types:\n- name: a\n  target: http://x.test/\n  retry:\n    max_attempts: 0", `types.yaml:2: type "a": retry.max_attempts must be 1 to 100`},
		{"types:\n  a:\n    target: http://x.test/\n    concurency: 1", `types.yaml:3: type "a": concurency is not a known field; did you mean concurrency?`},
		{"types:\n  a:\n    target: http://x.test/\n    timeout: 30", `types.yaml:3: type "a": timeout must be a string`},
		{"types:\n- target: http://x.test/", `types.yaml:2: type number 1: name is required`},
		{"types:\n- 3", `types.yaml:2: type number 1: must be an object`},
		{"types:\n- {name: a, target: 'http://x.test/'}\n- {name: a, target: 'http://x.test/'}", `types.yaml:3: type "a": name is given twice, first in line 2`},
		{"types:\n  a: {name: b, target: 'http://x.test/'}", `types.yaml:2: type "a": name must be "a" or absent`},
		{"types:\n- {name: a, target: 'http://x.test/', target: 'http://y.test/'}", `types.yaml:2: type number 1: yaml: unmarshal errors:`},
		{"types:\n- {name: a, target: 'http://x.test/', headers: {1: x}}", `types.yaml:2: type number 1: must have strings for names`},
		{"types:\n- {name: a, target: 'http://x.test/', retention: {count: .nan}}", `types.yaml:2: type number 1: must have strings for names`},
		{"types:\n- {name: a, target: 'http://x.test/', secret: '${REGISTRY_TEST_UNSET}'}", `types.yaml:2: type "a": secret needs the environment variable REGISTRY_TEST_UNSET`},
		{"types:\n- {name: a, target: 'http://x.test/', secrets: [hunter2]}", `types.yaml:2: type "a": secrets[0] must be "whsec_"`},
	} {
		_, err := LoadFile(write(t, tc.text))
		if err == nil {
			t.Errorf("%q was accepted", tc.text)
			continue
		}
		_, got, _ := strings.Cut(err.Error(), string(filepath.Separator)+"types.yaml")
		if got = "types.yaml" + got; !strings.HasPrefix(got, tc.want) || strings.Contains(got, "hunter2") {
			t.Errorf("%q:\n got %s\nwant %s", tc.text, got, tc.want)
		}
	}
	if _, err := LoadFile(filepath.Join(t.TempDir(), "none.yaml")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	_, err := LoadFile(write(t, "types:\n- {name: a, target: x}\n- {name: b, target: y}"))
	if err == nil || !strings.Contains(err.Error(), `type "a"`) || !strings.Contains(err.Error(), `type "b"`) {
		t.Errorf("not all errors at once: %v", err)
	}
}

func TestApply(t *testing.T) {
	onEach(t, func(t *testing.T, s *Store) {
		ctx := t.Context()
		put(t, s, New("other", "http://x.test/"))
		specs := load(t, "types:\n  a: {target: 'http://x.test/', concurrency: 3}\n  b: {target: 'http://x.test/'}")
		changed, err := Apply(ctx, s, specs)
		if err != nil || !slices.Equal(changed, []string{"a", "b"}) {
			t.Fatal(changed, err)
		}
		a, err := s.Get(ctx, "a")
		if err != nil || a.Concurrency != 3 || len(a.Secrets) != 1 {
			t.Errorf("%+v, %v", a, err)
		}
		if _, err := s.SetPaused(ctx, "b", true, "incident"); err != nil {
			t.Fatal(err)
		}
		before, _ := s.Revision(ctx)
		changed, err = Apply(ctx, s, specs)
		if after, _ := s.Revision(ctx); err != nil || changed != nil || after != before {
			t.Errorf("again: %v, %v, revision %d of %d", changed, err, after, before)
		}
		if b, _ := s.Get(ctx, "b"); !b.Paused || b.PausedReason != "incident" {
			t.Error("a restart resumed what somebody paused")
		}
		changed, err = Apply(ctx, s, load(t, "types:\n  a: {target: 'http://x.test/', concurrency: 4}\n  b: {target: 'http://x.test/', paused: false}"))
		if now, _ := s.Get(ctx, "a"); err != nil || !slices.Equal(changed, []string{"a", "b"}) || !sameSecrets(now.Secrets, a.Secrets) {
			t.Errorf("%v, %v; secrets kept: %v", changed, err, sameSecrets(now.Secrets, a.Secrets))
		}
		if b, _ := s.Get(ctx, "b"); b.Paused {
			t.Error("a spec that says paused: false did not resume")
		}
		if list, _ := s.List(ctx); len(list) != 3 {
			t.Errorf("%d types: one without a spec is gone", len(list))
		}
	})
}

func TestApplyIsAllOrNothing(t *testing.T) {
	s := storeOn(t, inProcess(t))
	bad := 0
	good, wrong := Spec{Name: "a", Target: "http://x.test/"}, Spec{Name: "b", Target: "http://x.test/", Concurrency: &bad}
	redacted := Spec{Name: "c", Target: "http://x.test/", Headers: map[string]string{"X-Key": Redacted}}
	_, err := Apply(t.Context(), s, []Spec{good, wrong, redacted, good})
	for _, want := range []string{`type "b": concurrency must be 1 to 10,000`, `type "c": headers.X-Key must have a value`, `type "a": name is given twice`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in: %v", want, err)
		}
	}
	if _, ok := errors.AsType[*invalid.Error](err); !ok {
		t.Errorf("got %T", err)
	}
	if n, _ := s.Revision(t.Context()); n != 0 {
		t.Error("something was stored")
	}
}

func TestLoadFileAliases(t *testing.T) {
	specs := load(t, "types:\n  a: &a {target: 'http://x.test/', concurrency: 3}\n  b: *a\n  c: {<<: *a, concurrency: 4}")
	var got []int
	for _, s := range specs {
		if s.Target != "http://x.test/" {
			t.Errorf("%s has the target %q", s.Name, s.Target)
		}
		got = append(got, *s.Concurrency)
	}
	if !slices.Equal(got, []int{3, 3, 4}) {
		t.Errorf("got %v", got)
	}
}
