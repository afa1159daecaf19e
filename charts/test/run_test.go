package charttest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// patience is how long a test waits for what must happen.
const patience = 60 * time.Second

// TestProgramRunsAsRendered starts the program with the arguments, variables and files that its pod has, asks its
// probes, and runs the test's pod against it. Only addresses are others: the Redis, the port, the folders.
func TestProgramRunsAsRendered(t *testing.T) {
	program := filepath.Join(t.TempDir(), "dispatcher")
	build := exec.Command("go", "build", "-o", program, "./cmd/dispatcher")
	build.Dir = "../.."
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	help, err := exec.Command(program, "serve", "--help").Output()
	if err != nil {
		t.Fatal(err)
	}
	redis := startRedis(t)
	jwks := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"keys":[]}`)
	}))
	defer jwks.Close()
	for name, given := range matrix(t) {
		t.Run(name, func(t *testing.T) {
			if addresses := values(t, "targets: {allowCIDRs: [127.0.0.0/8]}"); name == "cluster" { // that of the test's pod
				given = with(given, addresses)
			}
			all := render(t, given)
			node := &node{t: t, program: program, all: all, secrets: map[string]string{
				"url": redis, "redis-url": redis, "password": "", "redis-password": "",
				"jwt-secret": "0123456789abcdef0123456789abcdef", "hs256": "0123456789abcdef0123456789abcdef",
				"secrets-keys": "k1:MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=",
			}}
			port := freePort(t)
			node.over = map[string]string{"DEETOO_LISTEN": fmt.Sprintf("127.0.0.1:%d", port), "DEETOO_URL": fmt.Sprintf("http://127.0.0.1:%d", port), "POD_IP": "127.0.0.1"}
			for variable, address := range map[string]string{"DEETOO_JWKS_URL": jwks.URL, "DEETOO_PREFIX": "p-" + name} {
				if _, set := variables(pod(t, all).Spec.Containers[0])[variable]; set {
					node.over[variable] = address
				}
			}
			spec := pod(t, all).Spec
			for variable := range variables(spec.Containers[0]) {
				if strings.HasPrefix(variable, "DEETOO_") && !regexp.MustCompile(`\$`+variable+`\b`).Match(help) {
					t.Errorf("%s is not a setting", variable) // and would be ignored
				}
			}
			process, log := node.start(spec)
			container := spec.Containers[0]
			for _, probe := range []*corev1.Probe{container.StartupProbe, container.LivenessProbe, container.ReadinessProbe} {
				node.answers(fmt.Sprintf("http://127.0.0.1:%d%s", port, probe.HTTPGet.Path), process, log)
			}
			for _, test := range only[*corev1.Pod](all) {
				if test.Spec.Containers[0].Env[len(test.Spec.Containers[0].Env)-1].Name == "DEETOO_TOKEN" {
					continue // of an issuer that is not here
				}
				node.passes(test.Spec, strings.Contains(strings.Join(test.Spec.Containers[0].Args, " "), "--no-delivery"))
			}
			if err := process.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			if err := process.Wait(); err != nil {
				t.Errorf("ended with %v\n%s", err, log)
			}
			if strings.Contains(log.String(), `"level":"ERROR"`) {
				t.Errorf("it complains:\n%s", log)
			}
		})
	}
}

// node runs containers without a cluster.
type node struct {
	t       *testing.T
	program string
	all     objects
	secrets map[string]string // by key
	over    map[string]string // variables that are others here
	folders map[string]string // by mount path
}

// variables are those of a container, not yet looked up.
func variables(c corev1.Container) map[string]corev1.EnvVar {
	all := map[string]corev1.EnvVar{}
	for _, e := range c.Env {
		all[e.Name] = e
	}
	return all
}

// command is a container's.
func (n *node) command(p corev1.PodSpec) *exec.Cmd {
	n.t.Helper()
	n.mount(p)
	c := p.Containers[0]
	env := map[string]string{"PATH": os.Getenv("PATH"), "EMAIL_API_KEY": "of-the-secret-email"}
	for name, e := range variables(c) {
		value := e.Value
		switch {
		case n.over[name] != "":
			value = n.over[name]
		case e.ValueFrom != nil && e.ValueFrom.SecretKeyRef != nil:
			var known bool
			if value, known = n.secrets[e.ValueFrom.SecretKeyRef.Key]; !known {
				n.t.Fatalf("%s is of a secret that the test has not: %+v", name, e.ValueFrom.SecretKeyRef)
			}
		case e.ValueFrom != nil:
			n.t.Fatalf("%s: %+v", name, e.ValueFrom)
		}
		for path, folder := range n.folders {
			if value == path || strings.HasPrefix(value, path+"/") {
				value = folder + strings.TrimPrefix(value, path)
			}
		}
		env[name] = value
	}
	var args []string
	for _, a := range c.Args { // as the kubelet does
		for name, value := range env {
			a = strings.ReplaceAll(a, "$("+name+")", value)
		}
		args = append(args, a)
	}
	cmd := exec.Command(n.program, args...)
	cmd.Dir = n.t.TempDir()
	for name, value := range env {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	return cmd
}

// mount puts what a pod's volumes hold into folders.
func (n *node) mount(p corev1.PodSpec) {
	n.t.Helper()
	n.folders = map[string]string{}
	for _, m := range p.Containers[0].VolumeMounts {
		n.folders[m.MountPath] = n.t.TempDir()
		for _, v := range p.Volumes {
			files := map[string]string{}
			switch {
			case v.Name != m.Name:
			case v.ConfigMap != nil:
				for _, c := range only[*corev1.ConfigMap](n.all) {
					if c.Name == v.ConfigMap.Name {
						files = c.Data
					}
				}
				if len(files) == 0 {
					n.t.Fatalf("there is no ConfigMap %s", v.ConfigMap.Name)
				}
			case v.Secret != nil:
				for _, item := range v.Secret.Items {
					files[item.Path] = n.secrets[item.Key]
				}
			}
			for name, text := range files {
				if err := os.WriteFile(filepath.Join(n.folders[m.MountPath], name), []byte(text), 0o600); err != nil {
					n.t.Fatal(err)
				}
			}
		}
	}
}

// start runs a container; it is killed when the test ends.
func (n *node) start(p corev1.PodSpec) (*exec.Cmd, *output) {
	n.t.Helper()
	cmd, log := n.command(p), &output{}
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { _ = cmd.Process.Kill() })
	return cmd, log
}

// answers waits until a probe succeeds.
func (n *node) answers(url string, process *exec.Cmd, log *output) {
	n.t.Helper()
	var last string
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		resp, err := http.Get(url)
		if err != nil {
			if last = err.Error(); syscall.Kill(process.Process.Pid, 0) != nil {
				break
			}
			continue
		}
		_ = resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			return
		}
		last = resp.Status
	}
	n.t.Fatalf("%s: %s\n%s", url, last, log)
}

// passes runs the test's pod.
func (n *node) passes(p corev1.PodSpec, undelivered bool) {
	n.t.Helper()
	out, err := n.command(p).CombinedOutput()
	want := "and succeeded"
	if undelivered {
		want = "none was delivered"
	}
	if err != nil || !strings.Contains(string(out), want) {
		n.t.Errorf("helm test: %v\n%s", err, out)
	}
}

// startRedis runs a Redis and returns its URL.
func startRedis(t *testing.T) string {
	t.Helper()
	port := freePort(t)
	log := &output{}
	cmd := exec.Command("redis-server", "--port", fmt.Sprint(port), "--bind", "127.0.0.1", "--save", "", "--maxmemory-policy", "noeviction", "--dir", t.TempDir())
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	for end := time.Now().Add(patience); !strings.Contains(log.String(), "Ready to accept connections"); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("Redis does not start:\n%s", log)
		}
	}
	return fmt.Sprintf("redis://127.0.0.1:%d", port)
}

func freePort(t *testing.T) int {
	t.Helper()
	ln, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().(*net.TCPAddr).Port
}

// output collects what a process writes.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// Write is io.Writer's.
func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

// String is all that was written so far.
func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}
