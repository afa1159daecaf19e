// Package e2e has no code but tests: they build the program once, run it as
// processes of its own on free ports and fresh folders, and hold it to the
// project's promises from outside.
package e2e
