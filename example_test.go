package deetoo_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"time"

	"github.com/deetoo/deetoo"
	"github.com/deetoo/deetoo/auth"
	"github.com/deetoo/deetoo/dispatch/webhook"
	"github.com/deetoo/deetoo/intake"
	"github.com/deetoo/deetoo/queue"
)

// folder makes a data folder for an example; a program names one that stays.
func folder() (dir string, remove func()) {
	dir, err := os.MkdirTemp("", "deetoo")
	if err != nil {
		panic(err)
	}
	return dir, func() { os.RemoveAll(dir) }
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// A job type run by a Go function, its jobs kept safely in a folder.
func Example() {
	ctx := context.Background()
	dir, remove := folder()
	defer remove()

	sent := make(chan string)
	d := deetoo.New(deetoo.WithDataDir(dir), deetoo.WithLogger(slog.New(slog.DiscardHandler)))
	d.Can("email", 12, func(_ context.Context, job *deetoo.Job) (any, error) {
		var mail struct{ To string }
		if err := json.Unmarshal(job.Data, &mail); err != nil {
			return nil, deetoo.Permanent(err) // no retry will mend it
		}
		sent <- mail.To
		return nil, nil
	})
	must(d.Start(ctx))

	_, err := d.Jobs().Push(ctx, deetoo.Job{Type: "email", Data: json.RawMessage(`{"to":"leia@example.org"}`)})
	must(err)
	fmt.Println("sent to", <-sent)

	must(d.Shutdown(ctx))
	// Output: sent to leia@example.org
}

// What a handler returns is the job's result.
func ExampleDeetoo_Can() {
	ctx := context.Background()
	dir, remove := folder()
	defer remove()
	d := deetoo.New(deetoo.WithDataDir(dir), deetoo.WithLogger(slog.New(slog.DiscardHandler)))
	d.Can("sum", 1, func(_ context.Context, job *deetoo.Job) (any, error) {
		var n []int
		if err := json.Unmarshal(job.Data, &n); err != nil {
			return nil, deetoo.Permanent(err)
		}
		total := 0
		for _, i := range n {
			total += i
		}
		return map[string]int{"total": total}, nil
	})
	must(d.Start(ctx))
	defer d.Shutdown(ctx)

	receipts, err := d.Jobs().Push(ctx, deetoo.Job{Type: "sum", ID: "s1", Data: json.RawMessage(`[1, 2, 3]`)})
	must(err)
	fmt.Println(receipts[0].ID, receipts[0].State)
	job := finished(ctx, d, "sum", "s1")
	fmt.Println(job.State, string(job.Result))
	// Output:
	// s1 waiting
	// succeeded {"total":6}
}

// finished waits until a job has ended.
func finished(ctx context.Context, d *deetoo.Deetoo, typ, id string) *deetoo.Job {
	for {
		job, err := d.Jobs().Get(ctx, typ, id)
		must(err)
		if job.State.Terminal() {
			return job
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// An error is retried, unless it is permanent; a panic is a failed attempt.
func ExamplePermanent() {
	ctx := context.Background()
	dir, remove := folder()
	defer remove()
	d := deetoo.New(deetoo.WithDataDir(dir), deetoo.WithLogger(slog.New(slog.DiscardHandler)))
	d.Can("charge", 1, func(context.Context, *deetoo.Job) (any, error) {
		return nil, deetoo.Permanent(errors.New("the card has expired"))
	})
	must(d.Start(ctx))
	defer d.Shutdown(ctx)
	_, err := d.Jobs().Push(ctx, deetoo.Job{Type: "charge", ID: "c1"})
	must(err)
	job := finished(ctx, d, "charge", "c1")
	fmt.Println(job.State, "after", job.Attempt, "attempt:", job.LastError)
	// Output: dead after 1 attempt: the card has expired
}

// RetryAfter says when to try again.
func ExampleRetryAfter() {
	ctx := context.Background()
	dir, remove := folder()
	defer remove()
	d := deetoo.New(deetoo.WithDataDir(dir), deetoo.WithLogger(slog.New(slog.DiscardHandler)))
	d.Can("poll", 1, func(_ context.Context, job *deetoo.Job) (any, error) {
		if job.Attempt < 3 {
			return nil, deetoo.RetryAfter(errors.New("not ready"), 20*time.Millisecond)
		}
		return "ready", nil
	})
	must(d.Start(ctx))
	defer d.Shutdown(ctx)
	_, err := d.Jobs().Push(ctx, deetoo.Job{Type: "poll", ID: "p1"})
	must(err)
	job := finished(ctx, d, "poll", "p1")
	fmt.Println(job.State, "in attempt", job.Attempt, string(job.Result))
	// Output: succeeded in attempt 3 "ready"
}

// A job of the same type and ID replaces one that is not running yet; a job
// can be called off.
func ExampleJobs_Push() {
	ctx := context.Background()
	dir, remove := folder()
	defer remove()
	d := deetoo.New(deetoo.WithDataDir(dir), deetoo.WithLogger(slog.New(slog.DiscardHandler)))
	d.Can("remind", 1, func(context.Context, *deetoo.Job) (any, error) { return nil, nil })
	must(d.Start(ctx))
	defer d.Shutdown(ctx)

	job := deetoo.Job{Type: "remind", ID: "invoice-7", Data: json.RawMessage(`"pay"`), Delay: 24 * time.Hour, Priority: queue.High}
	r, err := d.Jobs().Push(ctx, job)
	must(err)
	fmt.Println(r[0].State, r[0].Replaced)

	job.Data, job.Delay = json.RawMessage(`"pay now"`), time.Hour
	r, err = d.Jobs().Push(ctx, job)
	must(err)
	fmt.Println(r[0].State, r[0].Replaced)

	state, err := d.Jobs().Cancel(ctx, "remind", "invoice-7")
	must(err)
	fmt.Println(state)
	// Output:
	// scheduled false
	// scheduled true
	// cancelled
}

// Shutdown waits for running jobs up to a time; those it cannot wait for run
// again elsewhere, or at the next start, at no cost to them.
func ExampleDeetoo_Shutdown() {
	ctx := context.Background()
	dir, remove := folder()
	defer remove()
	options := deetoo.Options{DataDir: dir, DrainTimeout: 50 * time.Millisecond, Logger: slog.New(slog.DiscardHandler)}

	began := make(chan struct{})
	d := deetoo.New(deetoo.WithOptions(options))
	d.Can("report", 1, func(ctx context.Context, _ *deetoo.Job) (any, error) {
		close(began)
		<-ctx.Done() // a handler that would take long, but listens
		return nil, ctx.Err()
	})
	must(d.Start(ctx))
	_, err := d.Jobs().Push(ctx, deetoo.Job{Type: "report", ID: "r1"})
	must(err)
	<-began
	fmt.Println("aborted:", d.Shutdown(ctx) != nil)

	d = deetoo.New(deetoo.WithOptions(options))
	d.Can("report", 1, func(context.Context, *deetoo.Job) (any, error) { return "done", nil })
	must(d.Start(ctx))
	defer d.Shutdown(ctx)
	job := finished(ctx, d, "report", "r1")
	fmt.Println(job.State, "in attempt", job.Attempt)
	// Output:
	// aborted: true
	// succeeded in attempt 1
}

// Drain lets running jobs end and takes no more, while pushes are still taken.
func ExampleDeetoo_Drain() {
	ctx := context.Background()
	dir, remove := folder()
	defer remove()
	d := deetoo.New(deetoo.WithDataDir(dir), deetoo.WithLogger(slog.New(slog.DiscardHandler)))
	d.Can("email", 1, func(context.Context, *deetoo.Job) (any, error) { return nil, nil })
	must(d.Start(ctx))
	defer d.Shutdown(ctx)
	must(d.Drain(ctx))
	_, err := d.Jobs().Push(ctx, deetoo.Job{Type: "email", ID: "e1"})
	must(err)
	job, err := d.Jobs().Get(ctx, "email", "e1")
	must(err)
	fmt.Println(job.State)
	// Output: waiting
}

// Webhooks and Go functions live side by side: the same lanes, the same retries.
func ExampleTypes_Put() {
	ctx := context.Background()
	dir, remove := folder()
	defer remove()
	d := deetoo.New(deetoo.WithDataDir(dir), deetoo.WithPrivateTargets(), deetoo.WithLogger(slog.New(slog.DiscardHandler)))
	d.Can("resize", 2, func(context.Context, *deetoo.Job) (any, error) { return "resized", nil })
	must(d.Start(ctx))
	defer d.Shutdown(ctx)

	var secret string
	handler := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		must(err)
		if err := webhook.Verify(r.Header, body, webhook.DefaultTolerance, secret); err != nil {
			http.Error(w, "who are you?", http.StatusUnauthorized)
			return
		}
		fmt.Fprint(w, `"sent"`)
	}))
	defer handler.Close()
	email, err := d.Types().Put(ctx, deetoo.TypeSpec{Name: "email", Target: handler.URL})
	must(err)
	secret = email.Secrets[0].Value

	_, err = d.Jobs().Push(ctx, deetoo.Job{Type: "resize", ID: "r1"}, deetoo.Job{Type: "email", ID: "e1"})
	must(err)
	for _, j := range []deetoo.Job{{Type: "resize", ID: "r1"}, {Type: "email", ID: "e1"}} {
		job := finished(ctx, d, j.Type, j.ID)
		fmt.Println(j.Type, job.State, string(job.Result))
	}
	// Output:
	// resize succeeded "resized"
	// email succeeded "sent"
}

// lines is a dialect of one's own: a line is a job of type "email".
type lines struct{ listener net.Listener }

func (lines) Name() string { return "lines" }

func (l lines) Serve(ctx context.Context, in *intake.Intake) error {
	defer context.AfterFunc(ctx, func() { l.listener.Close() })()
	for {
		conn, err := l.listener.Accept()
		if err != nil {
			return nil // closed, because ctx has ended
		}
		for s := bufio.NewScanner(conn); s.Scan(); {
			// A dialect for strangers would verify a token; this one trusts whoever connects.
			_, err := in.Push(ctx, auth.System(), []queue.Job{{Type: "email", Data: json.RawMessage(s.Bytes())}})
			fmt.Fprintln(conn, err == nil)
		}
		conn.Close()
	}
}

// Speaks adds ways in: deetoo.HTTP for the REST API and the UI, or one's own.
func ExampleDeetoo_Speaks() {
	ctx := context.Background()
	dir, remove := folder()
	defer remove()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(err)
	got := make(chan string)
	d := deetoo.New(deetoo.WithDataDir(dir), deetoo.WithLogger(slog.New(slog.DiscardHandler)))
	d.Can("email", 1, func(_ context.Context, job *deetoo.Job) (any, error) {
		got <- string(job.Data)
		return nil, nil
	})
	d.Speaks(deetoo.HTTP("127.0.0.1:0"), lines{listener})
	must(d.Start(ctx))

	conn, err := net.Dial("tcp", listener.Addr().String())
	must(err)
	fmt.Fprintln(conn, `{"to":"leia@example.org"}`)
	answer, err := bufio.NewReader(conn).ReadString('\n')
	must(err)
	conn.Close()
	fmt.Print("accepted: ", answer)
	fmt.Println(<-got)
	must(d.Shutdown(ctx))
	// Output:
	// accepted: true
	// {"to":"leia@example.org"}
}
