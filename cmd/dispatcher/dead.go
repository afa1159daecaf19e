package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"text/tabwriter"
	"time"
)

// deadCmd looks after dead jobs.
type deadCmd struct {
	Groups   deadGroupsCmd   `cmd:"" help:"Show how dead jobs failed, the most frequent failure first."`
	List     deadListCmd     `cmd:"" help:"List dead jobs, newest first."`
	Export   deadExportCmd   `cmd:"" help:"Print dead jobs with data and attempts, one a line (NDJSON)."`
	Redrive  deadRedriveCmd  `cmd:"" help:"Run dead jobs again: all of a type, or those that the flags choose."`
	Redrives deadRedrivesCmd `cmd:"" help:"Show how far redrives are, the latest first."`
	Stop     deadStopCmd     `cmd:"" help:"Stop a redrive."`
	Purge    deadPurgeCmd    `cmd:"" help:"Delete dead jobs: all of a type, or those that the flags choose."`
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
	Tag         string `help:"Only those that have this tag."`
	After       string `help:"Only those that died then or later: RFC 3339, or Unix milliseconds." placeholder:"TIME"`
	Before      string `help:"Only those that died before." placeholder:"TIME"`
}

func (f deadFlags) query() url.Values {
	q := url.Values{}
	for name, value := range map[string]string{"fingerprint": f.Fingerprint, "error": f.Error, "tag": f.Tag, "after": f.After, "before": f.Before} {
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

type deadRedriveCmd struct {
	clientFlags
	deadFlags
	Type   string        `arg:"" help:"Job type."`
	IDs    []string      `arg:"" optional:"" name:"id" help:"These jobs, instead of those that the flags choose."`
	Patch  string        `help:"JSON merge patch that each job's data gets." placeholder:"JSON"`
	Canary int           `help:"So many jobs first; the rest when all of these have succeeded." placeholder:"N"`
	Rate   int           `help:"So many jobs in each --period." placeholder:"N"`
	Period time.Duration `default:"1m" help:"Of --rate. Default: ${default}."`
}

// Run is called by kong.
func (c *deadRedriveCmd) Run(env *environment) error {
	spec := map[string]any{}
	for name, values := range c.query() {
		spec[name] = values[0]
	}
	if len(c.IDs) > 0 {
		spec["ids"] = c.IDs
	}
	if c.Patch != "" {
		if !json.Valid([]byte(c.Patch)) {
			return usageError{errors.New("--patch must be JSON")}
		}
		spec["patch"] = json.RawMessage(c.Patch)
	}
	if c.Canary != 0 {
		spec["canary"] = c.Canary
	}
	if c.Rate != 0 {
		spec["rate"] = map[string]any{"jobs": c.Rate, "period": c.Period.String()}
	}
	body, err := json.Marshal(spec)
	if err != nil {
		return err
	}
	return c.send(env, "POST", typePath(c.Type, "dead", "redrive"), body)
}

type deadRedrivesCmd struct {
	clientFlags
	Type string `arg:"" help:"Job type."`
	ID   string `arg:"" optional:"" help:"ID of one redrive. Default: all."`
}

// Run is called by kong.
func (c *deadRedrivesCmd) Run(env *environment) error {
	path := typePath(c.Type, "redrives")
	if c.ID != "" {
		path = typePath(c.Type, "redrives", c.ID)
	}
	return c.show(env, "GET", path)
}

type deadStopCmd struct {
	clientFlags
	Type string `arg:"" help:"Job type."`
	ID   string `arg:"" help:"ID of the redrive."`
}

// Run is called by kong.
func (c *deadStopCmd) Run(env *environment) error {
	return c.show(env, "DELETE", typePath(c.Type, "redrives", c.ID))
}

type deadPurgeCmd struct {
	clientFlags
	deadFlags
	Type string `arg:"" help:"Job type."`
}

// Run is called by kong.
func (c *deadPurgeCmd) Run(env *environment) error {
	return c.show(env, "POST", typePath(c.Type, "dead", "purge")+"?"+c.query().Encode())
}
