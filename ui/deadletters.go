package ui

import (
	"cmp"
	"slices"

	"github.com/gofiber/fiber/v2"

	"github.com/deetoo/deetoo/auth"
	"github.com/deetoo/deetoo/queue"
)

const (
	// deadTypes is of how many types the page of dead letters shows the failures: those with the most.
	deadTypes = 20
	// deadGroups is how many failures of each.
	deadGroups = 5
)

// deadView is the dead jobs of all types, by how they failed.
type deadView struct {
	Types []deadType
	Total int
	More  bool
}

type deadType struct {
	Name     string
	N        int
	Groups   []queue.DeadGroup
	More     bool
	CanWrite bool
}

func (u *UI) deadPage(r *request) error {
	if err := r.who.Require(auth.JobsRead, ""); err != nil {
		return err
	}
	types, err := u.in.Types(r.ctx, r.who)
	if err != nil {
		return err
	}
	var names []string
	for _, t := range types {
		names = append(names, t.Name)
	}
	stats, err := u.counts.of(r.ctx, r.who, names)
	if err != nil {
		return err
	}
	var v deadView
	for name, s := range stats {
		if v.Total += s.Dead; s.Dead > 0 {
			v.Types = append(v.Types, deadType{Name: name, N: s.Dead, CanWrite: r.may(auth.JobsWrite, name)})
		}
	}
	slices.SortFunc(v.Types, func(a, b deadType) int { return cmp.Or(cmp.Compare(b.N, a.N), cmp.Compare(a.Name, b.Name)) })
	if v.More = len(v.Types) > deadTypes; v.More {
		v.Types = v.Types[:deadTypes]
	}
	for i := range v.Types {
		page, err := u.in.DeadGroups(r.ctx, r.who, v.Types[i].Name, "", deadGroups)
		if err != nil {
			return err
		}
		v.Types[i].Groups, v.Types[i].More = page.Groups, page.Next != ""
	}
	return u.render(r, fiber.StatusOK, "dead", "Dead letters", v)
}
