package ui

import (
	"net/url"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"github.com/deetoo/deetoo/auth"
	"github.com/deetoo/deetoo/queue"
)

// TestTimeline draws a job that waited 10 s, ran 5, paused 20, ran 5.
func TestTimeline(t *testing.T) {
	at := func(s int) time.Time { return time.Unix(1_900_000_000+int64(s), 0) }
	j := &queue.Job{State: queue.Succeeded, EnqueuedAt: at(0), StartedAt: at(35), FinishedAt: at(40)}
	line := timelineOf(j, []queue.Attempt{
		{N: 1, StartedAt: at(10).UnixMilli(), Duration: 5000, Outcome: "failed"}, {N: 2, StartedAt: at(35).UnixMilli(), Duration: 5000, Outcome: "succeeded"},
	}, at(500))
	if line.Lasted != 40*time.Second || line.Waited != 10*time.Second || line.Ran != 10*time.Second || line.Paused != 20*time.Second {
		t.Errorf("it lasted %s: waited %s, ran %s, paused %s", line.Lasted, line.Waited, line.Ran, line.Paused)
	}
	want := []piece{
		{"waited", "waited 10 s", "0.00", "250.00"}, {"ran-failed", "attempt 1, failed, 5 s", "250.00", "125.00"},
		{"paused", "paused 20 s", "375.00", "500.00"}, {"ran-succeeded", "attempt 2, succeeded, 5 s", "875.00", "125.00"},
	}
	for i, p := range want {
		if i >= len(line.Pieces) || line.Pieces[i] != p {
			t.Errorf("piece %d of %v is not %v", i, line.Pieces, p)
		}
	}
	// Whatever the clocks say, no piece is outside, and nothing is negative.
	for _, now := range []time.Time{at(-5), at(0), at(12), at(9999)} {
		for _, state := range queue.States() {
			j := &queue.Job{State: state, EnqueuedAt: at(0), StartedAt: at(11), FinishedAt: at(3)}
			l := timelineOf(j, []queue.Attempt{{N: 1, StartedAt: at(-2).UnixMilli(), Duration: 60_000}, {N: 2, StartedAt: at(7).UnixMilli(), Duration: -4}}, now)
			if l == nil {
				continue
			}
			for _, p := range l.Pieces {
				if x, err := strconv.ParseFloat(p.X, 64); err != nil || x < 0 || x > 1000 {
					t.Errorf("%s at %s: %+v", state, now, p)
				}
			}
		}
	}
	if timelineOf(&queue.Job{State: queue.Waiting}, nil, time.Time{}) != nil {
		t.Error("a job of no time has a timeline")
	}
}

// TestCurl has a shell read the line: what it would send is the job.
func TestCurl(t *testing.T) {
	data := `{"say":"it's $(id) \"quoted\" \\ & <b>"}`
	line := quoted(data)
	out, err := exec.CommandContext(t.Context(), "sh", "-c", "printf %s "+line).Output()
	if err != nil || string(out) != data {
		t.Errorf("the shell reads %q (%v)", out, err)
	}
	if curlOf("http://x", &queue.Job{Data: make([]byte, maxCurl+1)}) != "" {
		t.Error("a huge job is a line")
	}
}

// TestLikeAnother takes a job as the beginning of a new one, and sees what is known of it.
func TestLikeAnother(t *testing.T) {
	s := newSite(t)
	s.register("email", "")
	s.push(queue.Job{Type: "email", ID: "one&only", Title: "Hello <Leia>", Priority: queue.High, Group: "tenant-7", Tags: []string{"eu"}, Data: []byte(`{"to":"leia"}`)}, queue.Job{Type: "email", ID: "two"})
	s.settle("email", queue.Bury, queue.Attempt{Outcome: "dead", Error: "mailbox 1 is full", Duration: 40}, "")
	s.settle("email", queue.Bury, queue.Attempt{Outcome: "dead", Error: "mailbox 2 is full"}, "")
	b := s.browse(s.token("admin"))
	id := url.QueryEscape("one&only")
	page := b.get("/ui/types/email/job?id=" + id)
	page.wants(t, 200, "Its life, to scale", `class="p-ran-dead"`, "2 jobs are dead of the same failure", "tenant-7", "tag=eu", "As curl", "curl -X POST http://127.0.0.1:8888/v1/types/email/jobs", "enqueue?like=one%26only")
	b.get("/ui/types/email/enqueue?like="+id).wants(t, 200, "Hello &lt;Leia&gt;", "&#34;to&#34;: &#34;leia&#34;", "to be changed")
	b.get("/ui/types/email/enqueue?like=gone").wants(t, 404, "No such job")
	s.browse(s.token("types:read jobs:read")).get("/ui/types/email/job?id="+id).wants(t, 200, "!enqueue", "As curl")
	if _, err := s.in.Job(t.Context(), auth.System(), "email", "one&only"); err != nil {
		t.Error(err)
	}
}
