package embedded

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

const (
	lockName     = "lock"
	migratedName = "migrated"
	tempSuffix   = ".new"
	journalName  = "journal-"
	snapName     = "snapshot-"
)

// file is one that is written to its end and made durable.
type file interface {
	io.WriteCloser
	Sync() error
}

// filesystem is what the store writes with; tests make it fail.
type filesystem interface {
	Open(name string, flag int) (file, error)
	Rename(from, to string) error
	SyncDir(dir string) error
}

type disk struct{}

func (disk) Open(name string, flag int) (file, error) { return os.OpenFile(name, flag, 0o600) }
func (disk) Rename(from, to string) error             { return os.Rename(from, to) }

func (disk) SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// create makes a durable file whose name appears only once write has filled
// it. The file stays open, at its end.
func create(fs filesystem, path string, write func(io.Writer) error) (file, error) {
	f, err := fs.Open(path+tempSuffix, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|os.O_APPEND)
	if err != nil {
		return nil, err
	}
	err = write(f)
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = fs.Rename(path+tempSuffix, path)
	}
	if err == nil {
		err = fs.SyncDir(filepath.Dir(path))
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func journalFile(first uint64) string { return fmt.Sprintf("%s%020d", journalName, first) }
func snapFile(last uint64) string     { return fmt.Sprintf("%s%020d", snapName, last) }

// numbered reads the number in a file's name.
func numbered(name, prefix string) (uint64, bool) {
	digits, ok := strings.CutPrefix(name, prefix)
	if !ok || len(digits) != 20 {
		return 0, false
	}
	n, err := strconv.ParseUint(digits, 10, 64)
	return n, err == nil
}

// migration is the content of the mark.
type migration struct {
	To string `json:"to"`
}

// MarkMigrated marks the store in dir as moved to another place, named by its
// URL, so that [Open] refuses it with ErrMigrated. Of the URL, user, password
// and query are left out. Removing the file "migrated" undoes the mark.
func MarkMigrated(dir, to string) error {
	content, err := json.Marshal(migration{To: redact(to)})
	if err != nil {
		return err
	}
	f, err := create(disk{}, filepath.Join(dir, migratedName), func(w io.Writer) error {
		_, err := w.Write(append(content, '\n'))
		return err
	})
	if err != nil {
		return fmt.Errorf("mark the embedded store in %s as migrated: %w", dir, err)
	}
	return f.Close()
}

func redact(to string) string {
	u, err := url.Parse(to)
	if err != nil || u.Host == "" {
		return "another store"
	}
	u.User, u.RawQuery, u.Fragment = nil, "", ""
	return u.String()
}

func checkMigrated(dir string) error {
	content, err := os.ReadFile(filepath.Join(dir, migratedName))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var m migration
	if json.Unmarshal(content, &m) != nil || m.To == "" {
		m.To = "another store"
	}
	return fmt.Errorf("%w to %s", ErrMigrated, m.To)
}
