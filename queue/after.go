package queue

import (
	"encoding/json"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/deetoo/deetoo/invalid"
)

// Limits of what may follow a job.
const (
	// MaxFollowUps is how many jobs may follow one, those that follow these included.
	MaxFollowUps = 50
	// MaxFollowDepth is how deep follow-ups may be inside one another.
	MaxFollowDepth = 5
	// MaxFollowSize is how large all that follows a job may be, in bytes of
	// JSON: it travels with the job at each step.
	MaxFollowSize = 64 << 10
	// maxURLLength is the longest callback URL, in bytes.
	maxURLLength = 2048
)

// Parent is what a job follows.
type Parent struct {
	// Type and ID are those of the job whose end had this one pushed.
	Type string `json:"y,omitempty"`
	ID   string `json:"i,omitempty"`
}

// Member says that a job is one of a workflow's.
type Member struct {
	// ID is the workflow's, and Index the job's place in its jobs, from 0.
	ID    string `json:"i"`
	Index int    `json:"n"`
}

// after is what follows a job, as its record's options hold it.
type after struct {
	Success     *follow  `json:"s,omitempty"`
	Failure     *follow  `json:"f,omitempty"`
	Then        []follow `json:"n,omitempty"`
	CallbackURL string   `json:"u,omitempty"`
	Workflow    *Member  `json:"w,omitempty"`
}

// follow is a job to be pushed later.
type follow struct {
	Type     string          `json:"y"`
	ID       string          `json:"i,omitempty"`
	Data     json.RawMessage `json:"d,omitempty"`
	Priority Priority        `json:"r,omitzero"`
	Delay    int64           `json:"w,omitempty"` // ms
	Unique   *Unique         `json:"z,omitempty"`
	Options  *options        `json:"o,omitempty"`
}

// follows reports whether anything follows the job.
func (j *Job) follows() bool {
	return j.OnSuccess != nil || j.OnFailure != nil || len(j.Then) > 0 || j.CallbackURL != "" || j.Workflow != nil
}

func afterOf(j *Job) *after {
	if !j.follows() {
		return nil
	}
	a := &after{Success: followOf(j.OnSuccess), Failure: followOf(j.OnFailure), CallbackURL: j.CallbackURL, Workflow: j.Workflow}
	for i := range j.Then {
		a.Then = append(a.Then, *followOf(&j.Then[i]))
	}
	return a
}

func followOf(j *Job) *follow {
	if j == nil {
		return nil
	}
	f := &follow{Type: j.Type, ID: j.ID, Data: j.Data, Priority: j.Priority, Delay: j.Delay.Milliseconds(), Unique: j.Unique}
	if o := optionsOf(j); o != (options{}) {
		f.Options = &o
	}
	return f
}

func (a *after) fill(j *Job) {
	if a == nil {
		return
	}
	j.OnSuccess, j.OnFailure, j.CallbackURL, j.Workflow = a.Success.job(), a.Failure.job(), a.CallbackURL, a.Workflow
	for i := range a.Then {
		j.Then = append(j.Then, *a.Then[i].job())
	}
}

func (f *follow) job() *Job {
	if f == nil {
		return nil
	}
	j := &Job{Type: f.Type, ID: f.ID, Data: f.Data, Priority: f.Priority, Delay: time.Duration(f.Delay) * time.Millisecond}
	if f.Options != nil {
		f.Options.fill(j)
		if f.Options.TTL > 0 { // it has not been pushed yet
			j.TTL, j.ExpiresAt = time.Duration(f.Options.TTL)*time.Millisecond, time.Time{}
		}
	}
	if f.Unique != nil {
		j.Unique = f.Unique // the options know its key alone
	}
	return j
}

// Followers calls fn for each job that may follow this one, with its field as in REST: also for
// those that follow its followers. It stops at the first error, and returns it.
func (j *Job) Followers(fn func(field string, f *Job) error) error {
	visit := func(field string, f *Job) error {
		if err := fn(field, f); err != nil {
			return err
		}
		return f.Followers(func(inner string, g *Job) error { return fn(field+"."+inner, g) })
	}
	if j.OnSuccess != nil {
		if err := visit("on_success", j.OnSuccess); err != nil {
			return err
		}
	}
	if j.OnFailure != nil {
		if err := visit("on_failure", j.OnFailure); err != nil {
			return err
		}
	}
	for i := range j.Then {
		if err := visit("then["+strconv.Itoa(i)+"]", &j.Then[i]); err != nil {
			return err
		}
	}
	return nil
}

// validateAfter reports what is wrong with what follows the job.
func (j *Job) validateAfter() error {
	if !j.follows() {
		return nil
	}
	if err := validateURL("callback_url", j.CallbackURL); err != nil {
		return err
	}
	// Before anything is done with all of it: a library's caller may have made a circle.
	if j.depth(MaxFollowDepth+1) > MaxFollowDepth {
		return invalid.Errorf("", "must not have follow-ups more than %d deep", MaxFollowDepth)
	}
	n := 0
	err := j.Followers(func(field string, f *Job) error {
		if n++; n > MaxFollowUps {
			return invalid.Errorf("", "must have at most %d follow-ups in all", MaxFollowUps)
		}
		alone := *f
		alone.OnSuccess, alone.OnFailure, alone.Then, alone.CallbackURL, alone.Workflow = nil, nil, nil, "", nil
		err := alone.Validate()
		if err == nil {
			err = validateURL("callback_url", f.CallbackURL)
		}
		switch {
		case err != nil:
		case !f.RunAt.IsZero():
			err = invalid.Errorf("when", "must not be given: a follow-up is due when the job before it has ended; give a delay")
		case !f.ExpiresAt.IsZero():
			err = invalid.Errorf("expires_at", "must not be given: nobody knows when the job before it will have ended; give a ttl")
		case len(f.Then) > 0 && strings.HasSuffix(field, "]"):
			err = invalid.Errorf("then", "must not be given inside of then: append to that chain")
		}
		if bad, ok := err.(*invalid.Error); ok {
			return bad.In(field)
		}
		return err
	})
	if err != nil {
		return err
	}
	b, err := json.Marshal(afterOf(j))
	if err == nil && len(b) > MaxFollowSize {
		err = invalid.Errorf("", "must have at most %d bytes of follow-ups in all, as JSON", MaxFollowSize)
	}
	return err
}

// depth counts how deep the follow-ups are, but not beyond most.
func (j *Job) depth(most int) int {
	if most == 0 {
		return 0
	}
	deepest := 0
	if j.OnSuccess != nil {
		deepest = max(deepest, 1+j.OnSuccess.depth(most-1))
	}
	if j.OnFailure != nil {
		deepest = max(deepest, 1+j.OnFailure.depth(most-1))
	}
	for i := range j.Then {
		deepest = max(deepest, 1+j.Then[i].depth(most-1))
	}
	return deepest
}

// size is about how much the job takes, in bytes.
func (j *Job) size() int {
	n := len(j.Data)
	if j.follows() {
		_ = j.Followers(func(_ string, f *Job) error { n += len(f.Data) + 512; return nil })
	}
	return n
}

// validateURL checks what the queue can know of a URL; "" is valid.
func validateURL(field, s string) error {
	if s == "" {
		return nil
	}
	u, err := url.Parse(s)
	switch {
	case len(s) > maxURLLength:
		return invalid.Errorf(field, "must be at most %d bytes", maxURLLength)
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "":
		return invalid.Errorf(field, "must be an absolute http or https URL with a host")
	case u.User != nil:
		return invalid.Errorf(field, "must not contain a user or password")
	case strings.Contains(s, "#"):
		return invalid.Errorf(field, "must not have a fragment")
	}
	return nil
}
