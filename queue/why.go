package queue

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// Circumstances are what there is to say of why a job is where it is. They are
// read one after the other: a job that moves meanwhile is read again.
type Circumstances struct {
	Job      *Job
	Attempts []Attempt
	// Stats of its type.
	Stats Stats
	// At is when this was read, by Redis's clock.
	At time.Time

	// Dispatcher runs it, if it is active, and LeaseEnds is until when it is heard of at the latest.
	Dispatcher string
	LeaseEnds  time.Time

	// Ahead is how many jobs are taken before it, if it waits, of its group if it has one; Sure says how sure that is.
	Ahead int
	Sure  Sureness
	// Turn is how its group stands, if it waits and has one, else nil.
	Turn *Turn
	// Oldest is the ID of the job of the type that has run longest, since OldestSince; empty if none runs.
	Oldest      string
	OldestSince time.Time
	// Pace is how many jobs of the type ended a second while this one has been waiting, a minute at most; 0 if too few did to tell.
	Pace float64

	// Slots is how many of the type's are taken: by batches, and by jobs that go alone.
	Slots int
	// BatchSize is how many jobs go together; 0: each goes alone. Gather is until when those too few for a batch wait for company; zero if none do.
	BatchSize int
	Gather    time.Time

	// Fingerprint of its failure, if it is dead, and how many are dead of it, this one included.
	Fingerprint string
	SameFailure int
}

// Turn is how the group of a waiting job stands.
type Turn struct {
	// Active of the group's jobs run; Limit may, 0: any number.
	Active, Limit int
	// Until is when its rate lets its next job start; zero if it does.
	Until time.Time
	// Before is about how many groups are served before it; the jobs without one count as a group.
	Before int
}

// Sureness of a number.
type Sureness byte

const (
	// Exact: so many.
	Exact Sureness = 1
	// About: others may come before or after.
	About Sureness = 2
	// AtLeast: nobody has counted further.
	AtLeast Sureness = 3
)

const (
	// lookAhead is how many entries of its list a job is looked for in.
	lookAhead = 10_000
	// paceEnough is how many jobs must have ended to tell a pace from.
	paceEnough = 3
)

// Circumstances returns what there is to say of why a job is where it is, or ErrNotFound.
func (q *Queue) Circumstances(ctx context.Context, typ, id string) (*Circumstances, error) {
	for tries := 1; ; tries++ {
		c, still, err := q.circumstances(ctx, typ, id)
		if err != nil || still || tries == 3 {
			return c, err
		}
	}
}

// circumstances reads them once; still says that the job was in one place all the time.
func (q *Queue) circumstances(ctx context.Context, typ, id string) (c *Circumstances, still bool, err error) {
	c = &Circumstances{}
	if c.Job, c.Attempts, err = q.get(ctx, typ, id); err != nil {
		return nil, false, err
	}
	if c.Stats, err = q.Stats(ctx, typ); err != nil {
		return nil, false, err
	}
	v, err := q.run(ctx, q.scripts.why, q.typeKeys(typ, ""), []any{id, lookAhead})
	if err != nil {
		return nil, false, err
	}
	if len(asSlice(v)) == 0 {
		return nil, false, fmt.Errorf("%w: %s", ErrNotFound, id)
	}
	r := reply{values: asSlice(v)}
	place := r.str()
	c.At = time.UnixMilli(r.int())
	if f := strings.Fields(r.str()); len(f) >= 3 {
		c.Dispatcher = f[2]
	}
	if ends := r.str(); ends != "" {
		c.LeaseEnds = parseMs(ends)
	}
	c.Ahead, c.Sure, c.Oldest = int(r.int()), Sureness(r.int()), r.str()
	if since := r.str(); since != "" {
		c.OldestSince = parseMs(since)
	}
	ended, window := r.int(), time.Duration(r.int())*time.Millisecond
	if ended >= paceEnough && window >= time.Second {
		c.Pace = float64(ended) / window.Seconds()
	}
	c.Fingerprint, c.SameFailure = r.str(), int(r.int())
	c.Slots, c.BatchSize = int(r.int()), int(r.int())
	if gather := r.str(); gather != "" {
		c.Gather = parseMs(gather)
	}
	active, most, dry, before := r.str(), r.str(), r.str(), r.str()
	if active != "" {
		c.Turn = &Turn{}
		if _, err := fmt.Sscan(active+" "+most+" "+before, &c.Turn.Active, &c.Turn.Limit, &c.Turn.Before); err != nil {
			return nil, false, fmt.Errorf("why: %w", err)
		}
		if dry != "" {
			c.Turn.Until = parseMs(dry)
		}
	}
	if r.err != nil {
		return nil, false, fmt.Errorf("why: %w", r.err)
	}
	return c, placeState(place) == c.Job.State, nil
}

// Listeners counts the processes that listen for wakes: the dispatchers that are alive.
func (q *Queue) Listeners(ctx context.Context) (int, error) {
	channel := q.wakeChannel()
	var n atomic.Int64
	count := func(ctx context.Context, c redis.UniversalClient) error {
		got, err := c.PubSubNumSub(ctx, channel).Result()
		n.Add(got[channel])
		return err
	}
	var err error
	if c, ok := q.client.(*redis.ClusterClient); ok { // each process listens at one of the nodes
		err = c.ForEachShard(ctx, func(ctx context.Context, c *redis.Client) error { return count(ctx, c) })
	} else {
		err = count(ctx, q.client)
	}
	return int(n.Load()), Classify(err)
}
