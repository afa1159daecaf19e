package api

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// TestDocsInABrowser opens /docs in Chromium: every operation is there, nothing
// is asked of anybody else, and nothing is refused by the page's own policy.
func TestDocsInABrowser(t *testing.T) {
	w := newWorld(t)
	origin := "http://" + listen(t, w.app)
	var mu sync.Mutex
	var trouble, asked []string
	ctx, cancel := chromedp.NewContext(t.Context(), chromedp.WithAllocatorOptions(chromedp.NoSandbox, chromedp.DisableGPU),
		chromedp.WithListener(func(ev any) {
			mu.Lock()
			defer mu.Unlock()
			switch ev := ev.(type) {
			case *network.EventRequestWillBeSent:
				asked = append(asked, ev.Request.URL)
			case *runtime.EventExceptionThrown:
				trouble = append(trouble, ev.ExceptionDetails.Text)
			case *log.EventEntryAdded:
				if ev.Entry.Level == "error" {
					trouble = append(trouble, ev.Entry.Text)
				}
			}
		}))
	defer cancel()
	ctx, cancel = context.WithTimeout(ctx, 60*time.Second)
	defer cancel()

	err := chromedp.Do(ctx,
		chromedp.Navigate(origin+"/docs"),
		chromedp.WaitVisible("#operations-jobs-pushJobs .opblock-summary-control"),
		chromedp.Click("#operations-jobs-pushJobs .opblock-summary-control"),
		chromedp.WaitVisible("#operations-jobs-pushJobs .responses-table"),
	)
	if err != nil {
		t.Fatal(err)
	}
	operations, err := chromedp.Run(ctx, chromedp.Evaluate[int](`document.querySelectorAll(".opblock").length`))
	if want := len(w.api.Routes()); err != nil || operations != want {
		t.Errorf("%d operations are shown (%v), there are %d", operations, err, want)
	}
	mu.Lock()
	defer mu.Unlock()
	for _, url := range asked {
		if !strings.HasPrefix(url, origin+"/") && !strings.HasPrefix(url, "data:") {
			t.Errorf("the page asked %s", url)
		}
	}
	if len(asked) < 4 || len(trouble) > 0 {
		t.Errorf("asked %v; trouble: %v", asked, trouble)
	}
}
