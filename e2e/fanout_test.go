package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/deetoo/deetoo/internal/redistest"
)

// toldOfWorkflow is what the handler of a job that follows a workflow gets.
type toldOfWorkflow struct {
	Workflow struct {
		ID, State                         string
		Total, Succeeded, Dead, Cancelled int
		Jobs                              []struct {
			Type, ID, State, Error string
			Status                 int
			Result                 json.RawMessage
		}
	}
	Data json.RawMessage
}

// fanOut is a workflow of n jobs over two types.
func fanOut(id string, n int, follow spec) spec {
	jobs := make([]spec, n)
	for i := range jobs {
		jobs[i] = spec{"type": []string{"encode", "thumbnail"}[i%2], "data": i}
	}
	w := spec{"id": id, "jobs": jobs}
	for k, v := range follow {
		w[k] = v
	}
	return w
}

func TestFanOutAndIn(t *testing.T) {
	t.Parallel()
	s := serve(t, inDir(t.TempDir()))
	encode := handle(t, func(w http.ResponseWriter, d delivery) { fmt.Fprintf(w, `{"did":%s}`, d.body) })
	thumbnail := handle(t, func(w http.ResponseWriter, d delivery) {
		if string(d.body) == `"bad"` {
			http.Error(w, "no such picture", 500)
		}
	})
	publish, alarm, hook := handle(t, nil), handle(t, nil), handle(t, nil)
	secret := s.register("encode", encode.url, nil)
	s.register("thumbnail", thumbnail.url, spec{"retry": spec{"max_attempts": 1}})
	s.register("publish", publish.url, nil)
	s.register("alarm", alarm.url, nil)
	s.must("POST", "/v1/workflows", fanOut("video", 20, spec{
		"on_success": spec{"type": "publish", "data": spec{"video": 7}}, "on_failure": spec{"type": "alarm"}, "callback_url": hook.url + "/done",
	}), nil)
	got := toldIn[toldOfWorkflow](t, publish.awaits(t, 1))
	if got.Workflow.ID != "video" || got.Workflow.State != "succeeded" || got.Workflow.Succeeded != 20 || len(got.Workflow.Jobs) != 20 || string(got.Data) != `{"video":7}` {
		t.Fatalf("%+v", got)
	}
	for i, j := range got.Workflow.Jobs {
		if j.ID != fmt.Sprintf("video-%d", i) || j.State != "succeeded" || i%2 == 0 && string(j.Result) != fmt.Sprintf(`{"did":%d}`, i) {
			t.Errorf("job %d: %+v", i, j)
		}
	}
	hook.awaits(t, 1).verifies(t, secret)
	var shown struct {
		State       string
		Pending     int
		CompletedAt string `json:"completed_at"`
	}
	eventually(t, "the workflow is completed", func() bool {
		s.must("GET", "/v1/workflows/video", nil, &shown)
		return shown.CompletedAt != ""
	})
	if shown.State != "succeeded" || shown.Pending != 0 {
		t.Errorf("%+v", shown)
	}
	// One that fails.
	s.must("POST", "/v1/workflows", spec{"id": "broken", "jobs": []spec{{"type": "encode"}, {"type": "thumbnail", "data": "bad"}},
		"on_success": spec{"type": "publish"}, "on_failure": spec{"type": "alarm", "data": "it broke"}}, nil)
	got = toldIn[toldOfWorkflow](t, alarm.awaits(t, 1))
	if got.Workflow.State != "failed" || got.Workflow.Dead != 1 || got.Workflow.Jobs[1].Status != 500 || got.Workflow.Jobs[1].Error == "" || string(got.Data) != `"it broke"` {
		t.Errorf("%+v", got)
	}
	if p, h := len(publish.deliveries()), len(hook.deliveries()); p != 1 || h != 1 {
		t.Errorf("published %d times, %d callbacks", p, h)
	}
}

// Dispatchers are killed while the jobs of workflows end: what follows each is there once all the same.
func TestFanInHappensOnceThoughDispatchersAreKilled(t *testing.T) {
	t.Parallel()
	redis := redistest.SingleServer(t)
	const workflows, n = 15, 20
	encode, thumbnail, publish := handle(t, nil), handle(t, nil), handle(t, nil)
	env := func() []string { return append(onRedis(t, redis.URL()), "DEETOO_LEASE=1s") }
	stays, dies := serve(t, env()), serve(t, env())
	stays.register("encode", encode.url, spec{"concurrency": 10, "retention": spec{"count": 10}})
	stays.register("thumbnail", thumbnail.url, spec{"concurrency": 10})
	stays.register("publish", publish.url, nil)
	for i := range workflows {
		stays.must("POST", "/v1/workflows", fanOut(fmt.Sprint("w", i), n, spec{"on_complete": spec{"type": "publish"}}), nil)
	}
	for k := 1; k <= 3; k++ {
		eventually(t, "some jobs have ended", func() bool { return len(encode.deliveries()) >= k*workflows*n/2/5 })
		dies.kill()
		dies = serve(t, env())
	}
	eventually(t, "all workflows are completed", func() bool {
		for i := range workflows {
			var shown struct {
				CompletedAt string `json:"completed_at"`
				Succeeded   int
			}
			stays.must("GET", fmt.Sprint("/v1/workflows/w", i), nil, &shown)
			if shown.CompletedAt == "" || shown.Succeeded != n {
				return false
			}
		}
		return true
	})
	eventually(t, "nothing is left to follow", func() bool {
		left := 0
		for _, typ := range []string{"encode", "thumbnail", "publish"} {
			var st struct{ Endings, Waiting, Active, Scheduled int }
			stays.must("GET", "/v1/types/"+typ+"/stats", nil, &st)
			left += st.Endings + st.Waiting + st.Active + st.Scheduled
		}
		return left == 0
	})
	stays.allDone("publish", workflows)
	for i := range workflows {
		if publish.times()[fmt.Sprintf("w%d-complete", i)] == 0 {
			t.Errorf("nothing came after workflow %d", i)
		}
	}
}

func TestWorkflowsOnTheCommandLine(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := serve(t, inDir(dir))
	for _, typ := range []string{"encode", "thumbnail", "publish"} {
		s.register(typ, handle(t, nil).url, nil)
	}
	file := filepath.Join(dir, "video.json")
	text, err := json.Marshal(fanOut("video", 4, spec{"on_success": spec{"type": "publish"}}))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 { // a repetition changes nothing
		if out := s.ok("workflows", "create", file); !strings.Contains(out, `"video-3"`) {
			t.Errorf("create: %s", out)
		}
	}
	eventually(t, "it has succeeded", func() bool { return strings.Contains(s.ok("workflows", "show", "video"), `"state": "succeeded"`) })
	s.becomes("publish", "video-success", "succeeded")
	for _, wrong := range [][]string{{"show", "nothing"}, {"create", filepath.Join(dir, "none.json")}, {"create", os.DevNull}} {
		if _, stderr, code := s.command(append([]string{"workflows"}, wrong...)...); code == 0 || stderr == "" {
			t.Errorf("%v: %d %s", wrong, code, stderr)
		}
	}
	s.stop()
}
