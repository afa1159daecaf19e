package registry

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"time"

	jsonpatch "github.com/evanphx/json-patch/v5"

	"github.com/deetoo/deetoo/internal/strictjson"
	"github.com/deetoo/deetoo/invalid"
)

// Spec is a job type as people write it: the body of a PUT, an entry of a YAML
// file. What is absent (or null) has its default, except for the secrets: they
// stay as they are, and a new type gets a generated one. See [Type] for bounds.
type Spec struct {
	Name        string `json:"name"`
	Target      string `json:"target"`
	Concurrency *int   `json:"concurrency,omitzero"`
	// Rate is [Type.Rate], and Groups [Type.Groups]; null is no limit.
	Rate    *RateSpec         `json:"rate,omitzero"`
	Groups  *GroupsSpec       `json:"groups,omitzero"`
	Timeout *Duration         `json:"timeout,omitzero"`
	Retry   *RetrySpec        `json:"retry,omitzero"`
	Headers map[string]string `json:"headers,omitzero"`
	// Secret is the only secret. Not together with Secrets.
	Secret *string `json:"secret,omitzero"`
	// Secrets are all secrets, the newest first.
	Secrets     []string       `json:"secrets,omitzero"`
	Retention   *RetentionSpec `json:"retention,omitzero"`
	Paused      *bool          `json:"paused,omitzero"`
	Description string         `json:"description"`
	Completion  string         `json:"completion"`
	// AllowTargets is [Type.AllowTargets].
	AllowTargets []string `json:"allow_targets,omitzero"`
	// CallbackLease is [Type.CallbackLease].
	CallbackLease *Duration `json:"callback_lease,omitzero"`
	// Answers is [Type.Answers].
	Answers []Answer `json:"answers,omitzero"`
	// MaxRetryAfter is [Type.MaxRetryAfter].
	MaxRetryAfter *Duration `json:"max_retry_after,omitzero"`
	Format        string    `json:"format"`
	EventSource   string    `json:"event_source"`
	EventType     string    `json:"event_type"`
	// Batch is [Type.Batch].
	Batch *BatchSpec `json:"batch,omitzero"`
	// ReconcileURL is [Type.ReconcileURL].
	ReconcileURL string `json:"reconcile_url,omitzero"`
	// Outage and Adaptive: an empty object has all defaults; absent: none.
	Outage   *OutageSpec   `json:"outage,omitzero"`
	Adaptive *AdaptiveSpec `json:"adaptive,omitzero"`
}

// RetrySpec is [Retry] as people write it.
type RetrySpec struct {
	MaxAttempts *int      `json:"max_attempts,omitzero"`
	MinBackoff  *Duration `json:"min_backoff,omitzero"`
	MaxBackoff  *Duration `json:"max_backoff,omitzero"`
	Jitter      *bool     `json:"jitter,omitzero"`
}

// RetentionSpec is [Retention] as people write it.
type RetentionSpec struct {
	Count *int      `json:"count,omitzero"`
	Age   *Duration `json:"age,omitzero"`
}

// Duration is a time.Duration that is written as a Go duration string ("1h30m").
type Duration time.Duration

// MarshalText writes the shortest form: "24h" and not "24h0m0s".
func (d Duration) MarshalText() ([]byte, error) {
	s := time.Duration(d).String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return []byte(s), nil
}

// UnmarshalText reads what time.ParseDuration reads.
func (d *Duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	if err != nil {
		return invalid.Errorf("", "must be a duration such as 500ms, 30s or 1h30m")
	}
	*d = Duration(v)
	return nil
}

// readOnly are the fields of the output form that a Spec has not. They are
// accepted and ignored, so that what was read can be sent back.
type readOnly struct {
	Version            json.RawMessage `json:"version"`
	CreatedAt          json.RawMessage `json:"created_at"`
	UpdatedAt          json.RawMessage `json:"updated_at"`
	PausedReason       json.RawMessage `json:"paused_reason"`
	PausedAt           json.RawMessage `json:"paused_at"`
	SecretFingerprints json.RawMessage `json:"secret_fingerprints"`
	SigningSecrets     json.RawMessage `json:"signing_secrets"`
}

// DecodeSpec reads one JSON object strictly: unknown fields and wrong types are
// refused by name with an *[invalid.Error], read-only fields of the output form
// ignored. name is what the request's address says, and the body may not
// contradict it; empty: only the body names the type. Bounds are checked later,
// by [Spec.Type].
func DecodeSpec(name string, data []byte) (Spec, error) {
	var in struct {
		Spec
		readOnly
	}
	if err := strictjson.DecodeObject(data, &in); err != nil {
		return Spec{}, err
	}
	if err := AgreeName(&in.Name, name); err != nil {
		return Spec{}, err
	}
	return in.Spec, nil
}

// AgreeName gives a body the name of its address, which it may repeat but not
// contradict: that is an *[invalid.Error]. An empty address leaves the naming to the body.
func AgreeName(body *string, address string) error {
	if address == "" {
		return nil
	}
	if *body != "" && *body != address {
		return invalid.Errorf("name", "must be %.80q or absent", address)
	}
	*body = address
	return nil
}

// HasSecret reports whether the spec brings secrets of its own.
func (s Spec) HasSecret() bool { return s.Secret != nil || s.Secrets != nil }

// Type returns the valid job type that the spec describes, or the first rule it
// breaks as an *[invalid.Error]. It takes over from old (nil: a new type) the
// secrets, unless the spec has its own, headers given as [Redacted], and the
// reason of a pause that goes on. A new type without secrets gets one.
func (s Spec) Type(old *Type) (Type, error) {
	if s.Secret != nil && s.Secrets != nil {
		return Type{}, invalid.Errorf("secrets", "must not be given together with secret")
	}
	if s.Secret != nil {
		if rule := secretRule(*s.Secret); rule != "" {
			return Type{}, invalid.Errorf("secret", "%s", rule)
		}
	}
	t := s.build()
	if old != nil {
		t.Version, t.CreatedAt, t.UpdatedAt = old.Version, old.CreatedAt, old.UpdatedAt
		if t.Paused && old.Paused {
			t.PausedReason, t.PausedAt = old.PausedReason, old.PausedAt
		}
		if !s.HasSecret() {
			t.Secrets = slices.Clone(old.Secrets)
		}
	} else if !s.HasSecret() {
		t.Secrets = SecretsOf(NewSecret())
	}
	if err := keepRedacted(t.Headers, old); err != nil {
		return Type{}, err
	}
	return t, t.Validate()
}

// build fills in the defaults. It checks nothing.
func (s Spec) build() Type {
	t := New(s.Name, s.Target)
	set(&t.Concurrency, s.Concurrency)
	t.Rate, t.Groups = s.Rate.build(), s.Groups.build()
	set(&t.Timeout, (*time.Duration)(s.Timeout))
	if r := s.Retry; r != nil {
		set(&t.Retry.MaxAttempts, r.MaxAttempts)
		set(&t.Retry.MinBackoff, (*time.Duration)(r.MinBackoff))
		// A larger minimum alone raises the default maximum with it.
		t.Retry.MaxBackoff = max(t.Retry.MaxBackoff, t.Retry.MinBackoff)
		set(&t.Retry.MaxBackoff, (*time.Duration)(r.MaxBackoff))
		t.Retry.NoJitter = r.Jitter != nil && !*r.Jitter
	}
	if r := s.Retention; r != nil {
		set(&t.Retention.Count, r.Count)
		set(&t.Retention.Age, (*time.Duration)(r.Age))
	}
	set(&t.Paused, s.Paused)
	t.Headers = maps.Clone(s.Headers)
	t.Secrets = SecretsOf(s.Secrets...)
	if s.Secret != nil {
		t.Secrets = SecretsOf(*s.Secret)
	}
	t.Description = s.Description
	if s.Completion != "" {
		t.Completion = s.Completion
	}
	t.AllowTargets = slices.Clone(s.AllowTargets)
	set(&t.CallbackLease, (*time.Duration)(s.CallbackLease))
	t.Answers = cloneAnswers(s.Answers)
	set(&t.MaxRetryAfter, (*time.Duration)(s.MaxRetryAfter))
	if s.Format != "" {
		t.Format = s.Format
	}
	t.EventSource, t.EventType = s.EventSource, s.EventType
	t.Batch = s.Batch.build()
	t.ReconcileURL = s.ReconcileURL
	t.Outage, t.Adaptive = s.Outage.build(), s.Adaptive.build()
	return t
}

func set[T any](to, from *T) {
	if from != nil {
		*to = *from
	}
}

// keepRedacted puts the stored values of old in the place of [Redacted].
func keepRedacted(headers map[string]string, old *Type) error {
	for name, value := range headers {
		if value != Redacted || !isCredential(name) {
			continue
		}
		stored, ok := "", false
		if old != nil {
			for n, v := range old.Headers {
				if strings.EqualFold(n, name) {
					stored, ok = v, true
				}
			}
		}
		if !ok {
			return invalid.Errorf(strictjson.Member("headers", name), "must have a value: %s stands for the stored one, and there is none", Redacted)
		}
		headers[name] = stored
	}
	return nil
}

// spec is the reverse of build: everything said, secrets and credentials included.
func (t *Type) spec() Spec {
	jitter := !t.Retry.NoJitter
	concurrency, attempts, count, paused := t.Concurrency, t.Retry.MaxAttempts, t.Retention.Count, t.Paused
	return Spec{
		Name: t.Name, Target: t.Target, Concurrency: &concurrency, Timeout: duration(t.Timeout),
		Rate: t.Rate.spec(), Groups: t.Groups.spec(),
		Retry: &RetrySpec{
			MaxAttempts: &attempts, Jitter: &jitter,
			MinBackoff: duration(t.Retry.MinBackoff), MaxBackoff: duration(t.Retry.MaxBackoff),
		},
		Headers: maps.Clone(t.Headers), Secrets: values(t.Secrets),
		Retention: &RetentionSpec{Count: &count, Age: duration(t.Retention.Age)},
		Paused:    &paused, Description: t.Description, Completion: t.Completion,
		AllowTargets:  slices.Clone(t.AllowTargets),
		CallbackLease: duration(t.CallbackLease),
		Format:        t.Format, EventSource: t.EventSource, EventType: t.EventType,
		Batch:   t.Batch.spec(),
		Answers: cloneAnswers(t.Answers), MaxRetryAfter: duration(t.MaxRetryAfter), ReconcileURL: t.ReconcileURL,
		Outage: t.Outage.spec(), Adaptive: t.Adaptive.spec(),
	}
}

func values(secrets []Secret) (out []string) {
	for _, s := range secrets {
		out = append(out, s.Value)
	}
	return out
}

func duration(d time.Duration) *Duration {
	out := Duration(d)
	return &out
}

// mergePatch applies an RFC 7396 merge patch to the output form of old. null
// resets a field to its default; the secrets, which the output form has not,
// stay unless the patch brings new ones.
func mergePatch(old *Type, patch []byte) (Spec, error) {
	// Decoding the patch by itself finds what is wrong with it in its author's words.
	given, err := DecodeSpec(old.Name, patch)
	if err != nil {
		return Spec{}, err
	}
	doc, err := json.Marshal(old.View())
	if err != nil {
		return Spec{}, err
	}
	merged, err := jsonpatch.MergePatch(doc, patch)
	if err != nil {
		return Spec{}, invalid.Errorf("", "is not a JSON merge patch")
	}
	spec, err := DecodeSpec(old.Name, merged)
	if given.Answers != nil {
		spec.Answers = given.Answers // the patch's arrays lose the nulls in them
	}
	return spec, err
}
