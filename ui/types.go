package ui

import (
	"encoding/json"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/deetoo/deetoo/auth"
	"github.com/deetoo/deetoo/queue"
	"github.com/deetoo/deetoo/registry"
)

// pageSize is how many jobs a page lists.
const pageSize = 50

// typeView is the page of one type.
type typeView struct {
	Row row
	// Settings are nil if the caller may not read them.
	Settings *settingsView
	// Jobs are not there if the caller may not read them.
	CanRead  bool
	CanWrite bool // jobs
	CanAlter bool // the type
	Tabs     []tab
	State    queue.State
	TimeHead string
	Jobs     []listed
	Next     string // address of the next page
	First    string // address of the first page, unless this is it
	Version  int64
	Changed  bool
	Pulse    *pulse
	LiveURL  string
	// Failures are nil if there are none, and no redrives, or the caller may not see jobs.
	Failures *failuresView
	CanTry   bool
	// Verbs are what can be done with the jobs listed, and AllURL leads to the page that does it to all that match.
	Verbs  []bulkVerb
	AllURL string
	Filter filter
}

type bulkVerb struct{ Verb, Label string }

type tab struct {
	State   queue.State
	Label   string
	Counted bool
	N       int
	Current bool
	OOB     bool
	Type    string
}

// listed is a job in the table.
type listed struct {
	queue.Job
	Time time.Time
}

// settingsView is a type as it is shown: no secret, no credential.
type settingsView struct {
	registry.View
	Target  string // redacted
	Headers []header
	Jitter  bool
	// KeepCount is how many finished jobs are kept.
	KeepCount int
	// RateText is its rate as people type it.
	RateText string
	Rules    []rule
	Updated  time.Time
}

// rule is a row of a type's answer policy, for people.
type rule struct{ If, Then string }

func rulesOf(answers []registry.Answer) (out []rule) {
	for _, a := range answers {
		var when []string
		if a.Status != nil {
			b, _ := a.Status.MarshalJSON() // it always can
			when = append(when, "status "+strings.Trim(string(b), `"`))
		}
		for name, cond := range map[string]any{"header": a.Header, "JSON": a.JSON} {
			if b, err := json.Marshal(cond); err == nil && string(b) != "null" {
				when = append(when, name+" "+string(b))
			}
		}
		slices.Sort(when)
		r := rule{strings.Join(when, " and "), a.Then}
		if a.After != nil {
			r.Then += " after " + duration(time.Duration(*a.After))
		}
		out = append(out, r)
	}
	return out
}

type header struct{ Name, Value string }

func settingsOf(t *registry.Type) *settingsView {
	v := &settingsView{View: t.View(), Target: t.RedactedTarget(), Jitter: !t.Retry.NoJitter, KeepCount: t.Retention.Count, RateText: rateText(t.Rate), Rules: rulesOf(t.Answers), Updated: t.UpdatedAt}
	for _, name := range slices.Sorted(maps.Keys(v.View.Headers)) {
		v.Headers = append(v.Headers, header{name, v.View.Headers[name]})
	}
	return v
}

func (u *UI) typePage(r *request) error {
	v, err := u.typeHead(r, false)
	if err != nil {
		return err
	}
	if v.CanRead {
		if err := u.list(r, &v); err != nil {
			return err
		}
		if v.Row.S.Dead > 0 {
			if v.Failures, err = u.failures(r, v.Row.Name); err != nil {
				return err
			}
		}
	}
	v.CanTry = u.canTry(r, v.Row.Name)
	return u.render(r, fiber.StatusOK, "type", v.Row.Name, v)
}

// typeLive gives the numbers anew; the list stays as it is.
func (u *UI) typeLive(r *request) (fresh, error) {
	v, err := u.typeHead(r, true)
	if err != nil {
		return fresh{}, err
	}
	v.Changed = strconv.FormatInt(v.Version, 10) != r.query("version")
	f := fresh{page: "type", body: v}
	if v.Pulse != nil {
		f.charts = v.Pulse.json
	}
	return f, nil
}

// typeHead is the type with its settings and counts, as far as the caller may see them.
func (u *UI) typeHead(r *request, oob bool) (typeView, error) {
	name := r.typ()
	v := typeView{
		Row: row{Name: name, OOB: oob}, CanRead: r.may(auth.JobsRead, name),
		CanWrite: r.may(auth.JobsWrite, name), CanAlter: r.may(auth.TypesWrite, name),
	}
	paused, reason := false, ""
	if r.may(auth.TypesRead, name) || !v.CanRead {
		t, err := u.in.Type(r.ctx, r.who, name)
		if err != nil {
			return v, err
		}
		v.Row, v.Settings, v.Version = rowOf(t, oob), settingsOf(t), t.Version
		paused, reason = t.Paused, t.PausedReason
	}
	if v.CanRead {
		s, err := u.statsOf(r, name, oob)
		if err != nil {
			return v, err
		}
		v.Row.S, v.Row.Counted = s, true
		if v.Pulse, err = u.pulse(r, name, typeURL(name)); err != nil {
			return v, err
		}
		if v.Pulse != nil {
			v.Pulse.OOB = oob
		}
		if v.Settings == nil {
			paused = s.Paused
		}
	}
	v.Row.Condition = conditionOf(paused, reason, &v.Row.S)
	v.Tabs = tabs(v.Row)
	v.LiveURL = typeURL(name) + "/live?version=" + strconv.FormatInt(v.Version, 10) + "&window=" + url.QueryEscape(r.query("window"))
	return v, nil
}

// statsOf counts a type's jobs: for a page as they are now, for a live one from what all tabs share.
func (u *UI) statsOf(r *request, name string, live bool) (queue.Stats, error) {
	if !live {
		return u.in.Stats(r.ctx, r.who, name)
	}
	all, err := u.counts.of(r.ctx, r.who, []string{name})
	if s, ok := all[name]; ok || err != nil {
		return s, err
	}
	return queue.Stats{}, &registry.NotFoundError{Name: name}
}

func tabs(r row) []tab {
	return []tab{
		{State: queue.Waiting, Label: "Waiting", Counted: true, N: r.S.Waiting, OOB: r.OOB, Type: r.Name},
		{State: queue.Scheduled, Label: "Scheduled", Counted: true, N: r.S.Scheduled, OOB: r.OOB, Type: r.Name},
		{State: queue.Active, Label: "Running", Counted: true, N: r.S.Active, OOB: r.OOB, Type: r.Name},
		{State: queue.Dead, Label: "Dead", Counted: true, N: r.S.Dead, OOB: r.OOB, Type: r.Name},
		{State: queue.Succeeded, Label: "Succeeded", Type: r.Name},
		{State: queue.Cancelled, Label: "Cancelled", Type: r.Name},
	}
}

// list fills in a page of the jobs in the state asked for.
func (u *UI) list(r *request, v *typeView) error {
	v.State = queue.State(r.query("state"))
	if v.State == "" {
		v.State = firstState(v.Row.S)
	}
	cursor := r.query("cursor")
	args := maps.Clone(r.args)
	args.Set("state", string(v.State))
	v.Filter = filterOf(args)
	page, err := u.matching(r.ctx, r.who, v.Row.Name, v.State, v.Filter, cursor, pageSize)
	if err != nil {
		return err
	}
	base := typeURL(v.Row.Name) + "?" + v.Filter.values(v.State).Encode()
	if cursor != "" {
		v.First = base + "#jobs"
	}
	if page.Next != "" {
		v.Next = base + "&cursor=" + page.Next + "#jobs"
	}
	v.TimeHead = timeHead(v.State)
	for _, j := range page.Jobs {
		v.Jobs = append(v.Jobs, listed{j, timeOf(&j)})
	}
	if v.CanWrite {
		for _, verb := range bulkVerbs(v.State) {
			v.Verbs = append(v.Verbs, bulkVerb{verb, verbLabel(verb, v.State)})
		}
		if len(v.Jobs) > 0 || v.Next != "" {
			v.AllURL = typeURL(v.Row.Name) + "/bulk?" + v.Filter.values(v.State).Encode()
		}
	}
	for i := range v.Tabs {
		v.Tabs[i].Current = v.Tabs[i].State == v.State
	}
	return nil
}

// firstState is the list one most likely came for: trouble, then work.
func firstState(s queue.Stats) queue.State {
	switch {
	case s.Dead > 0:
		return queue.Dead
	case s.Active > 0:
		return queue.Active
	case s.Waiting > 0:
		return queue.Waiting
	case s.Scheduled > 0:
		return queue.Scheduled
	case s.Finished > 0:
		return queue.Succeeded
	default:
		return queue.Waiting
	}
}

// stateWord is a state as people say it.
func stateWord(s queue.State) string {
	if s == queue.Active {
		return "running"
	}
	return string(s)
}

func timeHead(s queue.State) string {
	switch s {
	case queue.Waiting, queue.Scheduled:
		return "Due"
	case queue.Active:
		return "Started"
	default:
		return "Ended"
	}
}

// timeOf is the time that matters in a job's state.
func timeOf(j *queue.Job) time.Time {
	switch {
	case j.State == queue.Active:
		return j.StartedAt
	case j.State.Terminal():
		return j.FinishedAt
	case j.RunAt.IsZero():
		return j.EnqueuedAt
	default:
		return j.RunAt
	}
}

func (u *UI) pause(r *request) error  { return u.setPaused(r, true, "paused") }
func (u *UI) resume(r *request) error { return u.setPaused(r, false, "resumed") }

func (u *UI) setPaused(r *request, paused bool, code string) error {
	name := r.typ()
	if t, err := u.in.SetPaused(r.ctx, r.who, name, paused, ""); t == nil && err != nil {
		return err
	}
	u.counts.forget(name)
	r.flash(code, 0)
	return r.redirect(typeURL(name))
}
