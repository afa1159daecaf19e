package relay

import (
	"encoding/json"

	"github.com/deetoo/deetoo/queue"
	"github.com/deetoo/deetoo/registry"
)

// step is one push that a job's end brings about.
type step struct {
	once queue.Once
	job  queue.Job
}

// Outcome is what became of a job, as followers and callbacks are told.
type Outcome struct {
	Type  string      `json:"type"`
	ID    string      `json:"id"`
	State queue.State `json:"state"`
	// Attempts counts those that count against the job's maximum.
	Attempts int `json:"attempts"`
	// EnqueuedAt and FinishedAt are by Redis's clock, RFC 3339 to the millisecond.
	EnqueuedAt string `json:"enqueued_at"`
	FinishedAt string `json:"finished_at"`
	// Result of a job that succeeded: the JSON that its handler answered, or the text as a string. Absent: none.
	Result json.RawMessage `json:"result,omitempty"`
	// Error of the last attempt of a job that did not, and its HTTP status.
	Error  string `json:"error,omitempty"`
	Status int    `json:"status,omitempty"`
}

// envelope is the data of a follow-up.
type envelope struct {
	Parent Outcome         `json:"parent"`
	Data   json.RawMessage `json:"data"`
}

func outcomeOf(e *queue.Ending) Outcome {
	j := &e.Job
	return Outcome{
		Type: j.Type, ID: j.ID, State: j.State, Attempts: j.Attempt, EnqueuedAt: stamp(j.EnqueuedAt), FinishedAt: stamp(j.FinishedAt),
		Result: queue.ResultJSON(j.Result), Error: j.LastError, Status: e.Status,
	}
}

// stepsAfter says what is to be pushed now that a job has ended.
func stepsAfter(e *queue.Ending) ([]step, error) {
	j := &e.Job
	outcome := outcomeOf(e)
	var steps []step
	add := func(which string, next queue.Job, data any) error {
		b, err := json.Marshal(data)
		if err != nil {
			return err
		}
		next.Data, next.Parent = b, &queue.Parent{Type: j.Type, ID: j.ID}
		if next.Traceparent == "" {
			next.Traceparent = j.Traceparent
		}
		key := "after:" + j.Type + ":" + j.ID + ":" + e.Key + ":" + which
		steps = append(steps, step{queue.Once{Key: key, Fingerprint: which, TTL: keyLife}, next})
		return nil
	}
	followUp := func(which string, next queue.Job) error {
		return add(which, next, envelope{outcome, orNull(next.Data)})
	}
	switch j.State {
	case queue.Succeeded:
		if j.OnSuccess != nil {
			if err := followUp("on_success", *j.OnSuccess); err != nil {
				return nil, err
			}
		}
		if len(j.Then) > 0 {
			next := j.Then[0]
			next.Then = j.Then[1:]
			if err := followUp("then", next); err != nil {
				return nil, err
			}
		}
	case queue.Dead:
		if j.OnFailure != nil {
			if err := followUp("on_failure", *j.OnFailure); err != nil {
				return nil, err
			}
		}
	}
	if j.CallbackURL != "" && !e.Replaced {
		return steps, add("callback", queue.Job{Type: registry.CallbackType, Target: j.CallbackURL, Title: title(j)}, outcome)
	}
	return steps, nil
}

// title says for people whose callback it is.
func title(j *queue.Job) string {
	s := string(j.State) + ": " + j.Type + " " + j.ID
	return s[:min(len(s), queue.MaxTitleLength)]
}

func orNull(data json.RawMessage) json.RawMessage {
	if len(data) == 0 {
		return json.RawMessage("null")
	}
	return data
}
