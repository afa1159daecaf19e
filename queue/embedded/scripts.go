package embedded

import (
	"bufio"
	"bytes"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/alicebob/miniredis/v2/server"
	lua "github.com/yuin/gopher-lua"
)

// miniredis makes a Lua state for each script, opens the libraries in it, and
// throws it away, and gives each command of a script buffers of its own. That
// is most of what a short script costs. So EVAL and its kin are answered here,
// by one state that lasts. The commands that scripts call are miniredis' own,
// and pass the engine's hook as all do.

// scripting is what an engine knows of scripts. The engine's lock guards it.
type scripting struct {
	protos map[string]*lua.FunctionProto // by SHA-1, in hexadecimal
	lua    *interpreter                  // nil before the first script, and after one that left something behind

	running  string // SHA-1 of the script that runs; "" if none does
	readOnly bool   // it may not write
	replies  *prompt
	answer   []byte
}

// prompt is a peer of the engine's own, whose replies it reads.
type prompt struct {
	reply bytes.Buffer
	peer  *server.Peer
}

func newPrompt() *prompt {
	p := &prompt{}
	p.peer = server.NewPeer(bufio.NewWriter(&p.reply))
	return p
}

// keptBuffer is how much of a buffer is kept for next time, in bytes.
const keptBuffer = 1 << 20

// ask executes a command and returns its reply, which is valid until the next.
func (p *prompt) ask(srv *server.Server, args []string) []byte {
	if p.reply.Cap() > keptBuffer {
		p.reply = bytes.Buffer{}
	}
	p.reply.Reset()
	srv.Dispatch(p.peer, args)
	p.peer.Flush()
	return p.reply.Bytes()
}

// script answers EVAL, EVALSHA, their read-only kin, and SCRIPT.
func (e *engine) script(c *server.Peer, cmd string, args []string) {
	least := 2
	if cmd == "SCRIPT" {
		least = 1
	}
	if len(args) < least {
		c.WriteError(fmt.Sprintf("ERR wrong number of arguments for '%s' command", strings.ToLower(cmd)))
		return
	}
	name, readOnly := strings.CutSuffix(cmd, "_RO")
	switch name {
	case "SCRIPT":
		e.manageScripts(c, strings.ToUpper(args[0]), args[1:])
	case "EVAL":
		sha, err := e.load(args[0])
		if err != nil {
			c.WriteError(compileError(err))
			return
		}
		e.eval(c, sha, readOnly, args[1:])
	case "EVALSHA":
		if e.protos[args[0]] == nil {
			c.WriteError("NOSCRIPT No matching script. Please use EVAL.")
			return
		}
		e.eval(c, args[0], readOnly, args[1:])
	}
}

// load compiles a script and returns its SHA-1.
func (e *engine) load(text string) (string, error) {
	proto, err := compile(text)
	if err != nil {
		return "", err
	}
	sha := sha1Hex(text)
	e.protos[sha] = proto
	return sha, nil
}

func sha1Hex(text string) string {
	sum := sha1.Sum([]byte(text))
	return hex.EncodeToString(sum[:])
}

// compileError and runError are what is answered when a script does not compile, or fails.
func compileError(err error) string {
	return "ERR Error compiling script (new function): " + err.Error()
}

func runError(err error) string {
	var failed *lua.ApiError
	if errors.As(err, &failed) {
		if t, ok := failed.Object.(*lua.LTable); ok && t.RawGetString("err") != lua.LNil {
			return t.RawGetString("err").String() // error(redis.error_reply(...))
		}
	}
	return "ERR Error running script: " + err.Error()
}

func (e *engine) manageScripts(c *server.Peer, sub string, args []string) {
	switch {
	case sub == "LOAD" && len(args) == 1:
		sha, err := e.load(args[0])
		if err != nil {
			c.WriteError(compileError(err))
			return
		}
		c.WriteBulk(sha)
	case sub == "EXISTS" && len(args) > 0:
		c.WriteLen(len(args))
		for _, sha := range args {
			if e.protos[sha] != nil {
				c.WriteInt(1)
			} else {
				c.WriteInt(0)
			}
		}
	case sub == "FLUSH" && (len(args) == 0 || len(args) == 1 && (strings.EqualFold(args[0], "SYNC") || strings.EqualFold(args[0], "ASYNC"))):
		clear(e.protos)
		c.WriteOK()
	default:
		c.WriteError(fmt.Sprintf("ERR unknown subcommand or wrong number of arguments for '%s'. Try SCRIPT HELP.", sub))
	}
}

// eval runs a loaded script with the arguments that follow it: the number of keys, the keys, the others.
func (e *engine) eval(c *server.Peer, sha string, readOnly bool, args []string) {
	n, err := strconv.Atoi(args[0])
	args = args[1:]
	switch {
	case err != nil:
		c.WriteError("ERR value is not an integer or out of range")
		return
	case n < 0:
		c.WriteError("ERR Number of keys can't be negative")
		return
	case n > len(args):
		c.WriteError("ERR Number of keys can't be greater than number of args")
		return
	}
	if e.lua == nil {
		e.lua = newInterpreter(e.scriptFunctions(), func(l *lua.LState) int {
			l.Push(lua.LNumber(float64(e.now.UnixMicro()) / 1e6))
			return 1
		})
	}
	e.running, e.readOnly = sha, readOnly
	v, err, again := e.lua.run(e.protos[sha], args[:n], args[n:])
	e.running = ""
	if !again {
		e.lua.state.Close()
		e.lua = nil
	}
	if err != nil {
		c.WriteError(runError(err))
		return
	}
	e.answer = appendReply(e.answer[:0], v, 0)
	c.Block(func(w *server.Writer) { w.WriteRaw(string(e.answer)) })
	if cap(e.answer) > keptBuffer {
		e.answer = nil
	}
}

// notInScripts tells whether a command makes no sense inside a script.
func notInScripts(cmd string) bool {
	switch cmd {
	case "AUTH", "CLIENT", "HELLO", "QUIT", "MULTI", "EXEC", "DISCARD", "WATCH", "UNWATCH", "EVAL", "EVALSHA", "EVAL_RO", "EVALSHA_RO",
		"SCRIPT", "SUBSCRIBE", "UNSUBSCRIBE", "PSUBSCRIBE", "PUNSUBSCRIBE":
		return true
	}
	return false
}

// scriptFunctions are those of the table redis.
func (e *engine) scriptFunctions() map[string]lua.LGFunction {
	return map[string]lua.LGFunction{
		"call": func(l *lua.LState) int {
			v, err := e.call(l)
			if err != nil {
				l.Error(lua.LString(err.Error()), 1)
			}
			l.Push(v)
			return 1
		},
		"pcall": func(l *lua.LState) int {
			v, err := e.call(l)
			if err != nil {
				v = tagged(l, "err", err.Error())
			}
			l.Push(v)
			return 1
		},
		"error_reply": func(l *lua.LState) int {
			text := strings.TrimPrefix(stringArg(l), "-")
			if !strings.Contains(text, " ") {
				text = "ERR " + text
			}
			l.Push(tagged(l, "err", text))
			return 1
		},
		"status_reply": func(l *lua.LState) int {
			l.Push(status(l, stringArg(l)))
			return 1
		},
		"sha1hex": func(l *lua.LState) int {
			if l.GetTop() != 1 {
				l.Error(lua.LString("wrong number of arguments"), 1)
			}
			l.Push(lua.LString(sha1Hex(lua.LVAsString(l.Get(1)))))
			return 1
		},
		"log": func(l *lua.LState) int { // there is no log
			l.CheckInt(1)
			l.CheckString(2)
			return 0
		},
		"replicate_commands": func(l *lua.LState) int { // as since Redis 7
			l.Push(lua.LTrue)
			return 1
		},
		"set_repl": func(l *lua.LState) int { // nothing is replicated
			l.CheckInt(1)
			return 0
		},
		"setresp": func(l *lua.LState) int {
			if l.CheckInt(1) != 2 {
				l.Error(lua.LString("only RESP version 2 is available in the embedded store"), 1)
			}
			return 0
		},
	}
}

func stringArg(l *lua.LState) string {
	s, ok := l.Get(1).(lua.LString)
	if !ok {
		l.Error(lua.LString("wrong number or type of arguments"), 1)
	}
	return string(s)
}

// call executes the command that a script calls. An error is what Redis replied.
func (e *engine) call(l *lua.LState) (lua.LValue, error) {
	n := l.GetTop()
	if n == 0 {
		l.Error(lua.LString("Please specify at least one argument for this redis lib call"), 1)
	}
	args := make([]string, n) // anew each time: miniredis keeps some
	for i := range args {
		switch v := l.Get(i + 1).(type) {
		case lua.LString:
			args[i] = string(v)
		case lua.LNumber:
			args[i] = numberArg(v)
		default:
			l.Error(lua.LString("Lua redis lib command arguments must be strings or integers"), 1)
		}
	}
	cmd := strings.ToUpper(args[0])
	switch {
	case !e.srv.IsRegisteredCommand(cmd):
		return nil, errors.New("ERR Unknown Redis command called from script")
	case notInScripts(cmd):
		return nil, errors.New("ERR This Redis command is not allowed from script")
	case e.readOnly && e.writes(cmd):
		return nil, errors.New("ERR Write commands are not allowed from read-only scripts")
	}
	defer e.unlockPanicking()
	v, _, err := toLua(l, e.replies.ask(e.srv, args))
	return v, err
}

func numberArg(v lua.LNumber) string {
	if n := int64(v); lua.LNumber(n) == v {
		return strconv.FormatInt(n, 10)
	}
	return v.String()
}

// unlockPanicking gives back the lock that a command of miniredis held when it
// panicked. The interpreter makes an error of the panic.
func (e *engine) unlockPanicking() {
	if p := recover(); p != nil {
		e.m.TryLock()
		e.m.Unlock()
		panic(p)
	}
}
