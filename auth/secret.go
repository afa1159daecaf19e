package auth

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// SecretFile is the name of the key file in the data folder.
const SecretFile = "jwt.key"

const maxSecretFile = 4 << 10

// LoadOrCreateSecret returns the secret in <dir>/jwt.key: base64 (standard, padded) of at
// least MinSecretSize bytes on one line. If there is no such file, it makes one with a
// random secret, mode 0600, and created is true; dir is made if need be, mode
// 0700. Of several that start at once one creates and all get the same.
//
// A file that others than its owner may use is refused, since whoever read it can mint tokens.
func LoadOrCreateSecret(dir string) (secret []byte, created bool, err error) {
	path := filepath.Join(dir, SecretFile)
	secret, err = loadSecret(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return secret, false, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, false, fmt.Errorf("make the folder of the secret: %w", err)
	}
	created, err = createSecret(path)
	if err != nil {
		return nil, false, fmt.Errorf("create the secret %s: %w", path, err)
	}
	secret, err = loadSecret(path)
	return secret, created, err
}

func loadSecret(path string) ([]byte, error) {
	// A named pipe would block the open.
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("read the secret: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("the secret %s is not a regular file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read the secret: %w", err)
	}
	defer func() { _ = f.Close() }()
	if info, err = f.Stat(); err != nil {
		return nil, fmt.Errorf("read the secret: %w", err)
	}
	// Windows has no such bits; there the folder's own rights protect it.
	if perm := info.Mode().Perm(); perm&0o077 != 0 && runtime.GOOS != "windows" {
		return nil, fmt.Errorf("the secret %s can be used by others than its owner (mode %04o): chmod 600 it, "+
			"or remove it to get a new one, which makes all tokens invalid", path, perm)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxSecretFile+1))
	if err != nil {
		return nil, fmt.Errorf("read the secret: %w", err)
	}
	if len(text) > maxSecretFile {
		return nil, fmt.Errorf("the secret %s is longer than %d bytes", path, maxSecretFile)
	}
	secret, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(text)))
	if err != nil {
		return nil, fmt.Errorf("the secret %s is not base64", path) // the cause would quote from it
	}
	if len(secret) < MinSecretSize {
		return nil, fmt.Errorf("the secret %s must be at least %d bytes long, it has %d", path, MinSecretSize, len(secret))
	}
	return secret, nil
}

// createSecret writes a secret beside path and links it to path, which fails
// if another was faster. So whoever sees the file sees all of it, and it never
// changes. created is false if another was faster.
func createSecret(path string) (created bool, err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+SecretFile+"-*") // mode 0600
	if err != nil {
		return false, err
	}
	defer func() { _ = os.Remove(f.Name()) }()
	secret := make([]byte, MinSecretSize)
	if _, err := rand.Read(secret); err != nil {
		_ = f.Close()
		return false, err
	}
	_, err = f.WriteString(base64.StdEncoding.EncodeToString(secret) + "\n")
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return false, err
	}
	if err := os.Link(f.Name(), path); errors.Is(err, fs.ErrExist) {
		return false, nil
	} else if err != nil {
		return false, err
	}
	return true, syncDir(filepath.Dir(path))
}

// syncDir makes a new name in a folder survive a power cut.
func syncDir(dir string) error {
	if runtime.GOOS == "windows" { // cannot, and need not
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
