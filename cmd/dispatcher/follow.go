package main

import (
	"encoding/json"
	"errors"
	"strings"
)

// followFlags say what is to happen after a job.
type followFlags struct {
	OnSuccess   string   `placeholder:"JOB" help:"What to push when it has succeeded: a job type, or a job as JSON, {\"type\":…,\"data\":…}."`
	OnFailure   string   `placeholder:"JOB" help:"What to push when it is dead, likewise."`
	Then        []string `placeholder:"JOB" sep:"none" help:"The next of a chain, likewise; may be given several times."`
	CallbackURL string   `name:"callback-url" placeholder:"URL" help:"Where to POST what became of it, signed with the secrets of its type."`
}

func (f followFlags) given() bool {
	return f.OnSuccess != "" || f.OnFailure != "" || len(f.Then) > 0 || f.CallbackURL != ""
}

func (f followFlags) fill(job map[string]any) error {
	for name, value := range map[string]string{"on_success": f.OnSuccess, "on_failure": f.OnFailure} {
		if value == "" {
			continue
		}
		next, err := followUp(name, value)
		if err != nil {
			return err
		}
		job[name] = next
	}
	var chain []json.RawMessage
	for _, value := range f.Then {
		next, err := followUp("then", value)
		if err != nil {
			return err
		}
		chain = append(chain, next)
	}
	if len(chain) > 0 {
		job["then"] = chain
	}
	if f.CallbackURL != "" {
		job["callback_url"] = f.CallbackURL
	}
	return nil
}

// followUp reads a job type, or a job as JSON.
func followUp(field, value string) (json.RawMessage, error) {
	if !strings.HasPrefix(strings.TrimSpace(value), "{") {
		return json.Marshal(map[string]string{"type": value})
	}
	if !json.Valid([]byte(value)) {
		return nil, usageError{errors.New("--" + strings.ReplaceAll(field, "_", "-") + " must be a job type, or a job as JSON")}
	}
	return json.RawMessage(value), nil
}
