package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/alecthomas/kong"
	"go.yaml.in/yaml/v3"
)

// config is a config file: the flags' names, with "-" or "_", and their values.
// The command line and the environment win over it.
type config struct{ values map[string]any }

// readConfig reads a config file, a YAML map.
func readConfig(r io.Reader) (kong.Resolver, error) {
	raw, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	decoder := yaml.NewDecoder(bytes.NewReader(raw))
	var fromYAML map[string]any
	if err := decoder.Decode(&fromYAML); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("config: %w", err)
	}
	if err := decoder.Decode(new(any)); !errors.Is(err, io.EOF) {
		return nil, errors.New("config: must be a single YAML document")
	}
	// The flags' decoders know the values of JSON.
	asJSON, err := json.Marshal(fromYAML)
	if err != nil {
		return nil, fmt.Errorf("config: %w", err)
	}
	var decoded map[string]any
	if err := json.Unmarshal(asJSON, &decoded); err != nil {
		return nil, fmt.Errorf("config: %w", err)
	}
	c := config{map[string]any{}}
	for name, value := range decoded {
		flag := strings.ReplaceAll(name, "_", "-")
		if _, twice := c.values[flag]; twice {
			return nil, fmt.Errorf("config: %s is given twice", name)
		}
		c.values[flag] = value
	}
	return c, nil
}

// Resolve is called by kong for each flag that is not on the command line.
func (c config) Resolve(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
	if !configurable(flag) {
		return nil, nil
	}
	for _, env := range flag.Envs { // kong would let the file win
		if _, set := os.LookupEnv(env); set {
			return nil, nil
		}
	}
	return c.values[flag.Name], nil
}

// Validate refuses names that are no flag's, because a misspelt one would be
// ignored in silence. It is called by kong with the whole command line.
func (c config) Validate(app *kong.Application) error {
	known := map[string]bool{}
	eachFlag(app, func(f *kong.Flag) {
		if configurable(f) {
			known[f.Name] = true
		}
	})
	for name := range c.values {
		if !known[name] {
			return fmt.Errorf("config: %s is not the name of a setting", name)
		}
	}
	return nil
}

// configurable reports whether a flag is a setting of the installation, and not
// of one call: those with a variable are. A file's "types", say, is not meant for "token --types".
func configurable(flag *kong.Flag) bool { return len(flag.Envs) > 0 && flag.Name != "config" }

// forgetEmpty unsets the flags' variables that are empty: Compose files and charts
// write those for what is not set, and kong would take them for values.
func forgetEmpty(app *kong.Application) (err error) {
	eachFlag(app, func(f *kong.Flag) {
		for _, env := range f.Envs {
			if value, set := os.LookupEnv(env); set && value == "" {
				err = errors.Join(err, os.Unsetenv(env))
			}
		}
	})
	return err
}

func eachFlag(app *kong.Application, do func(*kong.Flag)) {
	_ = kong.Visit(app, func(node kong.Visitable, next kong.Next) error {
		if f, ok := node.(*kong.Flag); ok {
			do(f)
		}
		return next(nil)
	})
}
