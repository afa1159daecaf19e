package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
)

// A role is what this program does in a process of its own. It says "ready" on
// its standard output, begins when it is told anything on its standard input,
// and ends with that.
const (
	rolePrefix   = "role:"
	roleSink     = rolePrefix + "sink"
	roleAsynq    = rolePrefix + "asynq"
	roleLimit    = rolePrefix + "limit"
	roleProfiled = rolePrefix + "dispatcher"
)

// part is what a role needs to know.
type part struct {
	Redis  string // address
	Target string
	// Fast has the limit POST with fasthttp instead of net/http.
	Fast bool
	// Tuned has asynq look for jobs far more often than by default.
	Tuned bool
}

func play(role string, args []string) error {
	var p part
	if len(args) > 0 {
		if err := json.Unmarshal([]byte(args[0]), &p); err != nil {
			return err
		}
	}
	switch role {
	case roleSink:
		return playSink()
	case roleAsynq:
		return playAsynq(p)
	case roleLimit:
		return playLimit(p)
	case roleProfiled:
		return playDispatcher()
	}
	return fmt.Errorf("unknown")
}

// stage says ready, waits for the word, and returns a channel that is closed at the end.
func stage() <-chan struct{} {
	in := bufio.NewScanner(os.Stdin)
	fmt.Println("ready")
	in.Scan()
	end := make(chan struct{})
	go func() {
		for in.Scan() {
		}
		close(end)
	}()
	return end
}
