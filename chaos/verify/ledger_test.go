package verify

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestLedgerKeepsWhatWasWritten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger")
	l, err := OpenLedger(path)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			if err := l.Write(Event{At: time.Now(), Kind: Offered, Type: "work", ID: "a"}, Event{At: time.Now(), Kind: Accepted, Type: "work", ID: "a"}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	events, err := ReadLedger(path)
	if err != nil || len(events) != 100 {
		t.Fatalf("%d events: %v", len(events), err)
	}
	for i := 0; i < 100; i += 2 { // written together, read together
		if events[i].Kind != Offered || events[i+1].Kind != Accepted {
			t.Fatalf("event %d: %+v %+v", i, events[i], events[i+1])
		}
	}
	if _, err := OpenLedger(path); err == nil {
		t.Error("a ledger was begun twice")
	}
	if err := os.WriteFile(path, []byte(`{"kind":"offered"}`+"\n{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadLedger(path); err == nil || !strings.Contains(err.Error(), "event 2") {
		t.Errorf("a torn ledger: %v", err)
	}
}

// A ledger that cannot be is not judged.
func TestReadRefuses(t *testing.T) {
	e := func(kind Kind) Event { return Event{At: begun, Kind: kind, Type: "work", ID: "a", Nonce: "n"} }
	for says, events := range map[string][]Event{
		"offered twice":          {e(Offered), e(Offered)},
		"never offered":          {e(Accepted)},
		"never asked to be":      {e(Cancelled)},
		"began twice":            {e(Started), e(Started)},
		"ended and never began":  {e(Ended)},
		"never ended":            {e(Started)},
		`unknown event "unheard`: {e("unheard of")},
	} {
		if err := new(History).Read(events); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", says, err)
		}
	}
	h := new(History)
	if err := h.Read([]Event{e(Offered), e(Accepted), e(Cancel), e(Cancelled), e(Started), e(Ended)}); err != nil {
		t.Error(err)
	}
	if len(h.Pushes) != 1 || len(h.Cancellations) != 1 || len(h.Attempts) != 1 || h.Pushes[0].Fate != Accepted {
		t.Errorf("%+v", h)
	}
}
