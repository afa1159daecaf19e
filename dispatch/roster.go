package dispatch

import (
	"container/heap"
	"sync"
	"time"
)

// roster knows the lanes that have nothing to do. They have no goroutine and no
// timer of their own: one timer wakes each when it is to look at Redis. When many
// are to look at once they do so in turn, so that the goroutines, connections
// and jobs under way stay bounded however many types there are.
type roster struct {
	start func(*lane) // runs a lane on a goroutine

	mu      sync.Mutex
	resting restingLanes
	timer   *time.Timer
	rings   time.Time // when the timer does; zero: not
	ready   []*lane   // waiting for their turn
	rising  int       // lanes of this wave that have not looked at Redis yet
	wave    int
	waves   *time.Timer // begins another wave if this one hangs
	young   int         // jobs that lanes claimed when they rose, less than a second ago, and have not all ended
}

const (
	// maxRising is how many lanes may make their first call of Redis at once.
	maxRising = 16
	// maxYoung is how many jobs lanes may have begun in their first second,
	// before others may begin; handlers that take longer hold nobody up.
	maxYoung = 1024
	// youth is how long what a lane claimed first counts.
	youth = time.Second
	// wavePatience is how long others wait for lanes whose first call hangs,
	// which may be of another Redis in a cluster.
	wavePatience = 5 * time.Millisecond
)

// place is where a lane is.
type place int

const (
	held    place = iota // not begun
	asleep               // until its time comes, or a signal
	waiting              // for its turn
	awake                // on a goroutine, or ended
)

// begin lets a new lane have its turn; false if it has been told to stop before.
func (r *roster) begin(l *lane) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if l.stopping() {
		return false
	}
	r.enqueue(l)
	return true
}

// rise has a lane wake that is asleep.
func (r *roster) rise(l *lane) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if l.place == asleep {
		heap.Remove(&r.resting, l.bed)
		r.enqueue(l)
	}
}

// dismiss takes a lane off the roster that has been told to stop; false if it is awake, or has not begun.
func (r *roster) dismiss(l *lane) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch l.place {
	case asleep:
		heap.Remove(&r.resting, l.bed)
	case waiting: // those whose turn it is pass it over
	default:
		return false
	}
	l.place = awake
	return true
}

// rest lays a lane to sleep until a time; false if it has been signalled.
func (r *roster) rest(l *lane, until time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(l.wake) > 0 || l.stopping() {
		return false
	}
	l.place, l.risesAt = asleep, until
	heap.Push(&r.resting, l)
	r.grownUp(l)
	r.arm()
	return true
}

// risen tells that a lane has looked at Redis for the first time since it rose, and what it claimed.
func (r *roster) risen(l *lane, claimed int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if l.wave == r.wave && r.rising > 0 {
		r.rising--
	}
	r.young += claimed - l.claimed
	l.claimed = claimed
	r.admit()
}

// matured tells that what a lane claimed when it rose counts no longer.
func (r *roster) matured(l *lane) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.grownUp(l)
}

func (r *roster) grownUp(l *lane) {
	r.young -= l.claimed
	l.claimed = 0
	r.admit()
}

func (r *roster) enqueue(l *lane) {
	l.place = waiting
	r.ready = append(r.ready, l)
	r.admit()
}

// admit wakes those whose turn it is.
func (r *roster) admit() {
	for len(r.ready) > 0 && r.young < maxYoung {
		if r.rising >= maxRising {
			r.hurry()
			return
		}
		l := r.ready[0]
		r.ready[0] = nil
		if r.ready = r.ready[1:]; len(r.ready) == 0 {
			r.ready = nil
		}
		r.wake(l)
	}
}

// wake starts a lane, unless it was dismissed while it waited.
func (r *roster) wake(l *lane) {
	if l.place != waiting {
		return
	}
	l.place, l.wave = awake, r.wave
	r.rising++
	r.start(l)
}

// hurry begins another wave if this one has not ended soon.
func (r *roster) hurry() {
	if r.waves != nil {
		return
	}
	wave := r.wave
	r.waves = time.AfterFunc(wavePatience, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.waves = nil
		if r.wave == wave && r.rising >= maxRising {
			r.wave++
			r.rising = 0
		}
		r.admit()
	})
}

// arm sets the timer to the first lane that is to rise.
func (r *roster) arm() {
	if len(r.resting) == 0 {
		return
	}
	first := r.resting[0].risesAt
	if !r.rings.IsZero() && !first.Before(r.rings) {
		return
	}
	r.rings = first
	if r.timer == nil {
		r.timer = time.AfterFunc(time.Until(first), r.ring)
		return
	}
	r.timer.Reset(time.Until(first))
}

// ring wakes the lanes whose time has come.
func (r *roster) ring() {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	for len(r.resting) > 0 && !r.resting[0].risesAt.After(now) {
		r.enqueue(heap.Pop(&r.resting).(*lane))
	}
	r.rings = time.Time{}
	r.arm()
}

// restingLanes is a heap by the time when they rise.
type restingLanes []*lane

func (h restingLanes) Len() int           { return len(h) }
func (h restingLanes) Less(i, j int) bool { return h[i].risesAt.Before(h[j].risesAt) }
func (h restingLanes) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].bed, h[j].bed = i, j
}

// Push and Pop are those of heap.Interface.
func (h *restingLanes) Push(x any) {
	l := x.(*lane)
	l.bed = len(*h)
	*h = append(*h, l)
}

// Pop takes the last.
func (h *restingLanes) Pop() any {
	old := *h
	l := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return l
}
