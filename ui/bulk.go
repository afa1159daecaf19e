package ui

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/deetoo/deetoo/auth"
	"github.com/deetoo/deetoo/invalid"
	"github.com/deetoo/deetoo/queue"
)

const (
	// bulkPatience is how long one request goes on with many jobs; the next goes on from there.
	bulkPatience = 3 * time.Second
	// bulkCounted is how many jobs a preview counts, one by one.
	bulkCounted = 5_000
	// bulkTitles is how many of them it names.
	bulkTitles = 8
)

// bulkView asks before something is done to all jobs of a state that a filter
// lets through, and tells how far it is while that goes on.
type bulkView struct {
	Type, Verb, Question string
	State                queue.State
	Filter               filter
	N                    int
	More                 bool // there are at least N
	Titles               []string
	Back                 string
	// Done and Refused count what has become of them, and Going says that there are more to do.
	Done, Refused int
	Going         bool
}

// bulkVerbs are what can be done with many jobs in a state. Dead ones are retried by redrive.
func bulkVerbs(s queue.State) []string {
	switch s {
	case queue.Waiting, queue.Active:
		return []string{"cancel"}
	case queue.Scheduled:
		return []string{"promote", "cancel"}
	case queue.Dead, queue.Succeeded, queue.Cancelled:
		return []string{"retry", "remove"}
	}
	return nil
}

// verbLabel is a verb as a button says it.
func verbLabel(verb string, s queue.State) string {
	switch verb {
	case "cancel":
		return "Cancel"
	case "promote":
		return "Run now"
	case "remove":
		return "Delete"
	}
	if s == queue.Dead {
		return "Retry"
	}
	return "Run again"
}

// bulk does something to the jobs that were ticked, or leads to the page that asks about all.
func (u *UI) bulk(r *request) error {
	typ, verb, state := r.typ(), r.form.Get("verb"), queue.State(r.form.Get("state"))
	if err := r.who.Require(auth.JobsWrite, typ); err != nil {
		return err
	}
	ids := r.form["id"]
	if err := checkBulk(verb, state); err != nil {
		return err
	}
	switch {
	case len(ids) == 0:
		return invalid.Errorf("id", "must be ticked: choose the jobs first")
	case len(ids) > 10*pageSize:
		return invalid.Errorf("id", "must be at most %d", 10*pageSize)
	}
	done := 0
	for _, id := range ids {
		ok, err := u.bulkOne(r.ctx, r.who, verb, typ, id)
		if err != nil {
			return err
		}
		if ok {
			done++
		}
	}
	u.counts.forget(typ)
	r.flash("bulk", done)
	return r.redirect(typeURL(typ) + "?" + filterOf(r.form).values(state).Encode() + "#jobs")
}

func checkBulk(verb string, state queue.State) error {
	for _, v := range bulkVerbs(state) {
		if v == verb {
			return nil
		}
	}
	return invalid.Errorf("verb", "must be one that jobs in this state can have")
}

// bulkOne reports whether it was done: a job that has moved on, or is gone, is passed over.
func (u *UI) bulkOne(ctx context.Context, who *auth.Identity, verb, typ, id string) (bool, error) {
	var err error
	switch verb {
	case "cancel":
		_, err = u.in.Cancel(ctx, who, typ, id)
	case "promote":
		err = u.in.Promote(ctx, who, typ, id)
	case "retry":
		err = u.in.Retry(ctx, who, typ, id)
	case "remove":
		err = u.opts.Remove(ctx, who, typ, id)
	}
	var moved *queue.StateError
	if errors.As(err, &moved) || errors.Is(err, queue.ErrNotFound) || errors.Is(err, queue.ErrActive) {
		return false, nil
	}
	return err == nil, err
}

func filterOf(v url.Values) filter {
	f := filter{Tag: strings.TrimSpace(v.Get("tag")), Text: strings.TrimSpace(v.Get("q"))}
	if queue.State(v.Get("state")) == queue.Dead {
		f.Fingerprint, f.Error = strings.TrimSpace(v.Get("fingerprint")), strings.TrimSpace(v.Get("error"))
	}
	return f
}

// bulkPage previews what would be done to all jobs that match.
func (u *UI) bulkPage(r *request) error {
	v, err := u.bulkViewOf(r, r.args)
	if err != nil {
		return err
	}
	err = u.each(r.ctx, r.who, v, func(j *queue.Job) (bool, error) {
		v.N++
		if len(v.Titles) < bulkTitles {
			title := j.Title
			if title == "" {
				title = j.ID
			}
			v.Titles = append(v.Titles, title)
		}
		v.More = v.N >= bulkCounted
		return !v.More, nil
	})
	if err != nil {
		return err
	}
	return u.render(r, fiber.StatusOK, "bulk", v.Question, v)
}

func (u *UI) bulkViewOf(r *request, from url.Values) (*bulkView, error) {
	v := &bulkView{Type: r.typ(), Verb: from.Get("verb"), State: queue.State(from.Get("state")), Filter: filterOf(from)}
	if err := r.who.Require(auth.JobsWrite, v.Type); err != nil {
		return nil, err
	}
	if err := checkBulk(v.Verb, v.State); err != nil {
		return nil, err
	}
	v.Question = verbLabel(v.Verb, v.State) + " all " + stateWord(v.State) + " jobs of " + v.Type
	v.Back = typeURL(v.Type) + "?" + v.Filter.values(v.State).Encode() + "#jobs"
	return v, nil
}

// bulkAll goes on for a while, and shows how far it has come; the page sends the rest.
func (u *UI) bulkAll(r *request) error {
	v, err := u.bulkViewOf(r, r.form)
	if err != nil {
		return err
	}
	if _, err := fmt.Sscan(r.form.Get("n"), &v.N); err != nil || v.N < 0 {
		v.N = 0
	}
	if _, err := fmt.Sscan(r.form.Get("done"), &v.Done); err != nil || v.Done < 0 {
		v.Done = 0
	}
	before, until := v.Done, time.Now().Add(bulkPatience)
	err = u.each(r.ctx, r.who, v, func(j *queue.Job) (bool, error) {
		ok, err := u.bulkOne(r.ctx, r.who, v.Verb, v.Type, j.ID)
		if err != nil {
			return false, err
		}
		if ok {
			v.Done++
		} else {
			v.Refused++
		}
		v.Going = time.Now().After(until)
		return !v.Going, nil
	})
	u.counts.forget(v.Type)
	if err != nil {
		return err
	}
	if v.Going && v.Done > before {
		v.N = max(v.N, v.Done)
		return u.render(r, fiber.StatusOK, "bulk", v.Question, v)
	}
	r.flash("bulk", v.Done)
	return r.redirect(v.Back)
}

// each calls do for the jobs that match, until it returns false. Jobs that do takes away
// do not disturb it: a list's cursor keeps its place.
func (u *UI) each(ctx context.Context, who *auth.Identity, v *bulkView, do func(*queue.Job) (more bool, err error)) error {
	for cursor := ""; ; {
		page, err := u.matching(ctx, who, v.Type, v.State, v.Filter, cursor, 10*pageSize)
		if err != nil {
			return err
		}
		for i := range page.Jobs {
			if more, err := do(&page.Jobs[i]); err != nil || !more {
				return err
			}
		}
		if cursor = page.Next; cursor == "" {
			return nil
		}
	}
}
