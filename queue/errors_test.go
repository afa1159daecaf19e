package queue_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/deetoo/deetoo/queue"
)

// reply is an error as Redis answers it.
type reply string

func (e reply) Error() string { return string(e) }
func (reply) RedisError()     {}

func TestClassify(t *testing.T) {
	for _, tc := range []struct {
		err                        error
		unavailable, refused, full bool
	}{
		{err: reply("ERR unknown command")},
		{err: redis.Nil},
		{err: errors.New("a bug")},
		{err: reply("OOM command not allowed when used memory > 'maxmemory'."), full: true},
		{err: reply("LOADING Redis is loading the dataset in memory"), unavailable: true},
		{err: reply("READONLY You can't write against a read only replica."), unavailable: true},
		{err: reply("MISCONF Redis is configured to save RDB snapshots"), unavailable: true},
		{err: reply("NOAUTH Authentication required."), unavailable: true, refused: true},
		{err: reply("WRONGPASS invalid username-password pair"), unavailable: true, refused: true},
		{err: reply("NOPERM this user has no permissions"), unavailable: true, refused: true},
		{err: fmt.Errorf("dial: %w", &tls.CertificateVerificationError{Err: errors.New("unknown authority")}), unavailable: true, refused: true},
		{err: io.EOF, unavailable: true},
		{err: context.DeadlineExceeded, unavailable: true},
		{err: &net.OpError{Op: "dial", Err: errors.New("connection refused")}, unavailable: true},
	} {
		got := queue.Classify(tc.err)
		if errors.Is(got, queue.ErrUnavailable) != tc.unavailable || errors.Is(got, queue.ErrRefused) != tc.refused || errors.Is(got, queue.ErrFull) != tc.full || !errors.Is(got, tc.err) {
			t.Errorf("%v became %v", tc.err, got)
		}
		if again := queue.Classify(got); again != got {
			t.Errorf("%v was classified twice: %v", got, again)
		}
	}
	if queue.Classify(nil) != nil {
		t.Error("no error became one")
	}
}
