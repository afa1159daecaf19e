package api

import (
	"github.com/gofiber/fiber/v2"
)

// turnView is a group of jobs as it is shown.
type turnView struct {
	Group   string `json:"group"`
	Waiting int    `json:"waiting"`
	Active  int    `json:"active"`
	// AtConcurrency says that as many of its jobs run as may.
	AtConcurrency bool `json:"at_concurrency"`
	// LimitedUntil is when its rate lets its next job start; absent if it does.
	LimitedUntil timestamp `json:"limited_until,omitzero"`
}

func (a *API) listGroups(r *request) error {
	typ, err := r.typ()
	if err != nil {
		return err
	}
	limit, err := r.limit()
	if err != nil {
		return err
	}
	page, err := a.intake.Groups(r.ctx, r.who, typ, r.query("cursor"), limit)
	if err != nil {
		return err
	}
	view := struct {
		Groups     []turnView `json:"groups"`
		NextCursor string     `json:"next_cursor,omitempty"`
	}{make([]turnView, len(page.Groups)), page.Next}
	for i, g := range page.Groups {
		view.Groups[i] = turnView{Group: g.Name, Waiting: g.Waiting, Active: g.Active, AtConcurrency: g.Full}
		if g.Limited > 0 {
			view.Groups[i].LimitedUntil = timestamp(page.At.Add(g.Limited))
		}
	}
	return r.json(fiber.StatusOK, view)
}
