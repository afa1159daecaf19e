package ui

import (
	"context"
	"net/url"
	"strings"

	"github.com/deetoo/deetoo/auth"
	"github.com/deetoo/deetoo/queue"
)

// filter narrows a list of jobs.
type filter struct {
	// Fingerprint and Error are of dead jobs alone.
	Fingerprint, Error, Tag string
	// Text is part of the title, the ID, the data or the last error, in letters of either case.
	Text string
}

// Any reports whether it does.
func (f filter) Any() bool { return f != filter{} }

// values are its parameters in an address.
func (f filter) values(state queue.State) url.Values {
	v := url.Values{"state": {string(state)}}
	for name, value := range map[string]string{"fingerprint": f.Fingerprint, "error": f.Error, "tag": f.Tag, "q": f.Text} {
		if value != "" {
			v.Set(name, value)
		}
	}
	return v
}

// searched is how many jobs one page looks through for a text, which Redis does
// not know of: the next page goes on from there.
const searched = 2_000

// matching returns a page of the jobs that a filter lets through. With a text it may hold
// fewer than limit, or none, though there is a next; and up to a page more.
func (u *UI) matching(ctx context.Context, who *auth.Identity, typ string, state queue.State, f filter, cursor string, limit int) (queue.Page, error) {
	if f.Text == "" {
		return u.pageOf(ctx, who, typ, state, f, cursor, limit)
	}
	var out queue.Page
	for looked := 0; ; {
		page, err := u.pageOf(ctx, who, typ, state, f, cursor, 4*pageSize)
		if err != nil {
			return out, err
		}
		looked += 4 * pageSize
		for _, j := range page.Jobs {
			if contains(&j, f.Text) {
				out.Jobs = append(out.Jobs, j)
			}
		}
		if cursor = page.Next; cursor == "" || len(out.Jobs) >= limit || looked >= searched {
			out.Next = cursor
			return out, nil
		}
	}
}

func (u *UI) pageOf(ctx context.Context, who *auth.Identity, typ string, state queue.State, f filter, cursor string, limit int) (queue.Page, error) {
	switch {
	case state == queue.Dead && (f.Fingerprint != "" || f.Error != "" || f.Tag != ""):
		return u.in.DeadJobs(ctx, who, typ, queue.DeadFilter{Fingerprint: f.Fingerprint, Error: f.Error, Tag: f.Tag}, cursor, limit)
	case f.Tag != "":
		return u.in.TaggedJobs(ctx, who, typ, state, f.Tag, cursor, limit)
	}
	return u.in.Jobs(ctx, who, typ, state, cursor, limit)
}

func contains(j *queue.Job, text string) bool {
	text = strings.ToLower(text)
	for _, s := range []string{j.Title, j.ID, j.Group, j.LastError, string(j.Data)} {
		if strings.Contains(strings.ToLower(s), text) {
			return true
		}
	}
	return false
}
