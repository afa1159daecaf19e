package schedule

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/deetoo/deetoo/invalid"
)

func timing(t testing.TB, cron, zone string) *Timing {
	t.Helper()
	s := New("s", "t")
	s.Cron, s.TimeZone = cron, zone
	out, err := s.Timing()
	if err != nil {
		t.Fatalf("%s in %s: %v", cron, zone, err)
	}
	return out
}

// ticks returns those after from until to, as RFC 3339 in the zone.
func ticks(tm *Timing, from, to string) string {
	a, _ := time.Parse(time.RFC3339, from)
	b, _ := time.Parse(time.RFC3339, to)
	var out []string
	for at := tm.Next(a); !at.IsZero() && at.Before(b); at = tm.Next(at) {
		out = append(out, at.In(tm.zone).Format("02T15:04:05Z07:00"))
	}
	return strings.Join(out, " ")
}

// What happens when clocks change is decided in Timing's comment.
func TestClocksForwardAndBack(t *testing.T) {
	const (
		berlin, york, howe, samoa = "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Pacific/Apia"
		cairo                     = "Africa/Cairo" // where midnight is skipped
	)
	for _, c := range []struct{ cron, zone, from, to, want string }{
		// In Berlin, 2026-03-29 02:00 is 03:00, and 2026-10-25 03:00 is 02:00.
		{"30 2 * * *", berlin, "2026-03-28T00:00:00Z", "2026-03-31T00:00:00Z", "28T02:30:00+01:00 29T03:00:00+02:00 30T02:30:00+02:00"},
		{"30 2 * * *", berlin, "2026-10-24T00:00:00Z", "2026-10-27T00:00:00Z", "24T02:30:00+02:00 25T02:30:00+02:00 26T02:30:00+01:00"},
		// Several times of day in the gap are one tick, and so are they and its end.
		{"0,20,40 2 * * *", berlin, "2026-03-29T00:00:00Z", "2026-03-30T00:00:00Z", "29T03:00:00+02:00"},
		{"0 2,3 * * *", berlin, "2026-03-29T00:00:00Z", "2026-03-30T00:00:00Z", "29T03:00:00+02:00"},
		{"20 1-3 * * *", berlin, "2026-10-24T22:00:00Z", "2026-10-25T22:00:00Z", "25T01:20:00+02:00 25T02:20:00+02:00 25T03:20:00+01:00"},
		// With all hours, time that passes counts.
		{"0 * * * *", berlin, "2026-03-29T00:00:00Z", "2026-03-29T03:00:00Z", "29T03:00:00+02:00 29T04:00:00+02:00"},
		{"30 * * * *", berlin, "2026-03-29T00:00:00Z", "2026-03-29T03:00:00Z", "29T01:30:00+01:00 29T03:30:00+02:00 29T04:30:00+02:00"},
		{"30 * * * *", berlin, "2026-10-24T23:00:00Z", "2026-10-25T03:00:00Z", "25T01:30:00+02:00 25T02:30:00+02:00 25T02:30:00+01:00 25T03:30:00+01:00"},
		{"*/30 * * * *", york, "2026-11-01T04:59:00Z", "2026-11-01T07:31:00Z", "01T01:00:00-04:00 01T01:30:00-04:00 01T01:00:00-05:00 01T01:30:00-05:00 01T02:00:00-05:00 01T02:30:00-05:00"},
		{"@hourly", york, "2026-03-08T05:30:00Z", "2026-03-08T08:30:00Z", "08T01:00:00-05:00 08T03:00:00-04:00 08T04:00:00-04:00"},
		{"@daily", york, "2026-03-07T06:00:00Z", "2026-03-10T00:00:00Z", "08T00:00:00-05:00 09T00:00:00-04:00"},
		// Half an hour, on Lord Howe: 2026-10-04 02:00 is 02:30, 2026-04-05 02:00 is 01:30.
		{"15 2 * * *", howe, "2026-10-03T00:00:00Z", "2026-10-05T00:00:00Z", "04T02:30:00+11:00 05T02:15:00+11:00"},
		{"45 1 * * *", howe, "2026-04-04T00:00:00Z", "2026-04-06T00:00:00Z", "05T01:45:00+11:00 06T01:45:00+10:30"},
		// Midnight that is none, in Cairo: 2026-04-24 00:00 is 01:00.
		{"0 0 * * *", cairo, "2026-04-22T23:00:00Z", "2026-04-25T00:00:00Z", "24T01:00:00+03:00 25T00:00:00+03:00"},
		// A day that is none, in Samoa: 2011-12-30.
		{"0 12 * * *", samoa, "2011-12-29T00:00:00Z", "2012-01-01T00:00:00Z", "29T12:00:00-10:00 31T00:00:00+14:00 31T12:00:00+14:00 01T12:00:00+14:00"},
	} {
		if got := ticks(timing(t, c.cron, c.zone), c.from, c.to); got != c.want {
			t.Errorf("%s in %s from %s:\n got %s\nwant %s", c.cron, c.zone, c.from, got, c.want)
		}
	}
}

func TestExpressions(t *testing.T) {
	for cron, want := range map[string]string{
		"*/15 * * * * *":   "01T00:00:15Z 01T00:00:30Z 01T00:00:45Z 01T00:01:00Z",
		"5 4 * * sun":      "04T04:05:00Z 11T04:05:00Z 18T04:05:00Z 25T04:05:00Z",
		"5 4 * * 7":        "04T04:05:00Z 11T04:05:00Z 18T04:05:00Z 25T04:05:00Z",
		"0 0 13 * FRI":     "02T00:00:00Z 09T00:00:00Z 13T00:00:00Z 16T00:00:00Z", // or, as in crontab(5)
		"0 0 L * *":        "31T00:00:00Z 28T00:00:00Z 31T00:00:00Z 30T00:00:00Z",
		"0 9 * * MON#1":    "05T09:00:00Z 02T09:00:00Z 02T09:00:00Z 06T09:00:00Z",
		"0 0 29 2 *":       "29T00:00:00Z 29T00:00:00Z 29T00:00:00Z 29T00:00:00Z",
		"@weekly":          "04T00:00:00Z 11T00:00:00Z 18T00:00:00Z 25T00:00:00Z",
		"0 22-1 * * *":     "01T01:00:00Z 01T22:00:00Z 01T23:00:00Z 02T00:00:00Z",
		"1-59/2 * * * *":   "01T00:01:00Z 01T00:03:00Z 01T00:05:00Z 01T00:07:00Z",
		"59 59 23 31 12 *": "31T23:59:59Z 31T23:59:59Z 31T23:59:59Z 31T23:59:59Z",
	} {
		tm := timing(t, cron, "UTC")
		at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
		var got []string
		for range 4 {
			at = tm.Next(at)
			got = append(got, at.Format("02T15:04:05Z07:00"))
		}
		if s := strings.Join(got, " "); s != want {
			t.Errorf("%s:\n got %s\nwant %s", cron, s, want)
		}
	}
}

func TestBadTimings(t *testing.T) {
	day := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	for field, bad := range map[string][]Schedule{
		"cron": {
			{}, {Cron: "* * * *"}, {Cron: "* * * * * * *"}, {Cron: "60 * * * *"}, {Cron: "x"}, {Cron: "@every 5s"}, {Cron: "@reboot"}, {Cron: "0 0 30 2 *"},
			{Cron: "TZ=Europe/Berlin 0 0 * * *"}, {Cron: "CRON_TZ=UTC 0 0 * * *"}, {Cron: "H * * * *"}, {Cron: strings.Repeat("0,", 200) + "0 * * * *"}, {Cron: " "},
		},
		"every":    {{Cron: "* * * * *", Every: time.Second}, {Every: 99 * time.Millisecond}, {Every: -time.Second}, {Every: 8761 * time.Hour}, {Every: time.Second + 1}},
		"timezone": {{Cron: "* * * * *", TimeZone: "Local"}, {Cron: "* * * * *", TimeZone: "Mars/Olympus"}, {Cron: "* * * * *", TimeZone: "../etc/passwd"}, {Every: time.Second, TimeZone: "Europe/Berlin"}},
		"end":      {{Every: time.Second, Start: day, End: day.Add(-1)}},
	} {
		for _, s := range bad {
			_, err := s.Timing()
			if wrong, ok := errors.AsType[*invalid.Error](err); !ok || wrong.Field != field {
				t.Errorf("%+v: %v, want one of %s", s, err, field)
			}
		}
	}
}

func TestEvery(t *testing.T) {
	day := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	s := New("s", "t")
	s.Every, s.CreatedAt = 200*time.Millisecond, day
	next := func(after time.Time) time.Duration {
		t.Helper()
		tm, err := s.Timing()
		if err != nil {
			t.Fatal(err)
		}
		at := tm.Next(after)
		if at.IsZero() {
			return -1
		}
		return at.Sub(day)
	}
	for after, want := range map[time.Duration]time.Duration{
		-time.Hour: 200 * time.Millisecond, 0: 200 * time.Millisecond, 199 * time.Millisecond: 200 * time.Millisecond,
		200 * time.Millisecond: 400 * time.Millisecond, 24 * time.Hour: 24*time.Hour + 200*time.Millisecond,
	} {
		if got := next(day.Add(after)); got != want {
			t.Errorf("after %s: %s, want %s", after, got, want)
		}
	}
	// A start is a tick itself, and the end may be one.
	s.Start, s.End = day.Add(time.Hour), day.Add(time.Hour+200*time.Millisecond)
	for after, want := range map[time.Duration]time.Duration{
		0: time.Hour, time.Hour - 1: time.Hour, time.Hour: time.Hour + 200*time.Millisecond, time.Hour + 200*time.Millisecond: -1,
	} {
		if got := next(day.Add(after)); got != want {
			t.Errorf("between start and end, after %s: %s, want %s", after, got, want)
		}
	}
}

// Any expression, against looking at each minute.
func TestNextIsTheFirstMinuteThatMatches(t *testing.T) {
	zones := []string{"UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Cairo", "America/Sao_Paulo", "Asia/Kathmandu"}
	rapid.Check(t, func(r *rapid.T) {
		zone, err := time.LoadLocation(rapid.SampledFrom(zones).Draw(r, "zone"))
		if err != nil {
			r.Fatal(err)
		}
		minutes := rapid.SliceOfNDistinct(rapid.IntRange(0, 59), 1, 3, rapid.ID).Draw(r, "minutes")
		hours := rapid.SliceOfNDistinct(rapid.IntRange(0, 3), 0, 3, rapid.ID).Draw(r, "hours")
		list := func(n []int) string { return strings.Trim(strings.ReplaceAll(fmt.Sprint(n), " ", ","), "[]") }
		expr := list(minutes) + " * * * *"
		if len(hours) > 0 {
			expr = list(minutes) + " " + list(hours) + " * * *"
		}
		has := func(list []int, n int) bool {
			for _, v := range list {
				if v == n {
					return true
				}
			}
			return false
		}
		matches := func(at time.Time) bool { // of what clocks show
			return has(minutes, at.Minute()) && (len(hours) == 0 || has(hours, at.Hour()))
		}
		tm := timing(t, expr, zone.String())
		begin := time.Date(2016, 1, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(rapid.IntRange(0, 10*365*24).Draw(r, "hour")) * time.Hour)
		if rapid.Bool().Draw(r, "at a change") {
			if _, change := begin.In(zone).ZoneBounds(); !change.IsZero() && change.Sub(begin) < 366*24*time.Hour {
				begin = change.Add(-time.Hour).UTC()
			}
		}
		seen := map[string]bool{} // times of day that clocks have shown
		for at := begin.Add(-2 * time.Hour).In(zone); !at.After(begin); at = at.Add(time.Minute) {
			seen[at.Format("02T15:04")] = true
		}
		var want []string
		for at := begin.Add(time.Minute).In(zone); at.Before(begin.Add(5 * time.Hour)); at = at.Add(time.Minute) {
			shown := at.Format("02T15:04")
			ticks := matches(at)
			if len(hours) > 0 {
				ticks = ticks && !seen[shown]
				// What was skipped since the minute before.
				_, before := at.Add(-time.Minute).Zone()
				_, after := at.Zone()
				for gap := before; gap < after; gap += 60 {
					ticks = ticks || matches(at.UTC().Add(time.Duration(gap)*time.Second))
				}
			}
			seen[shown] = true
			if ticks {
				want = append(want, at.Format("02T15:04:05Z07:00"))
			}
		}
		got := ticks(tm, begin.Format(time.RFC3339), begin.Add(5*time.Hour).Format(time.RFC3339))
		if got != strings.Join(want, " ") {
			r.Fatalf("%s in %s from %s:\n got %s\nwant %s", expr, zone, begin, got, strings.Join(want, " "))
		}
	})
}

func TestNewest(t *testing.T) {
	tm := timing(t, "* * * * * *", "UTC")
	first := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		until   time.Duration
		n, want int
		oldest  time.Duration
	}{{0, 3, 1, 0}, {2 * time.Second, 3, 3, 0}, {time.Hour, 3, 3, time.Hour - 2*time.Second}, {365 * 24 * time.Hour, 100, 100, 365*24*time.Hour - 99*time.Second}} {
		got := tm.newest(first, first.Add(c.until), c.n)
		if len(got) != c.want || !got[0].Equal(first.Add(c.oldest)) || !got[len(got)-1].Equal(first.Add(c.until)) {
			t.Errorf("%+v: %d, from %s", c, len(got), got[0])
		}
	}
}

func FuzzCron(f *testing.F) {
	for _, seed := range []string{"* * * * *", "0 0 L * MON#2", "*/7 1-5,9 15W 2-12/3 *", "@daily", "59 59 23 31 12 7"} {
		f.Add(seed)
	}
	at := time.Date(2026, 3, 29, 0, 59, 59, 0, time.UTC)
	f.Fuzz(func(t *testing.T, expr string) {
		s := Schedule{Cron: expr, TimeZone: "Europe/Berlin"}
		tm, err := s.Timing()
		if err != nil {
			return
		}
		for from := at; ; {
			next := tm.Next(from)
			if next.IsZero() {
				break
			}
			if !next.After(from) {
				t.Fatalf("%q: %s does not come after %s", expr, next, from)
			}
			if from = next; next.After(at.Add(48 * time.Hour)) {
				break
			}
		}
	})
}
