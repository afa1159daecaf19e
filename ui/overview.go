package ui

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/deetoo/deetoo/auth"
	"github.com/deetoo/deetoo/queue"
	"github.com/deetoo/deetoo/registry"
)

// overviewView is the list of types.
type overviewView struct {
	Rows  []row
	Total row // of all rows
	// Stamp tells one set of types from another.
	Stamp string
	// Changed says that the page shows another set than there is now.
	Changed bool
	NewType bool
	// Named are types to go to for who may not list them.
	Named  []string
	NoList bool
}

// row is one type with its counts.
type row struct {
	Name, Target, Description string
	Counted                   bool // false if the caller may not see jobs
	Gone                      bool
	S                         queue.Stats
	Condition                 condition
	// OOB makes the cells replace those of the page.
	OOB bool
}

// condition is how a type does, in a word and a sentence.
type condition struct {
	Word   string // "paused", "held", "ready"
	Class  string
	Reason string
}

func conditionOf(paused bool, reason string, hold time.Duration) condition {
	switch {
	case paused && reason != "":
		return condition{"paused", "paused", sentence(reason)}
	case paused:
		return condition{"paused", "paused", "No jobs are started until it is resumed."}
	case hold > 0:
		return condition{"held", "held", "The endpoint asked to be called less: one job at a time for another " + duration(hold.Round(time.Second)) + "."}
	default:
		return condition{"ready", "ready", "Jobs are started as they become due."}
	}
}

// Bar is the width, 0 to 100, of the running jobs among the slots.
func (r row) Bar() int {
	if r.S.Limit <= 0 {
		return 0
	}
	return min(100, (r.S.Active*100+r.S.Limit-1)/r.S.Limit)
}

func (u *UI) overview(r *request) error {
	if !r.who.Can(auth.TypesRead) {
		v := overviewView{NoList: true}
		for _, t := range r.who.JobTypes() {
			if !strings.ContainsAny(t, "*?") {
				v.Named = append(v.Named, t)
			}
		}
		return u.render(r, fiber.StatusOK, "overview", "Types", v)
	}
	v, err := u.rows(r, false)
	if err != nil {
		return err
	}
	return u.render(r, fiber.StatusOK, "overview", "Types", v)
}

// overviewLive gives the numbers anew, and nothing that could move a row.
func (u *UI) overviewLive(r *request) error {
	v, err := u.rows(r, true)
	if err != nil {
		return err
	}
	v.Changed = v.Stamp != r.query("stamp")
	return u.renderPart(r, "overview", "live", v)
}

func (u *UI) rows(r *request, oob bool) (overviewView, error) {
	types, err := u.in.Types(r.ctx, r.who)
	if err != nil {
		return overviewView{}, err
	}
	if len(types) == 0 {
		// None, or not known yet?
		if err := u.in.Ready(r.ctx); err != nil {
			return overviewView{}, err
		}
	}
	v := overviewView{NewType: r.who.Can(auth.TypesWrite), Total: row{Name: "*", OOB: oob, Counted: r.who.Can(auth.JobsRead)}}
	names := make([]string, len(types))
	for i, t := range types {
		names[i] = t.Name
	}
	v.Stamp = stampOf(names)
	stats := map[string]queue.Stats{}
	if v.Total.Counted {
		if stats, err = u.counts.of(r.ctx, r.who, names); err != nil {
			return v, err
		}
	}
	for _, t := range types {
		w := rowOf(t, oob)
		if v.Total.Counted {
			if w.S, w.Counted = stats[t.Name]; !w.Counted {
				w.Gone = true
			}
		}
		// The setting is certain; the queue's copy follows it within a second.
		w.Condition = conditionOf(t.Paused, t.PausedReason, w.S.Hold)
		v.Total.add(w.S)
		v.Rows = append(v.Rows, w)
	}
	return v, nil
}

func rowOf(t *registry.Type, oob bool) row {
	return row{Name: t.Name, Target: t.RedactedTarget(), Description: t.Description, OOB: oob}
}

func (r *row) add(s queue.Stats) {
	r.S.Waiting += s.Waiting
	r.S.Scheduled += s.Scheduled
	r.S.Active += s.Active
	r.S.Limit += s.Limit
	r.S.Dead += s.Dead
	r.S.Finished += s.Finished
	r.S.Oldest = max(r.S.Oldest, s.Oldest)
}

func stampOf(names []string) string {
	sum := sha256.Sum256([]byte(strings.Join(names, " ")))
	return hex.EncodeToString(sum[:8])
}

// goTo leads to a type by its name, for who may not list them.
func (u *UI) goTo(r *request) error {
	name := strings.TrimSpace(r.query("type"))
	if err := queue.ValidateType(name); err != nil {
		return err
	}
	return r.redirect(typeURL(name))
}
