package registry

import (
	"context"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Change is one type that came, changed or went.
type Change struct {
	Name string
	// Old is nil if the type is new.
	Old *Type
	// New is nil if the type was deleted.
	New *Type
}

// Directory is this process's view of the types: read without a lock or a round
// trip, and at most about a second behind the store. It follows the announcements
// of changes and, since one can get lost, compares the revision every second.
// While Redis is away it keeps the last view.
//
// The types it hands out are shared and must not be changed.
type Directory struct {
	store *Store
	log   *slog.Logger
	view  atomic.Pointer[view]
	ready chan struct{}
	// kick asks for a load without waiting for the next second.
	kick chan struct{}

	mu sync.Mutex
	// revision is that of the last load; "" to make the next one certain.
	revision string
	// stamps are those of the records behind the view.
	stamps map[string]string
	// noted are the names that this process changed since the running load
	// began. What the load says of them may be older.
	noted       map[string]bool
	subscribers map[*func(Change)]bool
}

// view is immutable.
type view struct {
	byName map[string]*Type
	sorted []*Type
}

// NewDirectory returns an empty directory; Run fills it. A nil logger is
// slog.Default().
func NewDirectory(store *Store, logger *slog.Logger) *Directory {
	if logger == nil {
		logger = slog.Default()
	}
	d := &Directory{
		store: store, log: logger, ready: make(chan struct{}), kick: make(chan struct{}, 1),
		stamps: map[string]string{}, noted: map[string]bool{}, subscribers: map[*func(Change)]bool{},
	}
	d.view.Store(&view{})
	return d
}

// Ready is closed when the types have been loaded for the first time.
func (d *Directory) Ready() <-chan struct{} { return d.ready }

// Get returns the type of that name.
func (d *Directory) Get(name string) (*Type, bool) {
	t, ok := d.view.Load().byName[name]
	return t, ok
}

// List returns all types, sorted by name. The slice must not be changed.
func (d *Directory) List() []*Type { return d.view.Load().sorted }

// Nearest returns the names that come closest to a misspelt one, at most three.
func (d *Directory) Nearest(name string) []string {
	return nearest(name, slices.Collect(maps.Keys(d.view.Load().byName)))
}

// Subscribe calls fn for each type there is, as if it were new, and then for
// each change, in order and one at a time, until cancel is called. fn must
// return soon and may not call Note, Forget, Subscribe or cancel.
func (d *Directory) Subscribe(fn func(Change)) (cancel func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, t := range d.List() {
		fn(Change{Name: t.Name, New: t})
	}
	key := &fn
	d.subscribers[key] = true
	return func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		delete(d.subscribers, key)
	}
}

// Note tells of a type that this process has just stored, so that it is seen at
// once. An older version than the one in view is ignored.
func (d *Directory) Note(t Type) {
	d.mu.Lock()
	defer d.mu.Unlock()
	old, _ := d.Get(t.Name)
	if old != nil && old.Version >= t.Version {
		return
	}
	d.noted[t.Name] = true
	// Whatever the store says next counts, even if a failover took this change back.
	d.revision = ""
	delete(d.stamps, t.Name)
	published := t.Clone()
	d.publish([]Change{{Name: t.Name, Old: old, New: &published}})
}

// Forget tells of a type that this process has just deleted.
func (d *Directory) Forget(name string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.noted[name] = true
	if old, ok := d.Get(name); ok {
		d.publish([]Change{{Name: name, Old: old}})
	}
	d.reload() // somebody may have stored it again meanwhile
}

// Run follows the store until ctx ends, and then returns nil.
func (d *Directory) Run(ctx context.Context) error {
	announcements := d.store.client.Subscribe(ctx, d.store.channel)
	defer func() { _ = announcements.Close() }()
	messages := announcements.Channel()
	timer := time.NewTimer(0)
	defer timer.Stop()
	failing := false
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-messages:
		case <-d.kick:
		case <-timer.C:
		}
		err := d.refresh(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && !failing:
			d.log.Warn("job types cannot be loaded; keeping the last view", "error", err, "types", len(d.List()))
		case err == nil && failing:
			d.log.Info("job types are loaded again", "types", len(d.List()))
		}
		failing = err != nil
		timer.Reset(700*time.Millisecond + rand.N(300*time.Millisecond))
	}
}

// refresh loads the types if the revision is not that of the last load. The
// revision is read first: the types then are at least as new.
func (d *Directory) refresh(ctx context.Context) error {
	d.mu.Lock()
	known := d.revision
	clear(d.noted)
	d.mu.Unlock()

	revision, err := d.store.revision(ctx)
	if err != nil {
		return err
	}
	if revision == known && revision != "" {
		return nil
	}
	records, err := d.store.records(ctx)
	if err != nil {
		return err
	}
	d.apply(revision, records)
	return nil
}

// apply makes the loaded records the view, save for what was noted meanwhile.
func (d *Directory) apply(revision string, records map[string]string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.revision = revision
	if len(d.noted) > 0 {
		d.reload()
	}
	var changes []Change
	for name, record := range records {
		stamp := stampOf(record)
		if d.noted[name] || d.stamps[name] == stamp {
			continue
		}
		d.stamps[name] = stamp
		t, err := decodeRecord(d.store.ring, name, record)
		if err != nil {
			d.log.Error("a job type is left as it was", "type", name, "error", err)
			continue
		}
		if old, _ := d.Get(name); old == nil || old.Version != t.Version || !old.same(t) {
			changes = append(changes, Change{Name: name, Old: old, New: t})
		}
	}
	for _, old := range d.List() {
		if _, ok := records[old.Name]; !ok && !d.noted[old.Name] {
			changes = append(changes, Change{Name: old.Name, Old: old})
		}
	}
	slices.SortFunc(changes, func(a, b Change) int { return strings.Compare(a.Name, b.Name) })
	d.publish(changes)
	select {
	case <-d.ready:
	default:
		close(d.ready)
	}
}

// reload makes the next refresh load, and soon. The caller holds mu.
func (d *Directory) reload() {
	d.revision = ""
	select {
	case d.kick <- struct{}{}:
	default:
	}
}

// publish shows the changes to readers, then to subscribers. The caller holds mu.
func (d *Directory) publish(changes []Change) {
	if len(changes) == 0 {
		return
	}
	byName := maps.Clone(d.view.Load().byName)
	if byName == nil {
		byName = map[string]*Type{}
	}
	for _, c := range changes {
		if c.New != nil {
			byName[c.Name] = c.New
		} else {
			delete(byName, c.Name)
			delete(d.stamps, c.Name)
		}
	}
	d.view.Store(&view{byName: byName, sorted: merged(d.List(), changes)})
	for _, c := range changes {
		for fn := range d.subscribers {
			(*fn)(c)
		}
	}
}

// merged is a sorted list of types with changes made to it. Few changes to many
// types, each registered by itself, must not sort them all each time.
func merged(types []*Type, changes []Change) []*Type {
	out := make([]*Type, 0, len(types)+len(changes))
	changes = slices.SortedFunc(slices.Values(changes), func(a, b Change) int { return strings.Compare(a.Name, b.Name) })
	for _, c := range changes {
		at, old := slices.BinarySearchFunc(types, c.Name, func(t *Type, name string) int { return strings.Compare(t.Name, name) })
		out = append(out, types[:at]...)
		if types = types[at:]; old {
			types = types[1:]
		}
		if c.New != nil {
			out = append(out, c.New)
		}
	}
	return append(out, types...)
}
