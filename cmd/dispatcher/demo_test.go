package main

import (
	"context"
	"encoding/json"
	"net/http"
	"os"
	"regexp"
	"testing"
	"time"

	"github.com/deetoo/deetoo/internal/transcript"
)

// TestDemo runs the demonstration until jobs have succeeded, and ends it: nothing is left.
func TestDemo(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	var out, log transcript.Buffer
	code := make(chan int, 1)
	go func() { code <- run(ctx, []string{"demo", "--listen", "127.0.0.1:0"}, &out, &log) }()
	defer cancel()
	deadline := time.Now().Add(60 * time.Second)
	succeeded := 0
	for succeeded < 3 {
		if time.Now().After(deadline) {
			t.Fatalf("%d types have jobs that succeeded; it says %s%s", succeeded, out.String(), log.String())
		}
		time.Sleep(50 * time.Millisecond)
		m := regexp.MustCompile(`(?s)UI +(http\S+)/ui.*Token +(\S+)`).FindStringSubmatch(out.String())
		if m == nil {
			continue
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, m[1]+"/v1/stats", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+m[2])
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		var stats struct {
			Types []struct {
				Finished int `json:"finished"`
			} `json:"types"`
		}
		err = json.NewDecoder(res.Body).Decode(&stats)
		_ = res.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		succeeded = 0
		for _, typ := range stats.Types {
			if typ.Finished > 0 {
				succeeded++
			}
		}
	}
	cancel()
	if got := <-code; got != 0 {
		t.Errorf("it ended with %d: %s", got, log.String())
	}
	if left, err := os.ReadDir(os.Getenv("TMPDIR")); err != nil || len(left) != 0 {
		t.Errorf("it left %v (%v)", left, err)
	}
}
