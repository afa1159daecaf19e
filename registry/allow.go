package registry

import (
	"net"
	"net/url"
	"strconv"
	"strings"

	"github.com/deetoo/deetoo/invalid"
)

// maxAllowTargets is how many patterns a type may have.
const maxAllowTargets = 20

// AllowsTarget reports whether jobs of the type may have that target of their
// own: it is the type's, or one of AllowTargets matches it. A pattern is an http or https URL without query:
//
//   - the scheme must be the same, and the port, which is the scheme's if absent;
//   - the host must be the same, whatever the case of its letters; a label "*" of the pattern stands for exactly one label;
//   - the path must be the same or below: "/hooks" matches "/hooks" and "/hooks/a", not "/hooksa". No path matches any.
//
// The target's query may be any. A path with a "." or ".." segment, a backslash or an encoded slash, which handlers
// read in different ways, matches no pattern.
func (t *Type) AllowsTarget(target string) bool {
	if target == t.Target {
		return true
	}
	u, err := url.Parse(target)
	if err != nil || targetRule(target) != "" || target == LocalTarget || !plainPath(u) {
		return false
	}
	for _, pattern := range t.AllowTargets {
		if p, err := url.Parse(pattern); err == nil && matches(p, u) {
			return true
		}
	}
	return false
}

func matches(p, u *url.URL) bool {
	if p.Scheme != u.Scheme || port(p) != port(u) {
		return false
	}
	want, got := strings.Split(host(p), "."), strings.Split(host(u), ".")
	if len(want) != len(got) {
		return false
	}
	for i := range want {
		if want[i] != got[i] && (want[i] != "*" || got[i] == "") {
			return false
		}
	}
	prefix := strings.TrimSuffix(p.Path, "/")
	return u.Path == prefix || strings.HasPrefix(u.Path, prefix+"/") || prefix == ""
}

func host(u *url.URL) string { return strings.ToLower(strings.TrimSuffix(u.Hostname(), ".")) }

func port(u *url.URL) string {
	switch {
	case u.Port() != "":
		n, err := strconv.Atoi(u.Port())
		if err != nil {
			return u.Port()
		}
		return strconv.Itoa(n)
	case u.Scheme == "https":
		return "443"
	}
	return "80"
}

// plainPath reports whether all handlers read the path in the same way.
func plainPath(u *url.URL) bool {
	raw := strings.ToLower(u.EscapedPath())
	if strings.Contains(raw, "%2f") || strings.Contains(raw, "%5c") || strings.Contains(u.Path, `\`) {
		return false
	}
	for segment := range strings.SplitSeq(u.Path, "/") {
		if name, _, _ := strings.Cut(segment, ";"); name == "." || name == ".." {
			return false
		}
	}
	return true
}

// allowRule is what is wrong with a pattern of AllowTargets.
func allowRule(pattern string) string {
	if pattern == LocalTarget || strings.Contains(pattern, "?") {
		return "must be an http or https URL without query"
	}
	if rule := targetRule(pattern); rule != "" {
		return rule
	}
	u, err := url.Parse(pattern)
	if err != nil || !plainPath(u) {
		return "must have a path without dots, backslashes and encoded slashes"
	}
	if net.ParseIP(u.Hostname()) != nil {
		return ""
	}
	labels := strings.Split(host(u), ".")
	for i, label := range labels {
		if strings.Contains(label, "*") && label != "*" {
			return "must have * for a whole label of the host, if at all"
		}
		if label == "*" && i >= len(labels)-2 {
			return "must end with two labels of the host that are no *"
		}
	}
	return ""
}

func (c *checks) allowTargets(patterns []string) {
	c.that(len(patterns) <= maxAllowTargets, "allow_targets", "must be at most 20")
	for i, p := range patterns {
		c.rule("allow_targets["+strconv.Itoa(i)+"]", allowRule(p))
	}
}

// CheckJob returns what a job may not have beside others of the type: headers
// that belong to the connection or the contract, and a target that the type does not allow. The error is an
// *[invalid.Error] that names the job's field, and never repeats a URL.
func (t *Type) CheckJob(headers map[string]string, target string) error {
	if len(headers) > 0 {
		var c checks
		c.headers(headers)
		if len(c) > 0 {
			return c[0]
		}
	}
	switch {
	case target == "" || t.AllowsTarget(target):
		return nil
	case target == LocalTarget:
		return invalid.Errorf("target", "must be an http or https URL")
	}
	if rule := targetRule(target); rule != "" {
		return invalid.Errorf("target", "%s", rule)
	}
	if len(t.AllowTargets) == 0 {
		return invalid.Errorf("target", "must not be given: the job type has no allow_targets")
	}
	return invalid.Errorf("target", "must match one of the job type's allow_targets")
}

// RedactHeaders returns a copy of a job's headers to show: without the values of credentials.
func RedactHeaders(headers map[string]string) map[string]string { return redactHeaders(headers) }
