package api

import (
	"encoding/json"
	"time"

	"github.com/deetoo/deetoo/intake"
	"github.com/deetoo/deetoo/queue"
	"github.com/deetoo/deetoo/registry"
)

// timestamp is RFC 3339 in UTC, to the millisecond.
type timestamp time.Time

// MarshalText writes it.
func (t timestamp) MarshalText() ([]byte, error) {
	return t.append(nil), nil
}

func (t timestamp) append(b []byte) []byte {
	return time.Time(t).UTC().AppendFormat(b, "2006-01-02T15:04:05.000Z")
}

// IsZero lets omitzero leave it out.
func (t timestamp) IsZero() bool { return time.Time(t).IsZero() }

// jobView is a job as it is shown.
type jobView struct {
	ID       string          `json:"id"`
	Type     string          `json:"type"`
	Title    string          `json:"title,omitempty"`
	Group    string          `json:"group,omitempty"`
	State    queue.State     `json:"state"`
	Priority queue.Priority  `json:"priority"`
	Data     json.RawMessage `json:"data,omitempty"`

	RunAt      timestamp `json:"run_at,omitzero"`
	EnqueuedAt timestamp `json:"enqueued_at,omitzero"`
	StartedAt  timestamp `json:"started_at,omitzero"`
	FinishedAt timestamp `json:"finished_at,omitzero"`
	ExpiresAt  timestamp `json:"expires_at,omitzero"`

	Attempt int `json:"attempt"`
	// MaxAttempts and Timeout are the job's own; absent, the type's count.
	MaxAttempts int               `json:"max_attempts,omitempty"`
	Timeout     registry.Duration `json:"timeout,omitzero"`
	UniqueKey   string            `json:"unique_key,omitempty"`
	// Target is without its query, Headers without credentials: only the handler needs them.
	Target          string            `json:"target,omitempty"`
	Headers         map[string]string `json:"headers,omitempty"`
	Tags            []string          `json:"tags,omitempty"`
	Lost            int               `json:"lost"`
	LastError       string            `json:"last_error,omitempty"`
	Result          json.RawMessage   `json:"result,omitempty"`
	CancelRequested bool              `json:"cancel_requested"`
	// Accepted says that the handler holds the job; Progress and Log are what it said.
	Accepted bool `json:"accepted,omitempty"`
	// Unsure says that nobody knows what became of the last attempt.
	Unsure   bool          `json:"unsure,omitempty"`
	Progress *progressView `json:"progress,omitempty"`
	Log      []logView     `json:"log,omitempty"`

	// What follows the job; callback URLs without their query.
	OnSuccess   *followView  `json:"on_success,omitempty"`
	OnFailure   *followView  `json:"on_failure,omitempty"`
	Then        []followView `json:"then,omitempty"`
	CallbackURL string       `json:"callback_url,omitempty"`
	// Parent is the job that this one follows.
	Parent *parentView `json:"parent,omitempty"`
	// Workflow is the ID of that whose job this is.
	Workflow string `json:"workflow,omitempty"`
}

// parentView names a job that another follows.
type parentView struct {
	Type string `json:"type"`
	ID   string `json:"id"`
}

// followView is a job that follows another, as its producer wrote it.
type followView struct {
	Type        string            `json:"type"`
	ID          string            `json:"id,omitempty"`
	Data        json.RawMessage   `json:"data,omitempty"`
	Title       string            `json:"title,omitempty"`
	Delay       registry.Duration `json:"delay,omitzero"`
	Priority    queue.Priority    `json:"priority"`
	MaxAttempts int               `json:"max_attempts,omitempty"`
	Timeout     registry.Duration `json:"timeout,omitzero"`
	TTL         registry.Duration `json:"ttl,omitzero"`
	UniqueKey   string            `json:"unique_key,omitempty"`
	OnSuccess   *followView       `json:"on_success,omitempty"`
	OnFailure   *followView       `json:"on_failure,omitempty"`
	Then        []followView      `json:"then,omitempty"`
	CallbackURL string            `json:"callback_url,omitempty"`
}

func viewFollow(j *queue.Job) *followView {
	if j == nil {
		return nil
	}
	v := &followView{
		Type: j.Type, ID: j.ID, Data: j.Data, Title: j.Title, Delay: registry.Duration(j.Delay), Priority: j.Priority,
		MaxAttempts: j.MaxAttempts, Timeout: registry.Duration(j.Timeout),
		TTL:       registry.Duration(j.TTL),
		OnSuccess: viewFollow(j.OnSuccess), OnFailure: viewFollow(j.OnFailure), Then: viewChain(j.Then), CallbackURL: viewURL(j.CallbackURL),
	}
	if j.Unique != nil {
		v.UniqueKey = j.Unique.Key
	}
	return v
}

func viewChain(jobs []queue.Job) []followView {
	var out []followView
	for i := range jobs {
		out = append(out, *viewFollow(&jobs[i]))
	}
	return out
}

func viewURL(s string) string {
	if s == "" {
		return ""
	}
	return registry.RedactURL(s)
}

func viewJob(j *queue.Job) jobView {
	v := jobView{
		ID: j.ID, Type: j.Type, Title: j.Title, Group: j.Group, State: j.State, Priority: j.Priority, Data: j.Data,
		RunAt: timestamp(j.RunAt), EnqueuedAt: timestamp(j.EnqueuedAt), StartedAt: timestamp(j.StartedAt), FinishedAt: timestamp(j.FinishedAt),
		Attempt: j.Attempt, MaxAttempts: j.MaxAttempts, Timeout: registry.Duration(j.Timeout), Lost: j.Lost,
		LastError: j.LastError, Result: queue.ResultJSON(j.Result), CancelRequested: j.CancelRequested, Accepted: j.Accepted, Unsure: j.Unsure,
		OnSuccess: viewFollow(j.OnSuccess), OnFailure: viewFollow(j.OnFailure), Then: viewChain(j.Then), CallbackURL: viewURL(j.CallbackURL),
	}
	if p := j.Parent; p != nil {
		v.Parent = &parentView{Type: p.Type, ID: p.ID}
	}
	if m := j.Workflow; m != nil {
		v.Workflow = m.ID
	}
	if p := j.Progress; p != nil {
		v.Progress = &progressView{Number: p.Number, Total: p.Total, Message: p.Message, At: timestamp(p.At)}
	}
	v.ExpiresAt, v.Tags = timestamp(j.ExpiresAt), j.Tags
	if j.Target != "" {
		v.Target = registry.RedactURL(j.Target)
	}
	if len(j.Headers) > 0 {
		v.Headers = registry.RedactHeaders(j.Headers)
	}
	if j.Unique != nil {
		v.UniqueKey = j.Unique.Key
	}
	for _, line := range j.Log {
		v.Log = append(v.Log, logView{At: timestamp(line.At), Text: line.Text})
	}
	return v
}

// progressView is how far a handler said it is.
type progressView struct {
	Number  float64   `json:"number"`
	Total   float64   `json:"total,omitempty"`
	Message string    `json:"message,omitempty"`
	At      timestamp `json:"at"`
}

// logView is a line of an attempt's log.
type logView struct {
	At   timestamp `json:"at"`
	Text string    `json:"text"`
}

// receiptView answers for one pushed job; receipt.go writes it.
type receiptView struct {
	ID string `json:"id"`
	// State and RunAt are absent if the receipt is that of a job which has been deleted.
	State    queue.State `json:"state,omitempty"`
	RunAt    timestamp   `json:"run_at,omitzero"`
	Replaced bool        `json:"replaced"`
	// Duplicate says that it is the receipt of another job, which holds the unique key.
	Duplicate bool `json:"duplicate,omitempty"`
}

func viewReceipt(r queue.Receipt) receiptView {
	return receiptView{ID: r.ID, State: r.State, RunAt: timestamp(r.RunAt), Replaced: r.Replaced, Duplicate: r.Duplicate}
}

// attemptView is an attempt as it is shown.
type attemptView struct {
	N          int       `json:"n"`
	StartedAt  timestamp `json:"started_at"`
	DurationMs int64     `json:"duration_ms"`
	Outcome    string    `json:"outcome"`
	Status     int       `json:"status,omitempty"`
	Error      string    `json:"error,omitempty"`
	Excerpt    string    `json:"excerpt,omitempty"`
	Dispatcher string    `json:"dispatcher,omitempty"`
}

func viewAttempt(a queue.Attempt) attemptView {
	return attemptView{
		N: a.N, StartedAt: timestamp(time.UnixMilli(a.StartedAt)), DurationMs: a.Duration, Outcome: a.Outcome,
		Status: a.Status, Error: a.Error, Excerpt: a.Excerpt, Dispatcher: a.Dispatcher,
	}
}

// statsView are the counts of a type.
type statsView struct {
	Type       string         `json:"type"`
	Waiting    int            `json:"waiting"`
	ByPriority map[string]int `json:"by_priority"`
	Scheduled  int            `json:"scheduled"`
	Active     int            `json:"active"`
	Dead       int            `json:"dead"`
	Finished   int            `json:"finished"`
	// Concurrency and Paused are what is in force.
	Concurrency int  `json:"concurrency"`
	Paused      bool `json:"paused"`
	// HoldMs is how much longer the type runs one job at a time, because its endpoint asked for it.
	HoldMs int64 `json:"hold_ms"`
	// RateLimitedMs is how long the type's rate lets no job start.
	RateLimitedMs int64 `json:"rate_limited_ms"`
	// OldestWaitingMs is how long the oldest waiting job has been due.
	OldestWaitingMs int64 `json:"oldest_waiting_ms"`
	// Outage is absent while all is well, Adaptive while the concurrency is fixed.
	Outage   *outageView   `json:"outage,omitempty"`
	Adaptive *adaptiveView `json:"adaptive,omitempty"`
	// Endings are jobs that have ended and whose follow-ups are not pushed yet, Troubled
	// those of them that could not be pushed so far.
	Endings  int       `json:"endings"`
	Troubled int       `json:"endings_troubled"`
	At       timestamp `json:"at"`
}

func viewStats(s intake.TypeStats) statsView {
	v := statsView{
		Type: s.Type, Waiting: s.Waiting, ByPriority: map[string]int{}, Scheduled: s.Scheduled, Active: s.Active, Dead: s.Dead, Finished: s.Finished,
		Concurrency: s.Limit, Paused: s.Paused, HoldMs: s.Hold.Milliseconds(), RateLimitedMs: s.Limited.Milliseconds(), OldestWaitingMs: s.Oldest.Milliseconds(),
		Endings: s.Endings, Troubled: s.Troubled, At: timestamp(s.At),
	}
	if s.Outage != nil {
		o := viewOutage(s.Outage)
		v.Outage = &o
	}
	if s.Adaptive != nil {
		a := viewAdaptive(s.Adaptive)
		v.Adaptive = &a
	}
	for p, n := range s.ByPriority {
		v.ByPriority[p.String()] = n
	}
	return v
}
