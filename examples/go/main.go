// Command go handles DeeToo's "email" jobs with net/http, and checks their
// signature with the package that made it. See README.md.
package main

import (
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
	"syscall"
	"time"

	"github.com/deetoo/deetoo/dispatch/webhook"
)

const (
	maxBody = 1 << 20 // bytes; what DeeToo lets a job be, by default
	drain   = 30 * time.Second
)

func main() {
	secret := os.Getenv("DEETOO_SECRET")
	if _, err := webhook.Sign(secret, "check", time.Now(), nil); err != nil {
		log.Fatal("DEETOO_SECRET: ", err)
	}
	mux := http.NewServeMux()
	mux.Handle("POST /email", verified(secret, sendEmail))
	srv := &http.Server{
		Addr:        "127.0.0.1:" + cmp.Or(os.Getenv("PORT"), "9000"),
		Handler:     mux,
		ReadTimeout: 10 * time.Second, // slow senders must not pile up
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	go func() {
		if err := srv.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
			log.Fatal(err)
		}
	}()
	<-ctx.Done()
	// Takes no more, and waits for the running jobs.
	ctx, cancel := context.WithTimeout(context.Background(), drain)
	defer cancel()
	if err := srv.Shutdown(ctx); err != nil {
		log.Fatal(err)
	}
}

// verified lets through to next what DeeToo sent just now.
func verified(secret string, next func(http.ResponseWriter, *http.Request, []byte)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		// The bytes as they came: they are what is signed.
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
		if err != nil {
			answer(w, http.StatusRequestEntityTooLarge, "error", "body too large")
			return
		}
		// 0 is the default tolerance of 5 minutes: an older delivery may be a replay.
		if err := webhook.Verify(r.Header, body, 0, secret); err != nil {
			answer(w, http.StatusUnauthorized, "error", err.Error())
			return
		}
		next(w, r, body)
	}
}

// sendEmail is the job: put your own work here. r.Context() ends when DeeToo
// hangs up, because the attempt timed out or the job was cancelled.
func sendEmail(w http.ResponseWriter, r *http.Request, body []byte) {
	var data struct {
		To   string `json:"to"`
		Fail bool   `json:"fail"`
	}
	if err := json.Unmarshal(body, &data); err != nil || data.To == "" {
		w.Header().Set("Deetoo-No-Retry", "true") // trying again would not help
		answer(w, http.StatusUnprocessableEntity, "error", "data lacks to")
		return
	}
	if data.Fail { // DeeToo tries again after a backoff
		answer(w, http.StatusInternalServerError, "error", "asked to fail")
		return
	}
	// Deliveries are at least once: keep the webhook-id with the work done, and
	// drop what you have seen. %q quotes the newlines that would fake a line.
	fmt.Printf("email to %q job %s attempt %s\n", data.To, r.Header.Get("Deetoo-Job-Id"), r.Header.Get("Deetoo-Attempt"))
	answer(w, http.StatusOK, "sent_to", data.To)
}

func answer(w http.ResponseWriter, status int, field, value string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if err := json.NewEncoder(w).Encode(map[string]string{field: value}); err != nil {
		log.Print(err)
	}
}
