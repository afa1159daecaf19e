package webhook

import (
	"crypto/rand"
	"encoding/json"
	"time"

	"github.com/deetoo/deetoo/queue"
)

// TrialLease is the lease of a job that is in no queue, for a test delivery of a
// type that may take as long as limit.
func TrialLease(typ string, data json.RawMessage, limit time.Duration) *queue.Lease {
	now := time.Now()
	return &queue.Lease{
		Job: queue.Job{
			Type: typ, ID: "test-" + rand.Text(), Data: data, RunAt: now, EnqueuedAt: now, StartedAt: now,
			Attempt: 1, MaxAttempts: 1, Timeout: limit, State: queue.Active,
		},
		Token: rand.Text(), Deadline: now.Add(limit),
	}
}
