//go:build !linux

package e2e

import "syscall"

// Only Linux can end a process with its parent.
func parentDeath() *syscall.SysProcAttr { return nil }

func keepThread() {}
