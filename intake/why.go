package intake

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/deetoo/deetoo/auth"
	"github.com/deetoo/deetoo/queue"
	"github.com/deetoo/deetoo/registry"
)

// Why says why a job is not running now, or what became of it.
type Why struct {
	Job *queue.Job
	// Reason is one word for programs; see the OpenAPI document.
	Reason string
	// Text is a sentence or two for people.
	Text string

	// What follows is zero where it does not apply, or is not known.

	// Until is when that ends: when it is due, when a hold is looked at again, when the lease ends.
	Until time.Time
	// Since is when it began, and By who or what did it.
	Since time.Time
	By    string
	// LastError of the job, or of the target.
	LastError string
	// Ahead is how many jobs go before it, of its group if it has one, and Sure how sure that is; 0: nothing is said of it.
	Ahead int
	Sure  queue.Sureness
	// Turn is how the group of a waiting job stands; nil if it has none.
	Turn *queue.Turn
	// Expected is about when it starts.
	Expected time.Time
	// Active of Limit slots are taken; Oldest is the job that has run longest, since OldestSince.
	Active, Limit int
	Oldest        string
	OldestSince   time.Time
	// Fingerprint of a dead job's failure, and how many are dead of it.
	Fingerprint string
	SameFailure int
}

// scene is what the checks look at.
type scene struct {
	*queue.Circumstances
	typ *registry.Type
	// listeners counts the dispatchers that are alive.
	listeners func() (int, error)
}

// check says why the job waits, if it knows; w has what holds of all waiting jobs.
type check func(s *scene, w *Why) (bool, error)

// Why says why a job is not running now, or what became of it.
func (in *Intake) Why(ctx context.Context, who *auth.Identity, typ, id string) (*Why, error) {
	t, err := in.knownJob(ctx, who, auth.JobsRead, typ, id)
	if err != nil {
		return nil, err
	}
	c, err := in.opts.Queue.Circumstances(ctx, typ, id)
	if err != nil {
		return nil, err
	}
	return explain(&scene{c, t, func() (int, error) { return in.opts.Queue.Listeners(ctx) }})
}

func explain(s *scene) (*Why, error) {
	w := &Why{Job: s.Job}
	switch s.Job.State {
	case queue.Waiting:
		return w, s.waiting(w)
	case queue.Scheduled:
		s.scheduled(w)
	case queue.Active:
		s.active(w)
	default:
		s.finished(w)
	}
	return w, nil
}

// waiting asks the checks in turn: the first that knows says why. What stands in
// the way of all of the type's jobs comes before what stands in the way of this one.
func (s *scene) waiting(w *Why) error {
	w.Ahead, w.Sure, w.Active, w.Limit = s.Ahead, s.Sure, s.Slots, s.limit()
	w.Oldest, w.OldestSince, w.Turn = s.Oldest, s.OldestSince, s.Turn
	for _, check := range []check{paused, down, held, noSlot, limited, gathering, nobodyThere, groupFull, groupLimited, behind} {
		known, err := check(s, w)
		if err != nil {
			return err
		}
		if known {
			w.Text += s.expiryText()
			return nil
		}
	}
	return nil
}

func paused(s *scene, w *Why) (bool, error) {
	if !s.Stats.Paused {
		return false, nil
	}
	w.Reason, w.By, w.Since = "paused", s.typ.PausedReason, s.typ.PausedAt
	w.Text = "Its type is paused"
	if !w.Since.IsZero() {
		w.Text += " since " + clock(w.Since)
	}
	if w.By != "" {
		w.Text += ": " + w.By
	}
	w.Text += "." + s.aheadText()
	return true, nil
}

func held(s *scene, w *Why) (bool, error) {
	if s.Stats.Hold <= 0 || s.Stats.Active == 0 {
		return false, nil
	}
	w.Reason, w.Until = "hold", s.At.Add(s.Stats.Hold)
	w.Text = fmt.Sprintf("The endpoint asked to be called less: one job at a time for another %s%s.%s", span(s.Stats.Hold), s.oldestText(), s.aheadText())
	return true, nil
}

// down: the type's target is, or somebody said so.
func down(s *scene, w *Why) (bool, error) {
	o := s.Stats.Outage
	if o == nil || !o.Open {
		return false, nil
	}
	w.Reason, w.Since, w.By, w.LastError, w.Until = "outage", o.Since, o.Canary, o.Reason, o.NextCanary
	w.Text = fmt.Sprintf("The type's target is down since %s%s: its jobs wait at no cost.", clock(o.Since), inBrackets(o.Reason))
	if o.Forced {
		w.Text = fmt.Sprintf("The type is held since %s%s.", clock(o.Since), inBrackets(o.Reason))
	}
	switch {
	case o.Canary != "" && o.Canary == s.Job.ID:
		w.Text += " This one is tried next."
	case o.Canary != "":
		w.Text += fmt.Sprintf(" Job %s is being tried now.", o.Canary)
	case !o.NextCanary.IsZero():
		w.Text += fmt.Sprintf(" One job is tried in %s.", span(o.NextCanary.Sub(s.At)))
	default:
		w.Text += " It goes on when somebody lifts that."
	}
	w.Text += s.aheadText()
	return true, nil
}

// limit is how many slots there are at present.
func (s *scene) limit() int {
	limit := s.Stats.Limit
	if a := s.Stats.Adaptive; a != nil {
		limit = min(limit, a.Limit)
	}
	if o := s.Stats.Outage; o != nil && !o.Open && o.Ramp > 0 {
		limit = min(limit, o.Ramp)
	}
	return limit
}

// limitText says why there are fewer slots than the type has.
func (s *scene) limitText() string {
	limit := s.limit()
	switch a, o := s.Stats.Adaptive, s.Stats.Outage; {
	case limit == s.Stats.Limit:
		return ""
	case o != nil && !o.Open && o.Ramp == limit:
		return fmt.Sprintf(" Its target was down, so that the type's %d slots are taken up again step by step.", s.Stats.Limit)
	case a != nil && a.Reason != "":
		return fmt.Sprintf(" Of the type's %d slots so many are in use at present, because %s.", s.Stats.Limit, a.Reason)
	}
	return fmt.Sprintf(" Of the type's %d slots so many are in use at present.", s.Stats.Limit)
}

func noSlot(s *scene, w *Why) (bool, error) {
	if s.Slots < s.limit() {
		return false, nil
	}
	w.Reason = "no_slot"
	w.Text = fmt.Sprintf("There is no free slot: %d of %d are taken%s.%s%s", s.Slots, s.limit(), s.oldestText(), s.limitText(), s.aheadText())
	s.expect(w)
	return true, nil
}

// limited: the type's rate lets no job start.
func limited(s *scene, w *Why) (bool, error) {
	if s.Stats.Limited <= 0 {
		return false, nil
	}
	w.Reason, w.Until = "rate", s.At.Add(s.Stats.Limited)
	w.Text = fmt.Sprintf("Its type's rate is used up: the next job may start in %s.%s", span(s.Stats.Limited), s.aheadText())
	s.expect(w)
	return true, nil
}

// groupFull: as many jobs of its group run as may.
func groupFull(s *scene, w *Why) (bool, error) {
	if s.Turn == nil || s.Turn.Limit == 0 || s.Turn.Active < s.Turn.Limit {
		return false, nil
	}
	w.Reason = "group_limit"
	w.Text = fmt.Sprintf("Its group %s runs as many jobs as it may: %d of %d.%s", s.Job.Group, s.Turn.Active, s.Turn.Limit, s.aheadText())
	return true, nil
}

// groupLimited: the group's rate lets none of its jobs start.
func groupLimited(s *scene, w *Why) (bool, error) {
	if s.Turn == nil || !s.Turn.Until.After(s.At) {
		return false, nil
	}
	w.Reason, w.Until = "group_limit", s.Turn.Until
	w.Text = fmt.Sprintf("The rate of its group %s is used up: its next job may start in %s.%s", s.Job.Group, span(s.Turn.Until.Sub(s.At)), s.aheadText())
	return true, nil
}

// gathering: too few jobs for a batch wait for company.
func gathering(s *scene, w *Why) (bool, error) {
	left := s.Gather.Sub(s.At)
	if s.BatchSize == 0 || left <= 0 || s.Stats.Waiting >= s.BatchSize {
		return false, nil
	}
	w.Reason, w.Until, w.Expected = "batch", s.Gather, s.Gather
	w.Text = fmt.Sprintf("It waits for company: %d of the %d jobs of a batch are there, and they go in %s at the latest.", s.Stats.Waiting, s.BatchSize, span(left))
	return true, nil
}

func nobodyThere(s *scene, w *Why) (bool, error) {
	n, err := s.listeners()
	if err != nil || n > 0 {
		return false, err
	}
	w.Reason, w.Text = "no_dispatcher", "No dispatcher is there to take it."+s.aheadText()
	return true, nil
}

func behind(s *scene, w *Why) (bool, error) {
	w.Reason = "next"
	first := "It is about to be taken"
	if s.Turn != nil && s.Ahead+s.Turn.Before > 0 {
		w.Reason, first = "group_turn", "It waits for the turn of its group "+s.Job.Group
	}
	w.Text = fmt.Sprintf("%s: %d of %d slots are free.%s%s", first, s.limit()-s.Slots, s.limit(), s.limitText(), s.aheadText())
	if s.typ.Target == registry.LocalTarget {
		w.Text += " Only a program that has a function for its type can."
	}
	s.expect(w)
	return true, nil
}

// expect adds about when the job starts, if that can be told: the type's pace says little of a group's.
func (s *scene) expect(w *Why) {
	if s.Pace <= 0 || s.Sure == 0 || s.Turn != nil {
		return
	}
	left := time.Duration(float64(s.Ahead+1) / s.Pace * float64(time.Second))
	if left > queue.MaxDelay {
		return
	}
	w.Expected = s.At.Add(left)
	word := "about"
	if s.Sure == queue.AtLeast {
		word = "at least"
	}
	w.Text += fmt.Sprintf(" At the present pace it starts in %s %s.", word, span(left))
}

func (s *scene) aheadText() string {
	if s.Sure == 0 {
		return ""
	}
	word := map[queue.Sureness]string{queue.About: "about ", queue.AtLeast: "at least "}[s.Sure]
	of, then := "", ""
	if t := s.Turn; t != nil {
		of = " of its group"
		switch t.Before {
		case 0:
		case 1:
			then = " About 1 other group is served before it."
		default:
			then = fmt.Sprintf(" About %d other groups are served before it.", t.Before)
		}
	}
	switch {
	case s.Ahead == 0:
		return " It is the next" + of + "." + then
	case s.Ahead == 1:
		return " It waits behind " + word + "1 other" + of + "." + then
	}
	return fmt.Sprintf(" It waits behind %s%d others%s.%s", word, s.Ahead, of, then)
}

// expiryText says until when it may start.
func (s *scene) expiryText() string {
	if s.Job.ExpiresAt.IsZero() {
		return ""
	}
	return fmt.Sprintf(" If it has not begun in %s, it expires.", span(s.Job.ExpiresAt.Sub(s.At)))
}

func (s *scene) oldestText() string {
	if s.Oldest == "" {
		return ""
	}
	return fmt.Sprintf(", the oldest, job %s, for %s", s.Oldest, span(s.At.Sub(s.OldestSince)))
}

func (s *scene) scheduled(w *Why) {
	j := s.Job
	w.Until, w.LastError = j.RunAt, j.LastError
	when := stamp(j.RunAt)
	if left := j.RunAt.Sub(s.At); left > 0 {
		when += ", in " + span(left)
	}
	var last queue.Attempt
	if n := len(s.Attempts); n > 0 && (j.Attempt > 0 || j.Lost > 0) {
		last = s.Attempts[n-1]
	}
	switch {
	case last.Outcome == "failed":
		w.Reason, w.Since = "retry", time.UnixMilli(last.StartedAt+last.Duration)
		w.Text = fmt.Sprintf("Attempt %d of %d failed (%s); the next is due at %s.", j.Attempt, s.maxAttempts(), j.LastError, when)
	case last.Outcome != "":
		w.Reason, w.Since = "retry", time.UnixMilli(last.StartedAt+last.Duration)
		w.Text = fmt.Sprintf("Its last attempt was %s%s; the next is due at %s.", last.Outcome, inBrackets(j.LastError), when)
	default:
		w.Reason, w.Text = "scheduled", fmt.Sprintf("It is due at %s.", when)
	}
	w.Text += s.expiryText()
	if s.Stats.Paused {
		w.Text += " Its type is paused."
	}
}

func (s *scene) maxAttempts() int {
	if s.Job.MaxAttempts > 0 {
		return s.Job.MaxAttempts
	}
	return s.typ.Retry.MaxAttempts
}

func (s *scene) active(w *Why) {
	j := s.Job
	w.Reason, w.Since, w.By, w.Until = "running", j.StartedAt, s.Dispatcher, s.LeaseEnds
	w.Text = fmt.Sprintf("It is running for %s: attempt %d of %d, by dispatcher %s.", span(s.At.Sub(j.StartedAt)), j.Attempt, s.maxAttempts(), s.Dispatcher)
	if j.Accepted {
		w.Reason = "accepted"
		w.Text = fmt.Sprintf("Its handler has accepted it and works on it for %s: attempt %d of %d. If it is silent, that has failed in %s.",
			span(s.At.Sub(j.StartedAt)), j.Attempt, s.maxAttempts(), span(s.LeaseEnds.Sub(s.At)))
	}
	if p := j.Progress; p != nil {
		w.Text += " " + progressText(p)
	}
	if j.CancelRequested {
		w.Reason = "cancelling"
		w.Text += " It is being cancelled."
	}
}

func progressText(p *queue.Progress) string {
	text := fmt.Sprintf("Progress: %g", p.Number)
	if p.Total > 0 {
		text += fmt.Sprintf(" of %g", p.Total)
	}
	return text + inBrackets(p.Message) + "."
}

func (s *scene) finished(w *Why) {
	j := s.Job
	w.Since, w.LastError = j.FinishedAt, j.LastError
	switch j.State {
	case queue.Succeeded:
		w.Reason, w.Text = "succeeded", fmt.Sprintf("It has succeeded at %s.", stamp(j.FinishedAt))
		if j.Attempt > 1 {
			w.Text = fmt.Sprintf("It has succeeded at its attempt %d, at %s.", j.Attempt, stamp(j.FinishedAt))
		}
	case queue.Cancelled:
		w.Reason, w.Text = "cancelled", fmt.Sprintf("It was cancelled at %s.", stamp(j.FinishedAt))
		if j.Expired {
			w.Reason, w.Text = "expired", fmt.Sprintf("It expired at %s, before it could start.", stamp(j.ExpiresAt))
		}
	case queue.Dead:
		w.Reason, w.Fingerprint, w.SameFailure = "dead", s.Fingerprint, s.SameFailure
		after := fmt.Sprintf("%d failed attempts", j.Attempt)
		switch {
		case j.Attempt == 1:
			after = "its first attempt"
		case j.Attempt == 0:
			after = fmt.Sprintf("%d lost dispatchers", j.Lost)
		}
		w.Text = fmt.Sprintf("It is dead after %s, since %s: %s", after, stamp(j.FinishedAt), strings.TrimRight(j.LastError, "."))
		if j.LastError == "" {
			w.Text = strings.TrimSuffix(w.Text, ": ")
		}
		w.Text += "."
		if n := s.SameFailure - 1; n > 0 && s.Fingerprint != "other" {
			w.Text += fmt.Sprintf(" %d more of its type died of the same.", n)
		}
	}
}

func inBrackets(text string) string {
	if text == "" {
		return ""
	}
	return " (" + text + ")"
}

// stamp writes a time for people.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05.000 MST") }

// clock is stamp to the second.
func clock(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 MST") }

// span writes a duration for people, in its two largest units.
func span(d time.Duration) string {
	if d = max(d, 0); d < time.Second {
		return fmt.Sprintf("%d ms", d.Milliseconds())
	}
	switch s := int64(d.Round(time.Second) / time.Second); {
	case s < 60:
		return fmt.Sprintf("%d s", s)
	case s < 3600:
		return fmt.Sprintf("%d min %d s", s/60, s%60)
	case s < 86400:
		return fmt.Sprintf("%d h %d min", s/3600, s/60%60)
	default:
		return fmt.Sprintf("%d days %d h", s/86400, s/3600%24)
	}
}
