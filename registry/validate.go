package registry

import (
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/deetoo/deetoo/internal/strictjson"
	"github.com/deetoo/deetoo/invalid"
)

// Bounds, in bytes unless said otherwise.
const (
	maxNameLength        = 64
	maxTargetLength      = 2048
	maxDescriptionLength = 1024
	maxSecrets           = 5  // in number
	maxHeaders           = 32 // in number
	maxHeaderName        = 128
	maxHeaderValue       = 4096
	maxHeadersTotal      = 16 << 10
)

// day is 24 hours; a calendar day may differ.
const day = 24 * time.Hour

// Validate returns the first rule that the type breaks, an *[invalid.Error]
// naming the field as in a [Spec], or nil.
func (t *Type) Validate() error {
	if broken := t.Violations(); len(broken) > 0 {
		return broken[0]
	}
	return nil
}

// Violations returns every rule that the type breaks, for a form that shows
// them beside the fields.
func (t *Type) Violations() []*invalid.Error {
	var c checks
	c.rule("name", nameRule(t.Name))
	c.rule("target", targetRule(t.Target))
	c.that(t.Concurrency >= 1 && t.Concurrency <= 10_000, "concurrency", "must be 1 to 10,000")
	c.rate("rate", t.Rate)
	c.groups(t.Groups)
	c.that(t.Timeout >= 100*time.Millisecond && t.Timeout <= day, "timeout", "must be 100ms to 24h")
	c.that(t.Retry.MaxAttempts >= 1 && t.Retry.MaxAttempts <= 100, "retry.max_attempts", "must be 1 to 100")
	c.that(t.Retry.MinBackoff >= time.Millisecond && t.Retry.MinBackoff <= day, "retry.min_backoff", "must be 1ms to 24h")
	c.that(t.Retry.MaxBackoff >= t.Retry.MinBackoff && t.Retry.MaxBackoff <= 7*day, "retry.max_backoff", "must be min_backoff to 168h (7 days)")
	c.headers(t.Headers)
	c.secrets(t.Secrets)
	c.that(t.Retention.Count >= 0 && t.Retention.Count <= 1_000_000, "retention.count", "must be 0 to 1,000,000")
	c.that(t.Retention.Age >= 0 && t.Retention.Age <= 365*day, "retention.age", "must be 0s to 8760h (365 days)")
	c.rule("description", textRule(t.Description))
	c.rule("paused_reason", textRule(t.PausedReason))
	c.that(t.Completion == Callback || t.Completion == Sync, "completion", `must be "callback" or "sync"`)
	c.that(t.CallbackLease >= time.Second && t.CallbackLease <= day, "callback_lease", "must be 1s to 24h")
	c.allowTargets(t.AllowTargets)
	c.answers(t.Answers)
	if t.ReconcileURL != "" {
		c.that(t.Target != LocalTarget && t.ReconcileURL != LocalTarget, "reconcile_url", "is for webhooks only")
		c.rule("reconcile_url", targetRule(t.ReconcileURL))
	}
	c.that(t.MaxRetryAfter >= time.Second && t.MaxRetryAfter <= 7*day, "max_retry_after", "must be 1s to 168h (7 days)")
	c.format(t)
	c.batch(t)
	c.outage(t.Outage)
	c.adaptive(t.Adaptive, t.Concurrency)
	return c
}

// checks collects what is wrong.
type checks []*invalid.Error

func (c *checks) rule(field, rule string) {
	if rule != "" {
		*c = append(*c, &invalid.Error{Field: field, Rule: rule})
	}
}

func (c *checks) that(ok bool, field, rule string) {
	if !ok {
		c.rule(field, rule)
	}
}

func (c *checks) secrets(secrets []Secret) {
	if len(secrets) < 1 || len(secrets) > maxSecrets {
		c.rule("secrets", "must be 1 to 5")
		return
	}
	for i, s := range secrets {
		field := "secrets[" + strconv.Itoa(i) + "]"
		c.rule(field, secretRule(s.Value))
		c.that(!slices.ContainsFunc(secrets[:i], func(o Secret) bool { return o.Value == s.Value }), field, "is given twice")
	}
	c.that(slices.ContainsFunc(secrets, func(s Secret) bool { return s.ExpiresAt.IsZero() }), "secrets", "must have one that does not expire")
}

func (c *checks) headers(headers map[string]string) {
	if len(headers) > maxHeaders {
		c.rule("headers", "must be at most 32")
		return
	}
	total := 0
	seen := make(map[string]bool, len(headers))
	for _, name := range slices.Sorted(maps.Keys(headers)) {
		value, lower := headers[name], strings.ToLower(name)
		total += len(name) + len(value)
		field := strictjson.Member("headers", name)
		c.rule(field, headerNameRule(lower))
		c.rule(field, headerValueRule(value))
		c.that(!seen[lower], field, "is given twice (case does not count in header names)")
		seen[lower] = true
	}
	c.that(total <= maxHeadersTotal, "headers", "must be at most 16 KiB in all")
}

func headerNameRule(lower string) string {
	if lower == "" || len(lower) > maxHeaderName || strings.ContainsFunc(lower, notToken) {
		return "must be a header name of at most 128 bytes"
	}
	switch lower {
	case "connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te", "trailer",
		"transfer-encoding", "upgrade", "http2-settings": // hop by hop, RFC 9110 section 7.6.1
		return "belongs to the connection and cannot be set"
	case "host", "content-length", "content-type", "content-encoding", "expect", "traceparent", "tracestate":
		return "is set by the dispatcher"
	}
	if strings.HasPrefix(lower, "webhook-") || strings.HasPrefix(lower, "deetoo-") {
		return "is set by the dispatcher"
	}
	return ""
}

// notToken reports what RFC 9110 section 5.6.2 does not allow in a header name.
func notToken(r rune) bool {
	return !isAlphanumeric(r) && !strings.ContainsRune("!#$%&'*+-.^_`|~", r)
}

func headerValueRule(value string) string {
	switch {
	case len(value) > maxHeaderValue:
		return "must be at most 4,096 bytes"
	case strings.ContainsFunc(value, func(r rune) bool { return r != '\t' && unicode.IsControl(r) }):
		return "must not contain line breaks or control characters"
	case !utf8.ValidString(value):
		return "must be valid UTF-8"
	}
	return ""
}

func isAlphanumeric(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
}

func nameRule(name string) string {
	if name == "" {
		return "is required"
	}
	bad := func(r rune) bool { return !isAlphanumeric(r) && r != '.' && r != '_' && r != '-' }
	if len(name) > maxNameLength || strings.ContainsFunc(name, bad) || !isAlphanumeric(rune(name[0])) {
		return "must be 1 to 64 of letters, digits, '.', '_' and '-', beginning with a letter or digit"
	}
	return ""
}

// targetRule never repeats the URL, which may hold a key.
func targetRule(target string) string {
	switch {
	case target == "":
		return "is required"
	case target == LocalTarget:
		return ""
	case len(target) > maxTargetLength:
		return "must be at most 2,048 bytes"
	case !utf8.ValidString(target) || strings.ContainsFunc(target, func(r rune) bool { return unicode.IsControl(r) || unicode.IsSpace(r) }):
		return "must not contain spaces, line breaks or control characters"
	}
	u, err := url.Parse(target)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Opaque != "" || u.Hostname() == "" {
		return "must be an absolute http or https URL with a host"
	}
	if u.User != nil {
		return "must not contain a user or password; send credentials in headers"
	}
	if strings.Contains(target, "#") {
		return "must not have a fragment"
	}
	if port := u.Port(); port != "" || strings.HasSuffix(u.Host, ":") {
		if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
			return "must have a port of 1 to 65535, or none"
		}
	}
	return ""
}

func textRule(text string) string {
	switch {
	case len(text) > maxDescriptionLength:
		return "must be at most 1,024 bytes"
	case !utf8.ValidString(text):
		return "must be valid UTF-8"
	case strings.ContainsFunc(text, func(r rune) bool { return unicode.IsControl(r) && r != '\n' && r != '\r' && r != '\t' }):
		return "must not contain control characters but line breaks and tabs"
	}
	return ""
}
