package registry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/deetoo/deetoo/internal/strictjson"
	"github.com/deetoo/deetoo/invalid"
)

// LoadFile reads job types from a YAML file: under "types" a list of specs, or
// a map of names to specs. ${NAME} in secrets and header values stands for that
// environment variable, which must be set. Errors name file, line, type and
// field, all of them at once; each is or wraps an *[invalid.Error].
func LoadFile(path string) ([]Spec, error) {
	var specs []Spec
	err := LoadSection(path, "types", func(name string, data []byte) (string, error) {
		spec, err := DecodeSpec(name, data)
		if err == nil {
			err = spec.expand(os.LookupEnv)
		}
		if err == nil {
			// Redacted values can only be judged against the store, by Apply.
			_, err = spec.Type(standIn(spec))
		}
		specs = append(specs, spec)
		return spec.Name, err
	})
	if err != nil {
		return nil, err
	}
	return specs, nil
}

// LoadSection reads one section of a YAML file: "types", which must be there, or "schedules". It is a list of
// objects, or a map of names to objects. decode gets each as JSON, so that one decoder has
// the rules, with its name if it has one in a map, and returns its name. Errors are as those of LoadFile.
func LoadSection(path, section string, decode func(name string, data []byte) (string, error)) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("registry: %w", err)
	}
	entries, err := fileEntries(data, section)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	var errs []error
	lines := map[string]int{}
	for _, e := range entries {
		name, err := e.decode(decode)
		if err == nil && lines[name] > 0 {
			err = invalid.Errorf("name", "is given twice, first in line %d", lines[name])
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s:%d: %s %s: %w", path, e.node.Line, strings.TrimSuffix(section, "s"), e.label(name), err))
			continue
		}
		lines[name] = e.node.Line
	}
	return errors.Join(errs...)
}

// fileEntry is one type or schedule of the file.
type fileEntry struct {
	// name is the key of a map; in a list it is empty, and index counts.
	name  string
	index int
	node  *yaml.Node
}

func fileEntries(data []byte, section string) ([]fileEntry, error) {
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	var doc struct {
		Types     yaml.Node `yaml:"types"`
		Schedules yaml.Node `yaml:"schedules"`
	}
	decoder.KnownFields(true)
	if err := decoder.Decode(&doc); errors.Is(err, io.EOF) {
		return nil, invalid.Errorf("", "the file is empty")
	} else if err != nil {
		return nil, err
	}
	if err := decoder.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return nil, invalid.Errorf("", "must be a single YAML document")
	}
	node := &doc.Types
	if section == "schedules" {
		if node = &doc.Schedules; node.IsZero() {
			return nil, nil
		}
	}
	var entries []fileEntry
	switch node.Kind {
	case yaml.SequenceNode:
		for i, n := range node.Content {
			entries = append(entries, fileEntry{index: i, node: n})
		}
	case yaml.MappingNode:
		for i := 0; i+1 < len(node.Content); i += 2 {
			entries = append(entries, fileEntry{name: node.Content[i].Value, node: node.Content[i+1]})
		}
	default:
		return nil, invalid.Errorf(section, "must be a list of %s, or a map of names to %s", section, section)
	}
	return entries, nil
}

func (e fileEntry) decode(decode func(name string, data []byte) (string, error)) (string, error) {
	var value any
	if err := e.node.Decode(&value); err != nil {
		return "", err
	}
	data, err := json.Marshal(value)
	if err != nil {
		return "", invalid.Errorf("", "must have strings for names, and values that JSON knows")
	}
	return decode(e.name, data)
}

// standIn is a stored type that makes every [Redacted] header of s acceptable.
func standIn(s Spec) *Type {
	return &Type{Secrets: SecretsOf(NewSecret()), Headers: s.Headers}
}

func (e fileEntry) label(name string) string {
	switch {
	case e.name != "":
		return strconv.Quote(e.name)
	case name != "":
		return strconv.Quote(name)
	default:
		return "number " + strconv.Itoa(e.index+1)
	}
}

// expand replaces ${NAME} in secrets and header values.
func (s *Spec) expand(lookup func(string) (string, bool)) error {
	variable := regexp.MustCompile(`\$\{([A-Za-z_][A-Za-z0-9_]*)\}`)
	replace := func(field string, value *string) (err error) {
		*value = variable.ReplaceAllStringFunc(*value, func(match string) string {
			name := match[2 : len(match)-1]
			found, ok := lookup(name)
			if !ok && err == nil {
				err = invalid.Errorf(field, "needs the environment variable %s, which is not set", name)
			}
			return found
		})
		return err
	}
	if s.Secret != nil {
		if err := replace("secret", s.Secret); err != nil {
			return err
		}
	}
	for i := range s.Secrets {
		if err := replace("secrets["+strconv.Itoa(i)+"]", &s.Secrets[i]); err != nil {
			return err
		}
	}
	for name, value := range s.Headers {
		if err := replace(strictjson.Member("headers", name), &value); err != nil {
			return err
		}
		s.Headers[name] = value
	}
	return nil
}

// Apply stores the specs that differ from what is stored, and returns the names
// of those. Types that have no spec stay, and so does a pause that the spec does
// not mention: a restart must not resume what somebody stopped. Every spec is
// checked before the first is stored.
func Apply(ctx context.Context, store *Store, specs []Spec) (changed []string, err error) {
	types, err := store.List(ctx)
	if err != nil {
		return nil, err
	}
	stored := make(map[string]*Type, len(types))
	for i := range types {
		stored[types[i].Name] = &types[i]
	}
	var errs []error
	seen := map[string]bool{}
	for _, s := range specs {
		_, err := s.applied(stored[s.Name])
		if err == nil && seen[s.Name] {
			err = invalid.Errorf("name", "is given twice")
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("type %q: %w", s.Name, err))
		}
		seen[s.Name] = true
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	for _, s := range specs {
		var before int64
		t, _, err := store.Update(ctx, s.Name, PutOptions{}, func(old *Type) (Type, error) {
			before = 0
			if old != nil {
				before = old.Version
			}
			return s.applied(old)
		})
		if err != nil {
			return changed, fmt.Errorf("type %q: %w", s.Name, err)
		}
		if t.Version != before {
			changed = append(changed, s.Name)
		}
	}
	return changed, nil
}

// applied is Type, but for a pause that goes on.
func (s Spec) applied(old *Type) (Type, error) {
	if s.Paused == nil && old != nil {
		s.Paused = &old.Paused
	}
	return s.Type(old)
}
