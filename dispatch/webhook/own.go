package webhook

import (
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/hashicorp/go-retryablehttp"

	"github.com/deetoo/deetoo/dispatch"
	"github.com/deetoo/deetoo/queue"
	"github.com/deetoo/deetoo/registry"
)

// errNotAllowed: a job's own target is none that its type allows, now at least.
// No further attempt will help.
var errNotAllowed = errors.New("the job's own target is not among its type's allow_targets any more")

// unsendable is the outcome of an attempt whose request could not be made.
func unsendable(err error) dispatch.Outcome {
	if errors.Is(err, errNotAllowed) {
		return dispatch.Outcome{Verdict: dispatch.Dead, Err: err.Error()}
	}
	return dispatch.Outcome{Err: err.Error()}
}

// own reports whether a job has headers or a target of its own, so that it
// cannot share a request with others.
func own(lease *queue.Lease) bool { return len(lease.Headers) > 0 || lease.Target != "" }

// setOwn gives a request what the job has of its own: headers over the type's,
// but for those of the contract, and the target. The guard sees its address as any other.
func setOwn(req *retryablehttp.Request, typ *registry.Type, lease *queue.Lease) error {
	for name, value := range lease.Headers {
		if name = http.CanonicalHeaderKey(name); !contractHeader(name) && !(typ.Format == registry.CloudEventsBinary && strings.HasPrefix(name, eventPrefix)) {
			req.Header[name] = []string{value}
		}
	}
	if lease.Target == "" || lease.Target == typ.Target {
		return nil
	}
	if !typ.AllowsTarget(lease.Target) {
		return errNotAllowed
	}
	u, err := url.Parse(lease.Target)
	if err != nil {
		return errTarget
	}
	req.URL, req.Host = u, u.Host
	return nil
}
