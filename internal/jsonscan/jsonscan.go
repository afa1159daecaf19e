// Package jsonscan walks over JSON in one pass, without reflection and without allocating. What it accepts
// is what package strictjson accepts as the value of a json.RawMessage: the grammar of RFC 8259 in valid UTF-8, without half
// surrogate pairs (RFC 7493), nested no deeper than asked. It says of no error where or what: whoever
// wants to know has strictjson look again.
package jsonscan

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"unicode/utf8"
)

// MaxDepth is how many arrays and objects may be nested in each other at most.
const MaxDepth = 64

// Valid reports whether data is one JSON value, nested at most MaxDepth deep, with white space around it or none.
func Valid(data []byte) bool {
	end := Value(data, Space(data, 0), MaxDepth)
	return end >= 0 && Space(data, end) == len(data)
}

// Space returns the index of the first byte from i on that is no white space, or len(data).
func Space(data []byte, i int) int {
	for i < len(data) && (data[i] == ' ' || data[i] == '\n' || data[i] == '\r' || data[i] == '\t') {
		i++
	}
	return i
}

// Value returns the index behind the value that begins at i, or -1 if none does that is
// well-formed and nested at most depth deep, itself included; depth is 0 to MaxDepth.
func Value(data []byte, i, depth int) int {
	var objects uint64 // a bit a level, the innermost lowest: it is an object, not an array
	level := 0
value:
	for {
		if i >= len(data) {
			return -1
		}
		switch c := data[i]; c {
		case '{', '[':
			if level == depth {
				return -1
			}
			level++
			objects <<= 1
			if c == '{' {
				objects |= 1
			}
			if i = Space(data, i+1); i < len(data) && data[i] == c+2 { // '}' and ']'
				i++
				level--
				objects >>= 1
				break
			}
			if c == '{' {
				if i = name(data, i); i < 0 {
					return -1
				}
			}
			continue value
		case '"':
			i = String(data, i)
		case 't':
			i = literal(data, i, "true")
		case 'f':
			i = literal(data, i, "false")
		case 'n':
			i = literal(data, i, "null")
		default:
			i = number(data, i)
		}
		if i < 0 {
			return -1
		}
		for level > 0 { // a value has ended inside another
			if i = Space(data, i); i == len(data) {
				return -1
			}
			object := objects&1 == 1
			switch c := data[i]; {
			case c == ',':
				if i = Space(data, i+1); object {
					if i = name(data, i); i < 0 {
						return -1
					}
				}
				continue value
			case c == '}' && object, c == ']' && !object:
				i++
				level--
				objects >>= 1
			default:
				return -1
			}
		}
		return i
	}
}

// name returns the index of the value whose name begins at i, or -1.
func name(data []byte, i int) int {
	if i >= len(data) || data[i] != '"' {
		return -1
	}
	if i = String(data, i); i < 0 {
		return -1
	}
	if i = Space(data, i); i == len(data) || data[i] != ':' {
		return -1
	}
	return Space(data, i+1)
}

// Ends of the bytes of a word, for looking at eight at once.
const (
	low  = 0x0101010101010101
	high = 0x8080808080808080
)

// String returns the index behind the string that begins with the quote at i, or -1.
func String(data []byte, i int) int {
	i++
	for {
		// Eight at a time while none is a quote, a backslash, a control character or not ASCII. A borrow can
		// only raise a bit above the first that is rightly raised.
		for ; i+8 <= len(data); i += 8 {
			w := binary.LittleEndian.Uint64(data[i:])
			quote, slash := w^(low*'"'), w^(low*'\\')
			if found := ((quote-low)&^quote | (slash-low)&^slash | (w-low*' ')&^w | w) & high; found != 0 {
				i += bits.TrailingZeros64(found) / 8
				break
			}
		}
		if i >= len(data) {
			return -1
		}
		switch c := data[i]; {
		case c == '"':
			return i + 1
		case c == '\\':
			if i = escape(data, i); i < 0 {
				return -1
			}
		case c < ' ':
			return -1
		case c < utf8.RuneSelf:
			i++
		default:
			r, n := utf8.DecodeRune(data[i:])
			if r == utf8.RuneError && n == 1 {
				return -1
			}
			i += n
		}
	}
}

// escape returns the index behind the escape sequence, or the two of a surrogate pair, that begins at i, or -1.
func escape(data []byte, i int) int {
	if i+1 >= len(data) {
		return -1
	}
	if data[i+1] != 'u' {
		if bytes.IndexByte([]byte(`"\/bfnrt`), data[i+1]) < 0 {
			return -1
		}
		return i + 2
	}
	switch r := hex4(data, i+2); {
	case r < 0, r >= 0xdc00 && r < 0xe000:
		return -1
	case r < 0xd800 || r >= 0xe000:
		return i + 6
	}
	if i+7 >= len(data) || data[i+6] != '\\' || data[i+7] != 'u' {
		return -1
	}
	if r := hex4(data, i+8); r < 0xdc00 || r >= 0xe000 {
		return -1
	}
	return i + 12
}

// hex4 reads four hexadecimal digits; -1 if they are none.
func hex4(data []byte, i int) int {
	if i+4 > len(data) {
		return -1
	}
	r := 0
	for _, c := range data[i : i+4] {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		case c >= 'A' && c <= 'F':
			c -= 'A' - 10
		default:
			return -1
		}
		r = r<<4 | int(c)
	}
	return r
}

func literal(data []byte, i int, want string) int {
	if len(data)-i < len(want) || string(data[i:i+len(want)]) != want {
		return -1
	}
	return i + len(want)
}

// number returns the index behind the number that begins at i, or -1.
func number(data []byte, i int) int {
	if data[i] == '-' {
		i++
	}
	end := digits(data, i)
	if end == i || data[i] == '0' && end > i+1 {
		return -1
	}
	i = end
	if i < len(data) && data[i] == '.' {
		if end = digits(data, i+1); end == i+1 {
			return -1
		}
		i = end
	}
	if i < len(data) && (data[i] == 'e' || data[i] == 'E') {
		if i++; i < len(data) && (data[i] == '+' || data[i] == '-') {
			i++
		}
		if end = digits(data, i); end == i {
			return -1
		}
		i = end
	}
	return i
}

func digits(data []byte, i int) int {
	for i < len(data) && data[i] >= '0' && data[i] <= '9' {
		i++
	}
	return i
}
