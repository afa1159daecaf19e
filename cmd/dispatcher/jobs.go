package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"strconv"
	"text/tabwriter"
	"time"
)

// pushCmd pushes jobs through the API.
type pushCmd struct {
	clientFlags
	Type     string            `arg:"" help:"Job type."`
	Data     string            `arg:"" optional:"" help:"The job's data, as JSON; \"-\" reads a job's data from standard input."`
	ID       string            `name:"id" help:"The job's ID. Default: made by the dispatcher."`
	When     string            `help:"When it is due: RFC 3339, or Unix milliseconds." xor:"due"`
	Delay    time.Duration     `help:"How long until it is due." xor:"due"`
	Priority string            `enum:"critical,high,normal,low,lowest" default:"normal" help:"critical, high, normal, low or lowest. Default: ${default}."`
	TTL      time.Duration     `name:"ttl" help:"How long after now it may still be started."`
	Target   string            `help:"URL to send it to, if the type allows it."`
	Header   map[string]string `placeholder:"NAME=VALUE" help:"Header to send with it. May be given again." mapsep:"none"`
	Tag      []string          `help:"Tag. May be given again." sep:"none"`
	uniqueFlags
	followFlags
	Once  string `name:"idempotency-key" placeholder:"KEY" help:"Push once, however often the same command is repeated within 24 hours: the answer is that of the first."`
	Batch bool   `help:"Read whole jobs from standard input, an object a line: {\"data\":…,\"id\":…}."`
	Group string `help:"The group whose turn the job waits for, such as a tenant."`
}

// Run is called by kong.
func (c *pushCmd) Run(env *environment) error {
	cl, err := c.client()
	if err != nil {
		return err
	}
	path := typePath(c.Type, "jobs")
	if c.Batch {
		if c.Data != "" || c.ID != "" || c.When != "" || c.Delay != 0 || c.TTL != 0 || c.Target != "" || len(c.Header) > 0 || len(c.Tag) > 0 || c.uniqueFlags != (uniqueFlags{}) || c.followFlags.given() {
			return usageError{errors.New("with --batch, data, IDs, times and what follows are those of the lines")}
		}
		return c.batch(env, cl, path)
	}
	data := []byte(c.Data)
	switch c.Data {
	case "":
		return usageError{errors.New("push needs the job's data, \"-\" or --batch")}
	case "-":
		if data, err = io.ReadAll(os.Stdin); err != nil {
			return err
		}
	}
	if !json.Valid(data) {
		return usageError{errors.New("the data must be JSON")}
	}
	job := map[string]any{"data": json.RawMessage(data), "priority": c.Priority}
	if c.ID != "" {
		job["id"] = c.ID
	}
	if c.Group != "" {
		job["group"] = c.Group
	}
	if c.When != "" {
		job["when"] = c.When
	}
	if c.Delay != 0 {
		job["delay"] = c.Delay.String()
	}
	if c.TTL != 0 {
		job["ttl"] = c.TTL.String()
	}
	if c.Target != "" {
		job["target"] = c.Target
	}
	if len(c.Header) > 0 {
		job["headers"] = c.Header
	}
	if len(c.Tag) > 0 {
		job["tags"] = c.Tag
	}
	c.uniqueFlags.fill(job)
	if err := c.followFlags.fill(job); err != nil {
		return err
	}
	body, err := json.Marshal(job)
	if err != nil {
		return err
	}
	var receipt json.RawMessage
	if err := cl.push(env.ctx, path, "application/json", c.Once, body, &receipt); err != nil {
		return err
	}
	return printJSON(env.stdout, receipt)
}

// uniqueFlags make a job unique.
type uniqueFlags struct {
	UniqueKey   string        `placeholder:"KEY" help:"Push it only if no other job of the type has this key."`
	UniqueFor   time.Duration `help:"How long the key is held. Default: as long as the job has not ended."`
	OnConflict  string        `enum:",reject,replace,ignore,debounce" default:"" help:"What to do if another job has the key: reject, replace, ignore or debounce. Default: reject."`
	DebounceMax time.Duration `help:"How long after the first push the job is due, however often it is debounced."`
}

func (f uniqueFlags) fill(job map[string]any) {
	if f.UniqueKey != "" {
		job["unique_key"] = f.UniqueKey
	}
	if f.UniqueFor != 0 {
		job["unique_for"] = f.UniqueFor.String()
	}
	if f.OnConflict != "" {
		job["on_conflict"] = f.OnConflict
	}
	if f.DebounceMax != 0 {
		job["debounce_max"] = f.DebounceMax.String()
	}
}

func (c *pushCmd) batch(env *environment, cl *client, path string) error {
	if c.Group != "" {
		return usageError{errors.New("with --batch, groups are those of the lines")}
	}
	body, err := io.ReadAll(os.Stdin)
	if err != nil {
		return err
	}
	var answer json.RawMessage
	if err := cl.push(env.ctx, path, "application/x-ndjson", c.Once, body, &answer); err != nil {
		return err
	}
	if err := printJSON(env.stdout, answer); err != nil {
		return err
	}
	var counts struct{ Accepted, Rejected int }
	if err := json.Unmarshal(answer, &counts); err != nil {
		return err
	}
	if counts.Rejected > 0 {
		return fmt.Errorf("%d of %d jobs were rejected", counts.Rejected, counts.Accepted+counts.Rejected)
	}
	return nil
}

// jobsCmd looks after jobs.
type jobsCmd struct {
	List    jobsListCmd   `cmd:"" help:"List jobs in a state."`
	Show    jobsShowCmd   `cmd:"" help:"Show a job and its attempts."`
	Cancel  jobsActionCmd `cmd:"" help:"Call a job off."`
	Retry   jobsActionCmd `cmd:"" help:"Run a finished or dead job again."`
	Promote jobsActionCmd `cmd:"" help:"Run a scheduled job now."`
	Redrive jobsDeadCmd   `cmd:"" help:"Run all dead jobs of a type again."`
	Purge   jobsDeadCmd   `cmd:"" help:"Delete all dead jobs of a type."`
}

type jobsListCmd struct {
	clientFlags
	Type   string `arg:"" help:"Job type."`
	State  string `enum:"waiting,scheduled,active,succeeded,cancelled,dead" default:"waiting" help:"waiting, scheduled, active, succeeded, cancelled or dead. Default: ${default}."`
	Tag    string `help:"Only jobs that have this tag. A page may then be short, and not be the last."`
	Limit  int    `default:"50" help:"How many. Default: ${default}."`
	Cursor string `help:"Cursor of the page, as printed below the page before."`
}

// Run is called by kong.
func (c *jobsListCmd) Run(env *environment) error {
	q := url.Values{}
	if c.Tag != "" {
		q.Set("tag", c.Tag)
	}
	return listJobs(env, c.clientFlags, c.Type, c.State, c.Limit, c.Cursor, q)
}

// listJobs prints a page of jobs; q may have further query parameters.
func listJobs(env *environment, f clientFlags, typ, state string, limit int, cursor string, q url.Values) error {
	cl, err := f.client()
	if err != nil {
		return err
	}
	q.Set("state", state)
	q.Set("limit", strconv.Itoa(limit))
	if cursor != "" {
		q.Set("cursor", cursor)
	}
	var page struct {
		Jobs []struct {
			ID        string `json:"id"`
			Title     string `json:"title"`
			Priority  string `json:"priority"`
			Attempt   int    `json:"attempt"`
			RunAt     string `json:"run_at"`
			LastError string `json:"last_error"`
		} `json:"jobs"`
		Next string `json:"next_cursor"`
	}
	if err := cl.call(env.ctx, "GET", typePath(typ, "jobs")+"?"+q.Encode(), "", nil, &page); err != nil {
		return err
	}
	w := tabwriter.NewWriter(env.stdout, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "ID\tPRIORITY\tATTEMPT\tDUE\tTITLE\tLAST ERROR")
	for _, j := range page.Jobs {
		fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%s\t%s\n", j.ID, j.Priority, j.Attempt, j.RunAt, plain(j.Title), plain(j.LastError))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if page.Next != "" {
		fmt.Fprintln(env.stdout, "more: --cursor", page.Next)
	}
	return nil
}

type jobsShowCmd struct {
	clientFlags
	Type string `arg:"" help:"Job type."`
	ID   string `arg:"" help:"Job ID."`
}

// Run is called by kong.
func (c *jobsShowCmd) Run(env *environment) error {
	cl, err := c.client()
	if err != nil {
		return err
	}
	for _, below := range [][]string{{"jobs", c.ID}, {"jobs", c.ID, "attempts"}, {"jobs", c.ID, "why"}} {
		var answer json.RawMessage
		if err := cl.call(env.ctx, "GET", typePath(c.Type, below...), "", nil, &answer); err != nil {
			return err
		}
		if err := printJSON(env.stdout, answer); err != nil {
			return err
		}
	}
	return nil
}

type jobsActionCmd struct {
	clientFlags
	Type string `arg:"" help:"Job type."`
	ID   string `arg:"" help:"Job ID."`
}

// Run is called by kong. Which of the actions it is, kong knows.
func (c *jobsActionCmd) Run(env *environment, action actionName) error {
	cl, err := c.client()
	if err != nil {
		return err
	}
	var answer json.RawMessage
	if action == "cancel" {
		err = cl.call(env.ctx, "DELETE", typePath(c.Type, "jobs", c.ID), "", nil, &answer)
	} else {
		err = cl.call(env.ctx, "POST", typePath(c.Type, "jobs", c.ID, string(action)), "", nil, &answer)
	}
	if err != nil || len(answer) == 0 {
		return err
	}
	return printJSON(env.stdout, answer)
}

type jobsDeadCmd struct {
	clientFlags
	Type string `arg:"" help:"Job type."`
}

// Run is called by kong.
func (c *jobsDeadCmd) Run(env *environment, action actionName) error {
	return c.show(env, "POST", typePath(c.Type, "dead", string(action)))
}

// actionName is the name of the command that was chosen, for commands that share code.
type actionName string
