package queue

import (
	"context"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// Event tells a process that lanes should look at Redis.
type Event struct {
	// Type whose lane should look; empty means every lane, because messages may
	// have been missed.
	Type string
	// Cancel is the ID of a running job that was cancelled, if that is the news.
	Cancel string
}

// Listen calls fn for each wake and cancellation until ctx ends, and once with
// an empty Event whenever the subscription was (re)made. It survives Redis
// going away. fn must not block. up, if not nil, hears whether messages
// arrive at present.
func (q *Queue) Listen(ctx context.Context, fn func(Event), up func(bool)) {
	if up == nil {
		up = func(bool) {}
	}
	for ctx.Err() == nil {
		sub := q.client.Subscribe(ctx, q.wakeChannel())
		q.receive(ctx, sub, fn, up)
		sub.Close()
		up(false)
		select {
		case <-ctx.Done():
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// receive passes messages on until the connection fails. Silence is broken by
// pings, so a dead connection is noticed.
func (q *Queue) receive(ctx context.Context, sub *redis.PubSub, fn func(Event), up func(bool)) {
	stop := context.AfterFunc(ctx, func() { sub.Close() })
	defer stop()
	pinged := false
	for {
		msg, err := sub.ReceiveTimeout(ctx, 3*time.Second)
		if err != nil {
			if timeout, ok := err.(interface{ Timeout() bool }); ok && timeout.Timeout() && !pinged && ctx.Err() == nil {
				pinged = true
				if sub.Ping(ctx) == nil {
					continue
				}
			}
			return
		}
		pinged = false
		switch m := msg.(type) {
		case *redis.Subscription:
			up(true)
			fn(Event{})
		case *redis.Message:
			typ, id, _ := strings.Cut(m.Payload, " ")
			fn(Event{Type: typ, Cancel: id})
		}
	}
}
