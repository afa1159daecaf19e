package api

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestTableAndContractAgree(t *testing.T) {
	w := newWorld(t)
	table, names := map[string]Route{}, map[string]bool{}
	for _, r := range w.api.Routes() {
		table[r.Method+" "+r.Path] = r
		if names[r.OperationID] {
			t.Errorf("two routes are called %s", r.OperationID)
		}
		names[r.OperationID] = true
	}
	for path, item := range spec.doc.Paths.Map() {
		for method, op := range item.Operations() {
			r, ok := table[method+" "+path]
			if !ok {
				t.Errorf("%s %s is in the contract, but not in the table", method, path)
				continue
			}
			delete(table, method+" "+path)
			if r.OperationID != op.OperationID {
				t.Errorf("%s %s is %s in the contract and %s in the table", method, path, op.OperationID, r.OperationID)
			}
			if op.Security == nil {
				t.Errorf("%s says nothing of security", op.OperationID)
				continue
			}
			var want []string
			for _, s := range *op.Security {
				want = append(want, s["bearer"]...)
			}
			if got := strings.Join(want, " "); got != string(r.Scope) {
				t.Errorf("%s needs %q in the contract and %q in the table", op.OperationID, got, r.Scope)
			}
			var query, inPath []string
			for _, p := range slices.Concat(item.Parameters, op.Parameters) {
				switch p.Value.In {
				case "query":
					query = append(query, p.Value.Name)
				case "path":
					inPath = append(inPath, "{"+p.Value.Name+"}")
				}
			}
			if !slices.Equal(query, r.Query) {
				t.Errorf("%s has the query parameters %v in the contract and %v in the table", op.OperationID, query, r.Query)
			}
			for _, name := range inPath {
				if !strings.Contains(path, name) {
					t.Errorf("%s declares %s, which is not in its path", op.OperationID, name)
				}
			}
			if len(inPath) != strings.Count(path, "{") || op.Summary == "" || len(op.Tags) != 1 {
				t.Errorf("%s lacks a path parameter, a summary or a tag", op.OperationID)
			}
		}
	}
	for row := range table {
		t.Errorf("%s is in the table, but not in the contract", row)
	}
}

func TestEveryRouteIsMounted(t *testing.T) {
	w := newWorld(t)
	mounted := map[string]bool{}
	for _, r := range w.app.GetRoutes(true) {
		mounted[r.Method+" "+r.Path] = true
	}
	for _, r := range w.api.Routes() {
		row := r.Method + " " + fiberPath(r.Path)
		if !mounted[row] {
			t.Errorf("%s is not mounted", row)
		}
		delete(mounted, row)
		if r.Method == "GET" {
			delete(mounted, "HEAD "+fiberPath(r.Path))
		}
	}
	if len(mounted) > 0 {
		t.Errorf("mounted, but not in the table: %v", mounted)
	}
}

func TestKindsOfProblemsAgree(t *testing.T) {
	var documented []string
	for _, v := range spec.doc.Components.Schemas["Problem"].Value.Properties["type"].Value.Enum {
		documented = append(documented, fmt.Sprint(v))
	}
	page := newWorld(t).get("/docs/errors").want(200)
	for _, k := range kinds() {
		address := "/docs/errors#" + k.Slug
		if i := slices.Index(documented, address); i < 0 {
			t.Errorf("%s is not in the contract", address)
		} else {
			documented = slices.Delete(documented, i, i+1)
		}
		if !strings.Contains(string(page.Body), `id="`+k.Slug+`"`) {
			t.Errorf("/docs/errors does not explain %s", k.Slug)
		}
		if p := newProblem(k.Slug, ""); p.Status != k.Status || p.Title == "" || k.Meaning == "" {
			t.Errorf("%s is incomplete", k.Slug)
		}
	}
	if len(documented) > 0 {
		t.Errorf("in the contract, but no kind of problem: %v", documented)
	}
}
