package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"text/tabwriter"
	"time"
)

// schedulesCmd looks after schedules.
type schedulesCmd struct {
	List    schedulesListCmd    `cmd:"" help:"List the schedules."`
	Show    schedulesOneCmd     `cmd:"" help:"Show a schedule."`
	Put     schedulesPutCmd     `cmd:"" help:"Make a schedule, or replace its settings."`
	Pause   schedulesOneCmd     `cmd:"" help:"Stop the ticks of a schedule."`
	Resume  schedulesOneCmd     `cmd:"" help:"Go on with a paused schedule."`
	Run     schedulesOneCmd     `cmd:"" help:"Push a schedule's job now."`
	Next    schedulesNextCmd    `cmd:"" help:"Print when a schedule will tick."`
	Firings schedulesFiringsCmd `cmd:"" help:"Print what became of a schedule's last ticks."`
	Delete  schedulesDeleteCmd  `cmd:"" help:"Remove a schedule; jobs it has pushed stay."`
}

// schedulePath is the path of a schedule and what is below it.
func schedulePath(name string, below ...string) string {
	path := "/v1/schedules/" + url.PathEscape(name)
	for _, b := range below {
		path += "/" + b
	}
	return path
}

type schedulesListCmd struct{ clientFlags }

// Run is called by kong.
func (c *schedulesListCmd) Run(env *environment) error {
	cl, err := c.client()
	if err != nil {
		return err
	}
	var answer struct {
		Schedules []struct {
			Name, Type, Cron, Every, TimeZone string
			NextAt                            string `json:"next_at"`
			Paused                            bool
		}
	}
	if err := cl.call(env.ctx, "GET", "/v1/schedules", "", nil, &answer); err != nil {
		return err
	}
	w := tabwriter.NewWriter(env.stdout, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tTYPE\tWHEN\tNEXT")
	for _, s := range answer.Schedules {
		when, next := s.Cron+" "+s.TimeZone, s.NextAt
		if s.Every != "" {
			when = "every " + s.Every
		}
		switch {
		case s.Paused:
			next = "paused"
		case next == "":
			next = "never"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", s.Name, s.Type, plain(when), next)
	}
	return w.Flush()
}

type schedulesOneCmd struct {
	clientFlags
	Name string `arg:"" help:"The schedule."`
}

// Run is called by kong.
func (c *schedulesOneCmd) Run(env *environment, action actionName) error {
	method, path := "POST", schedulePath(c.Name, string(action))
	if action == "show" {
		method, path = "GET", schedulePath(c.Name)
	}
	return c.show(env, method, path)
}

type schedulesPutCmd struct {
	clientFlags
	Name     string        `arg:"" help:"The schedule."`
	Type     string        `help:"Type of its jobs." xor:"spec"`
	Cron     string        `help:"Cron expression of five fields, or six with seconds."`
	Every    time.Duration `help:"Time between two ticks, instead of --cron."`
	TimeZone string        `name:"timezone" help:"That --cron is read in, such as Europe/Berlin. Default: UTC."`
	Data     string        `help:"Data of the job, as JSON. Default: null."`
	Overlap  string        `help:"If the job before is not finished: queue, skip or replace. Default: queue."`
	CatchUp  string        `help:"What is fired of the ticks that came while no dispatcher was there: none, last or all. Default: last."`
	File     string        `short:"f" help:"JSON file with all settings; \"-\" is standard input." xor:"spec" placeholder:"FILE"`
}

// Run is called by kong.
func (c *schedulesPutCmd) Run(env *environment) error {
	body, err := c.body()
	if err != nil {
		return err
	}
	return c.send(env, "PUT", schedulePath(c.Name), body)
}

func (c *schedulesPutCmd) body() ([]byte, error) {
	flags := map[string]string{"type": c.Type, "cron": c.Cron, "timezone": c.TimeZone, "overlap": c.Overlap, "catch_up": c.CatchUp}
	if c.Every != 0 {
		flags["every"] = c.Every.String()
	}
	spec := map[string]any{}
	for name, value := range flags {
		if value != "" {
			spec[name] = value
		}
	}
	if c.Data != "" {
		if !json.Valid([]byte(c.Data)) {
			return nil, usageError{errors.New("the data must be JSON")}
		}
		spec["job"] = map[string]any{"data": json.RawMessage(c.Data)}
	}
	switch {
	case c.File == "":
		return json.Marshal(spec)
	case len(spec) > 0:
		return nil, usageError{errors.New("with --file, all settings belong into it")}
	default:
		return readFileOrInput(c.File)
	}
}

type schedulesNextCmd struct {
	clientFlags
	Name string `arg:"" help:"The schedule."`
	N    int    `short:"n" default:"10" help:"How many. Default: ${default}."`
}

// Run is called by kong.
func (c *schedulesNextCmd) Run(env *environment) error {
	cl, err := c.client()
	if err != nil {
		return err
	}
	var answer struct{ Next []string }
	if err := cl.call(env.ctx, "GET", schedulePath(c.Name, "next")+"?n="+strconv.Itoa(c.N), "", nil, &answer); err != nil {
		return err
	}
	for _, at := range answer.Next {
		fmt.Fprintln(env.stdout, at)
	}
	return nil
}

type schedulesFiringsCmd struct {
	clientFlags
	Name string `arg:"" help:"The schedule."`
}

// Run is called by kong.
func (c *schedulesFiringsCmd) Run(env *environment) error {
	cl, err := c.client()
	if err != nil {
		return err
	}
	var answer struct {
		Firings []struct{ Tick, Until, Outcome, Job, Error string }
	}
	if err := cl.call(env.ctx, "GET", schedulePath(c.Name, "firings"), "", nil, &answer); err != nil {
		return err
	}
	w := tabwriter.NewWriter(env.stdout, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "TICK\tOUTCOME\tJOB")
	for _, f := range answer.Firings {
		what := f.Job
		switch {
		case f.Error != "":
			what = f.Error
		case f.Until != "":
			what = "until " + f.Until
		}
		fmt.Fprintf(w, "%s\t%s\t%s\n", f.Tick, f.Outcome, plain(what))
	}
	return w.Flush()
}

type schedulesDeleteCmd struct {
	clientFlags
	Name string `arg:"" help:"The schedule."`
}

// Run is called by kong.
func (c *schedulesDeleteCmd) Run(env *environment) error {
	cl, err := c.client()
	if err != nil {
		return err
	}
	return cl.call(env.ctx, "DELETE", schedulePath(c.Name), "", nil, nil)
}
