package queue

import (
	"slices"

	"github.com/deetoo/deetoo/invalid"
)

// Bounds of what few jobs have.
const (
	// MaxTags is how many tags a job may have.
	MaxTags = 10
	// MaxTagLength is the longest tag, in bytes.
	MaxTagLength = 64
	// MaxHeaders is how many headers of its own a job may have.
	MaxHeaders = 16
	// MaxHeadersSize is how large they may be together, names and values, in bytes.
	MaxHeadersSize = 4 << 10
	// MaxTargetLength is the longest target, in bytes.
	MaxTargetLength = 2048
)

// extra are the options that few jobs have.
type extra struct {
	Headers map[string]string `json:"h,omitempty"`
	Tags    []string          `json:"t,omitempty"`
}

func extraOf(j *Job) *extra {
	if len(j.Headers) == 0 && len(j.Tags) == 0 {
		return nil
	}
	return &extra{j.Headers, j.Tags}
}

func (e *extra) fill(j *Job) {
	if e != nil {
		j.Headers, j.Tags = e.Headers, e.Tags
	}
}

// validateExtra checks bounds; what a header or a target may be, who knows of HTTP checks.
func (j *Job) validateExtra() error {
	if len(j.Tags) > MaxTags {
		return invalid.Errorf("tags", "must be at most %d", MaxTags)
	}
	for i, tag := range j.Tags {
		switch {
		case tag == "" || len(tag) > MaxTagLength || !printable(tag):
			return invalid.Errorf("tags", "must each be 1 to %d bytes of printable UTF-8", MaxTagLength)
		case slices.Contains(j.Tags[:i], tag):
			return invalid.Errorf("tags", "must not have one twice")
		}
	}
	size := 0
	for name, value := range j.Headers {
		size += len(name) + len(value)
	}
	switch {
	case len(j.Headers) > MaxHeaders:
		return invalid.Errorf("headers", "must be at most %d", MaxHeaders)
	case size > MaxHeadersSize:
		return invalid.Errorf("headers", "must be at most %d bytes in all", MaxHeadersSize)
	case len(j.Target) > MaxTargetLength:
		return invalid.Errorf("target", "must be at most %d bytes", MaxTargetLength)
	}
	return nil
}
