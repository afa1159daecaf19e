package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"

	"github.com/alecthomas/kong"
	"go.yaml.in/yaml/v3"
)

// yamlConfig reads a config file: the flags' names, with "-" or "_", and their values.
func yamlConfig(r io.Reader) (kong.Resolver, error) {
	raw, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	values := map[string]any{}
	if err := yaml.Unmarshal(raw, &values); err != nil {
		return nil, fmt.Errorf("config: %w", err)
	}
	asJSON, err := json.Marshal(values)
	if err != nil {
		return nil, fmt.Errorf("config: %w", err)
	}
	resolver, err := kong.JSON(bytes.NewReader(asJSON))
	if err != nil {
		return nil, fmt.Errorf("config: %w", err)
	}
	return knownNames{resolver, values}, nil
}

// knownNames refuses names that are no flag's, because a misspelt one would be ignored in silence.
type knownNames struct {
	kong.Resolver
	values map[string]any
}

// Validate is called by kong with the whole command line.
func (k knownNames) Validate(app *kong.Application) error {
	known := map[string]bool{}
	_ = kong.Visit(app, func(node kong.Visitable, next kong.Next) error {
		if f, ok := node.(*kong.Flag); ok {
			known[f.Name] = true
		}
		return next(nil)
	})
	for name := range k.values {
		if !known[dashes(name)] {
			return fmt.Errorf("config: %s is not the name of a flag", name)
		}
	}
	return nil
}

func dashes(name string) string {
	return string(bytes.ReplaceAll([]byte(name), []byte("_"), []byte("-")))
}
