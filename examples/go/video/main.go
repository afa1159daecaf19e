// Command video handles DeeToo's "video" jobs, which take longer than a request
// should: it accepts them, calls back while it works, and stops when one is
// cancelled. See ../README.md.
package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/deetoo/deetoo/dispatch/webhook"
)

const maxBody = 1 << 20 // bytes; what DeeToo lets a job be, by default

// errCancelled: the job was cancelled. errLost: it is ours no more, and somebody else may be working on it.
var (
	errCancelled = errors.New("stopped, because the job was cancelled")
	errLost      = errors.New("the attempt has ended")
)

// handler accepts jobs and works on each in a goroutine.
type handler struct {
	secret string
	beat   time.Duration // between heartbeats; the type's callback_lease should be some times that
	step   time.Duration // that a frame takes, since there is no real work here
	work   sync.WaitGroup
}

func main() {
	h := &handler{secret: os.Getenv("DEETOO_SECRET"), beat: seconds("BEAT", "15s"), step: seconds("STEP", "1s")}
	if _, err := webhook.Sign(h.secret, "check", time.Now(), nil); err != nil {
		log.Fatal("DEETOO_SECRET: ", err)
	}
	mux := http.NewServeMux()
	mux.Handle("POST /video", h)
	srv := &http.Server{Addr: "127.0.0.1:" + cmp.Or(os.Getenv("PORT"), "9000"), Handler: mux, ReadTimeout: 10 * time.Second}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	go func() {
		if err := srv.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
			log.Fatal(err)
		}
	}()
	<-ctx.Done()
	if err := srv.Shutdown(context.Background()); err != nil {
		log.Fatal(err)
	}
	h.work.Wait() // what has been accepted is done
}

// seconds reads a setting: "15", or "0.1", or as Go writes durations.
func seconds(name, byDefault string) time.Duration {
	s := cmp.Or(os.Getenv(name), byDefault)
	d, err := time.ParseDuration(s)
	if err != nil {
		if d, err = time.ParseDuration(s + "s"); err != nil {
			log.Fatalf("%s: %v", name, err)
		}
	}
	return d
}

// ServeHTTP checks that DeeToo sent the job, and accepts it.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		w.WriteHeader(http.StatusRequestEntityTooLarge)
		return
	}
	if err := webhook.Verify(r.Header, body, 0, h.secret); err != nil {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	var data struct{ Frames *int }
	if err := json.Unmarshal(body, &data); err != nil || data.Frames == nil || *data.Frames < 0 {
		w.WriteHeader(489) // trying again would not help
		return
	}
	j := &job{id: r.Header.Get("Deetoo-Job-Id"), url: r.Header.Get("Deetoo-Callback-Url"), token: r.Header.Get("Deetoo-Callback-Token")}
	if j.url == "" {
		w.WriteHeader(http.StatusInternalServerError) // this dispatcher has no address to call back
		return
	}
	h.work.Go(func() { h.run(j, *data.Frames) })
	w.WriteHeader(http.StatusAccepted)
}

// run works on a job, with heartbeats beside, and says how it ended.
func (h *handler) run(j *job, frames int) {
	ctx, cancel := context.WithCancelCause(context.Background())
	j.stop = cancel
	var beats sync.WaitGroup
	done := make(chan struct{})
	beats.Go(func() {
		for {
			select {
			case <-done:
				return
			case <-time.After(h.beat):
				j.tell(ctx, "heartbeat", struct{}{})
			}
		}
	})
	err := h.render(ctx, j, frames)
	close(done)
	beats.Wait()
	end := "complete"
	switch cause := context.Cause(ctx); {
	case errors.Is(cause, errLost): // its next attempt may be running already
	case err != nil:
		end = "fail"
		j.tell(context.Background(), end, map[string]string{"error": cmp.Or(cause, err).Error()})
	default:
		j.tell(context.Background(), end, map[string]any{"result": map[string]int{"frames": frames}})
	}
	if errors.Is(context.Cause(ctx), errLost) {
		end = "lost"
	}
	fmt.Printf("video job %s %s\n", j.id, end)
}

// render is the job: put your own work here. ctx ends when the job is cancelled.
func (h *handler) render(ctx context.Context, j *job, frames int) error {
	for n := range frames {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(h.step):
		}
		j.tell(ctx, "progress", map[string]int{"number": n + 1, "total": frames})
	}
	j.tell(ctx, "log", map[string]string{"message": fmt.Sprintf("rendered %d frames", frames)})
	return nil
}

// job is how DeeToo is told of a job while it is worked on.
type job struct {
	id, url, token string
	stop           context.CancelCauseFunc // ends the work
}

// tell calls back, however often it takes: DeeToo may be restarting.
func (j *job) tell(ctx context.Context, what string, body any) {
	raw, err := json.Marshal(body)
	if err != nil {
		log.Print(err)
		return
	}
	for ctx.Err() == nil {
		again := j.call(ctx, what, raw)
		if !again {
			return
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
}

// call reports whether it is worth another try.
func (j *job) call(ctx context.Context, what string, body []byte) (again bool) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, j.url+"/"+what, bytes.NewReader(body))
	if err != nil {
		log.Print(err)
		return false
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+j.token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return true
	}
	defer resp.Body.Close()
	var answer struct{ Cancelled bool }
	switch {
	case resp.StatusCode == http.StatusConflict:
		j.stop(errLost)
	case resp.StatusCode >= 500:
		return true
	case resp.StatusCode == http.StatusOK && json.NewDecoder(resp.Body).Decode(&answer) == nil && answer.Cancelled:
		j.stop(errCancelled)
	case resp.StatusCode >= 300:
		log.Printf("%s: %s", what, resp.Status)
	}
	return false
}
