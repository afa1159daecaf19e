package auth

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

func TestSecretIsCreatedOnceAndKept(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "deeper", "data")
	first, created, err := LoadOrCreateSecret(dir)
	if err != nil || !created || len(first) < MinSecretSize {
		t.Fatalf("got %d bytes, created %v, %v", len(first), created, err)
	}
	info, err := os.Stat(filepath.Join(dir, SecretFile))
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("mode %v, %v; want 0600", info.Mode(), err)
	}
	second, created, err := LoadOrCreateSecret(dir)
	if err != nil || created || !bytes.Equal(first, second) {
		t.Errorf("the second time: the same %v, created %v, %v", bytes.Equal(first, second), created, err)
	}
	if other, _, err := LoadOrCreateSecret(t.TempDir()); err != nil || bytes.Equal(first, other) {
		t.Errorf("another folder has the same secret; %v", err)
	}
	onlyTheKey(t, dir)
	token, err := Mint(first, MintOptions{Scopes: []Scope{Admin}, TTL: MaxTTL, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := newVerifier(t, Options{Secret: second}).Verify(t.Context(), token); err != nil {
		t.Error(err)
	}
}

// onlyTheKey checks that no temporary files stay.
func onlyTheKey(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 || entries[0].Name() != SecretFile {
		t.Errorf("the folder has %v, %v", entries, err)
	}
}

func TestSecretFilesThatAreRefused(t *testing.T) {
	key := base64.StdEncoding.EncodeToString(secret)
	for name, c := range map[string]struct {
		content string
		mode    os.FileMode
		says    string // "": accepted
	}{
		"owner only":     {key + "\n", 0o600, ""},
		"read-only":      {key, 0o400, ""},
		"CRLF":           {key + "\r\n", 0o600, ""},
		"group readable": {key, 0o640, "chmod 600"},
		"group writable": {key, 0o620, "chmod 600"},
		"world readable": {key, 0o604, "chmod 600"},
		"world writable": {key, 0o602, "chmod 600"},
		"empty":          {"", 0o600, "at least 32 bytes"},
		"too short":      {base64.StdEncoding.EncodeToString(secret[:31]), 0o600, "at least 32 bytes"},
		"not base64":     {string(secret) + "!", 0o600, "not base64"},
		"too long":       {strings.Repeat("A", maxSecretFile+4), 0o600, "longer than"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, SecretFile)
			if err := os.WriteFile(path, []byte(c.content), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(path, c.mode); err != nil { // WriteFile's is subject to the umask
				t.Fatal(err)
			}
			got, created, err := LoadOrCreateSecret(dir)
			switch {
			case created:
				t.Error("created another")
			case c.says == "":
				if err != nil || !bytes.Equal(got, secret) {
					t.Errorf("got %v", err)
				}
			case got != nil || err == nil || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), path):
				t.Errorf("got %v; want an error that says %q and the path", err, c.says)
			case len(c.content) > 8 && strings.Contains(err.Error(), c.content[:8]):
				t.Errorf("%v tells the secret", err)
			}
			if after, err := os.ReadFile(path); err != nil || string(after) != c.content {
				t.Errorf("the file was changed; %v", err)
			}
		})
	}
	t.Run("a folder", func(t *testing.T) {
		dir := t.TempDir()
		if err := os.Mkdir(filepath.Join(dir, SecretFile), 0o700); err != nil {
			t.Fatal(err)
		}
		if _, _, err := LoadOrCreateSecret(dir); err == nil || !strings.Contains(err.Error(), "regular file") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("a file in place of the folder", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if got, created, err := LoadOrCreateSecret(path); err == nil || created || got != nil {
			t.Errorf("got %v, %v", created, err)
		}
	})
}

func TestConcurrentStartsAgreeInOneProcess(t *testing.T) {
	dir := t.TempDir()
	const starts = 50
	secrets, created := make([][]byte, starts), make([]bool, starts)
	gate := make(chan struct{})
	var all sync.WaitGroup
	for i := range starts {
		all.Go(func() {
			<-gate
			var err error
			if secrets[i], created[i], err = LoadOrCreateSecret(dir); err != nil {
				t.Error(err)
			}
		})
	}
	close(gate)
	all.Wait()
	creators := 0
	for i := range starts {
		if !bytes.Equal(secrets[i], secrets[0]) {
			t.Errorf("start %d has another secret", i)
		}
		if created[i] {
			creators++
		}
	}
	if creators != 1 {
		t.Errorf("%d starts say they created it", creators)
	}
	onlyTheKey(t, dir)
}

const secretFolders = 40

// secretProcess is what the processes of the next test run: once its input
// ends it loads or creates many secrets and tells what it got.
func secretProcess(dir string, in io.Reader, out io.Writer) int {
	if _, err := io.Copy(io.Discard, in); err != nil {
		return 1
	}
	for i := range secretFolders {
		secret, created, err := LoadOrCreateSecret(filepath.Join(dir, fmt.Sprint(i)))
		if err != nil {
			_, _ = fmt.Fprintln(out, err)
			return 1
		}
		_, _ = fmt.Fprintln(out, hex.EncodeToString(secret), created)
	}
	return 0
}

func TestConcurrentStartsAgreeAcrossProcesses(t *testing.T) {
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	const processes = 3
	var commands [processes]*exec.Cmd
	var gates [processes]io.WriteCloser
	var outputs [processes]bytes.Buffer
	for i := range commands {
		cmd := exec.CommandContext(t.Context(), program)
		cmd.Env = append(os.Environ(), "AUTH_TEST_SECRET_DIR="+dir)
		cmd.Stdout, cmd.Stderr = &outputs[i], &outputs[i]
		if gates[i], err = cmd.StdinPipe(); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		commands[i] = cmd
	}
	for _, g := range gates {
		if err := g.Close(); err != nil {
			t.Fatal(err)
		}
	}
	var lines [processes][]string
	for i, cmd := range commands {
		if err := cmd.Wait(); err != nil {
			t.Fatalf("%v: %s", err, outputs[i].String())
		}
		lines[i] = strings.Split(strings.TrimSpace(outputs[i].String()), "\n")
		if len(lines[i]) != secretFolders {
			t.Fatalf("process %d answered %q", i, lines[i])
		}
	}
	for f := range secretFolders {
		creators, secrets := 0, map[string]bool{}
		for i := range processes {
			secret, created, _ := strings.Cut(lines[i][f], " ")
			secrets[secret] = true
			if created == "true" {
				creators++
			}
		}
		if creators != 1 || len(secrets) != 1 {
			t.Errorf("folder %d: %d creators, %d secrets", f, creators, len(secrets))
		}
		onlyTheKey(t, filepath.Join(dir, fmt.Sprint(f)))
	}
}
