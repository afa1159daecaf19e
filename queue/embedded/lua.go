package embedded

import (
	"strings"
	"sync"

	luajson "github.com/alicebob/miniredis/v2/gopher-json"
	lua "github.com/yuin/gopher-lua"
	"github.com/yuin/gopher-lua/parse"
)

// compiled holds what scripts were compiled to, by their text. It is a pure
// function's memory, so that stores can share it: compiling the longest script
// takes as long as running it fifty times.
var compiled sync.Map

// chunkName is what errors call a script, as in Redis.
const chunkName = "user_script"

func compile(text string) (*lua.FunctionProto, error) {
	if proto, ok := compiled.Load(text); ok {
		return proto.(*lua.FunctionProto), nil
	}
	chunk, err := parse.Parse(strings.NewReader(text), chunkName)
	if err != nil {
		return nil, err
	}
	proto, err := lua.Compile(chunk, chunkName)
	if err != nil {
		return nil, err
	}
	compiled.Store(text, proto)
	return proto, nil
}

// interpreter is a Lua state with the globals that scripts see. It serves one
// script after another: making one costs more than most scripts do. So no
// script may leave anything behind in it for the next: see intact.
type interpreter struct {
	state     *lua.LState
	globals   *lua.LTable
	none      *lua.LTable // KEYS and ARGV between scripts
	originals []original
}

// original is what a table that scripts can reach is made of.
type original struct {
	table     *lua.LTable
	metatable lua.LValue
	keys      []lua.LValue // strings, in the table's order
	values    []lua.LValue
}

// newInterpreter makes one with Lua's own libraries, without what reaches
// outside of a script, and with cjson, os.clock, and redis, alias server,
// which has the given functions.
func newInterpreter(redis map[string]lua.LGFunction, clock lua.LGFunction) *interpreter {
	l := lua.NewState(lua.Options{SkipOpenLibs: true})
	open := func(name string, f lua.LGFunction) lua.LValue {
		l.Push(l.NewFunction(f))
		l.Push(lua.LString(name))
		l.Call(1, 1)
		defer l.Pop(1)
		return l.Get(-1)
	}
	i := &interpreter{state: l, globals: l.NewTable(), none: l.NewTable()}
	base := open(lua.BaseLibName, lua.OpenBase)
	for _, name := range []string{
		"_VERSION", "assert", "error", "getmetatable", "ipairs", "next", "pairs", "pcall", "rawequal", "rawget", "rawset", "select",
		"setmetatable", "tonumber", "tostring", "type", "unpack", "xpcall",
	} {
		i.globals.RawSetString(name, l.GetField(base, name))
	}
	for name, f := range map[string]lua.LGFunction{
		lua.TabLibName: lua.OpenTable, lua.StringLibName: lua.OpenString, lua.MathLibName: lua.OpenMath, lua.CoroutineLibName: lua.OpenCoroutine,
		"cjson": luajson.Loader,
	} {
		i.globals.RawSetString(name, open(name, f))
	}
	i.globals.RawSetString("os", l.SetFuncs(l.NewTable(), map[string]lua.LGFunction{"clock": clock}))
	module := l.SetFuncs(l.NewTable(), redis)
	for level, name := range []string{"LOG_DEBUG", "LOG_VERBOSE", "LOG_NOTICE", "LOG_WARNING"} {
		module.RawSetString(name, lua.LNumber(level))
	}
	i.globals.RawSetString("redis", module)
	i.globals.RawSetString("server", module)
	i.globals.RawSetString("_G", i.globals)
	i.globals.RawSetString("KEYS", i.none)
	i.globals.RawSetString("ARGV", i.none)
	i.globals.Metatable = l.SetFuncs(l.NewTable(), map[string]lua.LGFunction{
		"__index":    func(l *lua.LState) int { return refuseGlobal(l, "access nonexistent") },
		"__newindex": func(l *lua.LState) int { return refuseGlobal(l, "create") },
	})
	i.remember(i.globals)
	return i
}

// refuseGlobal stops a script that misspells the name of a local, as Redis does.
func refuseGlobal(l *lua.LState, what string) int {
	l.Error(lua.LString("Script attempted to "+what+" global variable '"+l.Get(2).String()+"'"), 1)
	return 0
}

// remember notes what a table, and each that can be reached from it, is made of.
func (i *interpreter) remember(t *lua.LTable) {
	for _, o := range i.originals {
		if o.table == t {
			return
		}
	}
	o := original{table: t, metatable: t.Metatable}
	for k, v := t.Next(lua.LNil); k != lua.LNil; k, v = t.Next(k) {
		o.keys, o.values = append(o.keys, k), append(o.values, v)
	}
	i.originals = append(i.originals, o)
	for _, v := range append([]lua.LValue{t.Metatable}, o.values...) {
		if inner, ok := v.(*lua.LTable); ok {
			i.remember(inner)
		}
	}
}

// intact tells whether everything is as it was that a script could have
// changed for the next one.
func (i *interpreter) intact() bool {
	for _, o := range i.originals {
		first, last := lua.LValue(lua.LNil), lua.LValue(lua.LNil)
		if n := len(o.keys); n > 0 {
			first, last = o.keys[0], o.keys[n-1]
		}
		// Keys that came later follow the last one; those of the array part, the only other place, precede the first.
		begins, _ := o.table.Next(lua.LNil)
		if o.table.Metatable != o.metatable || begins != first {
			return false
		}
		for n, k := range o.keys {
			if o.table.RawGetH(k) != o.values[n] {
				return false
			}
		}
		if more, _ := o.table.Next(last); more != lua.LNil && len(o.keys) > 0 {
			return false
		}
	}
	return true
}

// run runs a script and returns its first result. When it returns false, the
// interpreter is not to be used again.
func (i *interpreter) run(proto *lua.FunctionProto, keys, args []string) (lua.LValue, error, bool) {
	l := i.state
	i.globals.RawSetString("KEYS", stringTable(l, keys))
	i.globals.RawSetString("ARGV", stringTable(l, args))
	f := l.NewFunctionFromProto(proto)
	f.Env = i.globals
	l.Push(f)
	if err := l.PCall(0, 1, nil); err != nil {
		return nil, err, false
	}
	v := l.Get(-1)
	l.Pop(1)
	i.globals.RawSetString("KEYS", i.none)
	i.globals.RawSetString("ARGV", i.none)
	return v, nil, i.intact()
}

func stringTable(l *lua.LState, values []string) *lua.LTable {
	t := l.CreateTable(len(values), 0)
	for i, v := range values {
		t.RawSetInt(i+1, lua.LString(v))
	}
	return t
}
