package embedded

import (
	"fmt"
	"io"
	"path/filepath"
	"sync"
	"time"
)

// journal writes records to the current segment and makes them durable, all
// that came meanwhile with one fsync.
type journal struct {
	fs  filesystem
	dir string
	id  storeID

	mu       sync.Mutex
	changed  sync.Cond // of anything below; the committer waits for it
	durable  sync.Cond // of synced and err
	pending  []byte    // a frame that is being filled
	next     uint64    // sequence of the next record
	synced   uint64    // last record that is durable
	err      error     // why nothing can be written
	stopping bool

	file    file // the segment; of the committer, or of whoever knows it idle
	written int64
	effects int64

	failed chan struct{} // told of each failure
	done   chan struct{} // closed when the committer ends
}

// openJournal continues a segment that is durable up to the record before next.
func openJournal(fs filesystem, dir string, id storeID, f file, next uint64) *journal {
	j := &journal{
		fs: fs, dir: dir, id: id, file: f, next: next, synced: next - 1,
		pending: beginFrame(nil), failed: make(chan struct{}, 1), done: make(chan struct{}),
	}
	j.changed.L, j.durable.L = &j.mu, &j.mu
	return j
}

// append adds a record and returns its sequence.
func (j *journal) append(at time.Time, effects int, commands []byte) uint64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	before := len(j.pending)
	j.pending = appendRecord(j.pending, at, effects, commands)
	j.written += int64(len(j.pending) - before)
	j.effects += int64(effects)
	seq := j.next
	j.next++
	j.changed.Signal()
	return seq
}

// position is the sequence of the last record.
func (j *journal) position() uint64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.next - 1
}

// wait returns when the record of the sequence is durable, or cannot be made so.
func (j *journal) wait(seq uint64) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	for j.synced < seq {
		if j.err != nil {
			return j.err
		}
		j.durable.Wait()
	}
	return nil
}

// failure is why nothing can be written, or nil.
func (j *journal) failure() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.err
}

// volume is what was appended since the last snapshot began.
func (j *journal) volume() (bytes, effects int64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.written, j.effects
}

// run commits until stop. Only one frame is ever on its way to the disk, so
// that a crash can damage only the last.
func (j *journal) run() {
	defer close(j.done)
	var buf []byte
	for {
		j.mu.Lock()
		for (len(j.pending) == frameSize || j.err != nil) && !j.stopping {
			j.changed.Wait()
		}
		if j.stopping && (len(j.pending) == frameSize || j.err != nil) {
			j.durable.Broadcast()
			j.mu.Unlock()
			return
		}
		var first, last uint64
		buf, j.pending = j.pending, beginFrame(buf)
		first, last = j.synced+1, j.next-1
		j.mu.Unlock()

		err := j.commit(buf, first)

		j.mu.Lock()
		if err == nil {
			j.synced = last
		} else {
			j.fail(err)
		}
		j.durable.Broadcast()
		j.mu.Unlock()
	}
}

func (j *journal) commit(frame []byte, seq uint64) error {
	if len(frame)-frameSize > maxPayload {
		return fmt.Errorf("a frame of %d bytes is too large", len(frame))
	}
	endFrame(frame, j.id, seq)
	if _, err := j.file.Write(frame); err != nil {
		return err
	}
	return j.file.Sync()
}

func (j *journal) fail(err error) {
	j.durable.Broadcast()
	j.err = fmt.Errorf("the embedded store cannot write to its folder and tries again every second: %w", err)
	select {
	case j.failed <- struct{}{}:
	default:
	}
}

// newSegment creates a segment that begins with a record.
func newSegment(fs filesystem, dir string, id storeID, first uint64, clock time.Time) (file, error) {
	return create(fs, filepath.Join(dir, journalFile(first)), func(w io.Writer) error {
		_, err := w.Write(header{kind: journalKind, id: id, seq: first, clock: clock}.encode())
		return err
	})
}

// rotate makes a new segment the current one. The caller sees to it that
// nothing is appended meanwhile; what was before is durable when it returns
// without error, in the old segment.
func (j *journal) rotate(clock time.Time) error {
	last := j.position()
	if err := j.wait(last); err != nil {
		return err
	}
	f, err := newSegment(j.fs, j.dir, j.id, last+1, clock)
	if err != nil {
		// The segment may be there all the same, so that nothing can go on
		// in the old one.
		j.mu.Lock()
		defer j.mu.Unlock()
		j.fail(err)
		return err
	}
	j.replace(f, last)
	return nil
}

// replace continues in another segment, everything up to a record being
// durable elsewhere.
func (j *journal) replace(f file, last uint64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	_ = j.file.Close() // durable or given up
	j.file, j.err, j.synced = f, nil, last
	j.pending = beginFrame(j.pending)
	j.written, j.effects = 0, 0
	j.changed.Broadcast()
	j.durable.Broadcast()
}

// stop makes everything durable and closes the segment with an empty frame.
// The caller sees to it that nothing is appended any more.
func (j *journal) stop() error {
	j.mu.Lock()
	j.stopping = true
	j.changed.Broadcast()
	j.mu.Unlock()
	<-j.done
	err := j.failure()
	if err == nil {
		err = j.commit(beginFrame(nil), j.position()+1)
	}
	if cerr := j.file.Close(); err == nil {
		err = cerr
	}
	return err
}
