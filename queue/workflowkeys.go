package queue

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/deetoo/deetoo/invalid"
)

// workflowKeys are those of lua/workflow.lua. No type's name begins with "@"; see typeOf.
func (q *Queue) workflowKeys(id string) []string {
	t := tag(q.prefix, "@workflow:"+id)
	return []string{t + "record", t + "jobs"}
}

// openWorkflows is the key of the notes of creations: a zset of IDs by when they began or were last
// taken up, ms, by the dispatchers' clocks.
func (q *Queue) openWorkflows() string { return tag(q.prefix, "@workflows") + "open" }

// noteWorkflow notes a creation, or if it is known, that it was taken up.
func (q *Queue) noteWorkflow(ctx context.Context, id string, at time.Time, known bool) error {
	args := redis.ZAddArgs{NX: !known, XX: known, Members: []redis.Z{{Score: float64(at.UnixMilli()), Member: id}}}
	return Classify(q.client.ZAddArgs(ctx, q.openWorkflows(), args).Err())
}

func dueBefore(at time.Time) *redis.ZRangeBy {
	return &redis.ZRangeBy{Min: "-inf", Max: strconv.FormatInt(at.UnixMilli(), 10), Count: resumed}
}

func (q *Queue) workflowSpec(ctx context.Context, id string) (spec workflowSpec, fingerprint string, err error) {
	v, err := q.client.HMGet(ctx, q.workflowKeys(id)[0], "spec", "fingerprint").Result()
	if err != nil {
		return spec, "", Classify(err)
	}
	text, ok := v[0].(string)
	if !ok {
		return spec, "", ErrNoWorkflow
	}
	if err := json.Unmarshal([]byte(text), &spec); err != nil {
		return spec, "", fmt.Errorf("workflow %s: %w", id, err)
	}
	fingerprint, _ = v[1].(string)
	return spec, fingerprint, nil
}

func isNil(err error) bool        { return errors.Is(err, redis.Nil) }
func isNoWorkflow(err error) bool { return errors.Is(err, ErrNoWorkflow) }

// invalidIn finds the *invalid.Error in an error.
func invalidIn(err error) (*invalid.Error, bool) { return errors.AsType[*invalid.Error](err) }
