package queue

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

// What decodeRecord takes must be a job that can be shown: known state and
// priority, and options as they were encoded.
func FuzzDecodeRecord(f *testing.F) {
	for _, job := range []Job{{}, {Data: []byte(`{"a":1}`), Title: "t\"\n", MaxAttempts: 3, Timeout: time.Second, Traceparent: "00"}} {
		body, _, err := encodeBody(&job)
		if err != nil {
			f.Fatal(err)
		}
		for _, head := range []string{
			"q3- 0 0 1800000000000 0", "s1- 1 0 1800000000000 5 1800000000001 1800000000002 200",
			"c5b 0 0 1800000000000 0 0 1800000000002 0", "d2- 25 5 1800000000000 0 1 2 500", "", "q", "q0- 0 0 0 0", "x3- 0 0 0 0", "q3- 0 0 0",
			"q3- 9999999999999999999 0 0 0", "q3-  -1 -1 -1 -1", "s3- 1 1 1 1 1",
		} {
			f.Add(head+"\n"+string(body), "")
			f.Add(head+"\n"+string(body), `"blob"`)
		}
	}
	f.Add("q3- 0 0 1 0\n{\"t\":\n", "")
	f.Fuzz(func(t *testing.T, rec, blob string) {
		var j Job
		large, err := decodeRecord(&j, rec, blob)
		if err != nil {
			return
		}
		if _, err := ParseState(string(j.State)); err != nil {
			t.Error(err)
		}
		if j.Priority < Lowest || j.Priority > Critical || listOf(j.Priority) != int(rec[1]-'0') {
			t.Errorf("priority %d", j.Priority)
		}
		if large != (rec[2] == 'b' && blob == "") || large && j.Data != nil {
			t.Errorf("large is %v, data %q", large, j.Data)
		}
		if n := lastStatus(rec); n != 0 && !strings.Contains(rec, " ") {
			t.Errorf("status %d", n)
		}
	})
}

// A cursor from outside is refused or one that a list can have given.
func FuzzDecodeCursor(f *testing.F) {
	for _, s := range States() {
		for _, at := range []string{"", "1 5", "1 -5", "1800000000000 some-id", "17", "-17", "9 9", "x", "1 2 3", "1 a\nb", "99999999999999999999 a"} {
			f.Add(string(s), encodeCursor(s, at))
		}
	}
	f.Add("waiting", "")
	f.Add("dead", "!!!")
	f.Fuzz(func(t *testing.T, state, cursor string) {
		s, err := ParseState(state)
		if err != nil {
			return
		}
		at, err := decodeCursor(s, cursor)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "cursor ") {
				t.Errorf("error %v", err)
			}
			return
		}
		if cursor == "" {
			if at != "" {
				t.Errorf("the first page begins at %q", at)
			}
			return
		}
		if again, err := decodeCursor(s, encodeCursor(s, at)); err != nil || again != at {
			t.Errorf("%q became %q, %v", at, again, err)
		}
		for i := range len(at) {
			if at[i] < ' ' || at[i] > '~' {
				t.Errorf("%q reaches a script", at)
			}
		}
	})
}

// A history is refused or has an attempt a line.
func FuzzDecodeHistory(f *testing.F) {
	line, err := json.Marshal(Attempt{N: 1, StartedAt: 1800000000000, Duration: 5, Outcome: "failed", Status: 500, Error: "no\nway", Excerpt: "é", Dispatcher: "d"})
	if err != nil {
		f.Fatal(err)
	}
	for _, h := range []string{"", string(line), string(line) + "\n" + string(line), "\n", "{}", "null", "[]", `{"n":"1"}`, string(line) + "\n", `{"n":1e99}`} {
		f.Add(h)
	}
	f.Fuzz(func(t *testing.T, history string) {
		got, err := decodeHistory(history)
		if err != nil {
			if got != nil {
				t.Errorf("%d attempts beside an error", len(got))
			}
			return
		}
		want := 0
		if history != "" {
			want = strings.Count(history, "\n") + 1
		}
		if len(got) != want {
			t.Errorf("%d attempts of %d lines", len(got), want)
		}
	})
}

// A valid ID keeps its shape wherever the protocol puts it: between spaces, on
// lines, in a cursor.
func FuzzValidateID(f *testing.F) {
	for _, id := range []string{"", "a", "01M84WKV8QYNCJ7B5TBMHS9TRH", "a b", "a\nb", "a\x00", "é", "{x}", "*", "~", "\x7f", ".", "..", "...", strings.Repeat("x", 255), strings.Repeat("x", 256)} {
		f.Add(id)
	}
	f.Fuzz(func(t *testing.T, id string) {
		valid := len(id) >= 1 && len(id) <= MaxIDLength && id != "." && id != ".."
		for _, r := range id {
			valid = valid && r > ' ' && r < 0x7f
		}
		err := ValidateID(id)
		if (err == nil) != valid {
			t.Fatalf("%q: %v", id, err)
		}
		if err != nil {
			return
		}
		if at, err := decodeCursor(Dead, encodeCursor(Dead, "1 "+id)); err != nil || at != "1 "+id {
			t.Errorf("in a cursor %q is %q, %v", id, at, err)
		}
		if len(strings.Fields("x "+id+" y")) != 3 {
			t.Errorf("%q does not stay one word", id)
		}
	})
}
