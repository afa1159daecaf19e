//go:build race

package e2e

// buildFlags of the program under test: raced as the tests are.
func buildFlags() []string { return []string{"-race"} }
