package webhook

import (
	"testing"
	"time"
)

func TestParseRetryAfter(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for v, want := range map[string]struct {
		d  time.Duration
		ok bool
	}{
		"120":                               {2 * time.Minute, true},
		" 7 ":                               {7 * time.Second, true},
		"0":                                 {0, true},
		"-5":                                {0, true},
		"1.5":                               {1500 * time.Millisecond, true},
		"3600":                              {time.Hour, true},
		"3601":                              {time.Hour, true},
		"1e12":                              {time.Hour, true},
		"1e999":                             {time.Hour, true},
		"99999999999999999999999999":        {time.Hour, true},
		"Inf":                               {time.Hour, true},
		"-1e999":                            {0, true},
		"NaN":                               {0, false},
		"":                                  {0, false},
		"soon":                              {0, false},
		"1 minute":                          {0, false},
		"10, 20":                            {0, false},
		"Sun, 01 Mar 2026 12:00:30 GMT":     {30 * time.Second, true}, // IMF-fixdate
		"Sunday, 01-Mar-26 12:00:30 GMT":    {30 * time.Second, true}, // RFC 850
		"Sun Mar  1 12:00:30 2026":          {30 * time.Second, true}, // asctime
		"Sun, 01 Mar 2026 11:59:59 GMT":     {0, true},
		"Fri, 31 Dec 9999 23:59:59 GMT":     {time.Hour, true},
		"Sat, 01 Jan 0000 00:00:00 GMT":     {0, true},
		"Sun, 31 Feb 2026 12:00:30 GMT":     {0, false},
		"Sun, 01 Mar 2026 12:00:30 GMT+999": {0, false},
		"2026-03-01T12:00:30Z":              {0, false},
		"1m30s":                             {90 * time.Second, true}, // as Go writes it
		"250ms":                             {250 * time.Millisecond, true},
		"-1m":                               {0, true},
		"1000h":                             {time.Hour, true},
	} {
		d, ok := parseRetryAfter(v, now, time.Hour)
		if d != want.d || ok != want.ok {
			t.Errorf("%q: got %v, %v; want %v, %v", v, d, ok, want.d, want.ok)
		}
	}
}

func FuzzParseRetryAfter(f *testing.F) {
	for _, v := range []string{"1", "-1", "1e12", "NaN", "Inf", "0x1p-2", "1_0", "Sun, 01 Mar 2026 12:00:30 GMT", "Sunday, 01-Mar-26 12:00:30 XYZ", ""} {
		f.Add(v, int64(1772366400), int64(time.Hour))
	}
	f.Fuzz(func(t *testing.T, v string, now, limit int64) {
		if limit <= 0 {
			return // Validate refuses it
		}
		d, ok := parseRetryAfter(v, time.Unix(now, 0), time.Duration(limit))
		if d < 0 || d > time.Duration(limit) || (!ok && d != 0) {
			t.Errorf("%q at %d within %d: %v, %v", v, now, limit, d, ok)
		}
	})
}

func TestParseReset(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for v, want := range map[string]struct {
		d  time.Duration
		ok bool
	}{
		formatInt(now.Unix() + 90):      {90 * time.Second, true},
		formatInt(now.Unix() - 1):       {0, true},
		formatInt(now.Unix() + 1e6):     {time.Hour, true},
		"999999999":                     {time.Hour, true}, // seconds, though many
		"30":                            {30 * time.Second, true},
		"2m":                            {2 * time.Minute, true},
		"Sun, 01 Mar 2026 12:00:30 GMT": {30 * time.Second, true},
		"":                              {0, false},
		"NaN":                           {0, false},
		"tomorrow":                      {0, false},
	} {
		if d, ok := parseReset(v, now, time.Hour); d != want.d || ok != want.ok {
			t.Errorf("%q: %s, %t", v, d, ok)
		}
	}
}
