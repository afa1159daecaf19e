package embedded

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/gofrs/flock"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/deetoo/deetoo/invalid"
)

// ErrLocked means that another process, or another Store of this one, has the folder open.
var ErrLocked = errors.New("the embedded store is in use by another process")

// ErrMigrated means that the store was moved elsewhere; see [MarkMigrated].
var ErrMigrated = errors.New("the embedded store was migrated")

// CorruptError says where a store's files are damaged. They were left as they are.
type CorruptError struct {
	// File is the path of the damaged file.
	File string
	// Offset is where in the file the damaged part begins, in bytes.
	Offset int64
	// Reason completes the sentence "at this offset …".
	Reason string
}

// Error names file, offset and reason.
func (e *CorruptError) Error() string {
	return fmt.Sprintf("the embedded store is damaged: %s, byte %d: %s", e.File, e.Offset, e.Reason)
}

// Options of a store.
type Options struct {
	// Dir is the store's folder. It is required, and made with mode 0700
	// where it is missing.
	Dir string
	// Logger hears of a cut end, of compaction and of a failing disk.
	// Default: none.
	Logger *slog.Logger
	// Now is the machine's clock. Default: time.Now.
	Now func() time.Time
	// CompactBytes is how many bytes of journal begin a compaction, if they
	// are also twice the last snapshot. Default: 16 MiB.
	CompactBytes int64
	// CompactCommands is how many journalled writes begin a compaction, if
	// they are also twice the last snapshot's. They take some 10 µs each to
	// replay. Default: 250,000.
	CompactCommands int64

	fs         filesystem
	renewAfter int64 // writes after which a compaction renews the engine
}

// Validate says which field is wrong.
func (o Options) Validate() error {
	switch {
	case o.Dir == "":
		return invalid.Errorf("Dir", "is required")
	case o.CompactBytes < 0:
		return invalid.Errorf("CompactBytes", "must not be negative")
	case o.CompactCommands < 0:
		return invalid.Errorf("CompactCommands", "must not be negative")
	}
	return nil
}

func (o Options) withDefaults() Options {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.CompactBytes == 0 {
		o.CompactBytes = 16 << 20
	}
	if o.CompactCommands == 0 {
		o.CompactCommands = 250_000
	}
	if o.renewAfter == 0 {
		o.renewAfter = 1_000_000
	}
	if o.fs == nil {
		o.fs = disk{}
	}
	return o
}

// Store is an open store. It is safe for concurrent use.
type Store struct {
	opts   Options
	lock   *flock.Flock
	engine *engine
	access *access
	id     storeID
	keeper *keeper
	close  func() error
}

// Open opens the store in a folder, or makes one there, and replays it. It
// returns ErrLocked, ErrMigrated, a *CorruptError or what the file system
// says, wrapped. The context ends only the opening.
func Open(ctx context.Context, opts Options) (*Store, error) {
	if err := opts.Validate(); err != nil {
		return nil, err
	}
	opts = opts.withDefaults()
	if err := os.MkdirAll(opts.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("open the embedded store: %w", err)
	}
	lock := flock.New(filepath.Join(opts.Dir, lockName), flock.SetPermissions(0o600))
	locked, err := lock.TryLock()
	if err == nil && !locked {
		err = ErrLocked
	}
	if err != nil {
		return nil, fmt.Errorf("open the embedded store in %s: %w", opts.Dir, err)
	}
	s, err := openLocked(ctx, opts, lock)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open the embedded store in %s: %w", opts.Dir, err), lock.Close())
	}
	return s, nil
}

func openLocked(ctx context.Context, opts Options, lock *flock.Flock) (*Store, error) {
	if err := checkMigrated(opts.Dir); err != nil {
		return nil, err
	}
	e, err := newEngine(opts.Now)
	if err != nil {
		return nil, err
	}
	l := &loader{ctx: ctx, fs: opts.fs, dir: opts.Dir, engine: e}
	began := time.Now()
	f, err := l.load()
	if err != nil {
		e.m.Close()
		return nil, err
	}
	if l.cut != nil {
		opts.Logger.Warn("embedded store: cut off an unfinished write, which nobody was answered",
			"file", l.cut.file, "offset", l.cut.offset, "bytes", l.cut.bytes, "reason", l.cut.reason)
	}
	if behind := e.clock.behind(); behind > time.Second {
		opts.Logger.Warn("embedded store: the machine's clock is behind the store's, which goes on at half pace until it has caught up",
			"behind", behind)
	}
	opts.Logger.Debug("embedded store: opened", "dir", opts.Dir, "id", l.id, "records", l.next-1, "took", time.Since(began))
	e.journal = openJournal(opts.fs, opts.Dir, l.id, f, l.next)
	e.journal.written, e.journal.effects = l.written, l.effects
	s := &Store{opts: opts, lock: lock, engine: e, access: newAccess(e), id: l.id}
	s.keeper = newKeeper(s.opts, e, l.id, l.snapshot, l.commands)
	e.appended = s.keeper.consider
	s.close = sync.OnceValue(s.shut)
	go e.journal.run()
	go s.keeper.run()
	return s, nil
}

// Client is the store's client, the same at each call. It answers a write or
// a read when what it tells is durable. It does not retry. Close closes it.
func (s *Store) Client() redis.UniversalClient { return s.access.client }

// ID is the store's random name, made with it, 32 hexadecimal digits.
func (s *Store) ID() string { return s.id.String() }

// Close makes what was executed durable, closes the client and releases the
// folder. Call it when the client's users are done: a command that still
// waits may fail, though what it did is durable. A second call returns what
// the first did.
func (s *Store) Close() error { return s.close() }

func (s *Store) shut() error {
	s.engine.mu.Lock()
	s.engine.closed = true
	s.engine.mu.Unlock()
	s.keeper.stop()
	err := s.engine.journal.stop()
	if err != nil {
		err = fmt.Errorf("close the embedded store: %w", err)
	}
	return errors.Join(err, s.access.close(), s.lock.Close())
}

// Memory is the same engine without a folder: it forgets everything when
// closed. It runs in a testing/synctest bubble, on its clock. A nil now is
// time.Now.
func Memory(now func() time.Time) (client redis.UniversalClient, close func() error, err error) {
	if now == nil {
		now = time.Now
	}
	e, err := newEngine(now)
	if err != nil {
		return nil, nil, err
	}
	a := newAccess(e)
	return a.client, sync.OnceValue(a.close), nil
}

// access is a client of the engine and its connections.
type access struct {
	engine   *engine
	client   *redis.Client
	sessions sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]struct{}
}

func newAccess(e *engine) *access {
	a := &access{engine: e, conns: map[net.Conn]struct{}{}}
	a.client = redis.NewClient(&redis.Options{
		Addr:     "embedded",
		Protocol: 2,
		Dialer: func(context.Context, string, string) (net.Conn, error) {
			return a.dial(), nil
		},
		// One connection a waiting command: the more wait, the more one fsync serves.
		PoolSize: 256,
		// Each connection has both; what is longer goes past them.
		ReadBufferSize:           8 << 10,
		WriteBufferSize:          8 << 10,
		MaxRetries:               -1, // an answer is an answer
		ReadTimeout:              -1, // the disk may take its time; the caller's context decides
		WriteTimeout:             -1,
		PoolTimeout:              time.Minute,
		ContextTimeoutEnabled:    true,
		DisableIdentity:          true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})
	return a
}

func (a *access) dial() net.Conn {
	near, far := pipe()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.conns[far] = struct{}{}
	a.sessions.Go(func() {
		a.engine.serve(far)
		a.mu.Lock()
		defer a.mu.Unlock()
		delete(a.conns, far)
	})
	return near
}

func (a *access) close() error {
	err := a.client.Close()
	a.mu.Lock()
	for conn := range a.conns { // of subscriptions that were left open
		_ = conn.Close()
	}
	a.mu.Unlock()
	a.sessions.Wait()
	a.engine.m.Close()
	return err
}
