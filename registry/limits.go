package registry

import "time"

// Rate bounds how many attempts start: within any time t at most Burst + t·Limit/Per, however many dispatchers
// there are. Each attempt counts when it is handed out, also a retry, and one that is given back.
// The zero value is no limit.
type Rate struct {
	// Limit is how many start in each Per: 1 to 1,000,000, and at most one a microsecond.
	Limit int
	// Per: 1ms to 24h. Default, if there is a limit: 1s.
	Per time.Duration
	// Burst is how many may start at once after a pause: 1 to Limit. 0 is the default: what comes in 100 ms, at
	// least 1. So starts are spread evenly: 10 a second are one every 100 ms, and not 10 and then a second of none.
	Burst int
}

// Groups are limits of each group of a type's jobs. The zero value is no limits: groups are only served in turn.
type Groups struct {
	// Concurrency is how many jobs of one group run at once: 1 to 10,000, or 0: only the type's counts.
	Concurrency int
	// Rate of one group.
	Rate Rate
}

// RateSpec is [Rate] as people write it.
type RateSpec struct {
	Limit *int      `json:"limit,omitzero"`
	Per   *Duration `json:"per,omitzero"`
	Burst *int      `json:"burst,omitzero"`
}

// GroupsSpec is [Groups] as people write it.
type GroupsSpec struct {
	Concurrency *int      `json:"concurrency,omitzero"`
	Rate        *RateSpec `json:"rate,omitzero"`
}

// build fills in the defaults. It checks nothing: a rate that says nothing is found out later.
func (s *RateSpec) build() (r Rate) {
	if s == nil {
		return r
	}
	r.Per = time.Second
	set(&r.Limit, s.Limit)
	set(&r.Per, (*time.Duration)(s.Per))
	set(&r.Burst, s.Burst)
	if s.Burst != nil && r.Burst == 0 {
		r.Burst = -1 // said, and so refused: the default is what is not said
	}
	return r
}

func (s *GroupsSpec) build() (g Groups) {
	if s == nil {
		return g
	}
	set(&g.Concurrency, s.Concurrency)
	if s.Concurrency != nil && g.Concurrency == 0 {
		g.Concurrency = -1
	}
	g.Rate = s.Rate.build()
	return g
}

// spec is the reverse of build.
func (r Rate) spec() *RateSpec {
	if r == (Rate{}) {
		return nil
	}
	s := &RateSpec{Limit: &r.Limit, Per: duration(r.Per)}
	if r.Burst != 0 {
		s.Burst = &r.Burst
	}
	return s
}

func (g Groups) spec() *GroupsSpec {
	if g == (Groups{}) {
		return nil
	}
	s := &GroupsSpec{Rate: g.Rate.spec()}
	if g.Concurrency != 0 {
		s.Concurrency = &g.Concurrency
	}
	return s
}

func (c *checks) rate(field string, r Rate) {
	if r == (Rate{}) {
		return
	}
	c.that(r.Limit >= 1 && r.Limit <= 1_000_000, field+".limit", "must be 1 to 1,000,000")
	c.that(r.Per >= time.Millisecond && r.Per <= day, field+".per", "must be 1ms to 24h")
	c.that(time.Duration(r.Limit) <= r.Per/time.Microsecond || r.Per < time.Millisecond, field+".limit", "must be at most one a microsecond")
	c.that(r.Burst >= 0 && r.Burst <= max(r.Limit, 0), field+".burst", "must be 1 to limit")
}

func (c *checks) groups(g Groups) {
	c.that(g.Concurrency >= 0 && g.Concurrency <= 10_000, "groups.concurrency", "must be 1 to 10,000")
	c.rate("groups.rate", g.Rate)
}
