// Dispatcher is DeeToo's program: the dispatcher itself, and the tools around it.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"
	"github.com/redis/go-redis/v9"
)

func main() {
	// Libraries print here on their own: net/http what a handler sent too much,
	// go-redis each failed dial. Ours goes through slog, which says what matters.
	log.SetOutput(io.Discard)
	redis.SetLogger(quiet{})
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// cli is the command line. Flags with a variable in their help can also be set
// by that, and in the file named by --config; the command line wins over the
// environment, and that over the file.
type cli struct {
	Config kong.ConfigFlag `help:"YAML file with settings, named like the flags that have a variable. Flags and variables win over it." env:"DEETOO_CONFIG" placeholder:"FILE"`

	Serve       serveCmd       `cmd:"" default:"withargs" help:"Run the dispatcher (the default)."`
	Token       tokenCmd       `cmd:"" help:"Print a token for the API and the UI."`
	Push        pushCmd        `cmd:"" help:"Push a job, or many from standard input."`
	Jobs        jobsCmd        `cmd:"" help:"List, show, cancel and retry jobs."`
	Dead        deadCmd        `cmd:"" help:"Look at dead jobs, by how they failed; run them again, export or delete them."`
	Types       typesCmd       `cmd:"" help:"List, show, register and change job types."`
	Schedules   schedulesCmd   `cmd:"" help:"List, show, make, change, pause and run schedules."`
	Workflows   workflowsCmd   `cmd:"" help:"Push jobs of any types together, and what follows when all have ended."`
	Demo        demoCmd        `cmd:"" help:"Run a dispatcher with handlers that fail now and then, and traffic, to look at."`
	Fsck        fsckCmd        `cmd:"" help:"Check that every job is in exactly one place and nothing is orphaned."`
	Migrate     migrateCmd     `cmd:"" help:"Move an embedded store into a Redis."`
	Selftest    selftestCmd    `cmd:"" help:"Run a job through a dispatcher, end to end, and leave nothing behind."`
	Healthcheck healthcheckCmd `cmd:"" help:"Ask a running dispatcher whether it is alive; for containers."`
	Version     versionCmd     `cmd:"" help:"Print the version."`
}

// environment is what commands are given beside their flags.
type environment struct {
	ctx            context.Context
	stdout, stderr io.Writer
}

// run parses the arguments, runs the command, and returns the exit code: 0, 1
// for a failure, 2 for wrong usage.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	exit := -1
	parser, err := newParser(&cli{}, stdout, stderr, func(code int) { exit = code })
	if err != nil {
		fmt.Fprintln(stderr, "dispatcher:", err)
		return 2
	}
	kctx, err := parser.Parse(args)
	if exit >= 0 { // --help has been printed
		return exit
	}
	if err != nil {
		fmt.Fprintf(stderr, "dispatcher: %s\nSee dispatcher --help.\n", err)
		return 2
	}
	err = kctx.Run(&environment{ctx: ctx, stdout: stdout, stderr: stderr}, actionName(kctx.Selected().Name))
	var usage usageError
	switch {
	case errors.As(err, &usage):
		fmt.Fprintln(stderr, "dispatcher:", err)
		return 2
	case err != nil:
		fmt.Fprintln(stderr, "dispatcher:", err)
		return 1
	}
	return 0
}

// newParser returns the parser that fills c. It calls exit when it has printed help.
func newParser(c *cli, stdout, stderr io.Writer, exit func(code int)) (*kong.Kong, error) {
	parser, err := kong.New(c,
		kong.Name("dispatcher"),
		kong.Description("DeeToo keeps jobs in Redis and POSTs each one to its type's target when it is due, never more at once than the type allows. Without a Redis it keeps them in this process, safely on disk."),
		kong.Configuration(readConfig),
		kong.Writers(stdout, stderr),
		kong.Exit(exit),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 100}),
	)
	if err != nil {
		return nil, err
	}
	return parser, forgetEmpty(parser.Model)
}

// usageError is the caller's mistake, not a failure.
type usageError struct{ error }

// quiet is a logger that says nothing.
type quiet struct{}

// Printf does nothing.
func (quiet) Printf(context.Context, string, ...any) {}
