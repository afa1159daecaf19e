package main

import (
	"context"
	"math"
	"math/rand/v2"
	"time"

	"github.com/deetoo/deetoo/history"
	"github.com/deetoo/deetoo/queue/embedded"
)

// makeUpHistory gives the demonstration a past: a week by hours, a day by ten minutes, an hour by minutes.
func makeUpHistory(ctx context.Context, dir string, kinds []kind) (err error) {
	store, err := embedded.Open(ctx, embedded.Options{Dir: dir})
	if err != nil {
		return err
	}
	defer func() {
		if again := store.Close(); err == nil {
			err = again
		}
	}()
	h, err := history.NewStore(store.Client(), history.Options{})
	if err != nil {
		return err
	}
	now := time.Now()
	at := now.Add(-7 * 24 * time.Hour)
	for at.Before(now) {
		step := time.Hour
		if left := now.Sub(at); left <= time.Hour {
			step = time.Minute
		} else if left <= 25*time.Hour {
			step = 10 * time.Minute
		}
		samples, all := map[string]history.Sample{}, history.Sample{Looked: true}
		for _, k := range kinds {
			if s := k.past(at, step); s.Ended() > 0 {
				samples[k.name] = s
				all.Add(&s)
			}
		}
		samples[history.All] = all
		if err := h.Put(ctx, at, samples); err != nil {
			return err
		}
		at = at.Add(step)
	}
	return nil
}

// past is what a step of time may have been like: busy by day, calm by night, worse now and then.
func (k *kind) past(at time.Time, step time.Duration) (s history.Sample) {
	hour := float64(at.Hour()) + float64(at.Minute())/60
	busy := .45 + .55*math.Pow(math.Sin(math.Pi*hour/24), 2)
	n := int64(k.perSecond * step.Seconds() * busy * (.85 + .3*rand.Float64()))
	failing, slow := k.failing*(.5+rand.Float64()), 1.0
	if int64(at.Hour())%11 == 3 && at.Minute() < 30 { // half an hour of trouble
		failing, slow = min(1, failing*3), 2.5
	}
	s.Failed = int64(float64(n) * failing)
	s.Dead = s.Failed / 6
	s.Succeeded = n - s.Failed
	s.Failed -= s.Dead
	for range min(n, 120) {
		took := time.Duration(float64(k.typical) * slow * math.Exp(.45*rand.NormFloat64()))
		one := history.Sample{Ran: history.HistogramOf(took), Waited: history.HistogramOf(time.Duration(slow*rand.ExpFloat64()*8) * time.Millisecond)}
		s.Add(&one)
	}
	if n > 0 {
		s.Waiting, s.Active = int64(slow*slow*rand.ExpFloat64()*k.perSecond), min(n, 1+int64(k.perSecond/4))
		s.Oldest, s.Looked = time.Duration(slow*slow*rand.ExpFloat64()*900)*time.Millisecond, true
	}
	return s
}
