package ui

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/deetoo/deetoo/auth"
	"github.com/deetoo/deetoo/history"
	"github.com/deetoo/deetoo/intake"
	"github.com/deetoo/deetoo/queue"
	"github.com/deetoo/deetoo/registry"
)

// overviewView is the list of types, and how all does.
type overviewView struct {
	Rows  []row
	Total row // of all rows, those of other pages too
	Pulse *pulse
	// Dispatchers and Redis are nil if the caller may not see jobs, or none tell.
	Dispatchers []history.Presence
	Redis       *history.Health
	// Query narrows the list to types whose name has it; Page counts from 1.
	Query      string
	Page       int
	Prev, Next string // addresses of the pages beside this one
	Found      int
	// LiveURL is where this page hears what is new.
	LiveURL string
	// Changed says that the page shows another set than there is now.
	Changed bool
	NewType bool
	// Named are types to go to for who may not list them.
	Named  []string
	NoList bool
}

// typesPerPage is how many types a page lists.
const typesPerPage = 100

// row is one type with its counts.
type row struct {
	Name, Target, Description string
	Counted                   bool // false if the caller may not see jobs
	Gone                      bool
	S                         queue.Stats
	Condition                 condition
	Spark                     spark
	// OOB makes the cells replace those of the page.
	OOB bool
}

// spark is the last half an hour of a type.
type spark struct {
	OK, Bad       string // paths
	Ended, Failed int64
	Share         string // of the attempts that failed
	Serious       bool
}

// condition is how a type does, in a word and a sentence.
type condition struct {
	Word   string // "paused", "down", "ramping", "held", "ready"
	Class  string
	Reason string
}

func conditionOf(paused bool, reason string, s *queue.Stats) condition {
	switch o := s.Outage; {
	case paused && reason != "":
		return condition{"paused", "paused", sentence(reason)}
	case paused:
		return condition{"paused", "paused", "No jobs are started until it is resumed."}
	case o != nil && o.Open && o.Forced && o.Until.IsZero():
		return condition{"held", "down", "Held by hand, until it is lifted: " + sentence(o.Reason)}
	case o != nil && o.Open && o.Forced:
		return condition{"held " + countdown(o.Until, s), "down", "Held by hand: " + sentence(o.Reason)}
	case o != nil && o.Open && !o.NextCanary.IsZero():
		return condition{"down " + countdown(o.NextCanary, s), "down", "The target is down, and its jobs are held; the next try is due in " + countdown(o.NextCanary, s) + ". " + sentence(o.Reason)}
	case o != nil && o.Open:
		return condition{"down", "down", "The target is down, and its jobs are held; one is trying it now. " + sentence(o.Reason)}
	case o != nil:
		return condition{"ramping up", "held", "The target answers again: " + number(o.Ramp) + " at once, and more as it goes well."}
	case s.Hold > 0:
		return condition{"held", "held", "The endpoint asked to be called less: one job at a time for another " + duration(s.Hold.Round(time.Second)) + "."}
	default:
		return condition{"ready", "ready", "Jobs are started as they become due."}
	}
}

// countdown is how long it still is until a time of Redis's clock. The counts may be a moment old.
func countdown(until time.Time, s *queue.Stats) string {
	return duration(max(until.Sub(s.At), 0).Round(time.Second))
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
func (u *UI) overviewLive(r *request) (fresh, error) {
	if !r.who.Can(auth.TypesRead) {
		return fresh{}, r.who.Require(auth.TypesRead, "")
	}
	v, err := u.rows(r, true)
	if err != nil {
		return fresh{}, err
	}
	f := fresh{page: "overview", body: v}
	if v.Pulse != nil {
		f.charts = v.Pulse.json
	}
	return f, nil
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
	stats := map[string]queue.Stats{}
	if v.Total.Counted {
		if stats, err = u.counts.of(r.ctx, r.who, names); err != nil {
			return v, err
		}
		for _, s := range stats {
			v.Total.add(s)
		}
		if v.Pulse, err = u.pulse(r, "", "/ui"); err != nil {
			return v, err
		}
		if v.Pulse != nil {
			v.Pulse.OOB = oob
		}
	}
	present, err := u.around(r, &v)
	if err != nil {
		return v, err
	}
	types = v.page(r, types)
	names = names[:0]
	for _, t := range types {
		w := rowOf(t, oob)
		if v.Total.Counted {
			if w.S, w.Counted = stats[t.Name]; !w.Counted {
				w.Gone = true
			}
		}
		if present != nil {
			w.Spark = sparkOf(present.Sparks[t.Name])
		}
		// The setting is certain; the queue's copy follows it within a second.
		w.Condition = conditionOf(t.Paused, t.PausedReason, &w.S)
		v.Rows = append(v.Rows, w)
		names = append(names, t.Name)
	}
	stamp := stampOf(names)
	v.Changed = oob && stamp != r.query("stamp")
	args := url.Values{"stamp": {stamp}}
	for _, name := range []string{"window", "q", "page"} {
		if value := r.query(name); value != "" {
			args.Set(name, value)
		}
	}
	v.LiveURL = "/ui/live?" + args.Encode()
	return v, nil
}

// page narrows the types to those that are asked for.
func (v *overviewView) page(r *request, types []*registry.Type) []*registry.Type {
	v.Query = strings.TrimSpace(r.query("q"))
	if v.Query != "" {
		types = slices.Clone(types)
		types = slices.DeleteFunc(types, func(t *registry.Type) bool {
			return !strings.Contains(strings.ToLower(t.Name+" "+t.Description), strings.ToLower(v.Query))
		})
	}
	v.Found = len(types)
	v.Page, _ = strconv.Atoi(r.query("page")) // what is no number is the first page
	v.Page = min(max(v.Page, 1), max((len(types)+typesPerPage-1)/typesPerPage, 1))
	address := func(page int) string {
		return "/ui?" + url.Values{"q": {v.Query}, "page": {strconv.Itoa(page)}, "window": {r.query("window")}}.Encode()
	}
	if v.Page > 1 {
		v.Prev = address(v.Page - 1)
	}
	if v.Page*typesPerPage < len(types) {
		v.Next = address(v.Page + 1)
	}
	return types[(v.Page-1)*typesPerPage : min(v.Page*typesPerPage, len(types))]
}

// around looks at what is around the types: the dispatchers and the Redis.
func (u *UI) around(r *request, v *overviewView) (*history.Present, error) {
	if !v.Total.Counted {
		return nil, nil
	}
	present, err := u.present.get(r.ctx, "", func(ctx context.Context) (*history.Present, error) { return u.in.Present(ctx, auth.System()) })
	if errors.Is(err, intake.ErrNoHistory) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	v.Dispatchers = slices.Clone(present.Dispatchers)
	slices.SortFunc(v.Dispatchers, func(a, b history.Presence) int { return strings.Compare(a.Name, b.Name) })
	v.Redis, err = u.health.get(r.ctx, "", func(ctx context.Context) (*history.Health, error) { return u.in.RedisHealth(ctx, auth.System()) })
	return present, err
}

func sparkOf(s history.Spark) spark {
	var v spark
	for i := range s.Succeeded {
		v.Ended += s.Succeeded[i] + s.Failed[i]
		v.Failed += s.Failed[i]
	}
	v.OK, v.Bad = bars(s)
	if v.Failed > 0 {
		part := float64(v.Failed) / float64(v.Ended)
		v.Share, v.Serious = percent(part), part >= .05
	}
	return v
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
