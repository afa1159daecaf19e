package queue

import (
	"context"
	"runtime"
	"sync"
	"time"
)

// shared lets single jobs that are pushed at the same time share script calls.
// Nobody waits for company: a job goes out at once unless calls of its type are
// under way, and then with all that came meanwhile as soon as one returns.
type shared struct {
	mu    sync.Mutex
	types map[string]*lineup // those with a call under way
}

// lineup is what waits for a call to return.
type lineup struct {
	calls   int // under way, at most sharedCalls
	waiting []*single
}

// single is one job, as the script takes it.
type single struct {
	ctx  context.Context
	args []any
	done chan Receipt // holds one: nobody need be there to take it
}

// pushShared pushes a job whose data is small: its arguments are a copy, so that
// the caller may go when ctx ends. Any error is in the receipt.
func (q *Queue) pushShared(ctx context.Context, j *Job, fresh bool) Receipt {
	args, err := appendJob(make([]any, 0, argsPerJob), j, fresh)
	if err == nil {
		err = Classify(ctx.Err())
	}
	if err != nil {
		return Receipt{ID: j.ID, Err: err}
	}
	s := q.shared
	s.mu.Lock()
	l := s.types[j.Type]
	if l == nil {
		l = &lineup{}
		s.types[j.Type] = l
	}
	if l.calls < sharedCalls {
		l.calls++
		s.mu.Unlock()
		receipts, err := q.callPush(ctx, j.Type, args)
		if batch := s.next(j.Type); batch != nil {
			go q.pushBatches(j.Type, batch)
		}
		if err != nil {
			return Receipt{ID: j.ID, Err: err}
		}
		return receipts[0]
	}
	me := &single{ctx, args, make(chan Receipt, 1)}
	l.waiting = append(l.waiting, me)
	s.mu.Unlock()
	select {
	case r := <-me.done:
		return r
	case <-ctx.Done():
		// Whether it got in is unknown, as with a call that is cut off.
		return Receipt{ID: j.ID, Err: Classify(ctx.Err())}
	}
}

// next ends a call and returns what the next one is to push; nil if nothing waits.
func (s *shared) next(typ string) []*single {
	// Whoever is about to push may do so first: it costs nothing when nobody is.
	runtime.Gosched()
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.types[typ]
	n := min(len(l.waiting), chunkSize)
	batch := l.waiting[:n:n]
	if l.waiting = l.waiting[n:]; n > 0 {
		return batch
	}
	if l.calls--; l.calls == 0 {
		delete(s.types, typ)
	}
	return nil
}

// pushBatches makes calls until nothing waits any more.
func (q *Queue) pushBatches(typ string, batch []*single) {
	for ; batch != nil; batch = q.shared.next(typ) {
		batch = present(batch)
		if len(batch) == 0 {
			continue
		}
		args := make([]any, 0, len(batch)*argsPerJob)
		for _, s := range batch {
			args = append(args, s.args...)
		}
		ctx, cancel := together(batch)
		receipts, err := q.callPush(ctx, typ, args)
		cancel()
		for i, s := range batch {
			if err != nil {
				s.done <- Receipt{ID: s.args[0].(string), Err: err}
			} else {
				s.done <- receipts[i]
			}
		}
	}
}

// present leaves out those whose callers have gone.
func present(batch []*single) []*single {
	out := batch[:0]
	for _, s := range batch {
		if s.ctx.Err() == nil {
			out = append(out, s)
		}
	}
	return out
}

// together is the context of a call for many: it lasts as long as the most
// patient of them, so that none is cut off by another's end.
func together(batch []*single) (context.Context, context.CancelFunc) {
	var last time.Time
	for _, s := range batch {
		deadline, ok := s.ctx.Deadline()
		if !ok {
			return context.WithCancel(context.WithoutCancel(s.ctx))
		}
		if deadline.After(last) {
			last = deadline
		}
	}
	return context.WithDeadline(context.WithoutCancel(batch[0].ctx), last)
}
