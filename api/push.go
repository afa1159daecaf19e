package api

import (
	"bytes"
	"net/url"
	"strings"

	"github.com/gofiber/fiber/v2"

	"github.com/deetoo/deetoo/intake"
	"github.com/deetoo/deetoo/invalid"
	"github.com/deetoo/deetoo/queue"
)

// pushJobs takes one job, an array of jobs, or one job a line.
func (a *API) pushJobs(r *request) error {
	typ, err := r.typ()
	if err != nil {
		return err
	}
	// Before the body is looked at: who may not push costs no parsing.
	if err := a.intake.CanPush(r.ctx, r.who, typ); err != nil {
		return err
	}
	body, media, err := r.body(a.opts.MaxBatchBody, mediaJSON, mediaNDJSON)
	if err != nil {
		return err
	}
	if media == mediaNDJSON || isArray(body) {
		return a.pushBatch(r, typ, body, media == mediaNDJSON)
	}
	job, err := a.oneJob(r, typ, body, intake.DecodeJob)
	if err != nil {
		return err
	}
	return a.pushOne(r, body, job)
}

// putJob takes one job under the ID in the path.
func (a *API) putJob(r *request) error {
	job, body, err := a.jobOfPath(r, intake.DecodeJob)
	if err != nil {
		return err
	}
	return a.pushOne(r, body, job)
}

// jobOfPath reads the job of a request that has its ID in the path, and returns its body, too.
func (a *API) jobOfPath(r *request, decode decodeFunc) (job queue.Job, body []byte, err error) {
	typ, id, err := r.typAndID()
	if err != nil {
		return job, nil, err
	}
	if err := a.intake.CanPush(r.ctx, r.who, typ); err != nil {
		return job, nil, err
	}
	if body, _, err = r.body(a.intake.MaxJobSize()+maxEnvelope, mediaJSON); err != nil {
		return job, nil, err
	}
	if job, err = a.oneJob(r, typ, body, decode); err != nil {
		return job, nil, err
	}
	err = setID(&job, id)
	return job, body, err
}

// setID gives the job the ID of its address, which its body may repeat.
func setID(j *queue.Job, id string) error {
	if err := queue.ValidateID(id); err != nil {
		return err
	}
	if j.ID != "" && j.ID != id {
		return invalid.Errorf("id", "must be the ID in the path, or absent")
	}
	j.ID = id
	return nil
}

// oneJob reads the body of a request for one job.
func (a *API) oneJob(r *request, typ string, body []byte, decode decodeFunc) (queue.Job, error) {
	if limit := a.intake.MaxJobSize() + maxEnvelope; len(body) > limit {
		return queue.Job{}, &tooLargeError{limit}
	}
	job, err := decode(typ, body)
	if err != nil {
		return job, err
	}
	trace(&job, r.traceparent())
	return job, nil
}

type decodeFunc = func(typ string, data []byte) (queue.Job, error)

func isArray(body []byte) bool {
	body = bytes.TrimLeft(body, " \t\r\n")
	return len(body) > 0 && body[0] == '['
}

func (a *API) pushOne(r *request, body []byte, job queue.Job) error {
	receipt, err := a.push1(r, body, job)
	if err != nil {
		return err
	}
	status := fiber.StatusCreated
	if receipt.Replaced || receipt.Duplicate {
		status = fiber.StatusOK
	}
	r.Response().Header.Set(fiber.HeaderLocation, "/v1/types/"+url.PathEscape(job.Type)+"/jobs/"+url.PathEscape(receipt.ID))
	b := appendReceipt(make([]byte, 0, 192), viewReceipt(receipt), new(clockface))
	r.respond(status, append(b, '\n'))
	return nil
}

// push1 stores one job; whatever was wrong with it is the error.
func (a *API) push1(r *request, body []byte, job queue.Job) (queue.Receipt, error) {
	receipts, err := a.push(r, job.Type, body, []intake.Item{{Job: job}})
	if err != nil {
		return queue.Receipt{}, err
	}
	return receipts[0], receipts[0].Err
}

func (a *API) pushBatch(r *request, typ string, body []byte, ndjson bool) error {
	items, err := a.batch(r, typ, body, ndjson, intake.DecodeJob)
	if err != nil {
		return err
	}
	receipts, err := a.push(r, typ, body, items)
	if err != nil {
		return err
	}
	view := batchView{Results: make([]itemView, len(receipts))}
	for i, receipt := range receipts {
		if receipt.Err != nil {
			p, known := problemOf(receipt.Err)
			if !known {
				a.opts.Logger.Error("a job of a batch failed", "error", receipt.Err, "type", typ, "request_id", requestID(r.Ctx))
			}
			view.Results[i].Error = p
			view.Rejected++
			continue
		}
		view.Results[i].receiptView = viewReceipt(receipt)
		view.Accepted++
	}
	status := fiber.StatusCreated
	if view.Rejected > 0 {
		status = fiber.StatusMultiStatus
	}
	body, err = view.appendJSON(nil)
	if err != nil {
		return err
	}
	r.respond(status, body)
	return nil
}

// batch reads the body of a request for many jobs.
func (a *API) batch(r *request, typ string, body []byte, ndjson bool, decode decodeFunc) ([]intake.Item, error) {
	items, err := intake.DecodeBatch(typ, body, ndjson, a.intake.MaxBatch(), decode)
	if err != nil {
		return nil, err
	}
	parent := r.traceparent()
	for i := range items {
		if items[i].Err == nil {
			trace(&items[i].Job, parent)
		}
	}
	return items, nil
}

// pushItems stores the items that are jobs and returns a receipt for each item. The
// error is for the whole: nothing got in, or nobody knows of any.
func (a *API) pushItems(r *request, items []intake.Item) ([]queue.Receipt, error) {
	receipts := make([]queue.Receipt, len(items))
	jobs := make([]queue.Job, 0, len(items))
	index := make([]int, 0, len(items))
	for i, item := range items {
		if item.Err != nil {
			receipts[i].Err = item.Err
			continue
		}
		jobs = append(jobs, item.Job)
		index = append(index, i)
	}
	pushed, err := a.intake.Push(r.ctx, r.who, jobs)
	if err != nil && pushed == nil {
		return nil, err
	}
	stored := 0
	for k, receipt := range pushed {
		receipts[index[k]] = receipt
		if receipt.Err == nil {
			stored++
		}
	}
	if err != nil && stored == 0 {
		return nil, err
	}
	return receipts, nil
}

// traceparent returns a copy of the request's trace context
// (https://www.w3.org/TR/trace-context/#traceparent-header); "" if absent or malformed.
func (r *request) traceparent() string {
	h := r.Get("Traceparent")
	if len(h) < 55 || len(h) > 128 || strings.Trim(h, "0123456789abcdef-") != "" {
		return ""
	}
	return strings.Clone(h)
}

// trace gives the job the trace of the request, unless it brought its own.
func trace(j *queue.Job, parent string) {
	if j.Traceparent == "" {
		j.Traceparent = parent
	}
}
