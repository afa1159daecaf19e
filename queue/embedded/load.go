package embedded

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/alicebob/miniredis/v2/server"
)

// loader reads a folder into an engine.
type loader struct {
	ctx      context.Context
	fs       filesystem
	dir      string
	engine   *engine
	peer     *server.Peer
	id       storeID
	known    bool // the ID
	next     uint64
	snapshot int64 // size in bytes of the snapshot
	commands int64 // replayed from it
	written  int64 // size in bytes of the segments
	effects  int64 // replayed from them
	cut      *cut  // an unfinished end that was cut off
}

// cut is an unfinished end of the last segment.
type cut struct {
	file          string
	offset, bytes int64
	reason        error
}

// load replays the newest snapshot and the segments after it, and returns the
// last segment, open at its end.
func (l *loader) load() (file, error) {
	l.peer = server.NewPeer(bufio.NewWriter(io.Discard))
	snapshots, segments, err := l.list()
	if err != nil {
		return nil, err
	}
	base := uint64(0)
	if len(snapshots) > 0 {
		base = snapshots[len(snapshots)-1]
		if err := l.readSnapshot(base); err != nil {
			return nil, err
		}
	}
	l.next = base + 1
	segments = slices.DeleteFunc(segments, func(first uint64) bool { return first <= base })
	for i, first := range segments {
		if first != l.next {
			return nil, &CorruptError{File: filepath.Join(l.dir, journalFile(l.next)), Reason: "it is missing, though later ones are there"}
		}
		if err := l.readSegment(first, i == len(segments)-1); err != nil {
			return nil, err
		}
	}
	if err := removeObsolete(l.dir, base); err != nil {
		return nil, err
	}
	if !l.known {
		if _, err := rand.Read(l.id[:]); err != nil {
			return nil, err
		}
	}
	if len(segments) == 0 {
		return newSegment(l.fs, l.dir, l.id, l.next, l.engine.clock.last)
	}
	path := filepath.Join(l.dir, journalFile(segments[len(segments)-1]))
	if l.cut != nil {
		if err := os.Truncate(path, l.cut.offset); err != nil {
			return nil, err
		}
	}
	f, err := l.fs.Open(path, os.O_WRONLY|os.O_APPEND)
	if err != nil {
		return nil, err
	}
	if err := f.Sync(); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// list returns the numbers of snapshots and segments, in order, and removes
// files that were never finished.
func (l *loader) list() (snapshots, segments []uint64, err error) {
	entries, err := os.ReadDir(l.dir)
	if err != nil {
		return nil, nil, err
	}
	for _, entry := range entries {
		name := entry.Name()
		if strings.HasSuffix(name, tempSuffix) {
			if err := os.Remove(filepath.Join(l.dir, name)); err != nil {
				return nil, nil, err
			}
		}
		if n, ok := numbered(name, snapName); ok {
			snapshots = append(snapshots, n)
		}
		if n, ok := numbered(name, journalName); ok {
			segments = append(segments, n)
		}
	}
	slices.Sort(snapshots)
	slices.Sort(segments)
	return snapshots, segments, nil
}

// open reads a file and its header, which must be of this store.
func (l *loader) open(name, kind string, seq uint64) ([]byte, error) {
	path := filepath.Join(l.dir, name)
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	h, err := decodeHeader(data, kind)
	switch {
	case err != nil:
		return nil, &CorruptError{File: path, Reason: err.Error()}
	case h.seq != seq:
		return nil, &CorruptError{File: path, Reason: fmt.Sprintf("its header says number %d", h.seq)}
	case l.known && h.id != l.id:
		return nil, &CorruptError{File: path, Reason: "it belongs to another store"}
	}
	l.id, l.known = h.id, true
	if h.clock.After(l.engine.clock.last) {
		l.engine.clock.last = h.clock
	}
	return data, nil
}

func (l *loader) readSnapshot(seq uint64) error {
	name := snapFile(seq)
	path := filepath.Join(l.dir, name)
	data, err := l.open(name, snapKind, seq)
	if err != nil {
		return err
	}
	offset, ended := headerSize, false
	for number := uint64(1); !ended; number++ {
		f, err := decodeFrame(data[offset:], l.id)
		if err == nil && f.seq != number {
			err = fmt.Errorf("frame %d is in the place of frame %d", f.seq, number)
		}
		if err == nil {
			_, err = l.replay(f.payload)
		}
		if err != nil {
			return &CorruptError{File: path, Offset: int64(offset), Reason: err.Error()}
		}
		if err := l.ctx.Err(); err != nil {
			return err
		}
		offset += f.size
		ended = len(f.payload) == 0
	}
	if offset != len(data) {
		return &CorruptError{File: path, Offset: int64(offset), Reason: "there is more behind its end"}
	}
	l.snapshot, l.commands, l.effects = int64(len(data)), l.effects, 0
	return nil
}

// readSegment replays a segment. At the end of the last one, a frame may be
// unfinished: its write was going on in a crash, and nobody was answered.
// Since a frame is begun only after the one before is durable, no whole frame
// follows an unfinished one; where one does, what is before it is damaged.
func (l *loader) readSegment(first uint64, last bool) error {
	name := journalFile(first)
	path := filepath.Join(l.dir, name)
	data, err := l.open(name, journalKind, first)
	if err != nil {
		return err
	}
	for offset := headerSize; offset < len(data); {
		f, err := decodeFrame(data[offset:], l.id)
		if err != nil && last && !hasFrame(data[offset+1:], l.id, l.next) {
			l.cut = &cut{file: path, offset: int64(offset), bytes: int64(len(data) - offset), reason: err}
			return nil
		}
		if err == nil && f.seq != l.next {
			err = fmt.Errorf("record %d is in the place of record %d", f.seq, l.next)
		}
		n := 0
		if err == nil {
			n, err = l.replay(f.payload)
		}
		if err != nil {
			return &CorruptError{File: path, Offset: int64(offset), Reason: err.Error()}
		}
		if err := l.ctx.Err(); err != nil {
			return err
		}
		l.next += uint64(n)
		l.written += int64(f.size)
		offset += f.size
	}
	return nil
}

// replay executes a frame's records and returns how many they are.
func (l *loader) replay(payload []byte) (int, error) {
	n := 0
	for ; len(payload) > 0; n++ {
		var r record
		var err error
		if r, payload, err = decodeRecord(payload); err != nil {
			return n, err
		}
		l.engine.replay(l.peer, r)
		l.effects += int64(len(r.commands))
	}
	return n, nil
}
