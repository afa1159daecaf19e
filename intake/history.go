package intake

import (
	"context"
	"errors"
	"maps"

	"golang.org/x/sync/errgroup"

	"github.com/deetoo/deetoo/auth"
	"github.com/deetoo/deetoo/history"
	"github.com/deetoo/deetoo/queue"
)

// ErrNoHistory: none is kept; see Options.History.
var ErrNoHistory = errors.New("no history is kept")

// History returns what has become of attempts of a type; of "", of all types that the caller
// reaches. It goes as far back as a window reaches.
func (in *Intake) History(ctx context.Context, who *auth.Identity, typ string, w history.Window) (*history.Series, error) {
	if typ != "" {
		if _, err := in.known(ctx, who, auth.JobsRead, typ); err != nil {
			return nil, err
		}
	} else if err := who.Require(auth.JobsRead, ""); err != nil {
		return nil, err
	}
	store := in.opts.History
	switch {
	case store == nil:
		return nil, ErrNoHistory
	case typ != "":
		return store.Read(ctx, typ, w)
	case who.CanAllTypes():
		return store.Read(ctx, history.All, w)
	}
	var names []string
	for _, t := range in.opts.Directory.List() {
		if who.CanType(t.Name) {
			names = append(names, t.Name)
		}
	}
	each := make([]*history.Series, max(len(names), 1))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(16)
	for i := range each {
		name := "@none" // no type is named so: the empty series
		if i < len(names) {
			name = names[i]
		}
		group.Go(func() (err error) {
			each[i], err = store.Read(ctx, name, w)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	for _, s := range each[1:] {
		each[0].Add(s)
	}
	return each[0], nil
}

// Present returns how types and dispatchers stand, as far as the caller reaches the types.
func (in *Intake) Present(ctx context.Context, who *auth.Identity) (*history.Present, error) {
	if err := who.Require(auth.JobsRead, ""); err != nil {
		return nil, err
	}
	if in.opts.History == nil {
		return nil, ErrNoHistory
	}
	p, err := in.opts.History.Now(ctx)
	if err != nil {
		return nil, err
	}
	maps.DeleteFunc(p.Sparks, func(typ string, _ history.Spark) bool { return !who.CanType(typ) })
	return p, nil
}

// RedisHealth returns how Redis does.
func (in *Intake) RedisHealth(ctx context.Context, who *auth.Identity) (*history.Health, error) {
	if err := who.Require(auth.JobsRead, ""); err != nil {
		return nil, err
	}
	if in.opts.History == nil {
		return nil, ErrNoHistory
	}
	return in.opts.History.Health(ctx)
}

// StatsOf counts the jobs of types in one round trip. Types that are not there are not in the answer.
func (in *Intake) StatsOf(ctx context.Context, who *auth.Identity, names []string) (map[string]queue.Stats, error) {
	var there []string
	for _, name := range names {
		if err := who.Require(auth.JobsRead, name); err != nil {
			return nil, err
		}
		if _, ok := in.opts.Directory.Get(name); ok {
			there = append(there, name)
		}
	}
	return in.opts.Queue.StatsOf(ctx, there)
}
