package main

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"text/tabwriter"
)

// deadCmd looks after dead jobs.
type deadCmd struct {
	Groups  deadGroupsCmd `cmd:"" help:"Show how dead jobs failed, the most frequent failure first."`
	List    deadListCmd   `cmd:"" help:"List dead jobs, newest first."`
	Export  deadExportCmd `cmd:"" help:"Print dead jobs with data and attempts, one a line (NDJSON)."`
	Redrive jobsDeadCmd   `cmd:"" help:"Run all dead jobs of a type again."`
	Purge   jobsDeadCmd   `cmd:"" help:"Delete all dead jobs of a type."`
}

type deadGroupsCmd struct {
	clientFlags
	Type string `arg:"" help:"Job type."`
}

// Run is called by kong.
func (c *deadGroupsCmd) Run(env *environment) error {
	cl, err := c.client()
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(env.stdout, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "FINGERPRINT\tCOUNT\tSTATUS\tFIRST\tLAST\tEXAMPLE\tFAILURE")
	q := url.Values{"limit": {"1000"}}
	for {
		var page struct {
			Groups []struct {
				Fingerprint string `json:"fingerprint"`
				Count       int    `json:"count"`
				Status      int    `json:"status"`
				FirstAt     string `json:"first_at"`
				LastAt      string `json:"last_at"`
				Example     string `json:"example"`
				Failure     string `json:"failure"`
			} `json:"groups"`
			Next string `json:"next_cursor"`
		}
		if err := cl.call(env.ctx, "GET", typePath(c.Type, "dead", "groups")+"?"+q.Encode(), "", nil, &page); err != nil {
			return err
		}
		for _, g := range page.Groups {
			fmt.Fprintf(w, "%s\t%d\t%d\t%s\t%s\t%s\t%s\n", g.Fingerprint, g.Count, g.Status, g.FirstAt, g.LastAt, g.Example, plain(g.Failure))
		}
		if page.Next == "" {
			return w.Flush()
		}
		q.Set("cursor", page.Next)
	}
}

type deadListCmd struct {
	clientFlags
	Type        string `arg:"" help:"Job type."`
	Fingerprint string `help:"Only those of this group; see dead groups."`
	Limit       int    `default:"50" help:"How many. Default: ${default}."`
	Cursor      string `help:"Cursor of the page, as printed below the page before."`
}

// Run is called by kong.
func (c *deadListCmd) Run(env *environment) error {
	q := url.Values{}
	if c.Fingerprint != "" {
		q.Set("fingerprint", c.Fingerprint)
	}
	return listJobs(env, c.clientFlags, c.Type, "dead", c.Limit, c.Cursor, q)
}

// deadFlags choose dead jobs.
type deadFlags struct {
	Fingerprint string `help:"Only those of this group; see dead groups."`
	Error       string `help:"Only those whose last error has this in it, in letters of either case."`
	After       string `help:"Only those that died then or later: RFC 3339, or Unix milliseconds." placeholder:"TIME"`
	Before      string `help:"Only those that died before." placeholder:"TIME"`
}

func (f deadFlags) query() url.Values {
	q := url.Values{}
	for name, value := range map[string]string{"fingerprint": f.Fingerprint, "error": f.Error, "after": f.After, "before": f.Before} {
		if value != "" {
			q.Set(name, value)
		}
	}
	return q
}

type deadExportCmd struct {
	clientFlags
	deadFlags
	Type   string `arg:"" help:"Job type."`
	Output string `short:"o" help:"File to write. Default: standard output." placeholder:"FILE"`
}

// Run is called by kong.
func (c *deadExportCmd) Run(env *environment) (err error) {
	cl, err := c.client()
	if err != nil {
		return err
	}
	cl.http = &http.Client{} // it takes as long as it takes
	out := env.stdout
	if c.Output != "" {
		f, err := os.OpenFile(c.Output, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return err
		}
		defer func() {
			if e := f.Close(); err == nil {
				err = e
			}
		}()
		out = f
	}
	req, err := cl.request(env.ctx, "GET", typePath(c.Type, "dead", "export")+"?"+c.query().Encode(), "", nil)
	if err != nil {
		return err
	}
	resp, err := cl.send(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode >= 400 {
		answer, err := io.ReadAll(resp.Body)
		if err != nil {
			return err
		}
		return problem(resp.StatusCode, answer)
	}
	if _, err := io.Copy(out, resp.Body); err != nil {
		return fmt.Errorf("the export was cut off: %w", err)
	}
	return nil
}
