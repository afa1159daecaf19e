package ui

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/deetoo/deetoo/auth"
	"github.com/deetoo/deetoo/history"
	"github.com/deetoo/deetoo/intake"
)

// pulse is the history of a type, or of all, as a page shows it.
type pulse struct {
	Windows []choice
	OOB     bool
	// PerSecond is how many attempts end in a second, of late; the rest is of the whole window.
	PerSecond, Rate, P50, P95, P99, Waited string
	RateBad                                bool
	Ended                                  int64
	Charts                                 []figure
	json                                   []byte
}

// choice is a link among several.
type choice struct {
	Name, Href string
	Current    bool
}

// figure is a chart as it is drawn without scripts.
type figure struct {
	Key, Title, Note string
	Lines            []line
	Top              string // what the upper edge stands for
}

// line is a line of a figure, as the path of an SVG.
type line struct{ Class, Path string }

// pulse returns the history of a type; of "", of all that the caller reaches. nil if none is kept, or it may not be seen.
func (u *UI) pulse(r *request, typ, page string) (*pulse, error) {
	if !r.may(auth.JobsRead, typ) {
		return nil, nil
	}
	window, err := history.ParseWindow(r.query("window"))
	if err != nil {
		return nil, err
	}
	key := string(window) + " " + typ
	if typ == "" && !r.who.CanAllTypes() {
		key += " " + strings.Join(r.who.JobTypes(), " ")
	}
	s, err := u.series.get(r.ctx, key, func(ctx context.Context) (*history.Series, error) {
		return u.in.History(ctx, r.who, typ, window)
	})
	if errors.Is(err, intake.ErrNoHistory) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	p := pulseOf(s)
	for _, w := range history.Windows() {
		href := page + "?window=" + string(w)
		p.Windows = append(p.Windows, choice{Name: string(w), Href: href, Current: w == window})
	}
	return p, nil
}

func pulseOf(s *history.Series) *pulse {
	total := s.Total()
	p := &pulse{Ended: total.Ended(), Rate: "–", P50: "–", P95: "–", P99: "–", Waited: "–"}
	if rate, ok := total.SuccessRate(); ok {
		p.Rate, p.RateBad = percent(rate), rate < .95
	}
	if total.Ran.Count() > 0 {
		p.P50, p.P95, p.P99 = duration(total.Ran.Quantile(.5)), duration(total.Ran.Quantile(.95)), duration(total.Ran.Quantile(.99))
	}
	if total.Waited.Count() > 0 {
		p.Waited = duration(total.Waited.Quantile(.95))
	}
	n := numbersOf(s)
	p.PerSecond = perSecond(n)
	p.json, _ = json.Marshal(n) // numbers and nulls
	p.Charts = []figure{
		figureOf("rate", "Attempts a second", trimmed, plot{"ok", n.OK}, plot{"bad", n.Bad}),
		figureOf("took", "How long they take", seconds, plot{"p50", n.P50}, plot{"p95", n.P95}, plot{"p99", n.P99}),
		figureOf("queue", "Waiting", trimmed, plot{"waiting", n.Waiting}),
	}
	return p
}

// numbers are what charts are drawn from; nil where nothing is known.
type numbers struct {
	Start int64      `json:"start"`
	Step  int64      `json:"step"`
	OK    []*float64 `json:"ok"`
	Bad   []*float64 `json:"bad"`
	// P50, P95, P99 and Oldest are in seconds.
	P50     []*float64 `json:"p50"`
	P95     []*float64 `json:"p95"`
	P99     []*float64 `json:"p99"`
	Waiting []*float64 `json:"waiting"`
	Oldest  []*float64 `json:"oldest"`
}

// settled is how long a step must be under way before its rate says something: counts arrive every five seconds.
const settled = 15 * time.Second

func numbersOf(s *history.Series) numbers {
	n := numbers{Start: s.Start.Unix(), Step: int64(s.Step / time.Second)}
	begun := false // before the first step that has anything, nothing is known
	for i := range s.Steps {
		x := &s.Steps[i]
		began := s.Start.Add(time.Duration(i) * s.Step)
		lasted := min(s.Step, s.At.Sub(began))
		begun = begun || x.Looked || x.Ended() > 0
		var ok, bad, waiting, oldest *float64
		if begun && lasted >= settled {
			ok, bad = value(float64(x.Succeeded)/lasted.Seconds()), value(float64(x.Failed+x.Dead)/lasted.Seconds())
		}
		if begun && (x.Looked || lasted == s.Step) {
			waiting, oldest = value(float64(x.Waiting)), value(x.Oldest.Seconds())
		}
		n.OK, n.Bad = append(n.OK, ok), append(n.Bad, bad)
		n.Waiting, n.Oldest = append(n.Waiting, waiting), append(n.Oldest, oldest)
		var p50, p95, p99 *float64
		if x.Ran.Count() > 0 {
			p50, p95, p99 = value(x.Ran.Quantile(.5).Seconds()), value(x.Ran.Quantile(.95).Seconds()), value(x.Ran.Quantile(.99).Seconds())
		}
		n.P50, n.P95, n.P99 = append(n.P50, p50), append(n.P95, p95), append(n.P99, p99)
	}
	return n
}

// value has three digits that matter: charts show no more, and the page is smaller.
func value(f float64) *float64 {
	if f != 0 {
		scale := math.Pow(10, 2-math.Floor(math.Log10(math.Abs(f))))
		f = math.Round(f*scale) / scale
	}
	return &f
}

// perSecond is the last step's rate that is known.
func perSecond(n numbers) string {
	for i := len(n.OK) - 1; i >= 0; i-- {
		if n.OK[i] != nil {
			return trimmed(*n.OK[i] + *n.Bad[i])
		}
	}
	return "–"
}

// plot is a line before it is drawn.
type plot struct {
	class  string
	values []*float64
}

// The size of a figure's drawing; it is stretched to its place.
const (
	figureWidth  = 600
	figureHeight = 120
)

func figureOf(key, title string, text func(float64) string, plots ...plot) figure {
	top := 0.0
	for _, p := range plots {
		for _, v := range p.values {
			if v != nil {
				top = max(top, *v)
			}
		}
	}
	f := figure{Key: key, Title: title, Top: text(top)}
	for _, p := range plots {
		f.Lines = append(f.Lines, line{p.class, pathOf(p.values, top)})
	}
	return f
}

// pathOf draws the values between 0 and top as the path of an SVG, with gaps where nothing is known.
func pathOf(values []*float64, top float64) string {
	var b strings.Builder
	pen := false
	for i, v := range values {
		if v == nil {
			pen = false
			continue
		}
		x := float64(i) * figureWidth / float64(max(len(values)-1, 1))
		y := float64(figureHeight)
		if top > 0 {
			y -= *v / top * (figureHeight - 4)
		}
		b.WriteString(map[bool]string{true: "L", false: "M"}[pen])
		b.WriteString(strconv.FormatFloat(x, 'f', 1, 64) + " " + strconv.FormatFloat(y, 'f', 1, 64))
		if !pen {
			b.WriteString("h.1") // so that a lone point shows
		}
		pen = true
	}
	return b.String()
}

// bars draws a spark as two paths, in a box of 4 by SparkLen and 22: what succeeded, and what failed on top.
func bars(s history.Spark) (ok, bad string) {
	top := int64(0)
	for i := range s.Succeeded {
		top = max(top, s.Succeeded[i]+s.Failed[i])
	}
	if top == 0 {
		return "", ""
	}
	var a, b strings.Builder
	for i := range s.Succeeded {
		high := func(n int64) float64 {
			if n == 0 {
				return 0
			}
			return max(float64(n)*21/float64(top), 1)
		}
		y, z := high(s.Succeeded[i]), high(s.Failed[i])
		bar := func(to *strings.Builder, from, height float64) {
			if height > 0 {
				to.WriteString("M" + strconv.Itoa(4*i) + " " + strconv.FormatFloat(22-from, 'f', 1, 64) + "v-" + strconv.FormatFloat(height, 'f', 1, 64) + "h3v" + strconv.FormatFloat(height, 'f', 1, 64) + "z")
			}
		}
		bar(&a, 0, y)
		bar(&b, y, z)
	}
	return a.String(), b.String()
}

// percent is exact where it matters: 99.97 % is not 100 %.
func percent(part float64) string {
	p := part * 100
	digits := 1
	if p > 99 && p < 100 {
		digits = 2
		p = min(p, 99.99)
	}
	return strings.TrimSuffix(strconv.FormatFloat(p, 'f', digits, 64), ".0") + " %"
}

// trimmed writes a number with up to three digits that matter.
func trimmed(f float64) string {
	if f >= 100 {
		return number(int(math.Round(f)))
	}
	return strconv.FormatFloat(*value(f), 'f', -1, 64)
}

func seconds(f float64) string { return duration(time.Duration(f * float64(time.Second))) }
