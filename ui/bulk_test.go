package ui

import (
	"fmt"
	"net/url"
	"testing"
	"time"

	"github.com/deetoo/deetoo/auth"
	"github.com/deetoo/deetoo/queue"
)

// TestTicked does things to the jobs that were ticked, and passes over those that have moved on.
func TestTicked(t *testing.T) {
	s := newSite(t)
	s.register("email", "")
	for i := range 4 {
		s.push(queue.Job{Type: "email", ID: fmt.Sprint("job-", i), Delay: time.Hour})
	}
	b := s.browse(s.token("admin"))
	b.get("/ui/types/email?state=scheduled").wants(t, 200, `name="id" value="job-2"`, "Run now the ticked", "Cancel all…")
	tick := func(verb, state string, ids ...string) response {
		return b.submit("/ui/types/email/bulk", url.Values{"csrf": {b.csrf()}, "verb": {verb}, "state": {state}, "id": ids})
	}
	done(t, b, tick("promote", "scheduled", "job-0", "job-1", "gone"), "/ui/types/email?state=scheduled#jobs", "2 jobs.")
	done(t, b, tick("cancel", "waiting", "job-0", "job-2"), "/ui/types/email?state=waiting#jobs", "2 jobs.")
	for id, want := range map[string]queue.State{"job-0": queue.Cancelled, "job-1": queue.Waiting, "job-2": queue.Cancelled, "job-3": queue.Scheduled} {
		if got := s.state("email", id); got != want {
			t.Errorf("%s is %s, want %s", id, got, want)
		}
	}
	tick("cancel", "waiting").wants(t, 422, "must be ticked")
	tick("explode", "waiting", "job-1").wants(t, 422, "Verb must be")
	tick("remove", "waiting", "job-1").wants(t, 422, "Verb must be")
	reader := s.browse(s.token("types:read jobs:read"))
	reader.get("/ui/types/email?state=waiting").wants(t, 200, "job-1", `!class="tick"`, "!/bulk")
	reader.act("/ui/types/email/bulk", "verb", "cancel", "state", "waiting", "id", "job-1").wants(t, 403)
	reader.get("/ui/types/email/bulk?verb=cancel&state=waiting").wants(t, 403)
}

// TestAllThatMatch previews and does something to the jobs that a filter lets through, and to no other.
func TestAllThatMatch(t *testing.T) {
	s := newSite(t)
	s.register("email", "")
	var jobs []queue.Job
	for i := range 700 {
		j := queue.Job{Type: "email", ID: fmt.Sprint("job-", i), Title: fmt.Sprint("Receipt ", i)}
		if i%7 == 0 {
			j.Title, j.Tags = "Newsletter <b>", []string{"bulk"}
		}
		jobs = append(jobs, j)
	}
	s.push(jobs...)
	b := s.browse(s.token("admin"))
	b.get("/ui/types/email?state=waiting&q=NEWS").wants(t, 200, "Newsletter &lt;b&gt;", "!Receipt", "Cancel all that match…", "/bulk?q=NEWS")
	b.get("/ui/types/email?state=waiting&q=job-699").wants(t, 200, "Receipt 699", "!Receipt 698")
	b.get("/ui/types/email?state=waiting&q=nothing-has-this").wants(t, 200, "No job in this state matches")
	b.get("/ui/types/email/bulk?verb=cancel&state=waiting&q=news").wants(t, 200, "Cancel all waiting jobs of email?", "<b>100 jobs</b>", "match “<bdi>news</bdi>”", "Newsletter &lt;b&gt;", "and others")
	b.get("/ui/types/email/bulk?verb=cancel&state=waiting&q=zzz").wants(t, 200, "No such jobs")
	for range 20 { // each goes on for a while
		r := b.act("/ui/types/email/bulk/all", "verb", "cancel", "state", "waiting", "q", "news", "tag", "bulk")
		if r.status == 303 {
			break
		}
		r.wants(t, 200, "<progress", "data-auto")
	}
	st, err := s.in.Stats(t.Context(), auth.System(), "email")
	must(t, err)
	if st.Waiting != 600 || st.Finished != 100 {
		t.Errorf("%d wait, %d have finished", st.Waiting, st.Finished)
	}
}
