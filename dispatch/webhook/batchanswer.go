package webhook

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/deetoo/deetoo/dispatch"
	"github.com/deetoo/deetoo/queue"
	"github.com/deetoo/deetoo/registry"
)

// maxBatchAnswer bounds the answer for a batch, in bytes: MaxResult for each job, up to this.
const maxBatchAnswer = 16 << 20

// itemAnswer is what the answer for a batch says of one job.
type itemAnswer struct {
	ID string `json:"id"`
	// Status is as that of an answer for one job. Absent: that of the whole
	// answer, or 500 if there is an error.
	Status     int             `json:"status"`
	Error      string          `json:"error"`
	Result     json.RawMessage `json:"result"`
	RetryAfter json.RawMessage `json:"retry_after"`
	NoRetry    bool            `json:"no_retry"`
}

// judgeBatch reads the response and says what it means for each job. A failure
// is one for all of them, and so is a success without a body. Else the body says
// of each job what its own answer would have been; a job it does not name has failed.
func (d *Deliverer) judgeBatch(ctx context.Context, limit time.Duration, typ *registry.Type, leases []*queue.Lease, resp *http.Response, ex *Exchange) []dispatch.Outcome {
	body, readErr := read(resp, min(len(leases)*d.opts.MaxResult+len(leases)*1024, maxBatchAnswer))
	out, row := d.policy(typ, resp, body, readErr == nil)
	if row < 0 {
		out = d.verdict(typ, resp)
	}
	out.Status, out.Excerpt = resp.StatusCode, clean(body, d.opts.MaxExcerpt)
	out.Health = health(out.Verdict, resp.StatusCode)
	if ex != nil {
		ex.Response = showResponse(resp, out.Excerpt)
		if row >= 0 {
			ex.Row = &row
		}
	}
	success := resp.StatusCode >= 200 && resp.StatusCode <= 299
	if !success || (out.Verdict != dispatch.Done && out.Verdict != dispatch.Accept) {
		return alike(leases, out)
	}
	switch {
	case errors.Is(readErr, errTooLong):
		out.Verdict, out.Err = dispatch.Retry, fmt.Sprintf("%s, but the answer is longer than %d bytes", statusLine(resp.StatusCode), len(body))
		return alike(leases, out)
	case readErr != nil:
		failed := failure(ctx, limit, readErr)
		out.Verdict, out.Health, out.Unsure = failed.Verdict, failed.Health, true
		out.Err = fmt.Sprintf("%s, after %d bytes of the answer (%s)", failed.Err, len(body), statusLine(resp.StatusCode))
		return alike(leases, out)
	case len(bytes.TrimSpace(body)) == 0:
		return alike(leases, out)
	}
	items, err := readItems(body)
	if err != nil {
		out.Verdict = dispatch.Retry
		out.Err = fmt.Sprintf("%s, but %s", statusLine(resp.StatusCode), err)
		return alike(leases, out)
	}
	outs := make([]dispatch.Outcome, len(leases))
	for i, lease := range leases {
		if raw, ok := items[lease.ID]; ok {
			outs[i] = d.judgeItem(typ, resp.StatusCode, raw)
		} else {
			outs[i] = dispatch.Outcome{Status: resp.StatusCode, Err: statusLine(resp.StatusCode) + ", but the answer says nothing of this job", Excerpt: out.Excerpt, Health: queue.Answered}
		}
	}
	return agreed(outs)
}

// agreed makes one of what the items tell of the target, because a batch is one
// delivery: it failed if all of them say so, in the words of the first.
func agreed(outs []dispatch.Outcome) []dispatch.Outcome {
	all := outs[0].Health
	for _, out := range outs {
		if out.Health == queue.Answered {
			all = queue.Answered
		}
	}
	for i := range outs {
		outs[i].Health = all
	}
	return outs
}

var errItems = errors.New(`the answer is neither empty nor an array of {"id": …, "status": …}, one for each job`)

// readItems returns the items of an answer by their IDs. Of several with the same the first counts.
func readItems(body []byte) (map[string]json.RawMessage, error) {
	var list []json.RawMessage
	if json.Unmarshal(body, &list) != nil || list == nil {
		return nil, errItems
	}
	items := make(map[string]json.RawMessage, len(list))
	for _, raw := range list {
		var item struct {
			ID string `json:"id"`
		}
		if json.Unmarshal(raw, &item) != nil || item.ID == "" {
			return nil, errItems
		}
		if _, ok := items[item.ID]; !ok {
			items[item.ID] = raw
		}
	}
	return items, nil
}

// judgeItem says what an item means, as if it were the answer for its job alone.
func (d *Deliverer) judgeItem(typ *registry.Type, whole int, raw json.RawMessage) dispatch.Outcome {
	var item itemAnswer
	err := json.Unmarshal(raw, &item)
	status := item.Status
	switch {
	case status == 0 && item.Error != "":
		status = http.StatusInternalServerError
	case status == 0:
		status = whole
	}
	if err != nil || status < 200 || status > 599 {
		return dispatch.Outcome{
			Status: whole, Excerpt: clean(raw, d.opts.MaxExcerpt), Health: queue.Answered,
			Err: statusLine(whole) + ", but what the answer says of this job is not as it must be: status is a number from 200 to 599, error a string, no_retry true or false",
		}
	}
	resp := &http.Response{StatusCode: status, Header: http.Header{}}
	if item.NoRetry {
		resp.Header.Set(headerNoRetry, "true")
	}
	if after := strings.Trim(string(item.RetryAfter), `"`); after != "" && after != "null" {
		resp.Header.Set("Retry-After", after)
	}
	out, row := d.policy(typ, resp, raw, true)
	if row < 0 {
		if out = d.verdict(typ, resp); out.Verdict == dispatch.Retry && !slowDown(status) {
			out.Delay = d.askedFor(typ, resp) // of this job alone
		}
	}
	out.Status, out.Excerpt = status, clean(raw, d.opts.MaxExcerpt)
	out.Health = health(out.Verdict, status)
	if out.Verdict != dispatch.Done {
		if item.Error != "" && out.Verdict != dispatch.Accept {
			out.Err = clean([]byte(out.Err+": "+item.Error), d.opts.MaxExcerpt)
		}
		return out
	}
	if out.Result = item.Result; len(out.Result) > d.opts.MaxResult {
		out.Err = fmt.Sprintf("the result was cut off after %d bytes", d.opts.MaxResult)
		out.Result = out.Result[:d.opts.MaxResult]
	}
	return out
}
