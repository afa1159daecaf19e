package deetoo

import (
	"bytes"
	_ "embed" // for the contract
)

//go:embed openapi.yaml
var openAPI []byte

// OpenAPI returns the contract of the REST API, an OpenAPI 3.1 document in
// YAML. The slice is the caller's.
func OpenAPI() []byte { return bytes.Clone(openAPI) }
