package webhook_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"time"

	"github.com/deetoo/deetoo/dispatch/webhook"
)

// A handler in Go that believes signed deliveries only.
func ExampleVerify() {
	const secret = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
	handler := func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
		if err != nil {
			http.Error(w, "too large", http.StatusRequestEntityTooLarge)
			return
		}
		if err := webhook.Verify(r.Header, body, 0, secret); err != nil {
			http.Error(w, err.Error(), http.StatusUnauthorized)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	}

	body, now := `{"to":"leia@example.org"}`, time.Now()
	signature, err := webhook.Sign(secret, "email/1", now, []byte(body))
	if err != nil {
		panic(err)
	}
	for _, sent := range []string{body, `{"to":"vader@example.org"}`} {
		r := httptest.NewRequest(http.MethodPost, "/email", strings.NewReader(sent))
		r.Header.Set("webhook-id", "email/1")
		r.Header.Set("webhook-timestamp", strconv.FormatInt(now.Unix(), 10))
		r.Header.Set("webhook-signature", signature)
		w := httptest.NewRecorder()
		handler(w, r)
		fmt.Printf("%d %q\n", w.Code, w.Body)
	}
	// Output:
	// 204 ""
	// 401 "no webhook-signature fits\n"
}
