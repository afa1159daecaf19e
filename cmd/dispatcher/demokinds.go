package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/deetoo/deetoo"
	"github.com/deetoo/deetoo/queue"
)

// kind is a type of the demonstration: its settings, its work and its handler.
type kind struct {
	name, settings string
	// perSecond is how many jobs come, and backlog how many there are at first.
	perSecond float64
	backlog   int
	job       func() deetoo.Job
	handle    http.HandlerFunc
	// typical is how long it takes, and failing the part that fails, for the past that is made up.
	typical time.Duration
	failing float64
}

func demoKinds(nobody string) []kind {
	return []kind{
		{
			name: "email", perSecond: 4, typical: 90 * time.Millisecond, failing: .04,
			settings: `{"concurrency":12,"description":"Mails to people: receipts, resets, invitations","retry":{"max_attempts":4,"min_backoff":"2s","max_backoff":"30s"},"headers":{"X-Team":"growth"}}`,
			job: func() deetoo.Job {
				n := rand.IntN(9000) + 1000
				what := []string{"Receipt", "Password reset", "Invitation", "Shipping notice"}[rand.IntN(4)]
				return deetoo.Job{Type: "email", Title: fmt.Sprintf("%s for customer %d", what, n), Priority: queue.Priorities()[1+rand.IntN(3)], Tags: []string{[]string{"eu", "us", "apac"}[rand.IntN(3)]},
					Data: fmt.Appendf(nil, `{"to":"user%d@example.org","template":%q,"order":{"id":%d,"items":[{"sku":"droid-7","price":1299.5},{"sku":"cape","price":80}]}}`, n, what, n*7)}
			},
			handle: func(w http.ResponseWriter, _ *http.Request) {
				takes(30, 200)
				switch n := rand.IntN(100); {
				case n < 3:
					answer(w, 503, `{"error":"smtp: 421 4.3.2 try again later"}`)
				case n < 5:
					answer(w, 489, fmt.Sprintf(`{"error":"mailbox user%d@example.org does not exist"}`, rand.IntN(9000)))
				default:
					answer(w, 200, fmt.Sprintf(`{"message_id":"<%d@mx.example.org>"}`, rand.IntN(1e9)))
				}
			},
		},
		{
			name: "thumbnail", perSecond: 14, typical: 25 * time.Millisecond, failing: .002,
			settings: `{"concurrency":32,"description":"Pictures in four sizes","retention":{"count":2000}}`,
			job: func() deetoo.Job {
				return deetoo.Job{Type: "thumbnail", Data: fmt.Appendf(nil, `{"image":"s3://uploads/%08x.jpg","sizes":[64,128,320,960]}`, rand.Uint32())}
			},
			handle: func(w http.ResponseWriter, _ *http.Request) {
				takes(5, 60)
				if rand.IntN(500) == 0 {
					answer(w, 500, "runtime error: image: unknown format")
					return
				}
				answer(w, 200, `{"sizes":4}`)
			},
		},
		{
			name: "invoice-pdf", perSecond: .4, typical: 3 * time.Second, failing: .08,
			settings: `{"concurrency":4,"timeout":"20s","description":"Renders invoices; takes seconds and tells how far it is","retry":{"max_attempts":3,"min_backoff":"3s"}}`,
			job: func() deetoo.Job {
				n := 20000 + rand.IntN(9000)
				return deetoo.Job{Type: "invoice-pdf", ID: fmt.Sprintf("inv-%d-%04x", n, rand.Uint32()%65536), Title: fmt.Sprintf("Invoice %d", n), Data: fmt.Appendf(nil, `{"invoice":%d,"currency":"EUR"}`, n)}
			},
			handle: slowly,
		},
		{
			name: "sms", perSecond: 1.5, typical: 150 * time.Millisecond, failing: .15,
			settings: `{"concurrency":6,"description":"The provider is down for a minute in five: jobs are held meanwhile","outage":{"of":10,"canary_min":"2s","canary_max":"10s"},"retry":{"max_attempts":8,"min_backoff":"1s","max_backoff":"20s"}}`,
			job: func() deetoo.Job {
				return deetoo.Job{Type: "sms", Title: fmt.Sprintf("Code for +49 151 %07d", rand.IntN(1e7)), Priority: queue.High, TTL: 10 * time.Minute, Data: fmt.Appendf(nil, `{"to":"+49151%07d","text":"Your code is %06d"}`, rand.IntN(1e7), rand.IntN(1e6))}
			},
			handle: func(w http.ResponseWriter, _ *http.Request) {
				if time.Now().Minute()%5 == 4 {
					takes(5, 20)
					answer(w, 503, "upstream connect error or disconnect/reset before headers")
					return
				}
				takes(80, 300)
				answer(w, 200, `{"accepted":true}`)
			},
		},
		{
			name: "crm-sync", perSecond: 1.2, typical: 300 * time.Millisecond, failing: .25,
			settings: `{"concurrency":3,"rate":{"limit":60,"per":"1m","burst":5},"description":"A partner who allows one call a second, and dislikes some of our data","retry":{"max_attempts":2,"min_backoff":"1s","max_backoff":"5s"}}`,
			job: func() deetoo.Job {
				n := rand.IntN(500)
				return deetoo.Job{Type: "crm-sync", Title: fmt.Sprintf("Contact %d", n), Group: fmt.Sprintf("tenant-%d", n%7), Data: fmt.Appendf(nil, `{"contact":%d,"fields":{"stage":"won","note":"<script>alert(1)</script>"}}`, n)}
			},
			handle: func(w http.ResponseWriter, _ *http.Request) {
				takes(120, 700)
				switch n := rand.IntN(100); {
				case n < 12:
					answer(w, 422, fmt.Sprintf(`{"error":"contact %d: field \"stage\" must be one of open, closed"}`, rand.IntN(500)))
				case n < 18:
					answer(w, 409, fmt.Sprintf(`{"error":"version conflict at revision %d"}`, rand.IntN(1e6)))
				case n < 21:
					w.Header().Set("Retry-After", "3")
					answer(w, 429, "slow down")
				default:
					answer(w, 200, `{"ok":true}`)
				}
			},
		},
		{
			name: "partner-hook", perSecond: .05, typical: time.Millisecond, failing: 1,
			settings: fmt.Sprintf(`{"target":%q,"concurrency":2,"description":"Nobody listens there any more","retry":{"max_attempts":2,"min_backoff":"1s","max_backoff":"2s"}}`, nobody+"/hooks/orders"),
			job: func() deetoo.Job {
				return deetoo.Job{Type: "partner-hook", Title: fmt.Sprintf("order.created %d", rand.IntN(1e5)), Data: []byte(`{"event":"order.created"}`)}
			},
			handle: func(http.ResponseWriter, *http.Request) {},
		},
		{
			name: "newsletter", backlog: 400, typical: 60 * time.Millisecond, failing: .01,
			settings: `{"concurrency":8,"description":"Issue 47"}`,
			job: func() deetoo.Job {
				return deetoo.Job{Type: "newsletter", Priority: queue.Lowest, Data: fmt.Appendf(nil, `{"to":"reader%d@example.org","issue":47}`, rand.IntN(1e6))}
			},
			handle: func(w http.ResponseWriter, _ *http.Request) { takes(20, 90); answer(w, 200, "") },
		},
		{
			name: "report", typical: 2 * time.Second, settings: `{"concurrency":1,"timeout":"1m","description":"What the schedules start"}`,
			job:    func() deetoo.Job { return deetoo.Job{Type: "report"} },
			handle: func(w http.ResponseWriter, _ *http.Request) { takes(800, 3000); answer(w, 200, `{"rows":4711}`) },
		},
	}
}

func demoSchedules() []string {
	return []string{
		`{"name":"report-quarter-hourly","type":"report","cron":"*/15 * * * *","description":"Sales of the last quarter of an hour","job":{"title":"Sales report","data":{"report":"sales"}}}`,
		`{"name":"report-nightly","type":"report","cron":"30 3 * * *","timezone":"Europe/Berlin","description":"Everything, while everybody sleeps","job":{"data":{"report":"all"}}}`,
		`{"name":"warm-thumbnails","type":"thumbnail","every":"1m","job":{"data":{"image":"s3://uploads/cover.jpg","sizes":[64]}}}`,
	}
}

// takes waits for a random time between two numbers of milliseconds.
func takes(least, most int) {
	time.Sleep(time.Duration(least+rand.IntN(most-least)) * time.Millisecond)
}

func answer(w http.ResponseWriter, status int, body string) {
	w.WriteHeader(status)
	_, _ = io.WriteString(w, body) // who does not want it is gone
}

// slowly accepts the job, tells how far it is, and ends it by callback.
func slowly(w http.ResponseWriter, r *http.Request) {
	url, token := r.Header.Get("deetoo-callback-url"), r.Header.Get("deetoo-callback-token")
	w.WriteHeader(http.StatusAccepted)
	go func() {
		call := func(path string, body any) {
			text, err := json.Marshal(body)
			if err != nil {
				return
			}
			req, err := http.NewRequest(http.MethodPost, url+path, bytes.NewReader(text))
			if err != nil {
				return
			}
			req.Header.Set("Authorization", "Bearer "+token)
			req.Header.Set("Content-Type", "application/json")
			if res, err := http.DefaultClient.Do(req); err == nil {
				_ = res.Body.Close()
			}
		}
		pages := 3 + rand.IntN(8)
		for page := range pages {
			takes(300, 900)
			call("/progress", map[string]any{"number": page + 1, "total": pages, "message": fmt.Sprintf("page %d", page+1)})
			call("/log", map[string]any{"message": fmt.Sprintf("page %d of %d: %d glyphs", page+1, pages, 900+rand.IntN(900))})
		}
		if rand.IntN(12) == 0 {
			call("/fail", map[string]any{"error": fmt.Sprintf("font Inter-%d is missing", 100*(1+rand.IntN(9)))})
			return
		}
		call("/complete", map[string]any{"result": map[string]any{"pages": pages, "file": "s3://invoices/out.pdf"}})
	}()
}
