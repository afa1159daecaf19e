package verify

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// Kind says what an Event is about.
type Kind string

// The kinds of events. Producers write the first six, handlers the last two.
const (
	Offered   Kind = "offered"   // about to push, for the first time
	Accepted  Kind = "accepted"  // the push was answered: the job is stored
	Refused   Kind = "refused"   // the push was answered: it is not
	Abandoned Kind = "abandoned" // the push was never answered: nobody knows
	Cancel    Kind = "cancel"    // about to cancel, for the first time
	Cancelled Kind = "cancelled" // the cancellation was answered, with Status
	Started   Kind = "started"   // an attempt reached its handler
	Ended     Kind = "ended"     // the handler is about to answer with Status; 0: the request was called off
)

// Event is a line of a ledger.
type Event struct {
	At      time.Time `json:"at"`
	Kind    Kind      `json:"kind"`
	Type    string    `json:"type"`
	ID      string    `json:"id"`
	Attempt int       `json:"attempt,omitempty"`
	// Nonce is an attempt's own, and what its handler answers with.
	Nonce  string `json:"nonce,omitempty"`
	Status int    `json:"status,omitempty"`
	// By is the dispatcher that made the attempt.
	By string `json:"by,omitempty"`
}

// Ledger is a file of events. What was written to it survives a crash.
type Ledger struct {
	file  *os.File
	lines chan line
	done  chan struct{}
	once  sync.Once
}

type line struct {
	text  []byte
	saved chan error
}

// OpenLedger begins a ledger.
func OpenLedger(path string) (*Ledger, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	l := &Ledger{file: f, lines: make(chan line, 256), done: make(chan struct{})}
	go l.save()
	return l, nil
}

// save writes and syncs what many wait for together.
func (l *Ledger) save() {
	defer close(l.done)
	for first := range l.lines {
		some := []line{first}
		for more := true; more && len(some) < 256; {
			select {
			case next, ok := <-l.lines:
				if more = ok; ok {
					some = append(some, next)
				}
			default:
				more = false
			}
		}
		var text []byte
		for _, s := range some {
			text = append(text, s.text...)
		}
		_, err := l.file.Write(text)
		if err == nil {
			err = l.file.Sync()
		}
		for _, s := range some {
			s.saved <- err
		}
	}
}

// Write returns when the events are on disk.
func (l *Ledger) Write(events ...Event) error {
	var text []byte
	for _, e := range events {
		b, err := json.Marshal(e)
		if err != nil {
			return err
		}
		text = append(append(text, b...), '\n')
	}
	saved := make(chan error, 1)
	l.lines <- line{text, saved}
	return <-saved
}

// Close closes the file. Nobody may write any more.
func (l *Ledger) Close() (err error) {
	l.once.Do(func() {
		close(l.lines)
		<-l.done
		err = l.file.Close()
	})
	return err
}

// ReadLedger reads all events of a ledger, in their order.
func ReadLedger(path string) ([]Event, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var events []Event
	for d := json.NewDecoder(bufio.NewReader(f)); ; {
		var e Event
		switch err := d.Decode(&e); {
		case errors.Is(err, io.EOF):
			return events, nil
		case err != nil:
			return nil, fmt.Errorf("%s, event %d: %w", path, len(events)+1, err)
		}
		events = append(events, e)
	}
}
