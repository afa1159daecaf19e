package registry

import (
	"maps"
	"net/url"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/deetoo/deetoo/internal/strictjson"
)

const (
	maxEventSource = 512
	maxEventType   = 256
)

// format checks how deliveries carry jobs.
func (c *checks) format(t *Type) {
	c.that(t.Format == Raw || t.Format == CloudEventsBinary || t.Format == CloudEventsStructured,
		"format", `must be "raw", "cloudevents-binary" or "cloudevents-structured"`)
	c.rule("event_source", eventSourceRule(t.EventSource))
	c.that(eventText(t.EventType, maxEventType), "event_type", "must be at most 256 bytes of UTF-8 without control characters")
	if t.Format == CloudEventsBinary {
		for _, name := range slices.Sorted(maps.Keys(t.Headers)) {
			c.that(!strings.HasPrefix(strings.ToLower(name), "ce-"), strictjson.Member("headers", name), "is set by the dispatcher in this format")
		}
	}
}

// eventSourceRule is that of CloudEvents for a source: a URI reference (RFC 3986).
func eventSourceRule(source string) string {
	if !eventText(source, maxEventSource) || strings.ContainsFunc(source, func(r rune) bool {
		return r > unicode.MaxASCII || strings.ContainsRune(" \"<>\\^`{|}", r)
	}) {
		return "must be a URI reference of at most 512 bytes, such as https://example.com/jobs or /jobs"
	}
	u, err := url.Parse(source)
	if err != nil {
		return "must be a URI reference such as https://example.com/jobs or /jobs"
	}
	if u.User != nil {
		return "must not contain a user or password: it is shown to everyone"
	}
	return ""
}

// eventText reports whether s can be a string of a CloudEvent: no control
// characters, no code points that are none of a character.
func eventText(s string, most int) bool {
	return len(s) <= most && utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool {
		return unicode.IsControl(r) || unicode.Is(unicode.Noncharacter_Code_Point, r)
	})
}
