package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/deetoo/deetoo/registry"
)

// typesCmd looks after job types.
type typesCmd struct {
	List   typesListCmd   `cmd:"" help:"List the job types."`
	Show   typesOneCmd    `cmd:"" help:"Show a job type."`
	Put    typesPutCmd    `cmd:"" help:"Register a job type, or replace its settings."`
	Pause  typesOneCmd    `cmd:"" help:"Start no more jobs of a type."`
	Resume typesOneCmd    `cmd:"" help:"Go on with a paused type."`
	Hold   typesHoldCmd   `cmd:"" help:"Hold a type's jobs, as in an outage of its target."`
	Unhold typesOneCmd    `cmd:"" help:"Let a held type's jobs through again, step by step."`
	Delete typesDeleteCmd `cmd:"" help:"Remove a job type."`

	RotateSecret rotateSecretCmd `cmd:"" help:"Give a type another signing secret; those there are go on signing for a while."`
	DeleteSecret deleteSecretCmd `cmd:"" help:"Delete a type's signing secret."`
	Reencrypt    reencryptCmd    `cmd:"" help:"Encrypt the secrets of types stored before with the first of the dispatcher's keys."`
	NewKey       secretsKeyCmd   `cmd:"" help:"Print a new key for --secrets-keys."`
}

type typesListCmd struct{ clientFlags }

// Run is called by kong.
func (c *typesListCmd) Run(env *environment) error {
	cl, err := c.client()
	if err != nil {
		return err
	}
	var answer struct {
		Types []struct {
			Name        string `json:"name"`
			Target      string `json:"target"`
			Concurrency int    `json:"concurrency"`
			Paused      bool   `json:"paused"`
		} `json:"types"`
	}
	if err := cl.call(env.ctx, "GET", "/v1/types", "", nil, &answer); err != nil {
		return err
	}
	w := tabwriter.NewWriter(env.stdout, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tCONCURRENCY\tPAUSED\tTARGET")
	for _, t := range answer.Types {
		// A list is looked at over shoulders; "types show" has all of it.
		target := (&registry.Type{Target: t.Target}).RedactedTarget()
		fmt.Fprintf(w, "%s\t%d\t%t\t%s\n", t.Name, t.Concurrency, t.Paused, plain(target))
	}
	return w.Flush()
}

type typesOneCmd struct {
	clientFlags
	Type string `arg:"" help:"Job type."`
}

// Run is called by kong.
func (c *typesOneCmd) Run(env *environment, action actionName) error {
	cl, err := c.client()
	if err != nil {
		return err
	}
	var answer json.RawMessage
	if action == "show" {
		err = cl.call(env.ctx, "GET", typePath(c.Type), "", nil, &answer)
	} else {
		err = cl.call(env.ctx, "POST", typePath(c.Type, string(action)), "", nil, &answer)
	}
	if err != nil {
		return err
	}
	return printJSON(env.stdout, answer)
}

type typesHoldCmd struct {
	clientFlags
	Type   string        `arg:"" help:"Job type."`
	Reason string        `help:"Why, for people. Default: who did it."`
	For    time.Duration `help:"For how long; then one job at a time is tried. Default: until unhold." placeholder:"20m"`
}

// Run is called by kong.
func (c *typesHoldCmd) Run(env *environment) error {
	if c.For < 0 {
		return usageError{errors.New("--for must be positive")}
	}
	spec := map[string]string{"reason": c.Reason}
	if c.For > 0 {
		spec["for"] = c.For.String()
	}
	body, err := json.Marshal(spec)
	if err != nil {
		return err
	}
	return c.send(env, "POST", typePath(c.Type, "hold"), body)
}

type typesPutCmd struct {
	clientFlags
	Type        string `arg:"" help:"Job type."`
	Target      string `help:"URL to POST its jobs to." xor:"spec"`
	Concurrency int    `help:"How many at once in the whole cluster."`
	File        string `short:"f" help:"JSON file with all settings; \"-\" is standard input." xor:"spec" placeholder:"FILE"`
}

// Run is called by kong.
func (c *typesPutCmd) Run(env *environment) error {
	var body []byte
	var err error
	switch {
	case c.File != "" && c.Concurrency != 0:
		return usageError{errors.New("--concurrency belongs into the file")}
	case c.File != "":
		body, err = readFileOrInput(c.File)
	default:
		spec := map[string]any{"target": c.Target}
		if c.Concurrency != 0 {
			spec["concurrency"] = c.Concurrency
		}
		body, err = json.Marshal(spec)
	}
	if err != nil {
		return err
	}
	return c.send(env, "PUT", typePath(c.Type), body)
}

type typesDeleteCmd struct {
	clientFlags
	Type  string `arg:"" help:"Job type."`
	Force bool   `help:"Even if it has jobs: they are deleted too."`
}

// Run is called by kong.
func (c *typesDeleteCmd) Run(env *environment) error {
	cl, err := c.client()
	if err != nil {
		return err
	}
	path := typePath(c.Type)
	if c.Force {
		path += "?force=true"
	}
	return cl.call(env.ctx, "DELETE", path, "", nil, nil)
}
