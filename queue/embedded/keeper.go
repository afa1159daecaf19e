package embedded

import (
	"log/slog"
	"time"
)

// retryEvery is how long after a failure a snapshot is tried again.
const retryEvery = time.Second

// keeper writes snapshots: when the journal has grown long, and when it could
// not be written.
type keeper struct {
	opts   Options
	engine *engine
	id     storeID
	log    *slog.Logger

	due      chan struct{}
	stopping chan struct{}
	done     chan struct{}

	// Of the last snapshot; guarded by the engine's lock.
	bytes, commands int64
	held            time.Duration // how long commands waited for it
}

func newKeeper(opts Options, e *engine, id storeID, bytes, commands int64) *keeper {
	return &keeper{
		opts: opts, engine: e, id: id, log: opts.Logger, bytes: bytes, commands: commands,
		due: make(chan struct{}, 1), stopping: make(chan struct{}), done: make(chan struct{}),
	}
}

// consider asks for a snapshot if the journal has grown long. The engine
// calls it after each record, with its lock.
func (k *keeper) consider() {
	bytes, effects := k.engine.journal.volume()
	if bytes < max(k.opts.CompactBytes, 2*k.bytes) && effects < max(k.opts.CompactCommands, 2*k.commands) {
		return
	}
	k.ask()
}

func (k *keeper) ask() {
	select {
	case k.due <- struct{}{}:
	default:
	}
}

func (k *keeper) run() {
	defer close(k.done)
	for {
		select {
		case <-k.stopping:
			return
		case <-k.due:
			if k.engine.journal.failure() != nil {
				continue // the failure has its own message
			}
			if err := k.compact(); err != nil {
				k.log.Warn("embedded store: could not compact the journal, and will try again", "error", err)
				if !k.pause() {
					return
				}
				k.ask()
			}
		case <-k.engine.journal.failed:
			k.log.Error("embedded store: cannot write, commands are refused until it can", "error", k.engine.journal.failure())
			for {
				if !k.pause() {
					return
				}
				err := k.recover()
				if err == nil {
					break
				}
				k.log.Warn("embedded store: still cannot write", "error", err)
			}
			k.log.Info("embedded store: writes again, nothing is missing")
		}
	}
}

// pause waits before another try, and returns false if the store closes.
func (k *keeper) pause() bool {
	timer := time.NewTimer(retryEvery)
	defer timer.Stop()
	select {
	case <-k.stopping:
		return false
	case <-timer.C:
		return true
	}
}

func (k *keeper) stop() {
	close(k.stopping)
	<-k.done
}

// compact begins a new segment, writes a snapshot of everything before it,
// and removes that. Commands wait while the segment is made and the state
// copied, not while it is written. A crash at any point leaves either the old
// snapshot with all segments after it, or the new one.
func (k *keeper) compact() error {
	began := time.Now()
	k.engine.mu.Lock()
	if err := k.engine.journal.rotate(k.engine.clock.last); err != nil {
		k.engine.mu.Unlock()
		return err
	}
	s := k.engine.state()
	if k.engine.churn >= max(k.opts.renewAfter, 4*int64(len(s.commands))) {
		if err := k.engine.renew(s); err != nil {
			k.engine.mu.Unlock()
			return err
		}
	}
	k.engine.mu.Unlock()
	held := time.Since(began)
	size, err := writeSnapshot(k.opts.fs, k.opts.Dir, k.id, s)
	if err != nil {
		return err
	}
	k.engine.mu.Lock()
	k.bytes, k.commands, k.held = size, int64(len(s.commands)), held
	k.engine.mu.Unlock()
	k.log.Info("embedded store: compacted", "bytes", size, "commands", len(s.commands), "held", held, "took", time.Since(began))
	return removeObsolete(k.opts.Dir, s.seq)
}

// recover makes durable what is in memory, all of it, after a write failed:
// what a failed fsync left on disk is unknown, so that nothing there can be
// continued. Only then commands are executed again.
func (k *keeper) recover() error {
	k.engine.mu.Lock()
	defer k.engine.mu.Unlock()
	s := k.engine.state()
	size, err := writeSnapshot(k.opts.fs, k.opts.Dir, k.id, s)
	if err != nil {
		return err
	}
	f, err := newSegment(k.opts.fs, k.opts.Dir, k.id, s.seq+1, s.clock)
	if err != nil {
		return err
	}
	k.engine.journal.replace(f, s.seq)
	k.bytes, k.commands = size, int64(len(s.commands))
	if err := removeObsolete(k.opts.Dir, s.seq); err != nil {
		k.log.Warn("embedded store: could not remove old files", "error", err)
	}
	return nil
}
