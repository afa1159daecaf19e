package queue

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/deetoo/deetoo/invalid"
)

// Limits of workflows.
const (
	// MaxWorkflowJobs is how many jobs a workflow may have.
	MaxWorkflowJobs = 1000
	// MaxWorkflowID is the longest ID of a workflow, in bytes: its jobs' IDs begin with it.
	MaxWorkflowID = 200
	// MaxWorkflowDetails is how many bytes of results and errors of its jobs a workflow
	// keeps in all, as JSON: what comes when it is full is left out.
	MaxWorkflowDetails = 64 << 10
	// WorkflowKept is how long a workflow is remembered when all that follows has been pushed.
	WorkflowKept = 7 * 24 * time.Hour
	// WorkflowIdle is how long a workflow is remembered in which no job ends, counted from when its last job is due.
	WorkflowIdle = 90 * 24 * time.Hour
	// creationLife is how long a creation may take until others take it up, and
	// creationLost how long the note of one is kept that has left no record.
	creationLife = 10 * time.Second
	creationLost = 10 * time.Minute
	// resumed is how many creations are taken up at once.
	resumed = 20
)

// WorkflowState says how far a workflow is.
type WorkflowState string

// The states of a workflow.
const (
	// WorkflowRunning has jobs that have not ended.
	WorkflowRunning WorkflowState = "running"
	// WorkflowSucceeded has none left, and all of them succeeded.
	WorkflowSucceeded WorkflowState = "succeeded"
	// WorkflowFailed has none left, and some are dead or cancelled.
	WorkflowFailed WorkflowState = "failed"
)

// Workflow is a group of jobs, of one type or many, and what is to be pushed when all of them have ended. The
// first group of fields is what its producer sets, the second is kept by the queue.
type Workflow struct {
	// ID of at most MaxWorkflowID printable characters; empty: a ULID is made.
	ID string
	// Jobs run side by side; those without an ID get the workflow's, "-" and their index. At most MaxWorkflowJobs. None may be Unique.
	// Of a workflow that was read, only Type and ID are known.
	Jobs []Job
	// OnComplete is pushed when all jobs have ended; OnSuccess too if all have succeeded, else OnFailure. Each may be
	// what Job.OnSuccess may be. The handler gets its own Data beside what became of the jobs; see package relay.
	OnComplete, OnSuccess, OnFailure *Job
	// CallbackURL is where what became of the jobs is POSTed to, signed with the secrets of the first job's type.
	CallbackURL string
	// Traceparent is that of jobs that have none, and of what follows.
	Traceparent string

	// Ends are what became of the jobs, in their order.
	Ends []WorkflowEnd
	// CreatedAt, FinishedAt and CompletedAt are by Redis's clock: when all jobs had ended, and
	// when all that follows had been pushed; zero before.
	CreatedAt, FinishedAt, CompletedAt time.Time
	// Succeeded, Dead and Cancelled count jobs.
	Succeeded, Dead, Cancelled int
}

// WorkflowEnd is the end of one job.
type WorkflowEnd struct {
	// State is empty as long as the job has not ended.
	State State
	WorkflowDetail
}

// WorkflowDetail is what there is to say of a job's end: nothing, if the workflow has too much of it.
type WorkflowDetail struct {
	Result json.RawMessage `json:"result,omitempty"`
	Error  string          `json:"error,omitempty"`
	Status int             `json:"status,omitempty"`
}

// State says how far the workflow is.
func (w *Workflow) State() WorkflowState {
	switch {
	case w.FinishedAt.IsZero():
		return WorkflowRunning
	case w.Succeeded == len(w.Jobs):
		return WorkflowSucceeded
	}
	return WorkflowFailed
}

// CheckFollowers calls fn for a job that is followed by each of those that may follow the
// workflow, and returns the first error, with the field as it is in the workflow.
func (w *Workflow) CheckFollowers(fn func(*Job) error) error {
	for _, f := range []struct {
		field string
		job   *Job
	}{{"on_complete", w.OnComplete}, {"on_success", w.OnSuccess}, {"on_failure", w.OnFailure}} {
		if f.job == nil {
			continue
		}
		if err := fn(&Job{OnSuccess: f.job}); err != nil {
			if bad, ok := invalidIn(err); ok && strings.HasPrefix(bad.Field, "on_success") {
				bad.Field = f.field + strings.TrimPrefix(bad.Field, "on_success")
			}
			return err
		}
	}
	return nil
}

// Validate reports what is wrong with a workflow to be created, as an *invalid.Error, and gives the
// jobs that have none their IDs.
func (w *Workflow) Validate() error {
	switch err := ValidateID(w.ID); {
	case err != nil:
		return err
	case len(w.ID) > MaxWorkflowID:
		return invalid.Errorf("id", "must be at most %d characters", MaxWorkflowID)
	case len(w.Jobs) == 0 || len(w.Jobs) > MaxWorkflowJobs:
		return invalid.Errorf("jobs", "must be 1 to %d", MaxWorkflowJobs)
	}
	seen := map[Parent]bool{}
	for i := range w.Jobs {
		j := &w.Jobs[i]
		if j.ID == "" {
			j.ID = w.ID + "-" + strconv.Itoa(i)
		}
		j.Workflow = &Member{ID: w.ID, Index: i}
		err := j.Validate()
		switch key := (Parent{j.Type, j.ID}); {
		case err != nil:
		case j.Unique != nil:
			err = invalid.Errorf("unique_key", "must not be given: each job of a workflow is pushed")
		case seen[key]:
			err = invalid.Errorf("id", "must not be that of another job of the same type")
		default:
			seen[key] = true
		}
		if bad, ok := invalidIn(err); ok {
			return bad.In("jobs[" + strconv.Itoa(i) + "]")
		}
	}
	if err := validateURL("callback_url", w.CallbackURL); err != nil {
		return err
	}
	for name, f := range map[string]*Job{"complete": w.OnComplete, "success": w.OnSuccess, "failure": w.OnFailure} {
		if f != nil && f.ID == "" {
			f.ID = w.ID + "-" + name
		}
	}
	return w.CheckFollowers((*Job).validateAfter)
}

// workflowSpec is what is kept of a workflow to its end.
type workflowSpec struct {
	Jobs        []Parent `json:"j"`
	Complete    *follow  `json:"c,omitempty"`
	Success     *follow  `json:"s,omitempty"`
	Failure     *follow  `json:"f,omitempty"`
	CallbackURL string   `json:"u,omitempty"`
	Traceparent string   `json:"p,omitempty"`
}

// workflowJob is kept of a job until it is pushed.
type workflowJob struct {
	follow
	Bytes []byte `json:"b,omitempty"`  // the data as it is: JSON in JSON would be written anew
	RunAt int64  `json:"at,omitempty"` // ms
}

// CreateWorkflow stores a workflow, and a note to have it started; StartWorkflow is to
// follow, or else ResumeWorkflows does it. A repetition with the same ID changes nothing, and created is false; with other content the error is ErrWorkflowExists.
func (q *Queue) CreateWorkflow(ctx context.Context, w *Workflow) (created bool, err error) {
	if w.ID == "" {
		w.ID = q.entropy.newID()
	}
	if err := w.Validate(); err != nil {
		return false, err
	}
	spec := workflowSpec{Complete: followOf(w.OnComplete), Success: followOf(w.OnSuccess), Failure: followOf(w.OnFailure), CallbackURL: w.CallbackURL}
	jobs := make([]workflowJob, len(w.Jobs))
	last := time.Duration(0)
	for i := range w.Jobs {
		j := &w.Jobs[i]
		spec.Jobs = append(spec.Jobs, Parent{j.Type, j.ID})
		jobs[i] = workflowJob{follow: *followOf(j), Bytes: j.Data}
		jobs[i].Data = nil
		due := j.Delay
		if !j.RunAt.IsZero() {
			jobs[i].RunAt, due = j.RunAt.UnixMilli(), time.Until(j.RunAt)
		}
		last = max(last, due)
	}
	content, err := json.Marshal([]any{spec, jobs})
	if err != nil {
		return false, err
	}
	sum := sha256.Sum256(content)
	// The trace is the request's: a repetition has another.
	spec.Traceparent = w.Traceparent
	specText, err := json.Marshal(spec)
	if err != nil {
		return false, err
	}
	jobsText, err := json.Marshal(jobs)
	if err != nil {
		return false, err
	}
	// The note is first: there is never a record that nobody starts.
	if err := q.noteWorkflow(ctx, w.ID, time.Now(), false); err != nil {
		return false, err
	}
	v, err := q.run(ctx, q.scripts.workflowCreate, q.workflowKeys(w.ID), []any{"create", hex.EncodeToString(sum[:16]), nonce(), len(jobs), specText, jobsText, (WorkflowIdle + last).Milliseconds()})
	if err != nil {
		return false, err
	}
	if v == "other" {
		return false, ErrWorkflowExists
	}
	return v == "new", nil
}

// StartWorkflow pushes the jobs of a workflow that was created, once however often it is called. finished says that
// all of them have ended, and what follows has to be pushed; see WorkflowCompleted. If none can be pushed, that is an end, too.
func (q *Queue) StartWorkflow(ctx context.Context, id string) (finished bool, err error) {
	var stored []workflowJob
	spec, fingerprint, err := q.workflowSpec(ctx, id)
	if err != nil {
		return false, err
	}
	text, err := q.client.Get(ctx, q.workflowKeys(id)[1]).Bytes()
	switch {
	case isNil(err): // it has been started
	case err != nil:
		return false, Classify(err)
	default:
		if err := json.Unmarshal(text, &stored); err != nil {
			return false, fmt.Errorf("workflow %s: %w", id, err)
		}
	}
	byType := map[string][]int{}
	for i := range stored {
		byType[stored[i].Type] = append(byType[stored[i].Type], i)
	}
	for _, index := range byType {
		jobs := make([]Job, len(index))
		for k, i := range index {
			jobs[k] = stored[i].job(spec.Traceparent)
		}
		receipts, err := q.PushOnce(ctx, Once{Key: "workflow:" + id, Fingerprint: fingerprint, TTL: WorkflowKept}, jobs...)
		if err != nil {
			return false, err
		}
		for k, r := range receipts {
			if r.Err == nil {
				continue
			}
			detail := WorkflowDetail{Error: clip("it could not be pushed: "+r.Err.Error(), MaxExcerptSize)}
			if _, err := q.workflowEnded(ctx, id, index[k], "d", "0-0", detail); err != nil {
				return false, err
			}
		}
	}
	v, err := q.run(ctx, q.scripts.workflow, q.workflowKeys(id), []any{"started"})
	if err != nil {
		return false, err
	}
	if v != "finished" {
		err = q.client.ZRem(ctx, q.openWorkflows(), id).Err()
	}
	return v == "finished", Classify(err)
}

func (m *workflowJob) job(traceparent string) Job {
	j := *m.follow.job()
	j.Data = m.Bytes
	if m.RunAt != 0 {
		j.RunAt = time.UnixMilli(m.RunAt)
	}
	if j.Traceparent == "" {
		j.Traceparent = traceparent
	}
	return j
}

// WorkflowJobEnded notes the end of a job of a workflow, however often it is called. It returns the workflow if
// all of its jobs have ended and what follows has not been pushed; else nil.
func (q *Queue) WorkflowJobEnded(ctx context.Context, e *Ending, detail WorkflowDetail) (*Workflow, error) {
	m := e.Job.Workflow
	letter := map[State]string{Succeeded: "s", Dead: "d", Cancelled: "c"}[e.Job.State]
	if letter == "" {
		return nil, fmt.Errorf("workflow %s: job %s is %s", m.ID, e.Job.ID, e.Job.State)
	}
	finished, err := q.workflowEnded(ctx, m.ID, m.Index, letter, e.Key, detail)
	if err != nil || !finished {
		return nil, err
	}
	return q.Workflow(ctx, m.ID)
}

func (q *Queue) workflowEnded(ctx context.Context, id string, index int, letter, key string, detail WorkflowDetail) (finished bool, err error) {
	ms, count, _ := strings.Cut(key, "-")
	text, err := json.Marshal(detail)
	if err != nil {
		return false, err
	}
	v, err := q.run(ctx, q.scripts.workflow, q.workflowKeys(id), []any{"ended", index, letter, ms, count, text, MaxWorkflowDetails, WorkflowIdle.Milliseconds()})
	return v == "finished", err
}

// WorkflowCompleted says that all that follows a workflow has been pushed.
func (q *Queue) WorkflowCompleted(ctx context.Context, id string) error {
	if _, err := q.run(ctx, q.scripts.workflow, q.workflowKeys(id), []any{"completed", WorkflowKept.Milliseconds()}); err != nil {
		return err
	}
	return Classify(q.client.ZRem(ctx, q.openWorkflows(), id).Err())
}

// ResumeWorkflows starts some of the workflows whose creator has not for a while, and returns those of them that
// have ended meanwhile and that nothing was pushed after.
func (q *Queue) ResumeWorkflows(ctx context.Context) ([]*Workflow, error) {
	now := time.Now()
	due, err := q.client.ZRangeByScoreWithScores(ctx, q.openWorkflows(), dueBefore(now.Add(-creationLife))).Result()
	if err != nil {
		return nil, Classify(err)
	}
	var out []*Workflow
	var failed error
	for _, z := range due {
		id := z.Member.(string)
		finished, err := q.StartWorkflow(ctx, id)
		switch {
		case err == nil && finished:
			w, err := q.Workflow(ctx, id)
			if err != nil {
				return out, err
			}
			out = append(out, w)
		case err == nil:
			continue
		case isNoWorkflow(err):
			if now.Sub(time.UnixMilli(int64(z.Score))) > creationLost {
				if err := q.client.ZRem(ctx, q.openWorkflows(), id).Err(); err != nil {
					return out, Classify(err)
				}
			}
			continue // its creator may still come
		default:
			failed = err
		}
		// Others are not held up by one that cannot be brought to its end now.
		if err := q.noteWorkflow(ctx, id, now, true); err != nil {
			return out, err
		}
	}
	return out, failed
}

// Workflow returns a workflow, or ErrNoWorkflow.
func (q *Queue) Workflow(ctx context.Context, id string) (*Workflow, error) {
	f, err := q.client.HGetAll(ctx, q.workflowKeys(id)[0]).Result()
	if err != nil {
		return nil, Classify(err)
	}
	if len(f) == 0 {
		return nil, ErrNoWorkflow
	}
	var spec workflowSpec
	if err := json.Unmarshal([]byte(f["spec"]), &spec); err != nil {
		return nil, fmt.Errorf("workflow %s: %w", id, err)
	}
	w := &Workflow{
		ID: id, OnComplete: spec.Complete.job(), OnSuccess: spec.Success.job(), OnFailure: spec.Failure.job(),
		CallbackURL: spec.CallbackURL, Traceparent: spec.Traceparent, Ends: make([]WorkflowEnd, len(spec.Jobs)),
	}
	for i, p := range spec.Jobs {
		w.Jobs = append(w.Jobs, Job{Type: p.Type, ID: p.ID, Workflow: &Member{ID: id, Index: i}})
		head, detail, ok := strings.Cut(f["job:"+strconv.Itoa(i)], "\n")
		if !ok {
			continue
		}
		end := &w.Ends[i]
		switch {
		case strings.HasSuffix(head, "s"):
			end.State = Succeeded
			w.Succeeded++
		case strings.HasSuffix(head, "d"):
			end.State = Dead
			w.Dead++
		default:
			end.State = Cancelled
			w.Cancelled++
		}
		if detail != "" {
			if err := json.Unmarshal([]byte(detail), &end.WorkflowDetail); err != nil {
				return nil, fmt.Errorf("workflow %s: %w", id, err)
			}
		}
	}
	for field, at := range map[string]*time.Time{"created": &w.CreatedAt, "finished": &w.FinishedAt, "completed": &w.CompletedAt} {
		if f[field] == "" {
			continue
		}
		ms, err := strconv.ParseInt(f[field], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("workflow %s: %s: %w", id, field, err)
		}
		*at = time.UnixMilli(ms)
	}
	return w, nil
}
