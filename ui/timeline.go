package ui

import (
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"github.com/deetoo/deetoo/queue"
)

// timeline is a job's life drawn to scale: when it waited, ran and paused between attempts.
type timeline struct {
	Pieces     []piece
	Begin, End time.Time
	Lasted     time.Duration
	// Waited, Ran and Paused are how long it did each, all together.
	Waited, Ran, Paused time.Duration
}

// piece is a stretch of it: X and Width of a thousand.
type piece struct {
	Class, Text string
	X, Width    string
}

// timelineOf draws a job from when it was pushed until it ended, or now. nil if too little is known.
func timelineOf(j *queue.Job, attempts []queue.Attempt, now time.Time) *timeline {
	begin, end := j.EnqueuedAt, now
	if j.State.Terminal() {
		end = j.FinishedAt
	}
	for _, a := range attempts { // of a job that was replaced or kept for long, the first may be older
		if at := time.UnixMilli(a.StartedAt); at.Before(begin) {
			begin = at
		}
	}
	if begin.IsZero() || end.Before(begin) {
		return nil
	}
	end = later(end, begin.Add(time.Millisecond)) // as times are kept: it may all have been one
	t := &timeline{Begin: begin, End: end, Lasted: end.Sub(begin)}
	at := begin
	add := func(class, text string, from, to time.Time) {
		from = earlier(later(from, at), end)
		to = later(earlier(to, end), from)
		if !to.After(from) && !strings.HasPrefix(class, "ran-") { // an attempt shows, however short
			return
		}
		at = to
		x := float64(from.Sub(begin)) / float64(t.Lasted) * 1000
		width := max(float64(to.Sub(from))/float64(t.Lasted)*1000, 1.5) // so that it can be seen
		t.Pieces = append(t.Pieces, piece{class, text + " " + duration(to.Sub(from)), strconv.FormatFloat(min(x, 998.5), 'f', 2, 64), strconv.FormatFloat(width, 'f', 2, 64)})
		switch class {
		case "waited", "due":
			t.Waited += to.Sub(from)
		case "paused":
			t.Paused += to.Sub(from)
		default:
			t.Ran += to.Sub(from)
		}
	}
	for i, a := range attempts {
		began := time.UnixMilli(a.StartedAt)
		if i == 0 {
			add("waited", "waited", at, began)
		} else {
			add("paused", "paused", at, began)
		}
		add("ran-"+a.Outcome, "attempt "+strconv.Itoa(a.N)+", "+a.Outcome+",", began, later(began.Add(time.Duration(a.Duration)*time.Millisecond), began.Add(time.Millisecond)))
	}
	switch {
	case j.State == queue.Active:
		if len(attempts) > 0 {
			add("paused", "paused", at, j.StartedAt)
		} else {
			add("waited", "waited", at, j.StartedAt)
		}
		add("ran-active", "runs, for", j.StartedAt, end)
	case j.State.Terminal():
		add("waited", "until it ended,", at, end)
	default:
		add("waited", "waits, for", at, end)
	}
	return t
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// maxCurl is how large a job's data may be to be part of a line for a shell, in bytes.
const maxCurl = 16 << 10

// curlOf is the line that pushes such a job again, as a new one; "" if it is too large.
func curlOf(origin string, j *queue.Job) string {
	if len(j.Data) > maxCurl {
		return ""
	}
	body := map[string]any{"data": json.RawMessage(j.Data)}
	if j.Title != "" {
		body["title"] = j.Title
	}
	if j.Priority != queue.Normal {
		body["priority"] = j.Priority.String()
	}
	if j.Group != "" {
		body["group"] = j.Group
	}
	if len(j.Tags) > 0 {
		body["tags"] = j.Tags
	}
	var text strings.Builder
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false) // a shell is no page
	if encoder.Encode(body) != nil {
		return ""
	}
	return "curl -X POST " + origin + "/v1/types/" + j.Type + "/jobs \\\n  -H \"Authorization: Bearer $TOKEN\" -H \"Content-Type: application/json\" \\\n  -d " + quoted(strings.TrimSpace(text.String()))
}

// quoted writes a text so that a POSIX shell takes it as it is.
func quoted(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
