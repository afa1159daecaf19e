//go:build !race

package e2e

// buildFlags of the program under test.
func buildFlags() []string { return nil }
