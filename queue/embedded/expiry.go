package embedded

import (
	"container/heap"
	"strconv"
	"strings"
	"time"

	"github.com/alicebob/miniredis/v2/server"
)

// miniredis keeps a TTL as the duration left and counts all of them down,
// sorting all keys, whenever its clock moves. That is too dear for a store of
// many keys. So nothing is counted down here: the duration it is given is the
// time since 1970 at which the key ends, a heap knows which ends first, and
// the commands that set or tell TTLs are translated both ways. In the journal
// they stand in Redis' own absolute forms, PEXPIREAT and PXAT.

// maxExpiry keeps absolute times within a [time.Duration]; it is in 2262.
const maxExpiry = int64(1<<63-1) / int64(time.Millisecond)

// expire deletes the keys whose time has come. That is noted: should the
// machine's clock be set back while the store is closed, they stay gone.
func (e *engine) expire() {
	now := e.now.UnixMilli()
	for len(e.expiries.heap) > 0 && e.expiries.heap[0].at <= now {
		due := heap.Pop(&e.expiries).(*expiry)
		at := e.m.DB(0).TTL(due.key).Milliseconds()
		switch {
		case at == 0: // the key is gone, or made permanent
		case at <= now:
			e.m.DB(0).Del(due.key)
			e.note("DEL", due.key)
		default:
			e.expiries.set(due.key, at)
		}
	}
}

// track notes when a key ends by what miniredis knows of it.
func (e *engine) track(key string) {
	if at := e.m.DB(0).TTL(key).Milliseconds(); at > 0 {
		e.expiries.set(key, at)
	}
}

// readExpiry answers TTL and its kin.
func (e *engine) readExpiry(c *server.Peer, cmd string, args []string) bool {
	reply := e.ask("PTTL", args...)
	at, ok := integer(reply)
	if !ok || at < 0 { // no key, no TTL, or an error
		reply = strings.Replace(reply, "pttl", strings.ToLower(cmd), 1)
		c.Block(func(w *server.Writer) { w.WriteRaw(reply) })
		return true
	}
	if strings.HasSuffix(cmd, "TTL") {
		at = max(0, at-e.now.UnixMilli())
	}
	if cmd[0] != 'P' {
		at = (at + 500) / 1000 // rounded as Redis does
	}
	c.WriteInt(int(at))
	return true
}

// setExpiry translates EXPIRE key time [NX|XX|GT|LT] and its kin.
func (e *engine) setExpiry(c *server.Peer, cmd string, args []string) bool {
	if len(args) < 2 {
		return false
	}
	at, ok := e.absolute(args[1], cmd[0] == 'P', strings.HasSuffix(cmd, "AT"))
	if !ok {
		return e.refuseExpiry(c, cmd, args[1], args)
	}
	if at <= e.now.UnixMilli() && len(args) == 2 { // in the past: gone at once
		e.note("DEL", args[0])
		e.dispatch(c, "DEL", args[0])
		return true
	}
	args = append([]string{args[0], strconv.FormatInt(max(1, at), 10)}, args[2:]...)
	e.note("PEXPIREAT", args...)
	e.dispatch(c, "PEXPIRE", args...)
	e.track(args[0])
	return true
}

// setWithExpiry translates the time in SET key value … EX time and GETEX key EX time.
func (e *engine) setWithExpiry(c *server.Peer, cmd string, args []string) bool {
	first := 2
	if cmd == "GETEX" {
		first = 1
	}
	for i := first; i+1 < len(args); i++ {
		unit := strings.ToUpper(args[i])
		switch unit {
		case "EX", "PX", "EXAT", "PXAT":
		default:
			continue
		}
		at, ok := e.absolute(args[i+1], unit[0] == 'P', strings.HasSuffix(unit, "AT"))
		if n, err := strconv.ParseInt(args[i+1], 10, 64); !ok || err != nil || n <= 0 {
			return e.refuseExpiry(c, cmd, args[i+1], args)
		}
		stored := append([]string(nil), args...)
		stored[i], stored[i+1] = "PXAT", strconv.FormatInt(at, 10)
		e.note(cmd, stored...)
		stored[i] = "PX"
		e.dispatch(c, cmd, stored...)
		e.track(args[0])
		if at <= e.now.UnixMilli() && e.m.DB(0).TTL(args[0]).Milliseconds() == at {
			e.ask("DEL", args[0])
		}
		return true
	}
	e.note(cmd, args...)
	return false
}

// setex turns SETEX key time value into SET.
func (e *engine) setex(c *server.Peer, cmd string, args []string) bool {
	if len(args) != 3 {
		return false
	}
	n, err := strconv.ParseInt(args[1], 10, 64)
	at, ok := e.absolute(args[1], cmd[0] == 'P', false)
	if !ok || err != nil || n <= 0 {
		return e.refuseExpiry(c, cmd, args[1], args)
	}
	stored := strconv.FormatInt(at, 10)
	e.note("SET", args[0], args[2], "PXAT", stored)
	e.dispatch(c, "SET", args[0], args[2], "PX", stored)
	e.track(args[0])
	return true
}

// moveExpiry tracks the TTL under the new name of a key.
func (e *engine) moveExpiry(c *server.Peer, cmd string, args []string) bool {
	e.note(cmd, args...)
	e.dispatch(c, cmd, args...)
	if len(args) > 1 {
		e.track(args[1])
	}
	return true
}

// refuseExpiry answers what is wrong with a time, and writes nothing.
func (e *engine) refuseExpiry(c *server.Peer, cmd, arg string, args []string) bool {
	n, err := strconv.ParseInt(arg, 10, 64)
	if err == nil && (n > 0 || strings.HasPrefix(strings.TrimPrefix(cmd, "P"), "EXPIRE")) {
		c.WriteError("ERR invalid expire time in '" + strings.ToLower(cmd) + "' command")
		return true
	}
	e.dispatch(c, cmd, args...)
	return true
}

// absolute turns a command's time into milliseconds since 1970.
func (e *engine) absolute(arg string, millis, at bool) (int64, bool) {
	n, err := strconv.ParseInt(arg, 10, 64)
	if err != nil || n > maxExpiry || n < -maxExpiry {
		return 0, false
	}
	if !millis {
		if n > maxExpiry/1000 || n < -maxExpiry/1000 {
			return 0, false
		}
		n *= 1000
	}
	if !at {
		n += e.now.UnixMilli()
	}
	return n, n <= maxExpiry
}

// integer reads an integer reply.
func integer(reply string) (int64, bool) {
	if !strings.HasPrefix(reply, ":") {
		return 0, false
	}
	n, err := strconv.ParseInt(strings.TrimSuffix(reply[1:], "\r\n"), 10, 64)
	return n, err == nil
}

// expiries is a heap of keys by their end, each key once.
type expiries struct {
	heap  []*expiry
	byKey map[string]*expiry
}

type expiry struct {
	key   string
	at    int64 // ms since 1970
	index int
}

func (x *expiries) set(key string, at int64) {
	if known, ok := x.byKey[key]; ok {
		known.at = at
		heap.Fix(x, known.index)
		return
	}
	heap.Push(x, &expiry{key: key, at: at})
}

func (x *expiries) Len() int           { return len(x.heap) }
func (x *expiries) Less(i, j int) bool { return x.heap[i].at < x.heap[j].at }

func (x *expiries) Swap(i, j int) {
	x.heap[i], x.heap[j] = x.heap[j], x.heap[i]
	x.heap[i].index, x.heap[j].index = i, j
}

// Push is for container/heap.
func (x *expiries) Push(v any) {
	if x.byKey == nil {
		x.byKey = map[string]*expiry{}
	}
	item := v.(*expiry)
	item.index = len(x.heap)
	x.heap = append(x.heap, item)
	x.byKey[item.key] = item
}

// Pop is for container/heap.
func (x *expiries) Pop() any {
	last := len(x.heap) - 1
	item := x.heap[last]
	x.heap[last] = nil
	x.heap = x.heap[:last]
	delete(x.byKey, item.key)
	return item
}
