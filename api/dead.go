package api

import (
	"bufio"
	"context"
	"encoding/json"
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/deetoo/deetoo/intake"
	"github.com/deetoo/deetoo/invalid"
	"github.com/deetoo/deetoo/queue"
)

// groupView is a group of dead jobs as it is shown.
type groupView struct {
	Fingerprint string    `json:"fingerprint"`
	Count       int       `json:"count"`
	FirstAt     timestamp `json:"first_at"`
	LastAt      timestamp `json:"last_at"`
	Status      int       `json:"status,omitempty"`
	Failure     string    `json:"failure"`
	Example     string    `json:"example,omitempty"`
	LastError   string    `json:"last_error"`
}

func (a *API) deadGroups(r *request) error {
	typ, err := r.typ()
	if err != nil {
		return err
	}
	limit, err := r.limit()
	if err != nil {
		return err
	}
	page, err := a.intake.DeadGroups(r.ctx, r.who, typ, r.query("cursor"), limit)
	if err != nil {
		return err
	}
	view := struct {
		Groups     []groupView `json:"groups"`
		NextCursor string      `json:"next_cursor,omitempty"`
	}{make([]groupView, len(page.Groups)), page.Next}
	for i, g := range page.Groups {
		view.Groups[i] = groupView{g.Fingerprint, g.Count, timestamp(g.FirstAt), timestamp(g.LastAt), g.Status, g.Failure, g.Example, g.Error}
	}
	return r.json(fiber.StatusOK, view)
}

// deadFilter reads the query parameters that choose dead jobs.
func (r *request) deadFilter() (queue.DeadFilter, error) {
	f := queue.DeadFilter{Fingerprint: r.query("fingerprint"), Error: r.query("error"), Tag: r.query("tag")}
	for name, at := range map[string]*time.Time{"after": &f.After, "before": &f.Before} {
		if s := r.query(name); s != "" {
			var err error
			if *at, err = intake.ParseTime(name, s); err != nil {
				return f, err
			}
		}
	}
	return f, f.Validate()
}

// exportedView is a dead job as it is exported.
type exportedView struct {
	jobView
	Attempts []attemptView `json:"attempts"`
}

// exportPage is how many jobs are read at once, unless they are large.
const exportPage = 500

// exportDead streams dead jobs, one a line, a page of them in memory at a time.
func (a *API) exportDead(r *request) error {
	typ, err := r.typ()
	if err != nil {
		return err
	}
	f, err := r.deadFilter()
	if err != nil {
		return err
	}
	jobs, next, err := a.intake.ExportDead(r.ctx, r.who, typ, f, "", exportPage)
	if err != nil {
		return err // told as such: nothing has been sent yet
	}
	r.Response().Header.SetContentType(mediaNDJSON)
	// What follows runs when r has been given back.
	who, conn, id, log := r.who, r.Context().Conn(), requestID(r.Ctx), a.opts.Logger
	r.Context().SetBodyStreamWriter(func(w *bufio.Writer) {
		for {
			_ = conn.SetWriteDeadline(time.Now().Add(a.opts.Timeout)) // for each page anew
			if err := writeExport(w, jobs); err != nil {
				return // the client has gone
			}
			if next == "" {
				return
			}
			ctx, cancel := context.WithTimeout(context.Background(), a.opts.Timeout)
			jobs, next, err = a.intake.ExportDead(ctx, who, typ, f, next, exportPage)
			cancel()
			if err != nil {
				log.Warn("an export was cut off", "type", typ, "error", err, "request_id", id)
				_ = conn.Close() // so that the client does not take it for whole
				return
			}
		}
	})
	return nil
}

func writeExport(w *bufio.Writer, jobs []queue.DeadJob) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	for i := range jobs {
		v := exportedView{viewJob(&jobs[i].Job), make([]attemptView, len(jobs[i].Attempts))}
		for k, at := range jobs[i].Attempts {
			v.Attempts[k] = viewAttempt(at)
		}
		if err := enc.Encode(v); err != nil {
			return err
		}
	}
	return w.Flush()
}

// checkDeadOnly refuses a fingerprint where jobs have none.
func checkDeadOnly(state queue.State, fingerprint string) error {
	if fingerprint != "" && state != queue.Dead {
		return invalid.Errorf("fingerprint", "goes with state=dead only")
	}
	return nil
}
