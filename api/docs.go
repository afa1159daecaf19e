package api

import (
	"bytes"
	"embed"
	"fmt"
	"html/template"
	"path"

	"github.com/gofiber/fiber/v2"
)

//go:embed docs/index.html docs/start.js docs/errors.html docs/errors.css docs/swagger
var docFiles embed.FS

// document is a file under /docs.
type document struct {
	media string
	body  []byte
}

// docsPolicy lets the pages load what is beside them, and nothing else. The
// viewer sets style attributes and draws with data URLs.
const docsPolicy = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; " +
	"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// loadDocs returns the files by their names under /docs/; the index is "".
func loadDocs() (map[string]document, error) {
	docs := map[string]document{}
	for name, file := range map[string]string{
		"": "index.html", "start.js": "start.js", "errors.css": "errors.css",
		"swagger-ui.css": "swagger/swagger-ui.css", "swagger-ui-bundle.js": "swagger/swagger-ui-bundle.js",
		"LICENSE": "swagger/LICENSE", "NOTICE": "swagger/NOTICE",
		"swagger-ui-bundle.js.LICENSE.txt": "swagger/swagger-ui-bundle.js.LICENSE.txt",
	} {
		body, err := docFiles.ReadFile("docs/" + file)
		if err != nil {
			return nil, fmt.Errorf("docs: %w", err)
		}
		docs[name] = document{docMedia(file), body}
	}
	page, err := template.ParseFS(docFiles, "docs/errors.html")
	if err != nil {
		return nil, fmt.Errorf("docs: %w", err)
	}
	var b bytes.Buffer
	if err := page.Execute(&b, kinds()); err != nil {
		return nil, fmt.Errorf("docs: %w", err)
	}
	docs["errors"] = document{docMedia("errors.html"), b.Bytes()}
	return docs, nil
}

func docMedia(file string) string {
	switch path.Ext(file) {
	case ".html":
		return "text/html; charset=utf-8"
	case ".css":
		return "text/css; charset=utf-8"
	case ".js":
		return "text/javascript; charset=utf-8"
	}
	return "text/plain; charset=utf-8"
}

func (a *API) docsIndex(r *request) error { return a.document(r, "") }

func (a *API) docsFile(r *request) error {
	name, err := r.param("file")
	if err != nil {
		return err
	}
	return a.document(r, name)
}

func (a *API) document(r *request, name string) error {
	d, ok := a.docs[name]
	if !ok {
		return fiber.ErrNotFound
	}
	r.Response().Header.Set(fiber.HeaderContentSecurityPolicy, docsPolicy)
	r.Response().Header.Set(fiber.HeaderCacheControl, "no-cache")
	r.Response().Header.SetContentType(d.media)
	r.Response().SetBodyRaw(d.body)
	return nil
}
