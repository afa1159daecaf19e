package platforms

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/tools/go/packages"
)

// TestProgramCompiles checks the types of the program for each platform, without cgo, as the release is built.
// It needs a few seconds where six builds need minutes: of what we import only the declarations are looked at.
// "make cross" builds.
func TestProgramCompiles(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	for _, os := range []string{"linux", "darwin", "windows"} {
		for _, arch := range []string{"amd64", "arm64"} {
			t.Run(os+"-"+arch, func(t *testing.T) {
				if checked := check(t, root, os, arch); checked < 10 {
					t.Errorf("only %d packages of ours were checked", checked)
				}
			})
		}
	}
}

// check returns how many packages of this module there are in the program.
func check(t *testing.T, root, goos, goarch string) (checked int) {
	all, err := packages.Load(&packages.Config{
		Mode: packages.LoadAllSyntax,
		Dir:  root,
		Env:  append(os.Environ(), "CGO_ENABLED=0", "GOOS="+goos, "GOARCH="+goarch),
		ParseFile: func(files *token.FileSet, name string, text []byte) (*ast.File, error) {
			f, err := parser.ParseFile(files, name, text, parser.SkipObjectResolution)
			if f != nil && !strings.HasPrefix(name, root+string(filepath.Separator)) {
				for _, d := range f.Decls {
					if fn, ok := d.(*ast.FuncDecl); ok {
						fn.Body = nil
					}
				}
			}
			return f, err
		},
	}, "./cmd/dispatcher")
	if err != nil {
		t.Fatal(err)
	}
	packages.Visit(all, nil, func(p *packages.Package) {
		if p.PkgPath != "github.com/deetoo/deetoo" && !strings.HasPrefix(p.PkgPath, "github.com/deetoo/deetoo/") {
			return // without bodies, its imports are unused
		}
		checked++
		for _, e := range p.Errors {
			t.Error(e)
		}
	})
	return checked
}
