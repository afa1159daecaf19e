package embedded

import (
	"bytes"
	"errors"
	"strconv"
	"strings"
	"unicode"

	lua "github.com/yuin/gopher-lua"
)

// maxNesting is how deep a script's answer may be: one that contains itself has no end.
const maxNesting = 100

// toLua takes the first reply off b and returns it as scripts see it
// (https://redis.io/docs/latest/develop/programmability/lua-api/, "RESP2 to
// Lua type conversion"), and the rest. An error reply is an error.
func toLua(l *lua.LState, b []byte) (lua.LValue, []byte, error) {
	line, rest, ok := bytes.Cut(b, []byte("\r\n"))
	if !ok || len(line) == 0 {
		return nil, nil, errReply
	}
	kind, line := line[0], line[1:]
	switch kind {
	case '+':
		return status(l, string(line)), rest, nil
	case '-':
		return nil, rest, errors.New(string(line))
	}
	n, err := strconv.ParseInt(string(line), 10, 64)
	if err != nil {
		return nil, nil, errReply
	}
	switch {
	case kind == ':':
		return lua.LNumber(n), rest, nil
	case n < 0:
		return lua.LFalse, rest, nil
	case kind == '$' && int64(len(rest)) >= n+2:
		return lua.LString(rest[:n]), rest[n+2:], nil
	case kind == '*':
		t := l.CreateTable(int(n), 0)
		for i := 1; i <= int(n); i++ {
			var v lua.LValue
			if v, rest, err = toLua(l, rest); err != nil {
				return nil, nil, err
			}
			t.RawSetInt(i, v)
		}
		return t, rest, nil
	}
	return nil, nil, errReply
}

var errReply = errors.New("ERR the engine's reply cannot be read")

// status is how scripts see a status reply, and tell one.
func status(l *lua.LState, text string) *lua.LTable { return tagged(l, "ok", text) }

func tagged(l *lua.LState, tag, text string) *lua.LTable {
	t := l.CreateTable(0, 1)
	t.RawSetString(tag, lua.LString(text))
	return t
}

// appendReply appends what a script returned, as a reply (see toLua, "Lua to
// RESP2 type conversion").
func appendReply(b []byte, v lua.LValue, nesting int) []byte {
	switch v := v.(type) {
	case lua.LBool:
		if v {
			return append(b, ":1\r\n"...)
		}
	case lua.LNumber:
		return appendHead(b, ':', int64(v))
	case lua.LString:
		b = appendHead(b, '$', int64(len(v)))
		b = append(b, v...)
		return append(b, "\r\n"...)
	case *lua.LTable:
		if text := v.RawGetString("err"); text != lua.LNil {
			return appendLine(b, '-', text.String())
		}
		if text := v.RawGetString("ok"); text != lua.LNil {
			return appendLine(b, '+', text.String())
		}
		if nesting == maxNesting {
			return appendLine(b, '-', "ERR reached the limit of nesting in a script's answer")
		}
		n := 0
		for v.RawGetInt(n+1) != lua.LNil {
			n++
		}
		b = appendHead(b, '*', int64(n))
		for i := 1; i <= n; i++ {
			b = appendReply(b, v.RawGetInt(i), nesting+1)
		}
		return b
	}
	return append(b, "$-1\r\n"...)
}

func appendHead(b []byte, kind byte, n int64) []byte {
	b = append(b, kind)
	b = strconv.AppendInt(b, n, 10)
	return append(b, "\r\n"...)
}

// appendLine appends a reply of one line.
func appendLine(b []byte, kind byte, text string) []byte {
	b = append(b, kind)
	b = append(b, strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) {
			return ' '
		}
		return r
	}, text)...)
	return append(b, "\r\n"...)
}
