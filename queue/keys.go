package queue

import "strings"

// Every key of a job type shares the hash tag {prefix:type}, so that a script
// sees one slot of a Redis Cluster, and the types spread over its shards. Keys
// that few types have are named after control in the Lua file that uses them: unique.lua.
const (
	keyJobs    = 0
	keyBlobs   = 1
	keyControl = 9
	keyReports = 15
	keyCount   = 16
)

// What few types have is not among the KEYS; its scripts derive it from the key of control:
// buried, graves (see lua/graves.lua), canaries, redrives, redriving, redrive:<id> (see lua/redrives.lua).

// keyNames are the parts after the tag, in the order of the scripts' KEYS;
// lua/prelude.lua says what each holds. Scripts that need it derive more,
// which few types have: batches (lua/batch.lua), endings, outbox, troubles (lua/after.lua).
// A workflow's keys are no type's, and have a hash tag of their own: see workflow.go.
func keyNames() [keyCount]string {
	return [keyCount]string{
		"jobs", "blobs", "results", "attempts", "leases",
		"active", "scheduled", "dead", "finished", "control",
		"waiting:1", "waiting:2", "waiting:3", "waiting:4", "waiting:5",
		"reports",
	}
}

func tag(prefix, typ string) string { return "{" + prefix + ":" + typ + "}:" }

// typeKeys returns the KEYS of a type's scripts. The request key, the last, is
// what a script remembers its answer under ("" for scripts that do not).
func (q *Queue) typeKeys(typ, request string) []string {
	t := tag(q.prefix, typ)
	names := keyNames()
	keys := make([]string, keyCount+1)
	for i, name := range names {
		keys[i] = t + name
	}
	keys[keyCount] = t + "request:" + request
	return keys
}

// typeOf returns the type a key belongs to; not for remembered answers, which outlive a type,
// nor for what is no type's: no type begins with "@".
func typeOf(prefix, key string) (string, bool) {
	rest, ok := strings.CutPrefix(key, "{"+prefix+":")
	if !ok {
		return "", false
	}
	typ, name, ok := strings.Cut(rest, "}:")
	return typ, ok && !strings.HasPrefix(name, "request:") && !strings.HasPrefix(typ, "@")
}

// wakeChannel is where pushes and cancellations are announced: a message is
// a type, or a type, a space and the ID of a running job to be cancelled.
func (q *Queue) wakeChannel() string { return q.prefix + ":wake" }
