package deetoo

import (
	"testing"

	"go.uber.org/goleak"
)

// Nothing outlives Shutdown, but for two of fasthttp's: the one that keeps the
// Date header, of which there is one a process, and each server's that cleans up, which ends with its next sleep of 10 s.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"))
}
