package embedded

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/redis/go-redis/v9"
)

func load(b *testing.B, c redis.UniversalClient) {
	b.Helper()
	if err := push.Load(bg, c).Err(); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkPush pushes by a small script from many goroutines, each waiting
// for the disk.
func BenchmarkPush(b *testing.B) {
	data := strings.Repeat("x", 256)
	for _, parallel := range []int{1, 16, 64} {
		b.Run(fmt.Sprint("clients=", parallel), func(b *testing.B) {
			s := open(b, Options{Dir: b.TempDir()})
			load(b, s.Client())
			var n atomic.Int64
			b.SetParallelism(parallel)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if err := push.Run(bg, s.Client(), []string{"{jobs}"}, n.Add(1), data).Err(); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}

// BenchmarkMemoryPush is the same without a disk.
func BenchmarkMemoryPush(b *testing.B) {
	c, end, err := Memory(nil)
	if err != nil {
		b.Fatal(err)
	}
	defer end()
	load(b, c)
	data := strings.Repeat("x", 256)
	for i := 0; b.Loop(); i++ {
		if err := push.Run(bg, c, []string{"{jobs}"}, i, data).Err(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkSet writes a plain key from 64 goroutines a processor.
func BenchmarkSet(b *testing.B) {
	s := open(b, Options{Dir: b.TempDir()})
	var n atomic.Int64
	b.SetParallelism(64)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := s.Client().Set(bg, fmt.Sprint("k", n.Add(1)), "v", 0).Err(); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

// BenchmarkGetAmongMany reads with TTLs running on 100,000 keys: their number must not matter.
func BenchmarkGetAmongMany(b *testing.B) {
	c, end, err := Memory(nil)
	if err != nil {
		b.Fatal(err)
	}
	defer end()
	fillMany(b, c, 100_000)
	for b.Loop() {
		if err := c.Get(bg, "k1").Err(); err != nil {
			b.Fatal(err)
		}
	}
}

func fillMany(b *testing.B, c redis.UniversalClient, n int) {
	b.Helper()
	for i := 0; i < n; {
		pipe := c.Pipeline()
		for range 1000 {
			pipe.Do(bg, "SET", fmt.Sprint("k", i), strings.Repeat("x", 256), "EX", 100_000+i)
			i++
		}
		if _, err := pipe.Exec(bg); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkOpen replays 100,000 keys with TTLs, from a snapshot and from a journal.
func BenchmarkOpen(b *testing.B) {
	for _, from := range []string{"journal", "snapshot"} {
		b.Run(from, func(b *testing.B) {
			dir := b.TempDir()
			s := open(b, Options{Dir: dir, CompactBytes: 1 << 40, CompactCommands: 1 << 40})
			fillMany(b, s.Client(), 100_000)
			if from == "snapshot" {
				if err := s.keeper.compact(); err != nil {
					b.Fatal(err)
				}
			}
			if err := s.Close(); err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				s, err := Open(bg, Options{Dir: dir})
				if err != nil {
					b.Fatal(err)
				}
				if err := s.Close(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkCompact tells how long a store of 100,000 keys is compacted, and
// how long commands wait for it meanwhile.
func BenchmarkCompact(b *testing.B) {
	s := open(b, Options{Dir: b.TempDir(), CompactBytes: 1 << 40, CompactCommands: 1 << 40})
	fillMany(b, s.Client(), 100_000)
	for b.Loop() {
		if err := s.keeper.compact(); err != nil {
			b.Fatal(err)
		}
	}
	s.engine.mu.Lock()
	defer s.engine.mu.Unlock()
	b.ReportMetric(float64(s.keeper.held.Milliseconds()), "held-ms")
}
