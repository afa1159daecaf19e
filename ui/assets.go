package ui

import (
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/gofiber/fiber/v2"
)

//go:embed static/*.css static/*.js static/*.svg static/vendor/*.js static/vendor/*.css static/vendor/*.LICENSE
var staticFiles embed.FS

// assets are the static files, each at an address that contains a hash of its
// content: so it can be cached forever, and a new version is fetched at once.
type assets struct {
	urls map[string]string // by name, as in "app.css"
	byID map[string]asset  // by what follows /ui/static/
}

type asset struct {
	data, gzip  []byte
	contentType string
}

func loadAssets() (*assets, error) {
	types := map[string]string{
		".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8",
		".svg": "image/svg+xml", ".LICENSE": "text/plain; charset=utf-8",
	}
	a := &assets{urls: map[string]string{}, byID: map[string]asset{}}
	err := fs.WalkDir(staticFiles, "static", func(file string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := staticFiles.ReadFile(file)
		if err != nil {
			return err
		}
		name := strings.TrimPrefix(file, "static/")
		sum := sha256.Sum256(data)
		id := hex.EncodeToString(sum[:6]) + "/" + name
		a.urls[name] = "/ui/static/" + id
		small, err := compressed(data, gzip.BestCompression)
		a.byID[id] = asset{data, small, types[path.Ext(name)]}
		return err
	})
	return a, err
}

// url returns the address of a static file, for the templates.
func (a *assets) url(name string) (string, error) {
	if u, ok := a.urls[name]; ok {
		return u, nil
	}
	return "", fmt.Errorf("no static file %q", name)
}

func (u *UI) asset(c *fiber.Ctx) error {
	secureHeaders(c)
	f, ok := u.assets.byID[c.Params("*")]
	if !ok {
		return c.SendStatus(fiber.StatusNotFound)
	}
	c.Set(fiber.HeaderContentType, f.contentType)
	c.Set(fiber.HeaderCacheControl, "public, max-age=31536000, immutable")
	c.Vary(fiber.HeaderAcceptEncoding)
	if takesGzip(c) {
		c.Set(fiber.HeaderContentEncoding, "gzip")
		return c.Send(f.gzip)
	}
	return c.Send(f.data)
}
