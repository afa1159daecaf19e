package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"testing"

	"github.com/deetoo/deetoo/internal/redistest"
)

// told is what the handler of a follow-up gets.
type told struct {
	Parent outcome
	Data   json.RawMessage
}

// outcome of a job, as followers and callbacks are told.
type outcome struct {
	Type, ID, State, Error string
	Attempts, Status       int
	Result                 json.RawMessage
}

func toldIn[T any](t testing.TB, d delivery) (v T) {
	t.Helper()
	if err := json.Unmarshal(d.body, &v); err != nil {
		t.Fatalf("%s: %v", d.body, err)
	}
	return v
}

func TestChainOfThreeTypes(t *testing.T) {
	t.Parallel()
	s := serve(t, inDir(t.TempDir()))
	fetch := handle(t, func(w http.ResponseWriter, d delivery) { fmt.Fprint(w, `{"rows":3}`) })
	convert := handle(t, func(w http.ResponseWriter, d delivery) { fmt.Fprint(w, `converted`) })
	store := handle(t, func(w http.ResponseWriter, d delivery) { http.Error(w, "disk is full", 500) })
	alarm, hook := handle(t, nil), handle(t, nil)
	secret := s.register("fetch", fetch.url, nil)
	s.register("convert", convert.url, nil)
	s.register("store", store.url, spec{"retry": spec{"max_attempts": 1}})
	s.register("alarm", alarm.url, nil)
	id := s.push("fetch", spec{
		"data": spec{"from": "x"}, "on_failure": spec{"type": "alarm"}, "callback_url": hook.url + "/done?key=hidden",
		"then": []spec{
			{"type": "convert", "data": spec{"to": "csv"}},
			{"type": "store", "on_failure": spec{"type": "alarm", "data": "storing failed"}},
		},
	})
	second := toldIn[told](t, convert.awaits(t, 1))
	if second.Parent.Type != "fetch" || second.Parent.ID != id || second.Parent.State != "succeeded" || string(second.Parent.Result) != `{"rows":3}` || string(second.Data) != `{"to":"csv"}` {
		t.Errorf("convert was told %+v", second)
	}
	third := toldIn[told](t, store.awaits(t, 1))
	if third.Parent.Type != "convert" || string(third.Parent.Result) != `"converted"` || string(third.Data) != "null" {
		t.Errorf("store was told %+v", third)
	}
	failed := toldIn[told](t, alarm.awaits(t, 1))
	if failed.Parent.Type != "store" || failed.Parent.State != "dead" || failed.Parent.Status != 500 || failed.Parent.Error == "" || string(failed.Data) != `"storing failed"` {
		t.Errorf("alarm was told %+v", failed)
	}
	done := hook.awaits(t, 1)
	done.verifies(t, secret)
	if o := toldIn[outcome](t, done); o.Type != "fetch" || o.ID != id || o.State != "succeeded" || string(o.Result) != `{"rows":3}` {
		t.Errorf("the callback was told %+v", o)
	}
	var shown struct {
		CallbackURL string `json:"callback_url"`
		Then        []struct{ Type string }
		Parent      struct{ Type, ID string }
	}
	s.must("GET", "/v1/types/fetch/jobs/"+id, nil, &shown)
	if shown.CallbackURL != hook.url+"/done?…" || len(shown.Then) != 2 {
		t.Errorf("%+v", shown)
	}
	s.must("GET", "/v1/types/store/jobs/"+store.awaits(t, 1).id, nil, &shown)
	if shown.Parent.Type != "convert" || shown.Parent.ID != convert.awaits(t, 1).id {
		t.Errorf("%+v", shown)
	}
	s.allDone("deetoo.callback", 1)
	for _, h := range []*handler{fetch, convert, store, alarm, hook} {
		if n := len(h.deliveries()); n != 1 {
			t.Errorf("%d deliveries", n)
		}
	}
	if out, stderr, code := run(t, []string{"DEETOO_URL=" + s.url, "DEETOO_TOKEN=" + s.token}, "push", "fetch", "1", "--then", "convert", "--then", `{"type":"alarm","data":"from the shell"}`,
		"--callback-url", hook.url); code != 0 {
		t.Fatalf("%d %s%s", code, out, stderr)
	}
	if last := toldIn[told](t, alarm.awaits(t, 2)); last.Parent.Type != "convert" || string(last.Data) != `"from the shell"` {
		t.Errorf("alarm was told %+v", last)
	}
	hook.awaits(t, 2).verifies(t, secret)
	// Nobody but the dispatcher pushes callbacks, and follow-ups are checked when they are pushed.
	for path, body := range map[string]spec{
		"/v1/types/deetoo.callback/jobs": {"data": 1},
		"/v1/types/fetch/jobs":           {"data": 1, "on_success": spec{"type": "deetoo.callback"}},
		"/v1/types/convert/jobs":         {"data": 1, "callback_url": "http://169.254.169.254/latest"},
		"/v1/types/store/jobs":           {"data": 1, "then": []spec{{"type": "alarm", "when": 5}}},
	} {
		if a := s.call("POST", path, body); a.status != 400 && a.status != 422 {
			t.Errorf("%s: %d %s", path, a.status, a.body)
		}
	}
	if a := s.call("POST", "/v1/types/fetch/jobs", spec{"data": 1, "on_failure": spec{"type": "nosuch"}}); a.status != 404 {
		t.Errorf("%d %s", a.status, a.body)
	}
}

// Dispatchers are killed while jobs end: each job has one follow-up and one callback all the same.
func TestFollowUpsHappenOnceThoughDispatchersAreKilled(t *testing.T) {
	t.Parallel()
	redis := redistest.SingleServer(t)
	const n = 300
	work := handle(t, nil)
	var mu sync.Mutex
	followers, callbacks := map[string]map[string]bool{}, map[string]map[string]bool{}
	note := func(in map[string]map[string]bool, parent, id string) {
		mu.Lock()
		defer mu.Unlock()
		if in[parent] == nil {
			in[parent] = map[string]bool{}
		}
		in[parent][id] = true
	}
	next := handle(t, func(_ http.ResponseWriter, d delivery) { note(followers, toldIn[told](t, d).Parent.ID, d.id) })
	hook := handle(t, func(_ http.ResponseWriter, d delivery) { note(callbacks, toldIn[outcome](t, d).ID, d.id) })
	env := func() []string { return append(onRedis(t, redis.URL()), "DEETOO_LEASE=1s") }
	stays, dies := serve(t, env()), serve(t, env())
	stays.register("work", work.url, spec{"concurrency": 20, "retention": spec{"count": 10}})
	stays.register("next", next.url, spec{"concurrency": 20})
	jobs := make([]spec, n)
	for i := range jobs {
		jobs[i] = spec{"data": i, "on_success": spec{"type": "next"}, "callback_url": hook.url}
	}
	stays.must("POST", "/v1/types/work/jobs", jobs, nil)
	for k := 1; k <= 3; k++ {
		eventually(t, "some jobs have ended", func() bool { return len(work.deliveries()) >= k*n/5 })
		dies.kill()
		dies = serve(t, env())
	}
	all := func(in map[string]map[string]bool) bool {
		mu.Lock()
		defer mu.Unlock()
		return len(in) == n
	}
	eventually(t, "every job was followed", func() bool { return all(followers) && all(callbacks) })
	eventually(t, "nothing is left to follow", func() bool {
		var st struct{ Endings, Waiting, Active, Scheduled int }
		stays.must("GET", "/v1/types/work/stats", nil, &st)
		return st.Endings+st.Waiting+st.Active+st.Scheduled == 0
	})
	stays.allDone("next", n)
	stays.allDone("deetoo.callback", n)
	mu.Lock()
	defer mu.Unlock()
	for parent, ids := range followers {
		if len(ids) != 1 || len(callbacks[parent]) != 1 {
			t.Errorf("job %s: %d follow-ups and %d callbacks", parent, len(ids), len(callbacks[parent]))
		}
	}
}
