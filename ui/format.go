package ui

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// number writes 12345 as "12,345".
func number(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// duration writes the two largest units at most: "850 ms", "4.2 s", "3 min 5 s", "2 d 4 h".
func duration(d time.Duration) string {
	switch {
	case d < 0:
		return "0 s"
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < 10*time.Second:
		return strconv.FormatFloat(float64(d.Milliseconds()/100)/10, 'f', -1, 64) + " s"
	case d < time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < time.Hour:
		return two(int(d.Minutes()), "min", int(d.Seconds())%60, "s")
	case d < 24*time.Hour:
		return two(int(d.Hours()), "h", int(d.Minutes())%60, "min")
	default:
		return two(int(d.Hours())/24, "d", int(d.Hours())%24, "h")
	}
}

func two(a int, unitA string, b int, unitB string) string {
	if b == 0 {
		return fmt.Sprintf("%d %s", a, unitA)
	}
	return fmt.Sprintf("%d %s %d %s", a, unitA, b, unitB)
}

// size writes bytes with the largest unit that fits: "1.5 MiB".
func size(n uint64) string {
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	f, unit := float64(n), -1
	for f >= 1024 && unit < 4 {
		f /= 1024
		unit++
	}
	return trimmed(f) + " " + []string{"KiB", "MiB", "GiB", "TiB", "PiB"}[unit]
}

// ago says how far a time is from now, in one unit: "12 s ago", "in 3 h".
func ago(t time.Time) string {
	if t.IsZero() {
		return "–"
	}
	d := time.Since(t)
	past := d >= 0
	d = d.Abs()
	var s string
	switch {
	case d < time.Second:
		return "now"
	case d < 2*time.Minute:
		s = fmt.Sprintf("%d s", int(d.Seconds()))
	case d < 2*time.Hour:
		s = fmt.Sprintf("%d min", int(d.Minutes()))
	case d < 48*time.Hour:
		s = fmt.Sprintf("%d h", int(d.Hours()))
	default:
		s = fmt.Sprintf("%d d", int(d.Hours())/24)
	}
	if past {
		return s + " ago"
	}
	return "in " + s
}

// exact is a time to the millisecond.
func exact(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02 15:04:05.000 UTC")
}

// iso is a time for machines.
func iso(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

// clip cuts a text to n characters.
func clip(s string, n int) string {
	if utf8.RuneCountInString(s) <= n {
		return s
	}
	return string([]rune(s)[:n-1]) + "…"
}

// sentence makes an error read like one: "must be 1" is "Must be 1."
func sentence(s string) string {
	if s == "" {
		return ""
	}
	first, size := utf8.DecodeRuneInString(s)
	s = string(unicode.ToUpper(first)) + s[size:]
	if !strings.ContainsAny(s[len(s)-1:], ".!?") {
		s += "."
	}
	return s
}

// maxShown is how many bytes of a job's data or result a page holds; all of it can be downloaded.
const maxShown = 64 << 10

// shown is a payload made ready for reading.
type shown struct {
	Text string
	// Size of the original, in bytes.
	Size int
	// Cut says that Text is only its beginning.
	Cut bool
	// Binary says that it is no text, and Text a dump.
	Binary bool
}

// pretty indents JSON, leaves other text as it is, and dumps what is no text.
func pretty(data []byte) shown {
	s := shown{Size: len(data)}
	if !utf8.Valid(data) {
		s.Binary, s.Cut = true, len(data) > 512
		s.Text = fmt.Sprintf("% x", data[:min(len(data), 512)])
		return s
	}
	// Deep nesting would make the indented form much larger.
	var b bytes.Buffer
	if len(data) <= 4*maxShown && json.Indent(&b, data, "", "  ") == nil && b.Len() <= 4*len(data)+1024 {
		data = b.Bytes()
	}
	if len(data) > maxShown {
		data, s.Cut = data[:maxShown], true
		for len(data) > 0 && !utf8.Valid(data[max(0, len(data)-4):]) && !utf8.RuneStart(data[len(data)-1]) {
			data = data[:len(data)-1]
		}
	}
	s.Text = strings.ToValidUTF8(string(data), "")
	return s
}
