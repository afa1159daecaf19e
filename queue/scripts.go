package queue

import (
	"context"
	"embed"
	"fmt"

	"github.com/redis/go-redis/v9"
)

//go:embed lua/*.lua
var luaFiles embed.FS

// scripts holds one loaded script per operation.
type scripts struct {
	push, pushNew, exchange                 *redis.Script
	renew, configure                        *redis.Script
	grouplist                               *redis.Script
	cancel, requeue, redrive, purge, remove *redis.Script
	get, list, stats, destroy               *redis.Script
	report, conclude                        *redis.Script
	deadGroups, purgeDead, hold, outbox     *redis.Script
	redriveStart, redriveStop, why          *redis.Script
	workflow, workflowCreate                *redis.Script
}

// loadScripts reads the scripts and puts the prelude before each. A real
// Redis also gets a header that lets a script run when memory is full: all but
// push, so that jobs still settle then. The in-process engine knows no headers.
func loadScripts(headers bool) (*scripts, error) {
	prelude, err := luaFiles.ReadFile("lua/prelude.lua")
	if err != nil {
		return nil, err
	}
	// What a script needs beside the prelude, in this order.
	needs := map[string][]string{
		"exchange":     {"unique", "after", "expiry", "graves", "canary", "conclusion", "batch", "outage", "adaptive"},
		"conclude":     {"unique", "after", "expiry", "graves", "canary", "conclusion", "batch", "outage"},
		"push":         {"unique", "graves", "after", "pushed"},
		"pushnew":      {"pushed"},
		"cancel":       {"unique", "after"},
		"requeue":      {"unique", "graves"},
		"redrive":      {"unique", "graves", "canary", "redrives"},
		"redrivestart": {"canary", "redrives"},
		"redrivestop":  {"canary", "redrives"},
		"purge":        {"unique", "graves", "after"},
		"purgedead":    {"graves"},
		"remove":       {"graves"},
		"list":         {"graves"},
		"destroy":      {"unique", "graves", "after", "canary", "redrives"},
		"deadgroups":   {"graves"},
		"why":          {"graves", "batch"},
		"hold":         {"outage"},
		"stats":        {"unique", "after"},
		"outbox":       {"unique", "after"},
	}
	s := &scripts{}
	for name, script := range map[string]**redis.Script{
		"push": &s.push, "pushnew": &s.pushNew, "exchange": &s.exchange, "renew": &s.renew, "configure": &s.configure,
		"grouplist": &s.grouplist,
		"cancel":    &s.cancel, "requeue": &s.requeue, "redrive": &s.redrive, "purge": &s.purge, "remove": &s.remove,
		"get": &s.get, "list": &s.list, "stats": &s.stats, "destroy": &s.destroy,
		"report": &s.report, "conclude": &s.conclude, "deadgroups": &s.deadGroups, "purgedead": &s.purgeDead, "hold": &s.hold,
		"outbox": &s.outbox, "redrivestart": &s.redriveStart, "redrivestop": &s.redriveStop, "why": &s.why,
	} {
		header := ""
		if headers && name != "push" && name != "pushnew" {
			header = "#!lua flags=allow-oom\n"
		}
		// Prelude, parts and script are functions one in the other, not one after the other: Lua searches all
		// the captured variables of the present level whenever a function is made, but not those further out.
		text := header + string(prelude) + "return (function()\n"
		for _, part := range append(waitingParts(name), needs[name]...) {
			b, err := luaFiles.ReadFile("lua/" + part + ".lua")
			if err != nil {
				return nil, fmt.Errorf("script %s: %w", name, err)
			}
			text += string(b)
		}
		b, err := luaFiles.ReadFile("lua/" + name + ".lua")
		if err != nil {
			return nil, fmt.Errorf("script %s: %w", name, err)
		}
		text += "return (function()\n" + string(b) + "end)()\nend)()\n"
		*script = redis.NewScript(text)
	}
	b, err := luaFiles.ReadFile("lua/workflow.lua") // no type's: it goes without the prelude
	if err != nil {
		return nil, err
	}
	s.workflowCreate, s.workflow = redis.NewScript(string(b)), redis.NewScript(string(b))
	if headers {
		s.workflow = redis.NewScript("#!lua flags=allow-oom\n" + string(b))
	}
	return s, nil
}

// waitingParts are what a script needs, before all else, that puts jobs into waiting lists, takes them out, or counts them.
func waitingParts(script string) []string {
	switch script {
	case "exchange":
		return []string{"rate", "groups", "turns"}
	case "get", "renew", "pushnew", "remove", "report", "deadgroups", "hold":
		return nil
	}
	return []string{"rate", "groups"}
}

// run calls a script, loading it if Redis does not know it, and says of an
// error what a caller can do about it.
func (q *Queue) run(ctx context.Context, script *redis.Script, keys []string, args []any) (any, error) {
	v, err := script.Run(ctx, q.client, keys, args...).Result()
	if err != nil {
		return nil, Classify(err)
	}
	return v, nil
}
