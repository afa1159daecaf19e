package ui

import (
	"html"
	"net/url"
	"regexp"
	"testing"

	"github.com/deetoo/deetoo/auth"
	"github.com/deetoo/deetoo/queue"
)

func TestDeadLetters(t *testing.T) {
	empty := newSite(t)
	empty.browse(empty.token("admin")).get("/ui/dead").wants(t, 200, "No dead jobs")
	s := newSite(t)
	s.register("email", "")
	s.register("sms", "")
	b := s.browse(s.token("admin"))
	s.push(queue.Job{Type: "email", ID: "a"}, queue.Job{Type: "sms", ID: "b"})
	s.settle("email", queue.Bury, queue.Attempt{Outcome: "dead", Error: "<b>mailbox</b> 17 is full"}, "")
	s.settle("sms", queue.Bury, queue.Attempt{Outcome: "dead", Status: 500, Error: "no credit"}, "")
	b.get("/ui/dead").wants(t, 200, "2 jobs have used up", "&lt;b&gt;mailbox&lt;/b&gt; # is full", "no credit", "/ui/types/sms/redrive?fingerprint=", "!<b>mailbox")
	s.browse(s.token("jobs:read types:read", "sms")).get("/ui/dead").wants(t, 200, "1 job has", "no credit", "!mailbox", "!redrive")
	s.browse(s.token("types:read")).get("/ui/dead").wants(t, 403)
}

func TestSchedulePages(t *testing.T) {
	s := newSite(t)
	s.register("report", "")
	b := s.browse(s.token("admin"))
	b.get("/ui/schedules").wants(t, 200, "No schedules", "/ui/new-schedule")
	b.get("/ui/new-schedule").wants(t, 200, "nightly-report")
	b.act("/ui/schedules", "spec", `{"name":"x","type":"report","cron":"99 * * * *","job":{"data":1}}`).wants(t, 422, "Cron", "99 * * * *")
	b.act("/ui/schedules", "spec", `{"name"`).wants(t, 422, `class="err"`)
	done(t, b, b.act("/ui/schedules", "spec", `{"name":"hourly","type":"report","cron":"0 * * * *","timezone":"Europe/Berlin","job":{"data":{"n":1}},"description":"On the <hour>"}`), "/ui/schedule?name=hourly", "saved")
	b.act("/ui/schedules", "spec", `{"name":"hourly","type":"report","every":"1h","job":{"data":1}}`).wants(t, 422, "A schedule of this name exists")
	b.get("/ui/schedules").wants(t, 200, "hourly", "0 * * * *  Europe/Berlin", "On the &lt;hour&gt;", ">ticks<")
	b.get("/ui/schedule?name=hourly").wants(t, 200, "It has not ticked yet", ":00:00.000 UTC", "&#34;timezone&#34;: &#34;Europe/Berlin&#34;")
	done(t, b, b.act("/ui/schedules/run", "name", "hourly"), "/ui/schedule?name=hourly", "Its job was pushed")
	b.get("/ui/schedule?name=hourly").wants(t, 200, ">fired<", "by hand")
	if st, err := s.in.Stats(t.Context(), auth.System(), "report"); err != nil || st.Waiting != 1 {
		t.Errorf("%d jobs wait (%v)", st.Waiting, err)
	}
	done(t, b, b.act("/ui/schedules/pause", "name", "hourly"), "/ui/schedule?name=hourly", "Paused: it does not tick")
	done(t, b, b.act("/ui/schedules/resume", "name", "hourly"), "/ui/schedule?name=hourly", "Resumed")
	done(t, b, b.act("/ui/schedules", "name", "hourly", "spec", `{"name":"hourly","type":"report","every":"2h","job":{"data":2}}`), "/ui/schedule?name=hourly", "saved")
	b.get("/ui/schedules").wants(t, 200, "every 2 h")
	reader := s.browse(s.token("types:read jobs:read schedules:read"))
	reader.get("/ui/schedule?name=hourly").wants(t, 200, "every 2 h", "!/ui/schedules/run", "!<textarea")
	reader.act("/ui/schedules/delete", "name", "hourly").wants(t, 403)
	done(t, b, b.act("/ui/schedules/delete", "name", "hourly"), "/ui/schedules", "The schedule is gone")
	b.get("/ui/schedule?name=hourly").wants(t, 404, "No such schedule")
}

// TestTokens mints one, which may what it says and no more, and is offered to who may do everything alone.
func TestTokens(t *testing.T) {
	s := newSite(t)
	s.register("email", "")
	s.register("sms", "")
	b := s.browse(s.token("admin"))
	b.get("/ui/tokens").wants(t, 200, "A new token", "jobs:read", "!eyJ")
	form := func(pairs ...string) url.Values {
		v := url.Values{"csrf": {b.csrf()}, "subject": {"han"}, "ttl": {"1h"}, "scope": {"jobs:read", "types:read"}, "types": {"em*"}}
		for i := 0; i+1 < len(pairs); i += 2 {
			v.Set(pairs[i], pairs[i+1])
		}
		return v
	}
	b.submit("/ui/tokens", form("ttl", "99999h")).wants(t, 422, "Must be a duration")
	b.submit("/ui/tokens", form("subject", "")).wants(t, 422, "Is required")
	b.submit("/ui/tokens", form("scope", "jobs:eat")).wants(t, 422, "Must be one of")
	b.submit("/ui/tokens", form("types", "a/b")).wants(t, 422, `id="e-types"`)
	made := b.submit("/ui/tokens", form())
	made.wants(t, 200, "For han", "It is shown this once")
	token := html.UnescapeString(regexp.MustCompile(`aria-label="Token">([^<]+)<`).FindStringSubmatch(made.body)[1])
	han := s.browse(token)
	han.get("/ui").wants(t, 200, "email", "!sms", "han", "!/ui/tokens", "!/ui/settings")
	han.get("/ui/tokens").wants(t, 403)
	han.get("/ui/settings").wants(t, 403)
	s.browse(s.token("admin", "email")).get("/ui/tokens").wants(t, 403)
	b.get("/ui/settings").wants(t, 200, "127.0.0.1:8888")
}
