package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

	"github.com/deetoo/deetoo/dispatch/webhook"
	"github.com/deetoo/deetoo/registry"
)

// selftestCmd runs a job through a dispatcher, end to end: it registers a type of its own, pushes a job,
// answers the delivery as a handler, and waits for the success. Whatever comes of it, the type is deleted again.
type selftestCmd struct {
	clientFlags
	Answer     string        `default:"127.0.0.1:0" placeholder:"ADDR" help:"Address to answer the delivery at; an IP alone means any free port. Default: ${default}, reached from this machine only."`
	Target     string        `placeholder:"URL" help:"Where the dispatcher reaches that address. Default: http:// and the address."`
	NoDelivery bool          `help:"Push a job, see that it is stored, and cancel it: for a dispatcher that may not call this machine."`
	Timeout    time.Duration `default:"1m" help:"How long all of it may take. Default: ${default}."`
}

// Run is called by kong.
func (c *selftestCmd) Run(env *environment) (err error) {
	if c.Timeout <= 0 {
		return usageError{errors.New("--timeout must be positive")}
	}
	cl, err := c.client()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(env.ctx, c.Timeout, fmt.Errorf("selftest: it took longer than %s", c.Timeout))
	defer cancel()
	t := &selftest{client: cl, typ: "selftest-" + strings.ToLower(rand.Text()[:10]), secret: registry.NewSecret()}
	target := "https://selftest.invalid/" // RFC 2606: nobody's
	if !c.NoDelivery {
		closeHandler, address, err := t.listen(ctx, c.Answer)
		if err != nil {
			return err
		}
		defer closeHandler()
		if target = c.Target; target == "" {
			target = "http://" + address
		}
	}
	if err := t.register(ctx, target, c.NoDelivery); err != nil {
		return err
	}
	defer func() { // also if ctx has ended
		late, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		if gone := cl.call(late, "DELETE", typePath(t.typ)+"?force=true", "", nil, nil); gone != nil {
			err = errors.Join(err, fmt.Errorf("type %s could not be deleted: %w", t.typ, gone))
		}
	}()
	begun := time.Now()
	if err := t.push(ctx); err != nil {
		return err
	}
	if c.NoDelivery {
		if err := t.stored(ctx); err != nil {
			return err
		}
		_, err = fmt.Fprintf(env.stdout, "ok: a job was stored, shown and cancelled in %s; none was delivered\n", time.Since(begun).Round(time.Millisecond))
		return err
	}
	if err := t.succeeds(ctx); err != nil {
		return err
	}
	_, err = fmt.Fprintf(env.stdout, "ok: a job was stored, delivered with a good signature, and succeeded in %s\n", time.Since(begun).Round(time.Millisecond))
	return err
}

// selftest is one run of the command.
type selftest struct {
	client       *client
	typ, secret  string
	id           string // of the job
	data         json.RawMessage
	badSignature atomic.Pointer[string] // why a delivery was refused
}

// listen answers deliveries with the data that they bring.
func (t *selftest) listen(ctx context.Context, address string) (closeHandler func(), at string, err error) {
	if ip, err := netip.ParseAddr(address); err == nil { // such as a pod's, of either family
		address = netip.AddrPortFrom(ip, 0).String()
	}
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, "", err
	}
	srv := &http.Server{ReadTimeout: 10 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<16))
		if err == nil {
			err = webhook.Verify(r.Header, body, 0, t.secret)
		}
		if err != nil {
			why := err.Error()
			t.badSignature.Store(&why)
			http.Error(w, why, http.StatusUnauthorized)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(body) // who hung up finds out by itself
	})}
	go func() { _ = srv.Serve(ln) }() // until it is closed
	return func() { _ = srv.Close() }, ln.Addr().String(), nil
}

func (t *selftest) register(ctx context.Context, target string, paused bool) error {
	spec, err := json.Marshal(map[string]any{
		"target": target, "concurrency": 1, "timeout": "10s", "secret": t.secret, "paused": paused,
		// A network policy or a name may need a moment to let the first request through.
		"retry":       map[string]any{"max_attempts": 8, "min_backoff": "500ms", "max_backoff": "5s"},
		"description": "Made by dispatcher selftest, which deletes it",
	})
	if err != nil {
		return err
	}
	return t.client.call(ctx, "PUT", typePath(t.typ), "application/json", spec, nil)
}

func (t *selftest) push(ctx context.Context) (err error) {
	if t.data, err = json.Marshal(map[string]string{"echo": rand.Text()}); err != nil {
		return err
	}
	body, err := json.Marshal(map[string]any{"data": t.data})
	if err != nil {
		return err
	}
	var receipt struct{ ID string }
	if err := t.client.call(ctx, "POST", typePath(t.typ, "jobs"), "application/json", body, &receipt); err != nil {
		return err
	}
	t.id = receipt.ID
	return nil
}

// selftestJob is what a selftest looks at in a job.
type selftestJob struct {
	State     string
	LastError string `json:"last_error"`
	Result    json.RawMessage
}

func (t *selftest) job(ctx context.Context) (j selftestJob, err error) {
	err = t.client.call(ctx, "GET", typePath(t.typ, "jobs", t.id), "", nil, &j)
	return j, err
}

// stored sees that the job waits, and cancels it.
func (t *selftest) stored(ctx context.Context) error {
	j, err := t.job(ctx)
	if err != nil {
		return err
	}
	if j.State != "waiting" {
		return fmt.Errorf("a job of a paused type is %s, and should wait", j.State)
	}
	return t.client.call(ctx, "DELETE", typePath(t.typ, "jobs", t.id), "", nil, nil)
}

// succeeds waits until the job has, with its own data as the result.
func (t *selftest) succeeds(ctx context.Context) error {
	var last selftestJob
	for {
		j, err := t.job(ctx)
		switch {
		case ctx.Err() != nil:
			return fmt.Errorf("%w; the job was %s: %s", context.Cause(ctx), last.State, t.trouble(last))
		case err != nil:
			return err
		case j.State == "succeeded" && !sameJSON(j.Result, t.data):
			return fmt.Errorf("the job's result is %s, and should be %s", j.Result, t.data)
		case j.State == "succeeded":
			return nil
		case j.State == "dead":
			return fmt.Errorf("the job failed: %s", t.trouble(j))
		}
		last = j
		select {
		case <-ctx.Done():
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// trouble is what went wrong with a job so far.
func (t *selftest) trouble(j selftestJob) string {
	if why := t.badSignature.Load(); why != nil {
		return "its delivery had no good signature: " + *why
	}
	if j.LastError == "" {
		return "no dispatcher has tried it; has one started, and is its store reached?"
	}
	return plain(j.LastError)
}

func sameJSON(a, b []byte) bool {
	var x, y map[string]string
	return json.Unmarshal(a, &x) == nil && json.Unmarshal(b, &y) == nil && len(x) == len(y) && x["echo"] == y["echo"]
}
