package embedded

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"time"
)

const (
	chunk       = 1000    // elements a command of a snapshot adds
	frameTarget = 1 << 20 // bytes after which a snapshot begins a new frame
)

// state is a copy of the data at a moment, as the commands that make it.
type state struct {
	seq      uint64 // last record in it
	clock    time.Time
	commands [][]string
}

// state copies the data. The strings are shared, not copied. Call it with the
// engine's lock.
func (e *engine) state() state {
	s := state{clock: e.clock.last}
	if e.journal != nil {
		s.seq = e.journal.position()
	}
	for _, key := range e.m.DB(0).Keys() {
		s.commands = append(s.commands, e.keyCommands(key)...)
	}
	return s
}

// keyCommands are the commands that make a key as it is.
func (e *engine) keyCommands(key string) [][]string {
	// No error below: the type was just read, and nobody else writes.
	db := e.m.DB(0)
	var commands [][]string
	switch db.Type(key) {
	case "string":
		v, _ := db.Get(key)
		commands = [][]string{{"SET", key, v}}
	case "hash":
		fields, _ := db.HKeys(key)
		pairs := make([]string, 0, 2*len(fields))
		for _, f := range fields {
			pairs = append(pairs, f, db.HGet(key, f))
		}
		commands = chunked("HSET", key, pairs)
	case "list":
		elems, _ := db.List(key)
		commands = chunked("RPUSH", key, elems)
	case "set":
		members, _ := db.Members(key)
		sort.Strings(members)
		commands = chunked("SADD", key, members)
	case "zset":
		scores, _ := db.SortedSet(key)
		members := make([]string, 0, len(scores))
		for m := range scores {
			members = append(members, m)
		}
		sort.Strings(members)
		pairs := make([]string, 0, 2*len(members))
		for _, m := range members {
			pairs = append(pairs, strconv.FormatFloat(scores[m], 'g', -1, 64), m)
		}
		commands = chunked("ZADD", key, pairs)
	case "stream":
		entries, _ := db.Stream(key)
		for _, entry := range entries {
			commands = append(commands, append([]string{"XADD", key, entry.ID}, entry.Values...))
		}
		if len(entries) == 0 {
			commands = [][]string{{"XADD", key, "0-1", "", ""}, {"XTRIM", key, "MAXLEN", "0"}}
		}
	}
	if at := db.TTL(key).Milliseconds(); at > 0 && commands != nil {
		commands = append(commands, []string{"PEXPIREAT", key, strconv.FormatInt(at, 10)})
	}
	return commands
}

func chunked(cmd, key string, elems []string) [][]string {
	var commands [][]string
	for len(elems) > 0 {
		n := min(chunk, len(elems))
		commands = append(commands, append([]string{cmd, key}, elems[:n]...))
		elems = elems[n:]
	}
	return commands
}

// fingerprint is a key's value and TTL in one string. Call it with the
// engine's lock.
func (e *engine) fingerprint(key string) string {
	var b []byte
	for _, args := range e.keyCommands(key) {
		b = appendCommand(b, args[0], args[1:])
	}
	return string(b)
}

// writeSnapshot makes a state durable and returns its size in bytes. Frames
// are numbered from 1, and an empty one ends the file.
func writeSnapshot(fs filesystem, dir string, id storeID, s state) (int64, error) {
	size := int64(0)
	f, err := create(fs, filepath.Join(dir, snapFile(s.seq)), func(w io.Writer) error {
		put := func(b []byte) error {
			n, err := w.Write(b)
			size += int64(n)
			return err
		}
		if err := put(header{kind: snapKind, id: id, seq: s.seq, clock: s.clock}.encode()); err != nil {
			return err
		}
		number := uint64(1)
		frame, one := beginFrame(nil), []byte(nil)
		flush := func() error {
			endFrame(frame, id, number)
			err := put(frame)
			number++
			frame = beginFrame(frame)
			return err
		}
		for _, args := range s.commands {
			one = appendCommand(one[:0], args[0], args[1:])
			frame = appendRecord(frame, s.clock, 1, one)
			if len(frame) >= frameTarget {
				if err := flush(); err != nil {
					return err
				}
			}
		}
		if len(frame) > frameSize {
			if err := flush(); err != nil {
				return err
			}
		}
		return flush()
	})
	if err != nil {
		return 0, fmt.Errorf("write a snapshot: %w", err)
	}
	return size, f.Close()
}

// removeObsolete removes what a snapshot made superfluous: older snapshots,
// segments it contains in full, and files that were never finished. Whoever
// is left over is tried again by the next one.
func removeObsolete(dir string, snapshot uint64) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		name := entry.Name()
		first, isJournal := numbered(name, journalName)
		last, isSnapshot := numbered(name, snapName)
		if isJournal && first <= snapshot || isSnapshot && last < snapshot {
			if err := os.Remove(filepath.Join(dir, name)); err != nil {
				return err
			}
		}
	}
	return nil
}
