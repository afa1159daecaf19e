package main

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"

	"github.com/deetoo/deetoo/auth"
)

// clean unsets the variables that would reach the program from outside, and
// works in an empty folder.
func clean(t *testing.T) {
	t.Helper()
	for _, e := range os.Environ() {
		if name, _, _ := strings.Cut(e, "="); name == "PORT" || name == "REDIS_URL" || strings.HasPrefix(name, "DEETOO_") {
			t.Setenv(name, "") // as good as absent, and put back afterwards
		}
	}
	t.Chdir(t.TempDir())
}

// dispatcher runs a command line.
func dispatcher(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out, err bytes.Buffer
	code = run(t.Context(), args, &out, &err)
	return out.String(), err.String(), code
}

// parsed is a command line, understood but not run.
func parsed(t *testing.T, args ...string) (*cli, error) {
	t.Helper()
	var c cli
	p, err := newParser(&c, io.Discard, io.Discard, func(int) { t.Fatal("exit") })
	if err != nil {
		t.Fatal(err)
	}
	_, err = p.Parse(args)
	return &c, err
}

func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestHelpExplains(t *testing.T) {
	clean(t)
	out, _, code := dispatcher(t, "--help")
	if code != 0 {
		t.Fatalf("exit code %d", code)
	}
	for _, command := range []string{"serve", "token", "push", "jobs", "types", "fsck", "migrate", "healthcheck", "version"} {
		if !strings.Contains(out, "\n  "+command) {
			t.Errorf("--help does not name %s:\n%s", command, out)
		}
	}
	out, _, code = dispatcher(t, "serve", "--help")
	if code != 0 {
		t.Fatalf("exit code %d", code)
	}
	for _, variable := range []string{"DEETOO_LISTEN", "DEETOO_DATA_DIR", "REDIS_URL", "DEETOO_JWT_SECRET", "DEETOO_ALLOW_PRIVATE_TARGETS", "DEETOO_CONFIG", "127.0.0.1:8888"} {
		if !strings.Contains(out, variable) {
			t.Errorf("serve --help does not name %s", variable)
		}
	}
}

func TestEveryFlagIsExplained(t *testing.T) {
	clean(t)
	p, err := newParser(&cli{}, io.Discard, io.Discard, func(int) {})
	if err != nil {
		t.Fatal(err)
	}
	eachFlag(p.Model, func(f *kong.Flag) {
		if f.Help == "" {
			t.Errorf("--%s has no help", f.Name)
		}
		if f.HasDefault && !strings.Contains(f.Help, f.Default) {
			t.Errorf("--%s does not tell its default: %s", f.Name, f.Help)
		}
	})
}

func TestDefaults(t *testing.T) {
	clean(t)
	c, err := parsed(t)
	if err != nil {
		t.Fatal(err)
	}
	o := options(c.Serve.storeFlags, c.Serve.keyFlags, c.Serve.serverFlags, nil)
	if o.Listen != "127.0.0.1:8888" || o.DataDir != "data" || o.RedisURL != "" || o.AllowPrivateTargets || o.DrainTimeout != 30*time.Second ||
		o.Lease != 15*time.Second || o.MaxJobSize != 1<<20 || o.Prefix != "deetoo" || o.OnTimeout != "release" || o.JWTLeeway != 30*time.Second {
		t.Errorf("%+v", o)
	}
	if err := o.Validate(); err != nil {
		t.Error(err)
	}
}

// The names that others script against.
func TestVariables(t *testing.T) {
	clean(t)
	for name, value := range map[string]string{
		"DEETOO_LISTEN": "127.0.0.1:1234", "DEETOO_DATA_DIR": "/there", "REDIS_URL": "redis://r", "DEETOO_JWT_SECRET": "s",
		"DEETOO_ALLOW_PRIVATE_TARGETS": "true", "DEETOO_ALLOW_TARGETS": "10.0.0.0/8,192.168.1.0/24", "PORT": "99", "DEETOO_DRAIN_TIMEOUT": "0",
		"DEETOO_JWT_LEEWAY": "0s",
	} {
		t.Setenv(name, value)
	}
	c, err := parsed(t, "serve")
	if err != nil {
		t.Fatal(err)
	}
	o := options(c.Serve.storeFlags, c.Serve.keyFlags, c.Serve.serverFlags, nil)
	if o.Listen != "127.0.0.1:1234" || o.DataDir != "/there" || o.RedisURL != "redis://r" || string(o.JWTSecret) != "s" || !o.AllowPrivateTargets ||
		len(o.AllowTargets) != 2 || o.AllowTargets[1].String() != "192.168.1.0/24" {
		t.Errorf("%+v", o)
	}
	if o.DrainTimeout >= time.Millisecond || o.JWTLeeway >= 0 {
		t.Errorf("a zero that was said became the default: %s, %s", o.DrainTimeout, o.JWTLeeway)
	}
}

func TestPORT(t *testing.T) {
	clean(t)
	t.Setenv("PORT", "8080")
	for want, args := range map[string][]string{":8080": {"serve"}, "127.0.0.1:1": {"serve", "--listen=127.0.0.1:1"}} {
		c, err := parsed(t, args...)
		if err != nil {
			t.Fatal(err)
		}
		if got := c.Serve.address(); got != want {
			t.Errorf("%v: %s, want %s", args, got, want)
		}
	}
}

func TestLocalURL(t *testing.T) {
	for address, want := range map[string]string{
		"127.0.0.1:8888": "http://127.0.0.1:8888", ":80": "http://127.0.0.1:80", "0.0.0.0:80": "http://127.0.0.1:80",
		"[::]:80": "http://[::1]:80", "[::1]:80": "http://[::1]:80", "localhost:80": "http://localhost:80",
	} {
		if got := localURL(address); got != want {
			t.Errorf("%s: %s, want %s", address, got, want)
		}
	}
}

func TestPrecedence(t *testing.T) {
	file := "redis-url: redis://file\ndata_dir: /file\nprefix: file\ndrain-timeout: 7s\nmax_job_size: 1234567\nallow_private_targets: true\nallow-targets: [10.0.0.0/8, '::1/128']\nlisten: ':1'\n"
	for _, c := range []struct {
		name string
		env  map[string]string
		args []string
		want string // prefix
	}{
		{"the default", nil, nil, "deetoo"},
		{"a file", nil, []string{"--config", "FILE"}, "file"},
		{"a file by variable", map[string]string{"DEETOO_CONFIG": "FILE"}, nil, "file"},
		{"a variable over the file", map[string]string{"DEETOO_PREFIX": "env"}, []string{"--config", "FILE"}, "env"},
		{"an empty variable is none", map[string]string{"DEETOO_PREFIX": ""}, []string{"--config", "FILE"}, "file"},
		{"a flag over both", map[string]string{"DEETOO_PREFIX": "env"}, []string{"--config", "FILE", "--prefix=flag"}, "flag"},
	} {
		t.Run(c.name, func(t *testing.T) {
			clean(t)
			path := write(t, "config.yaml", file)
			for name, value := range c.env {
				t.Setenv(name, strings.ReplaceAll(value, "FILE", path))
			}
			args := []string{"serve"}
			for _, a := range c.args {
				args = append(args, strings.ReplaceAll(a, "FILE", path))
			}
			got, err := parsed(t, args...)
			if err != nil {
				t.Fatal(err)
			}
			if got.Serve.Prefix != c.want {
				t.Errorf("prefix %q, want %q", got.Serve.Prefix, c.want)
			}
			if len(c.args) < 2 {
				return
			}
			f := got.Serve
			if f.RedisURL != "redis://file" || f.DataDir != "/file" || f.DrainTimeout != 7*time.Second || f.MaxJobSize != 1234567 ||
				!f.AllowPrivateTargets || len(f.AllowTargets) != 2 || f.address() != ":1" {
				t.Errorf("%+v", f)
			}
		})
	}
}

func TestBothVariablesOfRedis(t *testing.T) {
	clean(t)
	t.Setenv("REDIS_URL", "redis://plain")
	t.Setenv("DEETOO_REDIS_URL", "")
	if c, err := parsed(t, "serve"); err != nil || c.Serve.RedisURL != "redis://plain" {
		t.Errorf("%q %v", c.Serve.RedisURL, err)
	}
	t.Setenv("DEETOO_REDIS_URL", "redis://ours")
	if c, err := parsed(t, "serve"); err != nil || c.Serve.RedisURL != "redis://ours" {
		t.Errorf("%q %v", c.Serve.RedisURL, err)
	}
}

func TestBadConfigIsNamed(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"unknown":     {"lisen: ':1'", "lisen"},
		"not ours":    {"config: other.yaml", "config"},
		"of one call": {"ttl: 1h", "ttl"},
		"twice":       {"data-dir: a\ndata_dir: b", "given twice"},
		"duplicate":   {"prefix: a\nprefix: b", "prefix"},
		"bad value":   {"drain_timeout: soon", "drain-timeout"},
		"bad choice":  {"on_shutdown_timeout: shrug", "on-shutdown-timeout"},
		"a list":      {"- a", "config"},
		"no YAML":     {"a: [", "config"},
		"two of them": {"prefix: a\n---\nprefix: b", "single YAML document"},
	} {
		t.Run(name, func(t *testing.T) {
			clean(t)
			_, stderr, code := dispatcher(t, "serve", "--config", write(t, "config.yaml", c.text))
			if code != 2 || !strings.Contains(stderr, c.want) {
				t.Errorf("code %d: %s", code, stderr)
			}
		})
	}
	clean(t)
	if _, stderr, code := dispatcher(t, "version", "--config", "/no/such/file"); code != 2 || !strings.Contains(stderr, "/no/such/file") {
		t.Errorf("code %d: %s", code, stderr)
	}
	if _, stderr, code := dispatcher(t, "version", "--config", write(t, "empty.yaml", "# nothing\n")); code != 0 {
		t.Errorf("an empty file: code %d: %s", code, stderr)
	}
}

// A file's types are those of the dispatcher, and not what a token is limited to.
func TestConfigIsNotForOneCall(t *testing.T) {
	clean(t)
	file := write(t, "config.yaml", "types: types.yaml\nprefix: x\n")
	c, err := parsed(t, "token", "--config", file)
	if err != nil || len(c.Token.Types) != 0 {
		t.Errorf("a token for %q: %v", c.Token.Types, err)
	}
	if c, err = parsed(t, "serve", "--config", file); err != nil || filepath.Base(c.Serve.Types) != "types.yaml" {
		t.Errorf("%q %v", c.Serve.Types, err)
	}
}

func TestExitCodes(t *testing.T) {
	clean(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	taken := "--listen=" + l.Addr().String()
	token := "--token=x"
	for _, c := range []struct {
		code int
		want string
		args []string
	}{
		{0, "", []string{"version"}},
		{2, "--bogus", []string{"--bogus"}},
		{2, "bogus", []string{"bogus"}},
		{2, "drain-timeout", []string{"serve", "--drain-timeout=soon"}},
		{2, "on-shutdown-timeout", []string{"serve", "--on-shutdown-timeout=shrug"}},
		{2, "log-level", []string{"serve", "--log-level=loud"}},
		{2, "allow-targets", []string{"serve", "--allow-targets=10.0.0.0"}},
		{2, "scope", []string{"token", "--scope=root"}},
		{2, "TTL", []string{"token", "--ttl=0s"}},
		{2, "JobTypes", []string{"token", "--types={x}"}},
		{2, "all types", []string{"token", "--types="}},
		{2, "all types", []string{"token", "--types", ""}},
		{2, "32 bytes", []string{"token", "--jwt-secret=short"}},
		{2, "JSON", []string{"push", "email", "{", token}},
		{2, "data", []string{"push", "email", token}},
		{2, "--batch", []string{"push", "email", "1", "--batch", token}},
		{2, "a token is needed", []string{"push", "email", "1"}},
		{2, "--url", []string{"jobs", "list", "email", "--url=ftp://x", token}},
		{2, "state", []string{"jobs", "list", "email", "--state=odd", token}},
		{2, "concurrency", []string{"types", "put", "email", "--file=x.json", "--concurrency=3", token}},
		{2, "from", []string{"migrate", "--to=redis://127.0.0.1:1"}},
		{1, "jwt_secret", []string{"serve", "--jwt-secret=short", "--listen=127.0.0.1:0"}},
		{1, "redis_url", []string{"serve", "--redis-url=mysql://x", "--listen=127.0.0.1:0"}},
		{1, "address already in use", []string{"serve", taken}},
		{1, "there is no embedded store", []string{"fsck"}},
		{1, "there is no embedded store", []string{"migrate", "--from=.", "--to=redis://127.0.0.1:1"}},
		{1, "no dispatcher answers", []string{"types", "list", "--url=http://127.0.0.1:1", token}},
		{1, "refused", []string{"healthcheck", "--listen=127.0.0.1:1"}},
	} {
		stdout, stderr, code := dispatcher(t, c.args...)
		if code != c.code || !strings.Contains(stderr, c.want) {
			t.Errorf("%v: code %d, want %d: %s", c.args, code, c.code, stderr)
		}
		if code != 0 && stdout != "" {
			t.Errorf("%v: prints %q", c.args, stdout)
		}
	}
}

// tokenOf returns who a printed token is for.
func tokenOf(t *testing.T, printed string, secret []byte, o auth.Options) *auth.Identity {
	t.Helper()
	o.Secret = secret
	v, err := auth.New(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	who, err := v.Verify(context.Background(), strings.TrimSuffix(printed, "\n"))
	if err != nil {
		t.Fatalf("token %q: %v", printed, err)
	}
	return who
}

func TestTokenIsPrintedAlone(t *testing.T) {
	clean(t)
	const key = "0123456789abcdef0123456789abcdef"
	t.Setenv("DEETOO_JWT_SECRET", key)
	t.Setenv("DEETOO_JWT_ISSUER", "us")
	t.Setenv("DEETOO_JWT_AUDIENCE", "deetoo")
	stdout, stderr, code := dispatcher(t, "token", "--scope", "admin", "--ttl", "1h")
	if code != 0 || stderr != "" || strings.Count(stdout, "\n") != 1 {
		t.Fatalf("%d %q %q", code, stdout, stderr)
	}
	expected := auth.Options{Issuer: "us", Audience: "deetoo"}
	if err := tokenOf(t, stdout, []byte(key), expected).Require(auth.TypesWrite, "x"); err != nil {
		t.Error(err)
	}
	for _, scopes := range []string{"jobs:write,types:read", "jobs:write types:read"} {
		stdout, _, _ = dispatcher(t, "token", "--scope", scopes, "--types", "mail-*", "--ttl", "1h")
		who := tokenOf(t, stdout, []byte(key), expected)
		if who.Require(auth.JobsWrite, "mail-a") != nil || who.Require(auth.TypesRead, "mail-a") != nil {
			t.Errorf("%s: it may too little", scopes)
		}
		if who.Require(auth.JobsWrite, "sms") == nil || who.Require(auth.JobsRead, "mail-a") == nil {
			t.Errorf("%s: it may too much", scopes)
		}
	}
}

func TestTokenOfTheGeneratedKey(t *testing.T) {
	clean(t)
	stdout, stderr, code := dispatcher(t, "token", "--data-dir=here")
	if code != 0 || strings.Count(stdout, "\n") != 1 || !strings.Contains(stderr, "there was no key in here") {
		t.Fatalf("%d %q %q", code, stdout, stderr)
	}
	key, created, err := auth.LoadOrCreateSecret("here")
	if err != nil || created {
		t.Fatal(created, err)
	}
	tokenOf(t, stdout, key, auth.Options{})
	if _, stderr, _ = dispatcher(t, "token", "--data-dir=here"); stderr != "" {
		t.Errorf("the second time: %q", stderr)
	}
}

// Answers may hold anything; a terminal must not obey it.
func TestAnswersDoNotReachTheTerminalRaw(t *testing.T) {
	clean(t)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/v1/types/email/jobs":
			_, _ = w.Write([]byte(`{"jobs":[{"id":"a","title":"x\u001b[2Jy\n\u009bz","last_error":"\u0007\t"}]}`))
		default:
			w.WriteHeader(http.StatusBadRequest)
			_, _ = w.Write([]byte(`{"title":"Bad","detail":"no \u001b[31m"}`))
		}
	}))
	defer s.Close()
	listed, _, code := dispatcher(t, "jobs", "list", "email", "--token=x", "--url", s.URL)
	if code != 0 || !strings.Contains(listed, "x [2Jy") || strings.Count(listed, "\n") != 2 {
		t.Errorf("%d %q", code, listed)
	}
	_, refused, code := dispatcher(t, "types", "list", "--token=x", "--url", s.URL)
	if code != 1 || !strings.Contains(refused, "no  [31m (400)") {
		t.Errorf("%d %q", code, refused)
	}
	for _, out := range []string{listed, refused} {
		if slices.ContainsFunc([]rune(out), func(r rune) bool { return r != '\n' && (r < ' ' || r >= 0x7f && r < 0xa0) }) {
			t.Errorf("control characters in %q", out)
		}
	}
}
