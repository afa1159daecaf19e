package registry

import (
	"bytes"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/deetoo/deetoo/internal/redistest"
	"github.com/deetoo/deetoo/internal/transcript"
)

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func TestDirectoryFollowsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := storeOn(t, inProcess(t))
		put(t, s, New("a", "http://x.test/"))
		d := running(t, s, quiet())
		<-d.Ready()
		synctest.Wait()
		start := time.Now()
		put(t, s, New("b", "http://x.test/"))
		synctest.Wait()
		if _, ok := d.Get("b"); !ok || time.Since(start) != 0 {
			t.Errorf("seen %v, after %v", ok, time.Since(start))
		}
		if err := s.Delete(t.Context(), "a", 0); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if _, ok := d.Get("a"); ok || time.Since(start) != 0 {
			t.Errorf("still there %v, after %v", ok, time.Since(start))
		}
	})
}

func TestDirectoryMissesAnnouncementsByASecondAtMost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := storeOn(t, inProcess(t))
		deaf := *s
		deaf.channel = "elsewhere"
		d := running(t, &deaf, quiet())
		<-d.Ready()
		for i := range 20 {
			time.Sleep(time.Duration(i) * 61 * time.Millisecond)
			name, start := fmt.Sprintf("t%d", i), time.Now()
			put(t, s, New(name, "http://x.test/"))
			for {
				if _, ok := d.Get(name); ok {
					break
				}
				time.Sleep(time.Millisecond)
			}
			if lag := time.Since(start); lag > time.Second {
				t.Errorf("%s was seen after %v", name, lag)
			}
		}
	})
}

func TestDirectoryFollowsRealServers(t *testing.T) {
	onEach(t, func(t *testing.T, s *Store) {
		writer, reader := running(t, s, quiet()), running(t, s, quiet())
		<-writer.Ready()
		<-reader.Ready()
		a := put(t, s, New("a", "http://x.test/"))
		writer.Note(a)
		if got, ok := writer.Get("a"); !ok || got.Version != a.Version {
			t.Error("a noted change is not seen at once")
		}
		eventually(t, "the other sees it", func() bool { got, ok := reader.Get("a"); return ok && got.Version == a.Version })
		if _, err := s.SetPaused(t.Context(), "a", true, "x"); err != nil {
			t.Fatal(err)
		}
		eventually(t, "both see the pause", func() bool {
			x, _ := writer.Get("a")
			y, _ := reader.Get("a")
			return x.Paused && y.Paused
		})
		if err := s.Delete(t.Context(), "a", 0); err != nil {
			t.Fatal(err)
		}
		writer.Forget("a")
		if len(writer.List()) != 0 {
			t.Error("a forgotten type is still there")
		}
		eventually(t, "the other forgets it", func() bool { return len(reader.List()) == 0 })
	})
}

func TestDirectorySubscribe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := storeOn(t, inProcess(t))
		put(t, s, New("a", "http://x.test/"))
		d := running(t, s, quiet())
		<-d.Ready()
		var mu sync.Mutex
		var log []string
		cancel := d.Subscribe(func(c Change) {
			mu.Lock()
			defer mu.Unlock()
			log = append(log, fmt.Sprintf("%s %v %v", c.Name, c.Old != nil, c.New != nil))
			if now, ok := d.Get(c.Name); ok != (c.New != nil) || now != c.New {
				t.Error("the view is behind the change")
			}
		})
		b := put(t, s, New("b", "http://x.test/"))
		d.Note(b)
		d.Note(b)
		synctest.Wait()
		if _, err := s.Patch(t.Context(), "b", []byte(`{"concurrency":3}`), 0); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		d.Note(b) // too late: an older version
		if err := s.Delete(t.Context(), "a", 0); err != nil {
			t.Fatal(err)
		}
		d.Forget("a")
		time.Sleep(5 * time.Second)
		cancel()
		put(t, s, New("c", "http://x.test/"))
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		want := []string{"a false true", "b false true", "b true true", "a true false"}
		if !slices.Equal(log, want) {
			t.Errorf("got  %q\nwant %q", log, want)
		}
		if got, _ := d.Get("b"); got.Concurrency != 3 {
			t.Error("an older version came back")
		}
	})
}

// A load that began before a local change ends after it.
func TestDirectoryKeepsNotesOverALateLoad(t *testing.T) {
	s := storeOn(t, inProcess(t))
	d := NewDirectory(s, quiet())
	a, b := put(t, s, New("a", "http://x.test/")), put(t, s, New("b", "http://x.test/"))
	if err := d.refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	revision, _ := s.revision(t.Context())
	old, err := s.records(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	a.Concurrency = 77
	a = put(t, s, a)
	d.Note(a)
	if err := s.Delete(t.Context(), "b", 0); err != nil {
		t.Fatal(err)
	}
	d.Forget("b")
	d.apply(revision, old)
	if got, _ := d.Get("a"); got.Version != a.Version {
		t.Errorf("back at version %d from %d", got.Version, a.Version)
	}
	if got, ok := d.Get("b"); ok {
		t.Errorf("%v is back, deleted at version %d", got, b.Version)
	}
	if err := d.refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, _ := d.Get("a"); got.Version != a.Version || len(d.List()) != 1 {
		t.Errorf("after the next load: %v", d.List())
	}
}

// A failover may lose a change. The store has the last word.
func TestDirectoryFollowsARollback(t *testing.T) {
	for _, loaded := range []bool{false, true} {
		t.Run(fmt.Sprintf("loaded=%v", loaded), func(t *testing.T) {
			client := inProcess(t)
			s := storeOn(t, client)
			d := NewDirectory(s, quiet())
			refresh := func() {
				t.Helper()
				if err := d.refresh(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			a := put(t, s, New("a", "http://x.test/"))
			refresh()
			revision, _ := s.revision(t.Context())
			old, _ := s.records(t.Context())
			a.Concurrency = 77
			d.Note(put(t, s, a))
			if loaded {
				refresh()
			}
			client.HSet(t.Context(), s.typesKey, "a", old["a"])
			client.Set(t.Context(), s.revisionKey, revision, 0)
			refresh()
			if got, _ := d.Get("a"); got.Concurrency != 10 {
				t.Errorf("the lost change is still in view: %d", got.Concurrency)
			}
			// Another change makes the lost counter again, with another request ID.
			a.Concurrency = 55
			put(t, s, a)
			refresh()
			if got, _ := d.Get("a"); got.Concurrency != 55 {
				t.Errorf("the change after the rollback is not in view: %d", got.Concurrency)
			}
		})
	}
}

func TestDirectoryLeavesOutDamage(t *testing.T) {
	client := inProcess(t)
	s := storeOn(t, client)
	put(t, s, New("a", "http://x.test/"))
	client.HSet(t.Context(), s.typesKey, "b", "nonsense", "c", "1 2 3 x\n{")
	var log bytes.Buffer
	d := NewDirectory(s, slog.New(slog.NewTextHandler(&log, nil)))
	if err := d.refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(d.List()) != 1 || bytes.Count(log.Bytes(), []byte("damaged")) != 2 {
		t.Errorf("%v, %s", d.List(), log.String())
	}
}

func TestDirectorySurvivesRedisBeingDown(t *testing.T) {
	server := redistest.SingleServer(t, "--appendonly", "yes", "--appendfsync", "always")
	s := storeOn(t, server.Client())
	put(t, s, New("a", "http://x.test/"))
	var log transcript.Buffer
	d := running(t, s, slog.New(slog.NewTextHandler(&log, nil)))
	<-d.Ready()
	if err := server.Kill(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the outage is noticed", func() bool { return strings.Contains(log.String(), "keeping the last view") })
	if _, ok := d.Get("a"); !ok {
		t.Error("the view is lost")
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a change gets in", func() bool {
		_, _, err := s.Put(t.Context(), New("b", "http://x.test/"), PutOptions{})
		return err == nil
	})
	eventually(t, "and is seen", func() bool { return len(d.List()) == 2 && strings.Contains(log.String(), "loaded again") })
}

func TestDirectoryNearest(t *testing.T) {
	d := NewDirectory(storeOn(t, single), nil)
	if got := d.Nearest("x"); got != nil {
		t.Errorf("neighbours in an empty directory: %q", got)
	}
	d.Note(New("email", "http://x.test/"))
	if _, ok := d.Get("email"); !ok {
		t.Error("a noted type is not there")
	}
	if got := d.Nearest("Emial"); !slices.Equal(got, []string{"email"}) {
		t.Errorf("got %q", got)
	}
}
