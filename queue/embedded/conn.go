package embedded

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"

	"github.com/alicebob/miniredis/v2/server"
)

// maxBatch is how many commands of one pipeline are executed before their
// answers are sent, so that a long pipeline does not hold all its answers.
const maxBatch = 1024

// session serves one connection: it reads commands, has the engine execute
// them, and sends the replies once they are durable. It keeps the state of
// MULTI and WATCH, so that a transaction is one call of the engine.
type session struct {
	engine *engine
	conn   net.Conn
	peer   *server.Peer
	out    outbox

	subscribed *server.Server // where it may have subscriptions

	multi   bool
	dirty   bool // an unknown command was queued: EXEC will refuse
	queued  [][]string
	watched map[string]string // fingerprints of keys
}

// outbox takes what the peer writes. While held, replies wait in it; else,
// what pub/sub writes goes straight out.
type outbox struct {
	mu   sync.Mutex
	conn net.Conn
	held bool
	data []byte
}

func (o *outbox) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.held {
		return o.conn.Write(b)
	}
	o.data = append(o.data, b...)
	return len(b), nil
}

func (o *outbox) hold() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.held = true
}

// release sends what was held, or something in its place.
func (o *outbox) release(instead []byte) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	data := o.data
	if instead != nil {
		data = instead
	}
	_, err := o.conn.Write(data)
	o.held, o.data = false, nil
	return err
}

// serve serves the connection until it ends.
func (e *engine) serve(conn net.Conn) {
	s := &session{engine: e, conn: conn, out: outbox{conn: conn}}
	s.peer = server.NewPeer(bufio.NewWriter(&s.out))
	defer s.close()
	r := bufio.NewReader(conn)
	for {
		args, err := readCommand(r)
		if err != nil {
			return
		}
		s.out.hold()
		position, replies := uint64(0), 0
		for {
			at, err := s.handle(args)
			if err != nil {
				s.peer.WriteError(unavailable(err))
			}
			s.peer.Flush()
			position = max(position, at)
			replies++
			if r.Buffered() == 0 || replies == maxBatch {
				break
			}
			if args, err = readCommand(r); err != nil {
				return
			}
		}
		var instead []byte
		if err := e.durable(position); err != nil {
			instead = []byte(strings.Repeat("-"+unavailable(err)+"\r\n", replies))
		}
		if err := s.out.release(instead); err != nil || s.peer.Closed() {
			return
		}
	}
}

// durable returns when everything up to the position is on disk.
func (e *engine) durable(position uint64) error {
	if e.journal == nil {
		return nil
	}
	return e.journal.wait(position)
}

// unavailable is what a client is told when nothing can be done for it.
func unavailable(err error) string {
	return "MISCONF " + strings.Join(strings.Fields(err.Error()), " ")
}

func (s *session) close() {
	defer s.conn.Close()
	if s.subscribed == nil {
		return
	}
	// A peer of our own making has nobody to tell of its end but us.
	s.engine.mu.Lock()
	defer s.engine.mu.Unlock()
	delete(s.engine.subscribers, s)
	gone := server.NewPeer(bufio.NewWriter(io.Discard))
	gone.Ctx = s.peer.Ctx
	for _, cmd := range []string{"UNSUBSCRIBE", "PUNSUBSCRIBE"} {
		s.subscribed.Dispatch(gone, []string{cmd})
	}
}

// handle executes one command, or queues it in a transaction.
func (s *session) handle(args []string) (uint64, error) {
	cmd := strings.ToUpper(args[0])
	switch {
	case cmd == "MULTI" && s.multi:
		s.peer.WriteError("ERR MULTI calls can not be nested")
	case cmd == "MULTI":
		s.multi, s.dirty, s.queued = true, false, nil
		s.peer.WriteOK()
	case cmd == "WATCH" && s.multi:
		s.peer.WriteError("ERR WATCH inside MULTI is not allowed")
	case cmd == "WATCH":
		return s.watch(args[1:])
	case cmd == "UNWATCH":
		s.watched = nil
		s.peer.WriteOK()
	case cmd == "EXEC" && s.multi:
		return s.execute()
	case cmd == "DISCARD" && s.multi:
		s.multi, s.queued, s.watched = false, nil, nil
		s.peer.WriteOK()
	case cmd == "EXEC" || cmd == "DISCARD":
		s.peer.WriteError("ERR " + cmd + " without MULTI")
	case s.multi:
		if !s.engine.knows(cmd) {
			s.dirty = true
			s.peer.WriteError(fmt.Sprintf("ERR unknown command '%s'", cmd))
			break
		}
		s.queued = append(s.queued, args)
		s.peer.WriteInline("QUEUED")
	default:
		if strings.HasSuffix(cmd, "SUBSCRIBE") {
			s.subscribes()
		}
		at, _, err := s.engine.exec(s.peer, [][]string{args}, nil)
		return at, err
	}
	return 0, nil
}

func (s *session) subscribes() {
	s.engine.mu.Lock()
	defer s.engine.mu.Unlock()
	s.subscribed = s.engine.srv
	s.engine.subscribers[s] = struct{}{}
}

func (s *session) execute() (uint64, error) {
	queued, watched := s.queued, s.watched
	s.multi, s.queued, s.watched = false, nil, nil
	if s.dirty {
		s.peer.WriteError("EXECABORT Transaction discarded because of previous errors.")
		return 0, nil
	}
	if len(queued) == 0 {
		s.peer.WriteLen(0)
		return 0, nil
	}
	at, done, err := s.engine.exec(s.peer, queued, func() bool {
		for key, was := range watched {
			if s.engine.fingerprint(key) != was {
				return false
			}
		}
		s.peer.WriteLen(len(queued))
		return true
	})
	if err == nil && !done {
		s.peer.WriteLen(-1)
	}
	return at, err
}

// watch remembers the keys' values. EXEC compares them: a key that was
// changed and changed back counts as unchanged.
func (s *session) watch(keys []string) (uint64, error) {
	if len(keys) == 0 {
		s.peer.WriteError("ERR wrong number of arguments for 'watch' command")
		return 0, nil
	}
	at, _, err := s.engine.exec(s.peer, [][]string{{"WATCH"}}, func() bool {
		if s.watched == nil {
			s.watched = map[string]string{}
		}
		for _, key := range keys {
			if _, known := s.watched[key]; !known {
				s.watched[key] = s.engine.fingerprint(key)
			}
		}
		return false
	})
	if err == nil {
		s.peer.WriteOK()
	}
	return at, err
}

// readCommand reads an array of bulk strings, the one form in which clients
// send commands. The only client is in this process.
func readCommand(r *bufio.Reader) ([]string, error) {
	n, err := readLength(r, '*')
	if err != nil {
		return nil, err
	}
	if n < 1 {
		return nil, fmt.Errorf("a command of %d arguments", n)
	}
	args := make([]string, n)
	for i := range args {
		size, err := readLength(r, '$')
		if err != nil {
			return nil, err
		}
		if args[i], err = readBulk(r, size); err != nil {
			return nil, err
		}
	}
	return args, nil
}

// readBulk reads a string of a length, and the end of line behind it.
func readBulk(r *bufio.Reader, size int) (string, error) {
	if size+2 <= r.Size() {
		b, err := r.Peek(size + 2)
		if err != nil {
			return "", err
		}
		text := string(b[:size])
		_, err = r.Discard(size + 2)
		return text, err
	}
	b := make([]byte, size+2)
	if _, err := io.ReadFull(r, b); err != nil {
		return "", err
	}
	return string(b[:size]), nil
}

func readLength(r *bufio.Reader, kind byte) (int, error) {
	line, err := r.ReadSlice('\n')
	if err != nil {
		return 0, err
	}
	if line[0] != kind {
		return 0, fmt.Errorf("%q where %c was expected", line, kind)
	}
	n, err := strconv.Atoi(string(bytes.TrimSuffix(line[1:], []byte("\r\n"))))
	if err != nil || n < 0 || n > 1<<30 {
		return 0, fmt.Errorf("a length of %q", line)
	}
	return n, nil
}
