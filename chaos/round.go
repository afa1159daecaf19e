package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/deetoo/deetoo/chaos/verify"
)

// play plays a round: load and faults, then quiet, and returns what is known of it.
func (s scenario) play(ctx context.Context, c config, program, dir string) (h *verify.History, err error) {
	f, err := openField(s, c, program, dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.close()) }()
	watching, stop := context.WithCancel(ctx)
	defer stop()
	var wg sync.WaitGroup
	wg.Go(func() { f.watch(watching) })
	if err := f.produce(c.pace); err != nil {
		return nil, err
	}
	attack, end := context.WithTimeout(ctx, c.duration)
	nemesis(attack, f, c.seed, s.kinds)
	end()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := f.quiesce(ctx); err != nil {
		return nil, errors.Join(append(f.troubles, err)...)
	}
	stop()
	wg.Wait()
	if err := f.dump(ctx); err != nil {
		return nil, err
	}
	if err := f.leave(); err != nil {
		return nil, err
	}
	return &f.history, errors.Join(f.troubles...)
}

// quiesce ends the producers when the faults have ended, and waits until all is done.
func (f *field) quiesce(ctx context.Context) error {
	h := &f.history
	for _, d := range f.dispatchers {
		if err := d.ready(); err != nil {
			return fmt.Errorf("%s is not ready after the faults: %w", d.name, err)
		}
	}
	h.Quiet = time.Now()
	h.Until = h.Quiet
	var g errgroup.Group
	for _, p := range f.producers {
		g.Go(func() error { return p.finish(patience + 10*time.Second) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	time.Sleep(3 * f.lease)
	d := f.dispatchers[0]
	for _, t := range h.Types {
		if t.Every > 0 {
			if err := d.insist("POST", "/v1/schedules/"+t.Name+"/pause"); err != nil {
				return err
			}
		}
	}
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		h.Left = ""
		for _, t := range h.Types {
			var s struct{ Waiting, Scheduled, Active int }
			if err := d.call("GET", "/v1/types/"+t.Name+"/stats", nil, &s); err != nil {
				return err
			}
			if s.Waiting+s.Scheduled+s.Active > 0 {
				h.Left += fmt.Sprintf("%s: %+v ", t.Name, s)
			}
		}
		if h.Left == "" {
			h.Drained = time.Now()
			return nil
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	return nil
}

// dump reads all jobs by the API.
func (f *field) dump(ctx context.Context) error {
	for _, d := range f.dispatchers {
		if s, ok := d.sample(); ok {
			f.history.Rest = append(f.history.Rest, s)
		}
	}
	var refs []verify.Job
	for _, t := range f.history.Types {
		for _, state := range []string{"waiting", "scheduled", "active", "succeeded", "cancelled", "dead"} {
			for cursor := ""; ; {
				var page struct {
					Jobs []struct{ ID string }
					Next string `json:"next_cursor"`
				}
				path := "/v1/types/" + t.Name + "/jobs?limit=500&state=" + state + "&cursor=" + url.QueryEscape(cursor)
				if err := f.dispatchers[0].call("GET", path, nil, &page); err != nil {
					return err
				}
				for _, j := range page.Jobs {
					refs = append(refs, verify.Job{Type: t.Name, ID: j.ID})
				}
				if cursor = page.Next; cursor == "" {
					break
				}
			}
		}
	}
	finals := make([]verify.Final, len(refs))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(8)
	for i, ref := range refs {
		g.Go(func() (err error) {
			if ctx.Err() == nil {
				finals[i], err = f.dispatchers[i%len(f.dispatchers)].final(ref)
			}
			return err
		})
	}
	f.history.Finals = finals
	return g.Wait()
}

// final looks a job up, with its history.
func (d *dispatcher) final(ref verify.Job) (verify.Final, error) {
	var j struct {
		State         string
		Attempt, Lost int
		FinishedAt    time.Time `json:"finished_at"`
		Result        any
	}
	var a struct{ Attempts []verify.Recorded }
	path := "/v1/types/" + ref.Type + "/jobs/" + url.PathEscape(ref.ID)
	err := errors.Join(d.call("GET", path, nil, &j), d.call("GET", path+"/attempts", nil, &a))
	result, _ := j.Result.(string)
	return verify.Final{Job: ref, State: j.State, Attempt: j.Attempt, Lost: j.Lost, FinishedAt: j.FinishedAt, Result: result, History: a.Attempts}, err
}

// leave ends dispatchers and handlers, checks the store, and reads the ledgers.
func (f *field) leave() error {
	var errs []error
	for _, d := range f.dispatchers {
		errs = append(errs, d.process().end(syscall.SIGTERM, 90*time.Second))
	}
	for _, h := range f.handlers {
		errs = append(errs, h.finish(20*time.Second))
	}
	fsck := exec.Command(f.program, "fsck", "--redis-url", f.store.direct())
	out, err := fsck.Output()
	if err != nil {
		for line := range strings.Lines(string(out)) {
			f.history.Fsck = append(f.history.Fsck, strings.TrimSpace(line))
		}
		f.history.Fsck = append(f.history.Fsck, err.Error())
	}
	var events []verify.Event
	for _, p := range append(f.producers, f.handlers...) {
		some, err := verify.ReadLedger(f.file(p.name + ".ledger"))
		errs = append(errs, err)
		events = append(events, some...)
	}
	errs = append(errs, f.history.Read(events))
	return errors.Join(errs...)
}
