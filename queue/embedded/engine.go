package embedded

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/alicebob/miniredis/v2/server"
	lua "github.com/yuin/gopher-lua"
)

var errClosed = errors.New("the embedded store is closed")

// engine executes commands one at a time, in memory, and notes what they
// write. Every command passes its hook, those that scripts call included.
type engine struct {
	m   *miniredis.Miniredis
	srv *server.Server

	mu       sync.Mutex // held while a command executes
	clock    clock
	now      time.Time // of the running command
	expiries expiries
	raw      bool   // the hook is itself dispatching, and lets it pass
	effects  int    // commands in noted
	noted    []byte // what the running command wrote, encoded
	journal  *journal
	appended func() // called after each record
	closed   bool

	scripting
	asked       *prompt
	subscribers map[*session]struct{} // sessions with subscriptions
	churn       int64                 // commands noted since miniredis was made
}

// newEngine makes an empty one. Without a journal it forgets.
func newEngine(now func() time.Time) (*engine, error) {
	e := &engine{
		clock:     clock{now: now, reading: now()},
		scripting: scripting{protos: map[string]*lua.FunctionProto{}, replies: newPrompt()},
		asked:     newPrompt(), subscribers: map[*session]struct{}{},
	}
	return e, e.reset()
}

// reset puts an empty miniredis in place.
func (e *engine) reset() error {
	m := miniredis.NewMiniRedis()
	// It starts with its first connection, and needs no other.
	conn, err := m.Dial()
	if err != nil {
		return fmt.Errorf("start the embedded engine: %w", err)
	}
	if err := conn.Close(); err != nil {
		return fmt.Errorf("start the embedded engine: %w", err)
	}
	e.m, e.srv = m, m.Server()
	e.srv.SetPreHook(e.hook)
	e.expiries, e.churn = expiries{}, 0
	return nil
}

// renew moves a state, the current one, to a new miniredis, since one never
// forgets the name of a key it once had (RedisDB.keyVersion). Subscribers are
// disconnected, and connect again. Call it with the engine's lock.
func (e *engine) renew(s state) error {
	old := e.m
	if err := e.reset(); err != nil {
		return err
	}
	old.Close()
	e.m.SetTime(s.clock)
	e.now = s.clock
	p := server.NewPeer(bufio.NewWriter(io.Discard))
	for _, args := range s.commands {
		e.srv.Dispatch(p, args)
	}
	e.churn = 0
	for s := range e.subscribers {
		_ = s.conn.Close()
	}
	return nil
}

// exec executes commands as one, writing their replies to the peer, and
// returns the position in the journal that must be durable before anybody
// may see the replies. If unchanged is given and false, it executes nothing
// and returns false.
func (e *engine) exec(c *server.Peer, commands [][]string, unchanged func() bool) (uint64, bool, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return 0, false, errClosed
	}
	if e.journal != nil && !isHandshake(commands[0][0]) {
		if err := e.journal.failure(); err != nil {
			return 0, false, err
		}
	}
	e.begin(e.clock.tick())
	if unchanged != nil && !unchanged() {
		return e.end(), false, nil
	}
	for _, args := range commands {
		e.srv.Dispatch(c, args)
	}
	return e.end(), true, nil
}

func (e *engine) begin(now time.Time) {
	e.now = now
	e.m.SetTime(now)
	e.effects, e.noted = 0, e.noted[:0]
	e.expire()
}

func (e *engine) end() uint64 {
	if e.journal == nil {
		return 0
	}
	if e.effects == 0 {
		return e.journal.position()
	}
	at := e.journal.append(e.now, e.effects, e.noted)
	e.appended()
	return at
}

// replay executes what a journal or snapshot holds. Error replies are part of
// it: what failed then fails again.
func (e *engine) replay(c *server.Peer, r record) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.begin(r.at)
	for _, args := range r.commands {
		e.srv.Dispatch(c, args)
	}
	if r.at.After(e.clock.last) {
		e.clock.last = r.at
	}
}

// knows tells whether there is such a command.
func (e *engine) knows(cmd string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.srv.IsRegisteredCommand(cmd)
}

func (e *engine) note(cmd string, args ...string) {
	if e.journal == nil {
		return
	}
	e.noted = appendCommand(e.noted, cmd, args)
	e.effects++
	e.churn++
}

// hook sees each command before miniredis does: it refuses what the store
// cannot keep, turns what depends on the time into what does not, and notes
// writes. It returns true when the command is done.
func (e *engine) hook(c *server.Peer, cmd string, args ...string) bool {
	if e.raw {
		return false
	}
	if why := refusal(cmd, args); why != "" {
		c.WriteError(fmt.Sprintf("ERR %s is not available in the embedded store: %s", cmd, why))
		return true
	}
	switch cmd {
	case "TTL", "PTTL", "EXPIRETIME", "PEXPIRETIME":
		return e.readExpiry(c, cmd, args)
	case "EXPIRE", "PEXPIRE", "EXPIREAT", "PEXPIREAT":
		return e.setExpiry(c, cmd, args)
	case "SET", "GETEX":
		return e.setWithExpiry(c, cmd, args)
	case "SETEX", "PSETEX":
		return e.setex(c, cmd, args)
	case "RENAME", "RENAMENX", "COPY":
		return e.moveExpiry(c, cmd, args)
	case "XADD":
		return e.addToStream(c, args)
	case "EVAL", "EVALSHA", "EVAL_RO", "EVALSHA_RO", "SCRIPT":
		e.script(c, cmd, args)
		return true
	}
	if e.writes(cmd) {
		e.note(cmd, args...)
	}
	return false
}

// dispatch executes a command past the hook.
func (e *engine) dispatch(c *server.Peer, cmd string, args ...string) {
	e.raw = true
	defer func() { e.raw = false }()
	e.srv.Dispatch(c, append([]string{cmd}, args...))
}

// ask executes a command past the hook and returns its reply instead of sending it.
func (e *engine) ask(cmd string, args ...string) string {
	e.raw = true
	defer func() { e.raw = false }()
	return string(e.asked.ask(e.srv, append([]string{cmd}, args...)))
}

// writes tells whether a command may change data. What is unknown may.
func (e *engine) writes(cmd string) bool {
	switch cmd {
	case "AUTH", "CLIENT", "CLUSTER", "COMMAND", "ECHO", "HELLO", "INFO", "MEMORY", "OBJECT", "PING", "QUIT", "SELECT", "TIME", "WAIT",
		"PUBLISH", "PUBSUB", "SUBSCRIBE", "UNSUBSCRIBE", "PSUBSCRIBE", "PUNSUBSCRIBE",
		"EVAL", "EVALSHA", "SCRIPT", "XINFO":
		return false
	}
	return e.srv.IsRegisteredCommand(cmd) && !e.srv.IsReadOnlyCommand(cmd)
}

// isHandshake tells whether a command is part of connecting, which works even
// while the store cannot write.
func isHandshake(cmd string) bool {
	switch strings.ToUpper(cmd) {
	case "HELLO", "AUTH", "CLIENT", "SELECT", "SUBSCRIBE", "UNSUBSCRIBE", "PSUBSCRIBE", "PUNSUBSCRIBE":
		return true
	}
	return false
}

// refusal says why a command is refused, or nothing.
func refusal(cmd string, args []string) string {
	const (
		blocks   = "no command may block"
		single   = "there is one database"
		unstable = "its outcome is not determined by its arguments"
		unkept   = "it could not be restored after a restart"
	)
	switch cmd {
	case "BLPOP", "BRPOP", "BRPOPLPUSH", "BLMOVE", "BZMPOP", "BZPOPMAX", "BZPOPMIN":
		return blocks
	case "XREAD":
		if len(args) > 0 && (strings.EqualFold(args[0], "BLOCK") || len(args) > 2 && strings.EqualFold(args[2], "BLOCK")) {
			return blocks
		}
	case "SWAPDB", "MOVE":
		return single
	case "SELECT":
		if len(args) == 1 && args[0] != "0" {
			return single
		}
	case "COPY":
		for _, option := range args[min(2, len(args)):] {
			if strings.EqualFold(option, "DB") {
				return single
			}
		}
	case "SPOP":
		return unstable
	case "PFADD", "PFMERGE", "HEXPIRE", "HSETEX", "RESTORE", "XGROUP", "XREADGROUP", "XACK", "XCLAIM", "XAUTOCLAIM", "XDEL":
		return unkept
	}
	return ""
}

// addToStream notes the ID that "*" became.
func (e *engine) addToStream(c *server.Peer, args []string) bool {
	id := streamIDArg(args)
	if id < 0 || !strings.HasSuffix(args[id], "*") {
		e.note("XADD", args...)
		return false
	}
	reply := e.ask("XADD", args...)
	c.Block(func(w *server.Writer) { w.WriteRaw(reply) })
	if _, made, ok := strings.Cut(reply, "\r\n"); ok && reply[0] == '$' && reply[1] != '-' {
		noted := append([]string(nil), args...)
		noted[id] = strings.TrimSuffix(made, "\r\n")
		e.note("XADD", noted...)
	}
	return true
}

// streamIDArg finds the ID among XADD key [NOMKSTREAM] [MAXLEN|MINID [=|~]
// threshold [LIMIT count]] id …, or returns -1.
func streamIDArg(args []string) int {
	for i := 1; i < len(args); i++ {
		switch strings.ToUpper(args[i]) {
		case "NOMKSTREAM", "=", "~":
		case "MAXLEN", "MINID":
			if i+1 < len(args) && (args[i+1] == "=" || args[i+1] == "~") {
				i++
			}
			i++
		case "LIMIT":
			i++
		default:
			return i
		}
	}
	return -1
}
