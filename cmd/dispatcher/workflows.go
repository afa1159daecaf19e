package main

import (
	"encoding/json"
	"net/url"
)

// workflowsCmd makes workflows and looks at them.
type workflowsCmd struct {
	Create workflowsCreateCmd `cmd:"" help:"Push the jobs of a workflow, and what follows when all have ended."`
	Show   workflowsShowCmd   `cmd:"" help:"Show how far a workflow is."`
}

type workflowsCreateCmd struct {
	clientFlags
	File           string `arg:"" help:"JSON file with the workflow; \"-\" is standard input."`
	IdempotencyKey string `name:"idempotency-key" help:"Makes it happen once in 24 hours, however often it is repeated. A workflow with an ID needs none." placeholder:"KEY"`
}

// Run is called by kong.
func (c *workflowsCreateCmd) Run(env *environment) error {
	cl, err := c.client()
	if err != nil {
		return err
	}
	body, err := readFileOrInput(c.File)
	if err != nil {
		return err
	}
	var answer json.RawMessage
	if err := cl.push(env.ctx, "/v1/workflows", "application/json", c.IdempotencyKey, body, &answer); err != nil {
		return err
	}
	return printJSON(env.stdout, answer)
}

type workflowsShowCmd struct {
	clientFlags
	ID string `arg:"" help:"The workflow."`
}

// Run is called by kong.
func (c *workflowsShowCmd) Run(env *environment) error {
	return c.show(env, "GET", "/v1/workflows/"+url.PathEscape(c.ID))
}
