package ui

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"
)

// policy allows our own files alone: no inline script or style, no frame
// around us, no form or link base that leads elsewhere.
const policy = "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'"

// secureHeaders are on every answer. The referrer stays within this origin
// rather than being suppressed, since browsers that suppress it send
// "Origin: null" with forms, which could then not be told from a stranger's.
func secureHeaders(c *fiber.Ctx) {
	c.Set(fiber.HeaderContentSecurityPolicy, policy)
	c.Set(fiber.HeaderXFrameOptions, "DENY")
	c.Set(fiber.HeaderXContentTypeOptions, "nosniff")
	c.Set(fiber.HeaderReferrerPolicy, "same-origin")
	c.Set("Cross-Origin-Opener-Policy", "same-origin")
	c.Set(fiber.HeaderCacheControl, "no-store")
}

const (
	sessionCookie = "deetoo-session"
	// seenCookie remembers for a while, without saying who, that there was a
	// session, so that its end can be told from a first visit.
	seenCookie  = "deetoo-seen"
	flashCookie = "deetoo-flash"
	// maxCookieToken leaves room for name and attributes in the 4,096 bytes
	// that browsers keep (RFC 6265 section 6.1).
	maxCookieToken = 3800
)

// session is a token, kept by the browser alone.
type session struct {
	token string
	// secure says that the cookie travels by https or within the machine. Then
	// it is named __Host-…, which no subdomain or plain-text answer can set.
	secure bool
	seen   bool
}

func sessionOf(c *fiber.Ctx) session {
	s := session{secure: isSecure(c)}
	s.token = strings.Clone(c.Cookies(s.cookie()))
	s.seen = c.Cookies(seenCookie) != ""
	return s
}

func (s session) cookie() string {
	if s.secure {
		return "__Host-" + sessionCookie
	}
	return sessionCookie
}

// open stores a token in the browser, until it expires.
func (s session) open(c *fiber.Ctx, token string, until time.Time) {
	c.Cookie(&fiber.Cookie{
		Name: s.cookie(), Value: token, Path: "/", Expires: until,
		HTTPOnly: true, Secure: s.secure, SameSite: fiber.CookieSameSiteStrictMode,
	})
	c.Cookie(&fiber.Cookie{
		Name: seenCookie, Value: "1", Path: "/ui", Expires: until.Add(24 * time.Hour),
		HTTPOnly: true, Secure: s.secure, SameSite: fiber.CookieSameSiteStrictMode,
	})
}

// close takes the token from the browser.
func (s session) close(c *fiber.Ctx) {
	for name, path := range map[string]string{s.cookie(): "/", seenCookie: "/ui"} {
		c.Cookie(&fiber.Cookie{
			Name: name, Path: path, Expires: time.Unix(1, 0),
			HTTPOnly: true, Secure: s.secure, SameSite: fiber.CookieSameSiteStrictMode,
		})
	}
}

// csrf is what a form must bring along: a hash that only who knows the session
// token can make, hidden under a pad of random bytes so that it looks different each time. It needs no state and no shared key, so a form that one
// dispatcher has rendered is good at every other one.
func (s session) csrf() string {
	if s.token == "" {
		return ""
	}
	proof := s.proof()
	out := make([]byte, 2*len(proof))
	rand.Read(out[:len(proof)])
	subtle.XORBytes(out[len(proof):], out[:len(proof)], proof)
	return base64.RawURLEncoding.EncodeToString(out)
}

func (s session) proof() []byte {
	mac := hmac.New(sha256.New, []byte(s.token))
	mac.Write([]byte("deetoo form"))
	return mac.Sum(nil)
}

func (s session) checkCSRF(got string) bool {
	proof := s.proof()
	raw, err := base64.RawURLEncoding.DecodeString(got)
	if err != nil || len(raw) != 2*len(proof) || s.token == "" {
		return false
	}
	subtle.XORBytes(raw[:len(proof)], raw[:len(proof)], raw[len(proof):])
	return hmac.Equal(raw[:len(proof)], proof)
}

// isSecure reports whether the browser keeps Secure cookies from here: by
// https, or from its own machine.
func isSecure(c *fiber.Ctx) bool {
	return c.Protocol() == "https" || isLoopback(string(c.Context().Host()))
}

func isLoopback(hostport string) bool {
	host := hostport
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		host = h
	}
	host = strings.ToLower(strings.Trim(host, "[]"))
	if ip := net.ParseIP(host); ip != nil {
		return ip.IsLoopback()
	}
	return host == "localhost" || strings.HasSuffix(host, ".localhost")
}

// sameOrigin reports whether a page of ours sent a POST, by what the browser
// says of it and no page can forge: Sec-Fetch-Site (https or loopback only) and
// Origin. Who sends neither is no browser we know.
func sameOrigin(c *fiber.Ctx) bool {
	site, origin := c.Get("Sec-Fetch-Site"), c.Get(fiber.HeaderOrigin)
	if site != "" && site != "same-origin" || site == "" && origin == "" {
		return false
	}
	if origin == "" {
		return true
	}
	u, err := url.Parse(origin)
	if err != nil || u.Host == "" {
		return false
	}
	// A proxy may have renamed us; a page cannot set its header.
	return strings.EqualFold(u.Host, string(c.Context().Host())) || strings.EqualFold(u.Host, c.Get(fiber.HeaderXForwardedHost))
}

// localPath returns an address if it is a page of ours, else the start page, so
// that nobody is sent elsewhere after logging in.
func localPath(to string) string {
	u, err := url.Parse(to)
	if err != nil || u.Scheme != "" || u.Host != "" || u.User != nil || u.Path != "/ui" && !strings.HasPrefix(u.Path, "/ui/") ||
		strings.ContainsAny(to, "\\\r\n\t") || strings.HasPrefix(u.Path, "/ui/login") || strings.HasPrefix(u.Path, "/ui/static/") {
		return "/ui"
	}
	return u.RequestURI()
}
