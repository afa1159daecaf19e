package charttest

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

var update = flag.Bool("update", false, "write the table of values into the chart's README.md")

// TestReadmeTellsTheValues sees that README.md lists each value, with its default and what it is, as values.yaml says.
func TestReadmeTellsTheValues(t *testing.T) {
	text, err := os.ReadFile(chartDir + "/values.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	var table strings.Builder
	table.WriteString("| value | meaning | default |\n| --- | --- | --- |\n")
	rows(t, &table, "", doc.Content[0])

	const file, begin, end = chartDir + "/README.md", "<!-- values, made from values.yaml: go test . -run Readme -update -->\n", "<!-- end of values -->"
	readme, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(readme), begin)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has no place for the values", file)
	}
	want := before + begin + table.String() + end + after
	if *update {
		if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if string(readme) != want {
		t.Errorf("%s is not what values.yaml says: go test . -run Readme -update", file)
	}
}

// rows writes a line for each value that has a description.
func rows(t *testing.T, table *strings.Builder, prefix string, node *yaml.Node) {
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i], node.Content[i+1]
		name := prefix + key.Value
		_, meaning, described := strings.Cut(key.HeadComment, "# -- ")
		switch {
		case described:
			var of any
			if err := value.Decode(&of); err != nil {
				t.Fatal(err)
			}
			standard, err := json.Marshal(of)
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(table, "| `%s` | %s | `%s` |\n", name, strings.ReplaceAll(meaning, "|", `\|`), standard)
		case value.Kind == yaml.MappingNode && len(value.Content) > 0:
			rows(t, table, name+".", value)
		default:
			t.Errorf("%s has no description", name)
		}
	}
}
