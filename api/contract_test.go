package api

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
)

// contract is openapi.yaml, and what of it the tests have seen.
type contract struct {
	bytes []byte
	doc   *openapi3.T

	mu   sync.Mutex
	seen map[string]bool // "operation status"
}

var spec *contract

func loadContract() (*contract, error) {
	b, err := os.ReadFile("../openapi.yaml")
	if err != nil {
		return nil, err
	}
	loader := openapi3.NewLoader()
	doc, err := loader.LoadFromData(b)
	if err != nil {
		return nil, err
	}
	openapi3filter.RegisterBodyDecoder(mediaNDJSON, openapi3filter.PlainBodyDecoder)
	return &contract{bytes: b, doc: doc, seen: map[string]bool{}}, doc.Validate(loader.Context)
}

// TestMain fails the run if a documented answer was never given.
func TestMain(m *testing.M) {
	var err error
	if spec, err = loadContract(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	whole := flag.Lookup("test.run").Value.String() == "" && flag.Lookup("test.fuzz").Value.String() == "" &&
		flag.Lookup("test.list").Value.String() == "" && flag.Lookup("test.skip").Value.String() == ""
	if unseen := spec.unseen(); code == 0 && whole && len(unseen) > 0 {
		fmt.Fprintf(os.Stderr, "documented in openapi.yaml, but no test got this answer:\n\t%s\n", strings.Join(unseen, "\n\t"))
		code = 1
	}
	os.Exit(code)
}

func (s *contract) unseen() []string {
	var out []string
	for _, item := range s.doc.Paths.Map() {
		for _, op := range item.Operations() {
			for status := range op.Responses.Map() {
				if !s.seen[op.OperationID+" "+status] {
					out = append(out, op.OperationID+" "+status)
				}
			}
		}
	}
	slices.Sort(out)
	return out
}

// find returns the route that a request is for, nil if there is none.
func (s *contract) find(method, rawPath string) (*routers.Route, map[string]string) {
	if method == http.MethodHead {
		method = http.MethodGet
	}
	var best *routers.Route
	var params map[string]string
	for path, item := range s.doc.Paths.Map() {
		op := item.GetOperation(method)
		if op == nil {
			continue
		}
		names := regexp.MustCompile(`\{(\w+)\}`).FindAllStringSubmatch(path, -1)
		match := regexp.MustCompile("^" + regexp.MustCompile(`\{\w+\}`).ReplaceAllString(path, "([^/]+)") + "$").FindStringSubmatch(rawPath)
		// A literal path wins over a template.
		if match == nil || best != nil && strings.Count(best.Path, "{") <= len(names) {
			continue
		}
		params = map[string]string{}
		for i, n := range names {
			params[n[1]], _ = url.PathUnescape(match[i+1])
		}
		best = &routers.Route{Spec: s.doc, Path: path, PathItem: item, Method: method, Operation: op}
	}
	return best, params
}

// check holds one exchange against the contract.
func (a *answer) check(req *http.Request, c call) {
	a.Helper()
	if a.Header.Get("X-Request-Id") == "" {
		a.Errorf("%s %s: no X-Request-Id", c.method, c.path)
	}
	if a.Header.Get("X-Content-Type-Options") != "nosniff" || a.Header.Get("Content-Security-Policy") == "" {
		a.Errorf("%s %s: security headers are missing: %v", c.method, c.path, a.Header)
	}
	raw, _, _ := strings.Cut(c.path, "?")
	route, params := spec.find(c.method, strings.TrimSuffix(raw, "/")) // which may be there or not
	if route == nil {
		if a.Status != 404 && a.Status != 405 {
			a.Errorf("%s %s is not in the contract, and answered %d", c.method, c.path, a.Status)
		}
		return
	}
	spec.mu.Lock()
	spec.seen[fmt.Sprintf("%s %d", route.Operation.OperationID, a.Status)] = true
	spec.mu.Unlock()

	in := &openapi3filter.RequestValidationInput{
		Request: req, PathParams: params, QueryParams: req.URL.Query(), Route: route,
		Options: &openapi3filter.Options{AuthenticationFunc: openapi3filter.NoopAuthenticationFunc, RejectWhenRequestBodyNotSpecified: true, SkipSettingDefaults: true},
	}
	switch {
	case c.odd, a.Status == 400, a.Status == 413, a.Status == 415:
	default:
		if err := openapi3filter.ValidateRequest(context.Background(), in); err != nil {
			a.Errorf("%s %s answered %d to a request against the contract: %v", c.method, c.path, a.Status, err)
		}
	}
	media := a.Header.Get("Content-Type")
	out := &openapi3filter.ResponseValidationInput{
		RequestValidationInput: in, Status: a.Status, Header: a.Header, Body: io.NopCloser(bytes.NewReader(a.Body)),
		Options: &openapi3filter.Options{
			IncludeResponseStatus: true, ExcludeResponseBody: !strings.Contains(media, "json") && !strings.HasPrefix(media, "text/plain"),
		},
	}
	if err := openapi3filter.ValidateResponse(context.Background(), out); err != nil {
		a.Errorf("%s %s: the answer %d is against the contract: %v\n%s", c.method, c.path, a.Status, err, a.Body)
	}
	if a.Status >= 400 && c.method != http.MethodHead && a.problem().RequestID != a.Header.Get("X-Request-Id") {
		a.Errorf("request_id is %q, the header says %q", a.problem().RequestID, a.Header.Get("X-Request-Id"))
	}
}
