package main

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"unicode/utf8"
)

// table collects the rounds of a measure.
type table struct {
	m      measure
	rounds map[string][][]float64 // by system: a row of values a round
}

func newTable(m measure) *table { return &table{m: m, rounds: map[string][][]float64{}} }

func (t *table) add(system string, values []float64) {
	t.rounds[system] = append(t.rounds[system], values)
}

// String is the table in Markdown; the ratios are those of the same round.
func (t *table) String() string {
	rows := [][]string{append([]string{""}, t.m.columns...)}
	for _, s := range t.m.systems {
		row := []string{s}
		for i := range t.m.columns {
			row = append(row, spread(t.column(s, i)))
		}
		rows = append(rows, row)
	}
	var b strings.Builder
	writeRows(&b, rows)
	for _, peer := range t.m.ratios {
		var r []float64
		ours, theirs := t.column(t.m.systems[0], 0), t.column(peer, 0)
		for i := range ours {
			r = append(r, ours[i]/theirs[i])
		}
		fmt.Fprintf(&b, "\n%s: %s ÷ %s = %s\n", t.m.columns[0], t.m.systems[0], peer, spread(r))
	}
	return b.String()
}

func (t *table) column(system string, i int) []float64 {
	var out []float64
	for _, row := range t.rounds[system] {
		if i < len(row) {
			out = append(out, row[i])
		} else {
			out = append(out, math.NaN())
		}
	}
	return out
}

func writeRows(b *strings.Builder, rows [][]string) {
	width := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			width[i] = max(width[i], utf8.RuneCountInString(cell), 3)
		}
	}
	for n, row := range rows {
		for i, cell := range row {
			fmt.Fprintf(b, "| %-*s ", width[i], cell)
		}
		b.WriteString("|\n")
		if n == 0 {
			for i := range row {
				b.WriteString("| " + strings.Repeat("-", width[i]) + " ")
			}
			b.WriteString("|\n")
		}
	}
}

// spread is median (min–max), or – if there is no value.
func spread(values []float64) string {
	if len(values) == 0 || math.IsNaN(values[0]) {
		return "–"
	}
	if len(values) == 1 {
		return figure(values[0])
	}
	return fmt.Sprintf("%s (%s–%s)", figure(quantile(values, 0.5)), figure(slices.Min(values)), figure(slices.Max(values)))
}

// figure writes three significant digits, or all before the point.
func figure(v float64) string {
	switch a := math.Abs(v); {
	case a >= 1000:
		s := fmt.Sprintf("%.0f", v)
		return s[:len(s)-3] + "," + s[len(s)-3:]
	case a >= 100:
		return fmt.Sprintf("%.0f", v)
	case a >= 10:
		return fmt.Sprintf("%.1f", v)
	case a >= 0.095:
		return fmt.Sprintf("%.2f", v)
	}
	return fmt.Sprintf("%.3f", v)
}

// quantile q of the values, the lower of two; they are not changed.
func quantile(values []float64, q float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(values))
	if q == 0.5 && len(sorted)%2 == 0 {
		return (sorted[len(sorted)/2-1] + sorted[len(sorted)/2]) / 2
	}
	return sorted[min(int(q*float64(len(sorted))), len(sorted)-1)]
}
