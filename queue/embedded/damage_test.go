package embedded

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// written makes a store of n keys, one frame each, and returns its folder,
// its segment's path and content. Crashed, it has no closing frame.
func written(t *testing.T, n int, end func(*Store)) (dir, segment string, content []byte) {
	t.Helper()
	dir = t.TempDir()
	s := open(t, Options{Dir: dir})
	for i := range n {
		do(t, s.Client(), "SET", fmt.Sprint("key", i), strings.Repeat("v", 20))
	}
	end(s)
	segment = filepath.Join(dir, journalFile(1))
	content, err := os.ReadFile(segment)
	if err != nil {
		t.Fatal(err)
	}
	return dir, segment, content
}

// offsets are where the frames of a segment begin.
func offsets(t *testing.T, content []byte) []int {
	t.Helper()
	var all []int
	for at := headerSize; at < len(content); at += frameSize + int(binary.LittleEndian.Uint32(content[at:])) {
		all = append(all, at)
	}
	return all
}

func overwrite(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestTornTailIsCutAtEveryByte(t *testing.T) {
	const n = 3
	dir, segment, content := written(t, n, crash)
	frames := offsets(t, content)
	if len(frames) != n {
		t.Fatalf("%d frames, want %d", len(frames), n)
	}
	last := frames[n-1]
	check := func(what string, torn []byte) {
		overwrite(t, segment, torn)
		var log bytes.Buffer
		s, err := Open(bg, Options{Dir: dir, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if got := len(contents(s)); got != n-1 {
			t.Errorf("%s: %d keys, want %d", what, got, n-1)
		}
		if told := strings.Contains(log.String(), "cut off") && strings.Contains(log.String(), fmt.Sprint("offset=", last)); told != (len(torn) > last) {
			t.Errorf("%s: the log says %q", what, log.String())
		}
		// What is written behind the cut is there the next time.
		do(t, s.Client(), "SET", "after", "v")
		crash(s)
		if s, err = Open(bg, Options{Dir: dir}); err != nil {
			t.Fatalf("%s, and then: %v", what, err)
		}
		if got := len(contents(s)); got != n {
			t.Errorf("%s, and then: %d keys, want %d", what, got, n)
		}
		crash(s)
	}
	for end := last; end < len(content); end++ {
		check(fmt.Sprintf("cut at byte %d", end), content[:end])
	}
	for at := last; at < len(content); at++ {
		flipped := bytes.Clone(content)
		flipped[at] ^= 0x40
		check(fmt.Sprintf("flipped at byte %d", at), flipped)
	}
	check("zeros", append(bytes.Clone(content[:last]), make([]byte, 4096)...))
}

func TestDamageInTheMiddleIsRefused(t *testing.T) {
	for name, end := range map[string]func(*Store){
		"crash": crash,                            // the last frame may be torn
		"close": func(s *Store) { _ = s.Close() }, // it cannot: an empty one follows
	} {
		t.Run(name, func(t *testing.T) {
			dir, segment, content := written(t, 4, end)
			frames := offsets(t, content)
			if want := map[string]int{"crash": 4, "close": 5}[name]; len(frames) != want {
				t.Fatalf("%d frames, want %d", len(frames), want)
			}
			last := frames[len(frames)-1]
			for at := headerSize; at < last; at++ {
				flipped := bytes.Clone(content)
				flipped[at] ^= 0x01
				overwrite(t, segment, flipped)
				_, err := Open(bg, Options{Dir: dir})
				want := headerSize
				for _, f := range frames {
					if f <= at {
						want = f
					}
				}
				var damage *CorruptError
				if !errors.As(err, &damage) || damage.File != segment || damage.Offset != int64(want) {
					t.Fatalf("flipped at %d: %v, want offset %d", at, err, want)
				}
				if now, err := os.ReadFile(segment); err != nil || !bytes.Equal(now, flipped) {
					t.Fatalf("flipped at %d: the file was changed, %v", at, err)
				}
			}
			for at := range headerSize {
				flipped := bytes.Clone(content)
				flipped[at] ^= 0x01
				overwrite(t, segment, flipped)
				var damage *CorruptError
				if _, err := Open(bg, Options{Dir: dir}); !errors.As(err, &damage) || damage.Offset != 0 {
					t.Fatalf("header flipped at %d: %v", at, err)
				}
			}
			// A frame that is gone without trace.
			overwrite(t, segment, append(bytes.Clone(content[:frames[1]]), content[frames[2]:]...))
			var damage *CorruptError
			if _, err := Open(bg, Options{Dir: dir}); !errors.As(err, &damage) || damage.Offset != int64(frames[1]) {
				t.Errorf("a frame is missing: %v", err)
			}
			overwrite(t, segment, content)
			open(t, Options{Dir: dir})
		})
	}
}

func TestDamagedSnapshotAndMissingFilesAreRefused(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Options{Dir: dir})
	for i := range 5 {
		do(t, s.Client(), "SET", fmt.Sprint("key", i), "v")
	}
	if err := s.keeper.compact(); err != nil {
		t.Fatal(err)
	}
	do(t, s.Client(), "SET", "key5", "v")
	s.engine.mu.Lock()
	if err := s.engine.journal.rotate(s.engine.clock.last); err != nil {
		t.Fatal(err)
	}
	s.engine.mu.Unlock()
	do(t, s.Client(), "SET", "key6", "v")
	crash(s)
	refused := func(what, file string) {
		t.Helper()
		var damage *CorruptError
		if _, err := Open(bg, Options{Dir: dir}); !errors.As(err, &damage) || filepath.Base(damage.File) != file {
			t.Fatalf("%s: %v", what, err)
		}
	}
	for _, name := range []string{snapFile(5), journalFile(6)} {
		path := filepath.Join(dir, name)
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for at := range content {
			flipped := bytes.Clone(content)
			flipped[at] ^= 0x10
			overwrite(t, path, flipped)
			refused(fmt.Sprintf("flipped at %d", at), name)
		}
		for end := headerSize + 1; end < len(content); end++ {
			overwrite(t, path, content[:end])
			refused(fmt.Sprintf("cut at %d", end), name)
		}
		overwrite(t, path, append(bytes.Clone(content), 'x'))
		refused("appended to", name)
		overwrite(t, path, content)
	}
	away := filepath.Join(dir, "away")
	for name, missing := range map[string]string{snapFile(5): journalFile(1), journalFile(6): journalFile(6)} {
		path := filepath.Join(dir, name)
		if err := os.Rename(path, away); err != nil {
			t.Fatal(err)
		}
		refused("without "+name, missing)
		if err := os.Rename(away, path); err != nil {
			t.Fatal(err)
		}
	}
	s = open(t, Options{Dir: dir})
	if got := len(contents(s)); got != 7 {
		t.Errorf("%d keys, want 7", got)
	}
}

func TestForeignFrameInsideDataIsNoFrame(t *testing.T) {
	_, _, foreign := written(t, 5, crash)
	dir := t.TempDir()
	s := open(t, Options{Dir: dir})
	do(t, s.Client(), "SET", "first", "v")
	do(t, s.Client(), "SET", "trap", foreign[headerSize:])
	crash(s)
	segment := filepath.Join(dir, journalFile(1))
	content, err := os.ReadFile(segment)
	if err != nil {
		t.Fatal(err)
	}
	overwrite(t, segment, content[:len(content)-1])
	s = open(t, Options{Dir: dir}) // torn, not damaged in the middle
	if got := contents(s); !reflect.DeepEqual(got, [][]string{{"SET", "first", "v"}}) {
		t.Errorf("%q", got)
	}
}

func TestForeignFileIsRefused(t *testing.T) {
	dir, _, _ := written(t, 1, crash)
	other, _, _ := written(t, 1, crash)
	s := open(t, Options{Dir: other})
	s.engine.mu.Lock()
	if err := s.engine.journal.rotate(s.engine.clock.last); err != nil {
		t.Fatal(err)
	}
	s.engine.mu.Unlock()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(filepath.Join(other, journalFile(2)))
	if err != nil {
		t.Fatal(err)
	}
	overwrite(t, filepath.Join(dir, journalFile(2)), content)
	var damage *CorruptError
	if _, err := Open(bg, Options{Dir: dir}); !errors.As(err, &damage) || !strings.Contains(err.Error(), "another store") {
		t.Errorf("%v", err)
	}
}

func FuzzDecode(f *testing.F) {
	id := storeID{1, 2, 3}
	payload := appendRecord(nil, header{}.clock, 2, appendCommand(appendCommand(nil, "SET", []string{"k", "\x00v"}), "DEL", []string{"k"}))
	whole := append(beginFrame(nil), payload...)
	endFrame(whole, id, 7)
	f.Add(whole)
	f.Add(payload)
	f.Add(header{kind: journalKind, id: id, seq: 3}.encode())
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		if h, err := decodeHeader(b, journalKind); err == nil && !bytes.Equal(h.encode(), b[:headerSize]) {
			t.Errorf("header %v is not what was read", h)
		}
		if fr, err := decodeFrame(b, id); err == nil {
			again := append(beginFrame(nil), fr.payload...)
			endFrame(again, id, fr.seq)
			if !bytes.Equal(again, b[:fr.size]) {
				t.Error("a frame is not what was read")
			}
		}
		hasFrame(b, id, 0)
		for rest := b; len(rest) > 0; {
			r, next, err := decodeRecord(rest)
			if err != nil {
				return
			}
			var commands []byte
			for _, args := range r.commands {
				commands = appendCommand(commands, args[0], args[1:])
			}
			again, behind, err := decodeRecord(appendRecord(nil, r.at, len(r.commands), commands))
			if err != nil || len(behind) > 0 || !reflect.DeepEqual(again, r) {
				t.Errorf("record %v became %v, %v", r, again, err)
			}
			rest = next
		}
	})
}
