package api

import (
	"encoding/json"
	"strconv"

	"github.com/gofiber/fiber/v2"
)

// mediaProblem is RFC 9457's media type.
const mediaProblem = "application/problem+json"

// kind is a kind of problem. Its address, "/docs/errors#" and the slug, is a promise.
type kind struct {
	Slug    string
	Status  int
	Title   string
	Meaning string
}

// kinds lists every kind there is, for /docs/errors; the switch in errors.go
// picks among them by slug.
func kinds() []kind {
	return []kind{
		{"invalid", 400, "Invalid input", "A field, a parameter or the request as a whole breaks a rule: field and rule say which. Sending it again will not help."},
		{"bad-request", 400, "Malformed request", "What came was not HTTP as a server understands it."},
		{"unauthenticated", 401, "Not authenticated", "There is no token, or it is not good; the detail says why. Send Authorization: Bearer and a JWT."},
		{"missing-scope", 403, "Missing scope", "The token is good, but lacks the scope that is named."},
		{"type-out-of-reach", 403, "Job type out of reach", "The token's job_types claim does not include the type that is named, whether or not there is such a type."},
		{"unknown-type", 404, "Unknown job type", "There is no such job type. nearest lists the names that come close, as far as the token reaches them."},
		{"unknown-job", 404, "Unknown job", "There is no such job, or no longer: finished jobs are kept as long as their type's retention says."},
		{"unknown-schedule", 404, "Unknown schedule", "There is no schedule of that name, or its job type is none that the token reaches."},
		{"unknown-secret", 404, "Unknown secret", "The job type has no signing secret of that ID, or no longer."},
		{"unknown-redrive", 404, "Unknown redrive", "There is no such redrive, or no longer: a type's last 100 are remembered, and those that go on."},
		{"unknown-workflow", 404, "Unknown workflow", "There is no workflow of that ID, or no longer: it is kept for a week after its end. Or it has jobs of types that the token does not reach."},
		{"unknown-path", 404, "Unknown path", "Nothing is at this address."},
		{"method-not-allowed", 405, "Method not allowed", "The address exists, but not for this method; the Allow header lists those it has."},
		{"timeout", 408, "Request too slow", "The request did not arrive in time."},
		{"job-running", 409, "Job is running", "The job is running, so it can neither be replaced nor moved now. Try again later, or cancel it."},
		{"duplicate-job", 409, "Duplicate of another job", "Another job, whose ID is in job_id, holds the job's unique_key; its state is named unless it has been deleted. Nothing was stored. The key becomes free when that job ends, or when its window does; on_conflict says what else could be done."},
		{"workflow-exists", 409, "Workflow exists", "There is a workflow of that ID with other jobs, or with other things to follow. Nothing was stored."},
		{"job-state", 409, "Job state does not allow this", "The job is in a state, which is named, from which this cannot be done."},
		{"attempt-ended", 409, "Attempt has ended", "The callback token is none of an attempt that still runs: it was concluded already, its lease ended because the handler was silent for too long, or the job is gone. Nothing was changed. Stop working on it: the job may have begun again."},
		{"too-many-redrives", 409, "Too many redrives", "So many redrives of the type go on already. Wait for one to end, or stop one."},
		{"type-not-empty", 409, "Job type has jobs", "The job type still has unfinished or dead jobs, or schedules push to it. Delete it with force=true all the same: its jobs are deleted too, and its schedules stay, but fail."},
		{"version-mismatch", 412, "Changed meanwhile", "The job type or schedule is not at the version in If-Match, or exists although If-None-Match says it must not; version is the current one, absent if there is none."},
		{"too-large", 413, "Too large", "The body, or the data of one job, is larger than allowed; the rule says how large it may be."},
		{"unsupported-media-type", 415, "Unsupported media type", "The Content-Type is none that is read here, or the body is compressed, which is not."},
		{"idempotency-key-reused", 422, "Idempotency key was used", "The Idempotency-Key came within the last 24 hours with another body, from the same caller to the same address. Nothing was stored. A new request needs a new key; a repetition must be the same, byte for byte."},
		{"headers-too-large", 431, "Headers too large", "The request line and headers are larger than the server reads."},
		{"internal", 500, "Internal error", "The mistake is on this side. The log has more under the request_id."},
		{"store-full", 503, "Store is full", "The store has reached its memory limit and takes no new jobs for now; those there are go on. Retry-After says when to try again."},
		{"unavailable", 503, "Store is unavailable", "The store does not answer. Whether a change happened is unknown; repeating it is safe if the jobs have IDs. Retry-After says when to try again."},
		{"not-ready", 503, "Not ready", "This dispatcher is starting or shutting down; another one may be ready."},
		{"keys-unavailable", 503, "Keys are unavailable", "The keys that tokens are verified with cannot be fetched. Retry-After says when to try again."},
	}
}

// problem is a problem document, and what goes into the headers beside it.
type problem struct {
	// Type is the kind's address, relative to the server.
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	// Detail says what happened this time.
	Detail string `json:"detail,omitempty"`
	// RequestID is in the log, too. Empty in the items of a batch.
	RequestID string `json:"request_id,omitempty"`

	// Field and Rule say what is invalid.
	Field string `json:"field,omitempty"`
	Rule  string `json:"rule,omitempty"`
	// Scope the token lacks.
	Scope string `json:"scope,omitempty"`
	// JobType that is out of reach or unknown.
	JobType string `json:"job_type,omitempty"`
	// JobID is that of the job that is in the way.
	JobID string `json:"job_id,omitempty"`
	// Nearest are the names that come close to an unknown type's.
	Nearest []string `json:"nearest,omitempty"`
	// State the job is in.
	State string `json:"state,omitempty"`
	// Version the job type is at.
	Version int64 `json:"version,omitempty"`

	// retryAfter is in seconds; 0: no such header.
	retryAfter int
	// authenticate is the WWW-Authenticate header, if any.
	authenticate string
}

// newProblem makes a problem of the kind of that slug; detail may be empty.
func newProblem(slug, detail string) *problem {
	for _, k := range kinds() {
		if k.Slug == slug {
			return &problem{Type: "/docs/errors#" + slug, Title: k.Title, Status: k.Status, Detail: detail}
		}
	}
	return newProblem("internal", "")
}

// write answers with the problem.
func (p *problem) write(c *fiber.Ctx) error {
	p.RequestID = requestID(c)
	body, err := json.Marshal(p)
	if err != nil {
		return err
	}
	if p.retryAfter > 0 {
		c.Response().Header.Set(fiber.HeaderRetryAfter, strconv.Itoa(p.retryAfter))
	}
	if p.authenticate != "" {
		c.Response().Header.Set(fiber.HeaderWWWAuthenticate, p.authenticate)
	}
	c.Response().SetStatusCode(p.Status)
	c.Response().Header.SetContentType(mediaProblem)
	c.Response().SetBodyRaw(body)
	return nil
}
