package embedded

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// powered is a disk that knows what would outlive a power cut: of each file, what
// was synced. A liar says that it syncs, and does not.
type powered struct {
	disk
	liar atomic.Bool

	mu     sync.Mutex
	synced map[string]int64 // bytes of each file
	sizes  map[string]int64
}

func newPowered() *powered {
	return &powered{synced: map[string]int64{}, sizes: map[string]int64{}}
}

func (p *powered) Open(name string, flag int) (file, error) {
	f, err := p.disk.Open(name, flag)
	if err != nil {
		return nil, err
	}
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, known := p.synced[name]; !known || flag&os.O_TRUNC != 0 {
		p.synced[name] = info.Size() // what was there before
	}
	p.sizes[name] = info.Size()
	return &poweredFile{file: f, disk: p, name: name}, nil
}

// Rename is the filesystem's. The store syncs the folder after it.
func (p *powered) Rename(from, to string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.synced[to], p.sizes[to] = p.synced[from], p.sizes[from]
	return p.disk.Rename(from, to)
}

type poweredFile struct {
	file
	disk *powered
	name string
}

// final is the name of a file once it has been renamed.
func (f *poweredFile) final() string { return strings.TrimSuffix(f.name, tempSuffix) }

func (f *poweredFile) Write(b []byte) (int, error) {
	n, err := f.file.Write(b)
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	f.disk.sizes[f.name] += int64(n)
	f.disk.sizes[f.final()] = f.disk.sizes[f.name]
	return n, err
}

func (f *poweredFile) Sync() error {
	if f.disk.liar.Load() {
		return nil
	}
	f.disk.mu.Lock()
	size := f.disk.sizes[f.name]
	f.disk.mu.Unlock()
	if err := f.file.Sync(); err != nil {
		return err
	}
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	f.disk.synced[f.name], f.disk.synced[f.final()] = size, size
	return nil
}

// cut copies what outlives a power cut at this moment.
func (p *powered) cut(t *testing.T, dir string) string {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	to := copyDir(t, dir)
	for name, size := range p.synced {
		copied := filepath.Join(to, filepath.Base(name))
		if info, err := os.Stat(copied); err == nil && info.Size() > size {
			if err := os.Truncate(copied, size); err != nil {
				t.Fatal(err)
			}
		}
	}
	return to
}

// lostByPowerCut has many clients write, cuts the power at a moment, and counts
// the writes that were answered before and are gone. The disk lies from when the store is open.
func lostByPowerCut(t *testing.T, lies bool) int {
	t.Helper()
	dir, p := t.TempDir(), newPowered()
	s := open(t, Options{Dir: dir, fs: p})
	p.liar.Store(lies)
	const clients = 8
	var answered [clients]atomic.Int64
	ctx, stop := context.WithCancel(bg)
	var wg sync.WaitGroup
	for i := range clients {
		wg.Go(func() {
			for n := int64(1); ctx.Err() == nil; n++ {
				if s.Client().Set(bg, "client"+strconv.Itoa(i), n, 0).Err() != nil {
					return
				}
				answered[i].Store(n)
			}
		})
	}
	for i := range answered {
		for answered[i].Load() < 30 {
			s.Client().Ping(bg)
		}
	}
	var before [clients]int64
	for i := range answered {
		before[i] = answered[i].Load()
	}
	left := p.cut(t, dir)
	stop()
	wg.Wait()
	crash(s)
	again := open(t, Options{Dir: left})
	lost := 0
	for i, n := range before {
		got, _ := again.Client().Get(bg, "client"+strconv.Itoa(i)).Int64() // absent is 0
		lost += int(max(0, n-got))
	}
	return lost
}

// What was answered outlives a power cut. That this can fail is shown by a disk
// that says it has synced and has not.
func TestPowerCutLosesNothingAnswered(t *testing.T) {
	if lost := lostByPowerCut(t, false); lost > 0 {
		t.Errorf("%d answered writes are gone", lost)
	}
}

func TestPowerCutOfADiskThatLies(t *testing.T) {
	if lost := lostByPowerCut(t, true); lost == 0 {
		t.Error("nothing is gone, though nothing was synced: the test of power cuts cannot fail")
	}
}
