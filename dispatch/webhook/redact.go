package webhook

import (
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"
)

const redacted = "redacted"

// maxShownURL bounds a URL in an error, in bytes.
const maxShownURL = 200

// redactURL returns a URL without userinfo, query and fragment, which may be
// secret, and whose remains are safe to show. What does not parse is not shown
// at all. The result always parses.
func redactURL(raw string) string {
	u, err := url.Parse(raw)
	if err != nil || u.Opaque != "" {
		return redacted
	}
	return showURL(u)
}

func showURL(u *url.URL) string {
	shown := url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path, RawPath: u.RawPath}
	if u.RawQuery != "" {
		shown.RawQuery = redacted
	}
	s := shown.String()
	if len(s) > maxShownURL || !isHeaderValue(s) {
		shown.Path, shown.RawPath = "/"+redacted, ""
		s = shown.String()
	}
	if len(s) > maxShownURL || !isHeaderValue(s) {
		return redacted
	}
	return s
}

// clean returns the beginning of b as valid UTF-8 that is safe to show, at most
// limit bytes: control characters but tab and newline, and those that turn the
// direction of writing around, become U+FFFD, as does what is not UTF-8. CRLF
// becomes a newline.
func clean(b []byte, limit int) string {
	var s strings.Builder
	s.Grow(min(len(b), limit))
	for len(b) > 0 {
		r, n := utf8.DecodeRune(b)
		b = b[n:]
		switch {
		case r == '\r' && len(b) > 0 && b[0] == '\n':
			continue
		case r == '\n' || r == '\t':
		case unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r):
			r = utf8.RuneError
		}
		if s.Len()+utf8.RuneLen(r) > limit {
			break
		}
		s.WriteRune(r)
	}
	return s.String()
}
