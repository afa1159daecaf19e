package deetoo_test

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/deetoo/deetoo"
	"github.com/deetoo/deetoo/internal/redistest"
	"github.com/deetoo/deetoo/invalid"
)

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// within fails the test if do takes longer than anything reasonable.
func within(t *testing.T, what string, do func()) {
	t.Helper()
	done := make(chan struct{})
	go func() { defer close(done); do() }()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Fatalf("%s hangs", what)
	}
}

func TestShutdownAfterAStartThatFailed(t *testing.T) {
	file := filepath.Join(t.TempDir(), "types.yaml")
	if err := os.WriteFile(file, []byte("types: [{name: x}]"), 0o600); err != nil {
		t.Fatal(err)
	}
	d := deetoo.New(deetoo.WithOptions(deetoo.Options{DataDir: t.TempDir(), TypesFile: file, Logger: quiet()}))
	if err := d.Start(context.Background()); err == nil {
		t.Fatal("a types file without targets was taken")
	}
	within(t, "Shutdown", func() {
		if err := errors.Join(d.Drain(context.Background()), d.Shutdown(context.Background())); err != nil {
			t.Error(err)
		}
	})
}

func TestShutdownRightAfterStart(t *testing.T) {
	for range 5 {
		d := deetoo.New(deetoo.WithOptions(deetoo.Options{DataDir: t.TempDir(), Listen: "127.0.0.1:0", Logger: quiet()}))
		if err := d.Start(context.Background()); err != nil {
			t.Fatal(err)
		}
		addr := d.Addr().String()
		within(t, "Shutdown", func() {
			if err := d.Shutdown(context.Background()); err != nil {
				t.Error(err)
			}
		})
		if conn, err := net.Dial("tcp", addr); err == nil {
			conn.Close()
			t.Error("the address is still taken")
		}
	}
}

func TestJobsBeforeStartAndAfterShutdown(t *testing.T) {
	ctx := context.Background()
	d := deetoo.New(deetoo.WithDataDir(t.TempDir()), deetoo.WithLogger(quiet()))
	followed := make(chan error, 1)
	begun := make(chan struct{})
	release := make(chan struct{})
	d.Can("first", 1, func(ctx context.Context, _ *deetoo.Job) (any, error) {
		close(begun)
		<-release
		_, err := d.Jobs().Push(ctx, deetoo.Job{Type: "second"})
		followed <- err
		return nil, nil
	})
	d.Can("second", 1, func(context.Context, *deetoo.Job) (any, error) { return nil, nil })
	if _, err := d.Jobs().Push(ctx, deetoo.Job{Type: "first"}); !errors.Is(err, deetoo.ErrNotRunning) {
		t.Errorf("before Start: %v", err)
	}
	if err := d.Start(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Jobs().Push(ctx, deetoo.Job{Type: "first"}); err != nil {
		t.Fatal(err)
	}
	<-begun
	ended := make(chan error, 1)
	go func() { ended <- d.Shutdown(ctx) }()
	<-d.Draining()
	close(release)
	if err := <-followed; err != nil {
		t.Errorf("a job that still runs during Shutdown cannot push another: %v", err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if _, err := d.Jobs().Get(ctx, "first", "x"); !errors.Is(err, deetoo.ErrNotRunning) {
		t.Errorf("after Shutdown: %v", err)
	}
}

// A Redis that takes connections and says nothing must not keep a dispatcher
// from answering that it is alive.
func TestStartWithARedisThatHangs(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0") // never accepted from: the kernel does
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	d := deetoo.New(deetoo.WithOptions(deetoo.Options{
		RedisURL: "redis://" + l.Addr().String(), DataDir: t.TempDir(), Listen: "127.0.0.1:0", Logger: quiet(),
	}))
	d.Can("work", 1, func(context.Context, *deetoo.Job) (any, error) { return nil, nil })
	within(t, "Start", func() {
		if err := d.Start(context.Background()); err != nil {
			t.Error(err)
		}
	})
	resp, err := http.Get("http://" + d.Addr().String() + "/healthz")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("/healthz: %s", resp.Status)
	}
	within(t, "Shutdown", func() { _ = d.Shutdown(context.Background()) })
}

func TestMaintenanceMakesNoStore(t *testing.T) {
	ctx, dir := context.Background(), t.TempDir()
	if _, _, _, err := deetoo.OpenStore(ctx, deetoo.Options{DataDir: dir}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("OpenStore: %v", err)
	}
	server := redistest.SingleServer(t)
	_, err := deetoo.Migrate(ctx, deetoo.MigrateOptions{DataDir: dir, RedisURL: server.URL(), Logger: quiet()})
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Migrate: %v", err)
	}
	if entries, _ := os.ReadDir(dir); len(entries) > 0 {
		t.Errorf("they made %v", entries)
	}
}

func TestMigrateRefusesAPatternAsPrefix(t *testing.T) {
	var bad *invalid.Error
	_, err := deetoo.Migrate(context.Background(), deetoo.MigrateOptions{DataDir: t.TempDir(), RedisURL: "redis://127.0.0.1:1", Prefix: "*", Logger: quiet()})
	if !errors.As(err, &bad) || bad.Field != "prefix" {
		t.Errorf("%v, want prefix", err)
	}
}
