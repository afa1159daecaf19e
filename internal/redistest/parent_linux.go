package redistest

import (
	"runtime"
	"syscall"
)

// parentDeath asks the kernel to end the server when the thread that started
// it does, so that a test binary that dies without its cleanups (a panic, a
// test timeout, a kill) leaves no server behind.
func parentDeath() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}

// keepThread ties the calling goroutine to its thread for good.
func keepThread() { runtime.LockOSThread() }
