package jsonscan_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/deetoo/deetoo/internal/jsonscan"
	"github.com/deetoo/deetoo/internal/strictjson"
)

func seeds() []string {
	deep := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	return []string{
		``, ` `, `{}`, `[]`, ` { } `, `[[],{}]`, `{"a":1,"a":[{"b":{}}]}`, `[1,2,]`, `[,1]`, `{"a"}`, `{"a":}`, `{"a":1,}`, `{a:1}`, `{"a":1}}`, `[}`, `{]`,
		`"abcdefgh"`, `"abcdefg\"h"`, `"1234567` + "\x1f" + `"`, `"12345678` + "\x00" + `"`, "\"\x7f\"", `"é—😀ü"`, "\"\xff\"", "\"\xc3\"", "\"\xed\xa0\x80\"", `"unfinished`, `"\`, `"\x"`,
		`"\u00e9\ud83d\ude00"`, `"\ud83d"`, `"\ude00"`, `"\ud83d\u0041"`, `"\uD83D\uDE0"`, `"\u12g4"`, `"\"\\\/\b\f\n\r\t"`,
		`0`, `-0`, `01`, `-`, `1.`, `.5`, `1.5`, `1e5`, `1E+5`, `1e-`, `1e`, `-1.25e-10`, `+1`, `0x1`, `NaN`, `1 2`,
		`true`, `false`, `null`, `tru`, `nullx`, `True`, "\ufeff{}", "{\x00}", "[1\v,2]",
		deep(64), deep(65), strings.Repeat(`{"a":`, 64) + "1" + strings.Repeat("}", 64), strings.Repeat(`{"a":[`, 32) + strings.Repeat("]}", 32), strings.Repeat("[", 100),
	}
}

// check holds the scanner against strictjson, which accepts the very same, and encoding/json, which accepts more.
func check(t *testing.T, in []byte) {
	t.Helper()
	got := jsonscan.Valid(in)
	if err := strictjson.Valid(in); got != (err == nil) {
		t.Errorf("Valid(%.80q) = %t, strictjson says %v", in, got, err)
	}
	if got && !json.Valid(in) {
		t.Errorf("%.80q is no JSON", in)
	}
}

func TestValidIsWhatStrictjsonAccepts(t *testing.T) {
	for _, s := range seeds() {
		check(t, []byte(s))
		check(t, []byte(`{"x":[`+s+`]}`))
		check(t, []byte(s+s))
	}
	for c := range 256 { // every byte, at every place of a word and behind it
		for at := range 18 {
			s := []byte(`"` + strings.Repeat("x", 18) + `"`)
			s[1+at] = byte(c)
			check(t, s)
		}
	}
}

func TestDepthIsThatOfTheValue(t *testing.T) {
	for depth, want := range map[int]int{0: -1, 1: -1, 2: 10, 64: 10} {
		if got := jsonscan.Value([]byte(`{"a":[1] }, x`), 0, depth); got != want {
			t.Errorf("depth %d: %d, want %d", depth, got, want)
		}
	}
	if got := jsonscan.Value([]byte(`1`), 0, 0); got != 1 {
		t.Errorf("a number is nested: %d", got)
	}
}

func FuzzValid(f *testing.F) {
	for _, s := range seeds() {
		f.Add([]byte(s))
	}
	f.Fuzz(check)
}

func BenchmarkValid256(b *testing.B) {
	in := fmt.Appendf(nil, `{"to":"leia@example.org","text":"%s"}`, strings.Repeat("x", 215))
	b.SetBytes(int64(len(in)))
	b.ReportAllocs()
	for b.Loop() {
		if !jsonscan.Valid(in) {
			b.Fatal("refused")
		}
	}
}
