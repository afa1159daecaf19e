package schedule

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"
)

func TestEachTickIsFiredAtItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, jobs := storeOn(t, inProcess(t)), newRecorder()
		running(t, s, jobs)
		running(t, s, jobs)
		running(t, s, jobs)
		synctest.Wait()
		start := time.Now()
		put(t, s, every("often", 200*time.Millisecond))
		cron := New("cron", "work")
		cron.Cron = "*/2 * * * * *"
		put(t, s, cron)
		time.Sleep(10*time.Second + 50*time.Millisecond)
		synctest.Wait()
		jobs.mu.Lock()
		defer jobs.mu.Unlock()
		if len(jobs.pushed) != 55 || jobs.repeated != 0 {
			t.Errorf("%d jobs in 10 s, %d pushed again", len(jobs.pushed), jobs.repeated)
		}
		for i := range 50 {
			tick := start.Add(time.Duration(i+1) * 200 * time.Millisecond)
			if due, ok := jobs.due[(&entry{schedule: "often", tick: tick}).job()]; !ok || !due.Equal(tick) {
				t.Errorf("tick %d at %s: job %v, due %s", i, tick, ok, due)
			}
		}
	})
}

// A schedule that comes while all sleep wakes them; so does one that is resumed.
func TestChangesAreFollowedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, jobs := storeOn(t, inProcess(t)), newRecorder()
		running(t, s, jobs)
		time.Sleep(time.Minute)
		put(t, s, every("a", time.Second))
		time.Sleep(3*time.Second + 500*time.Millisecond)
		if n := len(jobs.list()); n != 3 {
			t.Errorf("%d jobs in 3.5 s", n)
		}
		pause := func(paused bool) {
			t.Helper()
			if _, err := s.Modify(t.Context(), "a", 0, func(old *Schedule) (Schedule, error) {
				c := old.Clone()
				c.Paused = paused
				return c, nil
			}); err != nil {
				t.Fatal(err)
			}
		}
		pause(true)
		time.Sleep(time.Hour)
		if got, err := s.Get(t.Context(), "a"); err != nil || !got.Next.IsZero() || len(jobs.list()) != 3 {
			t.Errorf("paused: next %s, %d jobs, %v", got.Next, len(jobs.list()), err)
		}
		pause(false)
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if got := history(t, s, "a"); got != "fired fired fired fired fired fired" {
			t.Errorf("history: %s", got)
		}
		if err := s.Delete(t.Context(), "a", 0); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if n := len(jobs.list()); n != 6 {
			t.Errorf("%d jobs", n)
		}
	})
}

func TestCatchUp(t *testing.T) {
	for _, c := range []struct {
		policy  CatchUp
		away    time.Duration // from 500 ms after the 2nd tick
		every   time.Duration
		history string
	}{
		// At most 5 s late is on time, whatever the policy.
		{None, 4 * time.Second, time.Second, "fired fired fired fired fired fired"},
		{Last, 4 * time.Second, time.Second, "fired fired fired fired fired fired"},
		{None, time.Hour, time.Minute, "fired fired missed"},
		{Last, time.Hour, time.Minute, "fired fired missed fired"},
		{All, 5 * time.Minute, time.Minute, "fired fired fired fired fired fired fired"},
		{All, 200 * time.Minute, time.Minute, strings.Repeat("fired ", 49) + "fired"}, // 100, of which 50 are remembered
	} {
		t.Run(fmt.Sprint(c.policy, c.away), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, jobs := storeOn(t, inProcess(t)), newRecorder()
				stop := running(t, s, jobs)
				sched := every("a", c.every)
				sched.CatchUp = c.policy
				put(t, s, sched)
				time.Sleep(2*c.every + 500*time.Millisecond)
				stop()
				// Half an interval later, so that no tick is on time by chance.
				time.Sleep(c.away)
				if c.every > time.Second {
					time.Sleep(c.every / 2)
				}
				stop = running(t, s, jobs)
				time.Sleep(100 * time.Millisecond)
				synctest.Wait()
				stop()
				if got := history(t, s, "a"); got != c.history {
					t.Errorf("got  %s\nwant %s", got, c.history)
				}
				if c.policy == All && c.away > time.Hour && len(jobs.list()) != 102 {
					t.Errorf("%d jobs", len(jobs.list()))
				}
			})
		})
	}
}

func TestMissedTicksAreNoted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, jobs := storeOn(t, inProcess(t)), newRecorder()
		start := put(t, s, every("a", time.Minute)).CreatedAt
		time.Sleep(10*time.Minute + 30*time.Second)
		running(t, s, jobs)
		time.Sleep(time.Second)
		synctest.Wait()
		all, err := s.History(t.Context(), "a")
		if err != nil || len(all) != 2 {
			t.Fatal(all, err)
		}
		if m := all[1]; m.Outcome != Missed || !m.Tick.Equal(start.Add(time.Minute)) || !m.Until.Equal(start.Add(9*time.Minute)) {
			t.Errorf("missed: %+v", m)
		}
		if f := all[0]; f.Outcome != Fired || !f.Tick.Equal(start.Add(10*time.Minute)) || f.Job != jobs.list()[0] {
			t.Errorf("fired: %+v", f)
		}
	})
}

func TestOverlap(t *testing.T) {
	job := func(jobs *recorder, i int) string { return jobs.list()[i] }
	synctest.Test(t, func(t *testing.T) {
		s, jobs := storeOn(t, inProcess(t)), newRecorder()
		running(t, s, jobs)
		running(t, s, jobs)
		for _, policy := range []Overlap{Queue, Skip, Replace} {
			sched := every(string(policy), time.Second)
			sched.Overlap = policy
			put(t, s, sched)
			jobs.set(func() { jobs.pushed = nil })
			time.Sleep(time.Second + 100*time.Millisecond)
			first := job(jobs, 0)
			jobs.set(func() { jobs.unfinished[first] = true })
			time.Sleep(2 * time.Second)
			got := history(t, s, string(policy))
			switch policy {
			case Queue:
				if got != "fired fired fired" {
					t.Errorf("queue: %s", got)
				}
			case Skip:
				if got != "fired skipped skipped" || len(jobs.list()) != 1 {
					t.Errorf("skip: %s", got)
				}
				jobs.set(func() { delete(jobs.unfinished, first) })
				time.Sleep(time.Second)
				if got = history(t, s, "skip"); got != "fired skipped skipped fired" {
					t.Errorf("skip, later: %s", got)
				}
			case Replace:
				if got != "fired fired fired" || !slices.Equal(jobs.withdrawn, []string{first}) {
					t.Errorf("replace: %s; withdrawn %v", got, jobs.withdrawn)
				}
				second := job(jobs, 2)
				jobs.set(func() { jobs.running[second] = true })
				time.Sleep(time.Second)
				if slices.Contains(jobs.withdrawn, second) || len(jobs.list()) != 4 {
					t.Errorf("a running job was withdrawn: %v, %d jobs", jobs.withdrawn, len(jobs.list()))
				}
			}
			if err := s.Delete(t.Context(), string(policy), 0); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func TestWhatCannotBePushedIsNoted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, jobs := storeOn(t, inProcess(t)), newRecorder()
		running(t, s, jobs)
		put(t, s, every("a", time.Minute))
		jobs.set(func() { jobs.fail = fmt.Errorf("%w: no such type", ErrRefused) })
		time.Sleep(time.Minute + time.Second)
		all, err := s.History(t.Context(), "a")
		if err != nil || len(all) != 1 || all[0].Outcome != Failed || !strings.Contains(all[0].Error, "no such type") {
			t.Fatalf("%+v, %v", all, err)
		}
		// What may pass is tried until it does.
		jobs.set(func() { jobs.fail = errors.New("redis is full") })
		time.Sleep(time.Minute)
		if got := history(t, s, "a"); got != "failed" {
			t.Errorf("history: %s", got)
		}
		jobs.set(func() { jobs.fail = nil })
		time.Sleep(takeover + 2*time.Second)
		if got := history(t, s, "a"); got != "failed fired" {
			t.Errorf("history: %s", got)
		}
	})
}

// cut is a client that fails from a point on, as that of a process that dies.
type cut struct{ left int }

var errDead = errors.New("the process is dead")

func (c *cut) DialHook(next redis.DialHook) redis.DialHook { return next }
func (c *cut) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}
func (c *cut) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if c.left == 0 {
			cmd.SetErr(errDead)
			return errDead
		}
		c.left--
		return next(ctx, cmd)
	}
}

// mortal is Jobs of a process that dies, before or after what it does.
type mortal struct {
	*recorder
	cut *cut
}

func (m mortal) PushOnce(ctx context.Context, key, typ, id string, job []byte, due time.Time) error {
	if m.cut.left == 0 {
		return errDead
	}
	m.cut.left--
	return m.recorder.PushOnce(ctx, key, typ, id, job, due)
}

// Whatever a process has done when it dies, another makes one job of the tick.
func TestATickSurvivesDeathAnywhere(t *testing.T) {
	for _, policy := range []Overlap{Queue, Skip, Replace} {
		for steps := range 14 {
			t.Run(fmt.Sprint(policy, steps), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					client := inProcess(t)
					s, jobs := storeOn(t, client), newRecorder()
					sched := every("a", time.Hour)
					sched.Overlap = policy
					put(t, s, sched)
					time.Sleep(time.Hour)

					dying := *s
					breaks := &cut{left: steps}
					broken := inProcessSame(t, client)
					broken.AddHook(breaks)
					dying.client = broken
					c, err := NewClock(ClockOptions{Store: &dying, Jobs: mortal{jobs, breaks}, Logger: quiet()})
					if err != nil {
						t.Fatal(err)
					}
					_, err = c.round(t.Context())
					died := err != nil

					running(t, s, jobs)
					time.Sleep(takeover + time.Second)
					synctest.Wait()
					if got := history(t, s, "a"); got != "fired" || len(jobs.list()) != 1 {
						t.Errorf("died %v: history %q, jobs %v", died, got, jobs.list())
					}
					if n, err := client.Exists(t.Context(), s.key+":outbox", s.key+":takeover").Result(); n != 0 || err != nil {
						t.Errorf("%d keys are left over, %v", n, err)
					}
				})
			})
		}
	}
}

// inProcessSame is another client of the same server.
func inProcessSame(t testing.TB, c *redis.Client) *redis.Client {
	o := *c.Options()
	other := redis.NewClient(&o)
	t.Cleanup(func() { _ = other.Close() })
	return other
}

func TestJitter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, jobs := storeOn(t, inProcess(t)), newRecorder()
		running(t, s, jobs)
		sched := every("a", time.Minute)
		sched.Jitter = 30 * time.Second
		put(t, s, sched)
		time.Sleep(20*time.Minute + time.Second)
		synctest.Wait()
		all, err := s.History(t.Context(), "a")
		if err != nil || len(all) != 20 {
			t.Fatal(len(all), err)
		}
		delays := map[time.Duration]bool{}
		for _, f := range all {
			d := jobs.due[f.Job].Sub(f.Tick)
			if d < 0 || d >= 30*time.Second {
				t.Errorf("due %s after the tick", d)
			}
			delays[d] = true
		}
		if len(delays) < 10 {
			t.Errorf("only %d different delays", len(delays))
		}
	})
}

func TestAScheduleEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, jobs := storeOn(t, inProcess(t)), newRecorder()
		running(t, s, jobs)
		sched := every("a", time.Minute)
		sched.Start = time.Now().Add(time.Hour)
		sched.End = sched.Start.Add(2 * time.Minute)
		put(t, s, sched)
		time.Sleep(3 * time.Hour)
		synctest.Wait()
		if got := history(t, s, "a"); got != "fired fired fired" {
			t.Errorf("history: %s", got)
		}
		if got, err := s.Get(t.Context(), "a"); err != nil || !got.Next.IsZero() {
			t.Errorf("next %s, %v", got.Next, err)
		}
	})
}

// On real servers, with real time.
func TestClocksShareARedis(t *testing.T) {
	onEach(t, func(t *testing.T, s *Store) {
		jobs := newRecorder()
		for range 3 {
			running(t, s, jobs)
		}
		for i := range 5 {
			sched := every(fmt.Sprint("s", i), 100*time.Millisecond)
			sched.Overlap = []Overlap{Queue, Skip, Replace}[i%3]
			put(t, s, sched)
		}
		deadline := time.Now().Add(20 * time.Second)
		for len(jobs.list()) < 50 && time.Now().Before(deadline) {
			time.Sleep(10 * time.Millisecond)
		}
		seen := map[string]bool{}
		for _, id := range jobs.list() {
			if seen[id] {
				t.Errorf("%s came twice", id)
			}
			seen[id] = true
		}
		if len(seen) < 50 {
			t.Errorf("only %d jobs", len(seen))
		}
	})
}

// A tick that a dead process left behind is replaced by a later one that was fired meanwhile.
func TestALateTickDoesNotReplaceALaterOne(t *testing.T) {
	for _, decided := range []bool{false, true} {
		t.Run(fmt.Sprint(decided), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, jobs := storeOn(t, inProcess(t)), newRecorder()
				sched := every("a", time.Second)
				sched.Overlap = Replace
				a := put(t, s, sched)
				time.Sleep(time.Second)
				e := &entry{schedule: "a", tick: a.Next, typ: "work", created: ms(a.CreatedAt)}
				if took, err := s.advance(t.Context(), dueTick{name: "a", tick: a.Next}, a.Version, a.Next.Add(time.Second), nil, []*entry{e}); err != nil || !took {
					t.Fatal(took, err)
				}
				if decided {
					if _, err := s.decide(t.Context(), e); err != nil {
						t.Fatal(err)
					}
				}
				jobs.set(func() { jobs.unfinished[e.job()] = true })
				running(t, s, jobs)
				time.Sleep(takeover + 1500*time.Millisecond)
				synctest.Wait()
				if decided != slices.Contains(jobs.list(), e.job()) || decided != slices.Contains(jobs.withdrawn, e.job()) {
					t.Errorf("pushed %v, withdrawn %v", jobs.list(), jobs.withdrawn)
				}
				if got := history(t, s, "a"); strings.Count(got, "skipped") != map[bool]int{false: 1}[decided] {
					t.Errorf("history: %s", got)
				}
			})
		})
	}
}
