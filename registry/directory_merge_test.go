package registry

import (
	"fmt"
	"slices"
	"testing"
)

func TestMergedStaysSorted(t *testing.T) {
	named := func(names ...string) (types []*Type) {
		for _, name := range names {
			types = append(types, &Type{Name: name})
		}
		return types
	}
	changed := func(name string) Change { return Change{Name: name, New: &Type{Name: name, Version: 2}} }
	for _, c := range []struct {
		types   []*Type
		changes []Change
		want    string
	}{
		{nil, []Change{changed("b"), changed("a")}, "[a2 b2]"},
		{named("a", "c", "e"), []Change{changed("f"), {Name: "c"}, changed("a"), changed("d"), changed("0")}, "[02 a2 d2 e0 f2]"},
		{named("a"), []Change{{Name: "a"}, {Name: "b"}}, "[]"},
		{named("a", "b"), nil, "[a0 b0]"},
	} {
		before := slices.Clone(c.types)
		var got []string
		for _, typ := range merged(c.types, c.changes) {
			got = append(got, fmt.Sprint(typ.Name, typ.Version))
		}
		if fmt.Sprint(got) != c.want || !slices.Equal(before, c.types) {
			t.Errorf("%v, want %s", got, c.want)
		}
	}
}
