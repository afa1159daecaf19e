package ui

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func TestNumber(t *testing.T) {
	for n, want := range map[int]string{0: "0", 7: "7", 999: "999", 1000: "1,000", 1234567: "1,234,567", -1: "-1", -123: "-123", -1234: "-1,234"} {
		if got := number(n); got != want {
			t.Errorf("number(%d) = %q, want %q", n, got, want)
		}
	}
}

func TestDuration(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Second: "0 s", 0: "0 ms", 850 * time.Millisecond: "850 ms", 4250 * time.Millisecond: "4.2 s", 5 * time.Second: "5 s", 59*time.Second + 999*time.Millisecond: "59 s",
		3*time.Minute + 5*time.Second: "3 min 5 s", 2 * time.Hour: "2 h", 50*time.Hour + time.Minute: "2 d 2 h",
	} {
		if got := duration(d); got != want {
			t.Errorf("duration(%s) = %q, want %q", d, got, want)
		}
	}
}

func TestAgo(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "now", 12500 * time.Millisecond: "12 s ago", 3*time.Minute + time.Second: "3 min ago", 5*time.Hour + time.Minute: "5 h ago", 49 * time.Hour: "2 d ago", -90500 * time.Millisecond: "in 90 s",
	} {
		if got := ago(time.Now().Add(-d)); got != want {
			t.Errorf("%s ago is %q, want %q", d, got, want)
		}
	}
	if got := ago(time.Time{}); got != "–" {
		t.Errorf("no time is %q", got)
	}
}

func TestLoopback(t *testing.T) {
	for host, want := range map[string]bool{
		"localhost": true, "LOCALHOST:80": true, "a.localhost:1": true, "127.0.0.1": true, "127.9.9.9:80": true, "[::1]:80": true, "[::1]": true,
		"": false, "localhost.example": false, "127.0.0.1.example": false, "10.0.0.1:80": false, "0.0.0.0": false, "notlocalhost": false,
	} {
		if got := isLoopback(host); got != want {
			t.Errorf("isLoopback(%q) = %v", host, got)
		}
	}
}

func FuzzPretty(f *testing.F) {
	for _, seed := range []string{"", "null", `{"a":[1,2]}`, "\xff", strings.Repeat("[", 1000), `"` + strings.Repeat("é", maxShown) + `"`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		s := pretty(data)
		if !utf8.ValidString(s.Text) || len(s.Text) > maxShown || s.Size != len(data) {
			t.Errorf("%d bytes are shown as %d, valid %v", len(data), len(s.Text), utf8.ValidString(s.Text))
		}
	})
}

// FuzzLocalPath looks for a way to be sent elsewhere after logging in.
func FuzzLocalPath(f *testing.F) {
	for _, seed := range []string{"/ui", "/ui/types/email?state=dead", "//evil.example/ui/", "https://evil.example", `/\evil.example`, "/ui/../..//evil.example", "javascript:alert(1)", "/ui\r\nSet-Cookie: a=b"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, to string) {
		got := localPath(to)
		if got != "/ui" && !strings.HasPrefix(got, "/ui?") && !strings.HasPrefix(got, "/ui/") || strings.ContainsAny(got, "\\\r\n\t ") {
			t.Errorf("%q leads to %q", to, got)
		}
	})
}

func TestVendoredFilesAreWhatTheReadmeSays(t *testing.T) {
	readme, err := os.ReadFile("static/vendor/README.md")
	must(t, err)
	for _, name := range []string{"uplot.min.js", "uplot.min.css"} {
		data, err := staticFiles.ReadFile("static/vendor/" + name)
		must(t, err)
		sum := sha256.Sum256(data)
		if !strings.Contains(string(readme), "| "+name+" |") || !strings.Contains(string(readme), hex.EncodeToString(sum[:])) {
			t.Errorf("%s is not the file that the README names", name)
		}
	}
}
