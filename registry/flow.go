package registry

import "time"

// Outage says when a type's target counts as down. Its jobs are held then, and
// one at a time is tried as a canary. See queue.OutagePolicy.
type Outage struct {
	// The hold opens when the target failed in Share (more than 0, up to 1; default: 0.5) of the
	// last Of (1 to 1,000; default: 20) attempts.
	Share float64
	Of    int
	// Refused connections in a row open it too: 1 to 1,000. Default: 3.
	Refused int
	// CanaryMin is how long after that the first canary goes: 100ms to 1h. Default: 1s.
	// Each that fails doubles it, up to CanaryMax: CanaryMin to 24h. Default: 1m.
	CanaryMin, CanaryMax time.Duration
}

// Adaptive says how a type's concurrency is found out, between Min and the type's own. See
// queue.AdaptivePolicy.
type Adaptive struct {
	// Min is the least concurrency: 1 to the type's own. Default: 1.
	Min int
	// TargetLatency is how long attempts may take on average: 1ms to 24h. 0, the
	// default: as many times the fastest as Tolerance says.
	TargetLatency time.Duration
	// Tolerance: 1.1 to 100, or 0: latency does not count. Default: 2. Not looked at with a TargetLatency.
	Tolerance float64
}

// OutageSpec is [Outage] as people write it.
type OutageSpec struct {
	Share     *float64  `json:"share,omitzero"`
	Of        *int      `json:"of,omitzero"`
	Refused   *int      `json:"refused,omitzero"`
	CanaryMin *Duration `json:"canary_min,omitzero"`
	CanaryMax *Duration `json:"canary_max,omitzero"`
}

// AdaptiveSpec is [Adaptive] as people write it.
type AdaptiveSpec struct {
	Min           *int      `json:"min,omitzero"`
	TargetLatency *Duration `json:"target_latency,omitzero"`
	Tolerance     *float64  `json:"tolerance,omitzero"`
}

func (s *OutageSpec) build() *Outage {
	if s == nil {
		return nil
	}
	o := &Outage{Share: 0.5, Of: 20, Refused: 3, CanaryMin: time.Second, CanaryMax: time.Minute}
	set(&o.Share, s.Share)
	set(&o.Of, s.Of)
	set(&o.Refused, s.Refused)
	set(&o.CanaryMin, (*time.Duration)(s.CanaryMin))
	// A larger minimum alone raises the default maximum with it.
	o.CanaryMax = max(o.CanaryMax, o.CanaryMin)
	set(&o.CanaryMax, (*time.Duration)(s.CanaryMax))
	return o
}

func (o *Outage) spec() *OutageSpec {
	if o == nil {
		return nil
	}
	c := *o
	return &OutageSpec{Share: &c.Share, Of: &c.Of, Refused: &c.Refused, CanaryMin: duration(c.CanaryMin), CanaryMax: duration(c.CanaryMax)}
}

func (c *checks) outage(o *Outage) {
	if o == nil {
		return
	}
	c.that(o.Share > 0 && o.Share <= 1, "outage.share", "must be more than 0, and at most 1")
	c.that(o.Of >= 1 && o.Of <= 1000, "outage.of", "must be 1 to 1,000")
	c.that(o.Refused >= 1 && o.Refused <= 1000, "outage.refused", "must be 1 to 1,000")
	c.that(o.CanaryMin >= 100*time.Millisecond && o.CanaryMin <= time.Hour, "outage.canary_min", "must be 100ms to 1h")
	c.that(o.CanaryMax >= o.CanaryMin && o.CanaryMax <= day, "outage.canary_max", "must be canary_min to 24h")
}

func (s *AdaptiveSpec) build() *Adaptive {
	if s == nil {
		return nil
	}
	a := &Adaptive{Min: 1, Tolerance: 2}
	set(&a.Min, s.Min)
	set(&a.TargetLatency, (*time.Duration)(s.TargetLatency))
	set(&a.Tolerance, s.Tolerance)
	return a
}

func (a *Adaptive) spec() *AdaptiveSpec {
	if a == nil {
		return nil
	}
	c := *a
	return &AdaptiveSpec{Min: &c.Min, TargetLatency: duration(c.TargetLatency), Tolerance: &c.Tolerance}
}

func (c *checks) adaptive(a *Adaptive, concurrency int) {
	if a == nil {
		return
	}
	c.that(a.Min >= 1 && a.Min <= concurrency, "adaptive.min", "must be 1 to the type's concurrency")
	c.that(a.TargetLatency == 0 || a.TargetLatency >= time.Millisecond && a.TargetLatency <= day, "adaptive.target_latency", "must be 1ms to 24h, or 0s for none")
	c.that(a.Tolerance == 0 || a.Tolerance >= 1.1 && a.Tolerance <= 100, "adaptive.tolerance", "must be 1.1 to 100, or 0 for none")
}
