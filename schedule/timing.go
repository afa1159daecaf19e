package schedule

import (
	"math/bits"
	"strings"
	"time"
	_ "time/tzdata" // time zones must not depend on what is installed where a dispatcher runs

	"github.com/netresearch/go-cron"

	"github.com/deetoo/deetoo/invalid"
)

// Timing says when a schedule ticks.
//
// A cron expression has five fields (minute, hour, day of month, month, day of
// week) or six, the first of which is then the second; or it is one of @yearly, @monthly,
// @weekly, @daily and @hourly. As in crontab(5), a day matches if day of month or day
// of week does, when both are given. Also read are L, W and # (last day, nearest weekday, nth weekday).
//
// Where clocks are put forward or back, it depends on the hours, as with Vixie's
// cron: an expression with all hours ticks by elapsed time, so that */10 is every ten minutes
// throughout. One with certain hours ticks once for each time of the day: what falls into
// the hour that is left out ticks once, at its end; in the hour that comes twice, it
// ticks the first time.
type Timing struct {
	every      time.Duration
	anchor     time.Time // of every
	start, end time.Time

	cron     *cron.SpecSchedule // always evaluated in UTC, where no hour is left out or comes twice
	zone     *time.Location
	allHours bool
}

// searchYears is how far ahead a tick is looked for: the same weekday falls on
// a 29th of February every 28 years, or 40 around a year like 2100.
const searchYears = 40

// Timing returns when the schedule ticks, or the field that is wrong as an *invalid.Error.
func (s *Schedule) Timing() (*Timing, error) {
	t := &Timing{start: s.Start, end: s.End, zone: time.UTC}
	switch {
	case s.Cron == "" && s.Every == 0:
		return nil, invalid.Errorf("cron", "or every is required")
	case s.Cron != "" && s.Every != 0:
		return nil, invalid.Errorf("every", "must not be given together with cron")
	case !s.End.IsZero() && s.End.Before(s.Start):
		return nil, invalid.Errorf("end", "must not be before start")
	}
	if s.Every != 0 {
		if s.Every < MinEvery || s.Every > 365*24*time.Hour || s.Every%time.Millisecond != 0 {
			return nil, invalid.Errorf("every", "must be 100ms to 8760h (365 days), in whole milliseconds")
		}
		if s.TimeZone != "UTC" && s.TimeZone != "" {
			return nil, invalid.Errorf("timezone", "has no meaning for every")
		}
		t.every, t.anchor = s.Every, s.CreatedAt
		if !s.Start.IsZero() {
			t.anchor = s.Start
		}
		return t, nil
	}
	var err error
	if t.cron, err = parseCron(s.Cron); err != nil {
		return nil, err
	}
	if t.zone, err = loadZone(s.TimeZone); err != nil {
		return nil, err
	}
	t.allHours = bits.OnesCount64(t.cron.Hour&(1<<24-1)) == 24
	if t.next(time.Unix(0, 0)).IsZero() {
		return nil, invalid.Errorf("cron", "never comes: there is no such day")
	}
	return t, nil
}

func parseCron(expr string) (*cron.SpecSchedule, error) {
	if len(expr) > 256 {
		return nil, invalid.Errorf("cron", "must be at most 256 bytes")
	}
	if strings.Contains(expr, "TZ=") {
		return nil, invalid.Errorf("cron", "must not name a time zone: that is timezone's")
	}
	parser, err := cron.TryNewParser(cron.SecondOptional | cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow | cron.Descriptor | cron.Extended | cron.DowOrDom)
	if err != nil {
		return nil, err
	}
	parsed, err := parser.WithMaxSearchYears(searchYears).Parse(expr)
	if err != nil {
		return nil, invalid.Errorf("cron", "must be a cron expression of five fields, or six with seconds: %s", err)
	}
	spec, ok := parsed.(*cron.SpecSchedule)
	if !ok {
		return nil, invalid.Errorf("cron", "must not be @every: that is the field every")
	}
	spec.Location, spec.DowOrDom = time.UTC, true
	return spec, nil
}

func loadZone(name string) (*time.Location, error) {
	switch name {
	case "":
		return time.UTC, nil
	case "Local": // that of the machine, which may be another on the next
	default:
		if zone, err := time.LoadLocation(name); err == nil {
			return zone, nil
		}
	}
	return nil, invalid.Errorf("timezone", "must be a name of the IANA time zone database, such as Europe/Berlin")
}

// Next returns the first tick after t, to the millisecond; zero if there is none.
func (t *Timing) Next(after time.Time) time.Time {
	if !t.start.IsZero() && after.Before(t.start) {
		after = t.start.Add(-time.Millisecond)
	}
	next := t.next(after)
	if !t.end.IsZero() && next.After(t.end) {
		return time.Time{}
	}
	return next
}

func (t *Timing) next(after time.Time) time.Time {
	switch {
	case t.every > 0:
		if after.Before(t.anchor) {
			if t.anchor.Equal(t.start) {
				return t.anchor
			}
			after = t.anchor
		}
		return t.anchor.Add((after.Sub(t.anchor)/t.every + 1) * t.every)
	case t.allHours:
		return t.nextElapsed(after)
	default:
		return t.nextOfDay(after)
	}
}

// wall returns what clocks show at an instant, as if it were UTC.
func (t *Timing) wall(at time.Time) time.Time {
	at = at.In(t.zone)
	_, offset := at.Zone()
	return at.UTC().Add(time.Duration(offset) * time.Second)
}

// nextElapsed finds the next instant at which clocks show a matching time.
func (t *Timing) nextElapsed(after time.Time) time.Time {
	for {
		local := after.In(t.zone)
		_, offset := local.Zone()
		_, ends := local.ZoneBounds()
		wall := t.cron.Next(t.wall(after))
		if wall.IsZero() {
			return wall
		}
		at := wall.Add(-time.Duration(offset) * time.Second)
		if ends.IsZero() || at.Before(ends) {
			return at
		}
		// Clocks change before that; from then on they show something else.
		if first := t.wall(ends); t.cron.Next(first.Add(-time.Second)).Equal(first) {
			return ends.UTC()
		}
		after = ends
	}
}

// nextOfDay finds the next matching time of a day whose instant is after the given one.
func (t *Timing) nextOfDay(after time.Time) time.Time {
	wall := t.wall(after)
	for {
		if wall = t.cron.Next(wall); wall.IsZero() {
			return wall
		}
		if at := t.instant(wall); at.After(after) {
			return at
		}
	}
}

// instant returns when clocks show that time first, or the end of the gap if they skip it.
func (t *Timing) instant(wall time.Time) time.Time {
	guess := time.Date(wall.Year(), wall.Month(), wall.Day(), wall.Hour(), wall.Minute(), wall.Second(), 0, t.zone)
	starts, ends := guess.ZoneBounds()
	var first time.Time
	for _, edge := range []time.Time{starts, ends} {
		if edge.IsZero() {
			continue
		}
		_, before := edge.Add(-time.Second).In(t.zone).Zone()
		_, after := edge.In(t.zone).Zone()
		if old := wall.Add(-time.Duration(before) * time.Second); !old.Before(edge) && wall.Add(-time.Duration(after)*time.Second).Before(edge) {
			return edge.UTC() // skipped by this change
		} else if old.Before(edge) && t.wall(old).Equal(wall) && (first.IsZero() || old.Before(first)) {
			first = old
		}
	}
	if guess = guess.UTC(); first.IsZero() || guess.Before(first) {
		return guess
	}
	return first
}

// newest returns the last ticks of those from the first, itself a tick, until the end, both
// inclusive, in order, at most n; it does not enumerate all that came before.
func (t *Timing) newest(first, until time.Time, n int) []time.Time {
	for span := OnTime; ; span *= 2 {
		from := until.Add(-span)
		whole := !from.After(first)
		if whole {
			from = first.Add(-time.Millisecond)
		}
		var ticks []time.Time
		for at := t.Next(from); !at.IsZero() && !at.After(until); at = t.Next(at) {
			ticks = append(ticks, at)
		}
		if whole || len(ticks) >= n {
			return ticks[max(0, len(ticks)-n):]
		}
	}
}
