package registry

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"strings"
)

// Redacted stands for a header's value that is not shown. Given back in a PUT
// or PATCH it keeps the stored value.
const Redacted = "[redacted]"

// secretPrefix marks a symmetric secret of Standard Webhooks.
const secretPrefix = "whsec_"

// NewSecret makes a signing secret: "whsec_" and base64 of 32 random bytes.
func NewSecret() string {
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails: crypto/rand ends the process instead
	return secretPrefix + base64.StdEncoding.EncodeToString(key)
}

// Fingerprint identifies a secret without telling it: the first 8 hexadecimal
// digits of its SHA-256.
func Fingerprint(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:4])
}

// secretRule returns the rule that a secret breaks, or "".
func secretRule(secret string) string {
	encoded, ok := strings.CutPrefix(secret, secretPrefix)
	if key, err := base64.StdEncoding.DecodeString(encoded); !ok || err != nil || len(key) < 24 || len(key) > 64 {
		return `must be "whsec_" and base64 of 24 to 64 bytes`
	}
	return ""
}

// isCredential guesses from a header's name whether its value is a secret.
func isCredential(header string) bool {
	header = strings.ToLower(header)
	for _, part := range []string{"auth", "token", "key", "secret", "cookie", "passw", "credential"} {
		if strings.Contains(header, part) {
			return true
		}
	}
	return false
}

// redactHeaders returns a copy without credentials. It is never nil.
func redactHeaders(headers map[string]string) map[string]string {
	out := make(map[string]string, len(headers))
	for name, value := range headers {
		if isCredential(name) {
			value = Redacted
		}
		out[name] = value
	}
	return out
}
