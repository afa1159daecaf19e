package api

import (
	"github.com/deetoo/deetoo/intake"
	"github.com/deetoo/deetoo/queue"
)

// whyView says why a job is not running now.
type whyView struct {
	ID     string      `json:"id"`
	State  queue.State `json:"state"`
	Reason string      `json:"reason"`
	Why    string      `json:"why"`

	Until       timestamp  `json:"until,omitzero"`
	Since       timestamp  `json:"since,omitzero"`
	By          string     `json:"by,omitempty"`
	LastError   string     `json:"last_error,omitempty"`
	Ahead       *aheadView `json:"ahead,omitempty"`
	ExpectedAt  timestamp  `json:"expected_at,omitzero"`
	Slots       *slotsView `json:"slots,omitempty"`
	Group       *standView `json:"group,omitempty"`
	Fingerprint string     `json:"fingerprint,omitempty"`
	SameFailure int        `json:"same_failure,omitempty"`
}

// aheadView is how many jobs go before one.
type aheadView struct {
	Count int    `json:"count"`
	Sure  string `json:"sure"`
}

// slotsView is how a type's slots are taken.
type slotsView struct {
	Taken  int         `json:"taken"`
	Limit  int         `json:"limit"`
	Oldest *oldestView `json:"oldest,omitempty"`
}

// standView is how the group of a waiting job stands.
type standView struct {
	Name   string `json:"name"`
	Active int    `json:"active"`
	Limit  int    `json:"limit,omitempty"`
	// LimitedUntil is when its rate lets its next job start; absent if it does.
	LimitedUntil timestamp `json:"limited_until,omitzero"`
	GroupsBefore int       `json:"groups_before"`
}

// oldestView is the job that has run longest.
type oldestView struct {
	ID        string    `json:"id"`
	StartedAt timestamp `json:"started_at"`
}

func viewWhy(w *intake.Why) whyView {
	v := whyView{
		ID: w.Job.ID, State: w.Job.State, Reason: w.Reason, Why: w.Text, Until: timestamp(w.Until), Since: timestamp(w.Since), By: w.By,
		LastError: w.LastError, ExpectedAt: timestamp(w.Expected), Fingerprint: w.Fingerprint, SameFailure: w.SameFailure,
	}
	if w.Sure != 0 {
		v.Ahead = &aheadView{w.Ahead, map[queue.Sureness]string{queue.Exact: "exact", queue.About: "about", queue.AtLeast: "at_least"}[w.Sure]}
	}
	if t := w.Turn; t != nil {
		v.Group = &standView{w.Job.Group, t.Active, t.Limit, timestamp(t.Until), t.Before}
	}
	if w.Job.State == queue.Waiting {
		v.Slots = &slotsView{Taken: w.Active, Limit: w.Limit}
		if w.Oldest != "" {
			v.Slots.Oldest = &oldestView{w.Oldest, timestamp(w.OldestSince)}
		}
	}
	return v
}
