package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/deetoo/deetoo/chaos/verify"
)

// mostLines is how many breaches of a promise are printed.
const mostLines = 10

// report is what a round has shown.
func report(s scenario, h *verify.History, findings []verify.Finding) string {
	var b strings.Builder
	fmt.Fprintf(&b, "\n## %s\n\n%s.\n\n%s\n", s.name, s.about, verify.Table(findings))
	counts := map[string]int{}
	for _, f := range h.Faults {
		counts[f.Kind]++
	}
	var faults []string
	for _, kind := range slices.Sorted(maps.Keys(counts)) {
		faults = append(faults, fmt.Sprintf("%d × %s", counts[kind], kind))
	}
	fmt.Fprintf(&b, "- faults: %s\n", strings.Join(faults, ", "))
	for _, r := range h.Recoveries() {
		fmt.Fprintf(&b, "- %s: %d, p50 %s, p99 %s, max %s\n", r.What, len(r.Took), r.At(0.5), r.At(0.99), r.At(1))
	}
	fmt.Fprintf(&b, "- no push was accepted for %s in all\n", h.Unavailable().Round(100*time.Millisecond))
	for _, f := range findings {
		for i, line := range f.Broken {
			if i == mostLines {
				fmt.Fprintf(&b, "- %s: and %d more\n", f.Name, len(f.Broken)-i)
				break
			}
			fmt.Fprintf(&b, "- %s: %s\n", f.Name, line)
		}
	}
	return b.String()
}
