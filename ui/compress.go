package ui

import (
	"bytes"
	"compress/gzip"
	"strings"

	"github.com/gofiber/fiber/v2"
)

// worthIt is from how many bytes on a page is compressed.
const worthIt = 1400

// takesGzip reports whether the browser does.
func takesGzip(c *fiber.Ctx) bool {
	for part := range strings.SplitSeq(c.Get(fiber.HeaderAcceptEncoding), ",") {
		name, q, _ := strings.Cut(strings.TrimSpace(part), ";")
		if strings.EqualFold(name, "gzip") && strings.TrimSpace(q) != "q=0" {
			return true
		}
	}
	return false
}

// compressed returns the data in gzip's format.
func compressed(data []byte, level int) ([]byte, error) {
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, level)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(data); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// sendPage sends a page, compressed if that is worth it. The one secret that
// pages hold, the proof in their forms, looks different each time, so that the
// size of a page tells nothing of it (BREACH, https://breachattack.com).
func sendPage(c *fiber.Ctx, page []byte) error {
	c.Vary(fiber.HeaderAcceptEncoding)
	if len(page) >= worthIt && takesGzip(c) {
		small, err := compressed(page, gzip.BestSpeed)
		if err != nil {
			return err
		}
		c.Set(fiber.HeaderContentEncoding, "gzip")
		page = small
	}
	return c.Send(page)
}
