package registry

import (
	"encoding/json"
	"log/slog"
	"maps"
	"net/url"
	"slices"
	"time"
)

// timeLayout is RFC 3339 in UTC, to the millisecond.
const timeLayout = "2006-01-02T15:04:05.000Z07:00"

// View is a job type as it is shown: every field of its [Spec], credentials in
// headers as [Redacted], secrets as fingerprints, and what the store keeps.
// A view sent back as a Spec changes nothing.
type View struct {
	Spec
	Version int64 `json:"version"`
	// CreatedAt and UpdatedAt are RFC 3339, to the millisecond.
	CreatedAt string `json:"created_at"`
	UpdatedAt string `json:"updated_at"`
	// PausedReason is empty unless paused.
	PausedReason string `json:"paused_reason"`
	// PausedAt is when that was; empty unless paused, or if it is not known.
	PausedAt string `json:"paused_at,omitempty"`
	// SecretFingerprints are in the order of the secrets: the newest first.
	SecretFingerprints []string `json:"secret_fingerprints"`
	// SigningSecrets are those that still sign, in the same order.
	SigningSecrets []SecretView `json:"signing_secrets"`
}

// View returns the form to show.
func (t *Type) View() View {
	v := View{
		Spec: t.spec(), Version: t.Version, PausedReason: t.PausedReason,
		CreatedAt: t.CreatedAt.UTC().Format(timeLayout), UpdatedAt: t.UpdatedAt.UTC().Format(timeLayout),
		SecretFingerprints: make([]string, 0, len(t.Secrets)), SigningSecrets: make([]SecretView, 0, len(t.Secrets)),
	}
	if !t.PausedAt.IsZero() {
		v.PausedAt = t.PausedAt.UTC().Format(timeLayout)
	}
	v.Headers, v.Secrets = redactHeaders(t.Headers), nil
	for _, s := range liveSecrets(t.Secrets, time.Now()) {
		v.SecretFingerprints = append(v.SecretFingerprints, s.ID())
		v.SigningSecrets = append(v.SigningSecrets, s.View())
	}
	return v
}

// Reveal returns the form to show once, when a secret has been generated: with
// the newest as "secret".
func (t *Type) Reveal() View {
	v := t.View()
	if len(t.Secrets) > 0 {
		secret := t.Secrets[0].Value
		v.Secret = &secret
	}
	return v
}

// MarshalJSON writes the [View], so that no encoder meets a secret.
func (t Type) MarshalJSON() ([]byte, error) { return json.Marshal(t.View()) }

// String says name and version, so that no format verb meets a secret.
func (t Type) String() string { return "job type " + t.Name }

// GoString is String.
func (t Type) GoString() string { return t.String() }

// LogValue says what a log may know.
func (t Type) LogValue() slog.Value {
	return slog.GroupValue(
		slog.String("name", t.Name), slog.Int64("version", t.Version), slog.String("target", t.RedactedTarget()),
		slog.Int("concurrency", t.Concurrency), slog.Bool("paused", t.Paused),
	)
}

// RedactedTarget is the target without its query, which may hold a key. For logs.
func (t *Type) RedactedTarget() string { return RedactURL(t.Target) }

// RedactedReconcileURL is RedactedTarget of the ReconcileURL; "" if there is none.
func (t *Type) RedactedReconcileURL() string { return RedactURL(t.ReconcileURL) }

// RedactURL is a URL without user, query and fragment, any of which may hold a key. For logs and views.
func RedactURL(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return Redacted
	}
	u.User, u.Fragment = nil, ""
	if u.RawQuery != "" {
		u.RawQuery = "…"
	}
	return u.String()
}

// Clone returns a copy that shares nothing with t.
func (t *Type) Clone() Type {
	c := *t
	c.Headers, c.Secrets = maps.Clone(t.Headers), slices.Clone(t.Secrets)
	c.AllowTargets = slices.Clone(t.AllowTargets)
	c.Answers = cloneAnswers(t.Answers)
	c.Outage, c.Adaptive = clone(t.Outage), clone(t.Adaptive)
	return c
}

// same reports whether two types differ in nothing that their owner can set.
func (t *Type) same(o *Type) bool {
	return maps.Equal(t.Headers, o.Headers) && sameSecrets(t.Secrets, o.Secrets) &&
		t.Name == o.Name && t.Target == o.Target && t.Concurrency == o.Concurrency && t.Rate == o.Rate && t.Groups == o.Groups && t.Timeout == o.Timeout &&
		t.Retry == o.Retry && t.Retention == o.Retention && t.Paused == o.Paused && t.PausedReason == o.PausedReason &&
		t.Description == o.Description && t.Completion == o.Completion && t.CallbackLease == o.CallbackLease &&
		slices.Equal(t.AllowTargets, o.AllowTargets) && sameAnswers(t.Answers, o.Answers) && t.MaxRetryAfter == o.MaxRetryAfter && t.ReconcileURL == o.ReconcileURL &&
		t.Format == o.Format && t.Batch == o.Batch && t.EventSource == o.EventSource && t.EventType == o.EventType &&
		equal(t.Outage, o.Outage) && equal(t.Adaptive, o.Adaptive)
}

// New returns a type with every default set. It has no secret yet: storing it
// makes one.
func New(name, target string) Type {
	return Type{
		Name: name, Target: target, Concurrency: 10, Timeout: 30 * time.Second,
		Retry:      Retry{MaxAttempts: 12, MinBackoff: time.Second, MaxBackoff: time.Hour},
		Retention:  Retention{Count: 1000, Age: 24 * time.Hour},
		Completion: Callback, CallbackLease: time.Minute, MaxRetryAfter: time.Hour,
		Format: Raw,
	}
}
