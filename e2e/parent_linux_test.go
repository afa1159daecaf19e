package e2e

import (
	"runtime"
	"syscall"
)

// parentDeath asks the kernel to end the process when the thread that started it
// does: tests that die without their cleanups leave nothing behind.
func parentDeath() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}

// keepThread ties the calling goroutine to its thread for good.
func keepThread() { runtime.LockOSThread() }
