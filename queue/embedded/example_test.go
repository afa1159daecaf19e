package embedded_test

import (
	"context"
	"fmt"
	"os"

	"github.com/deetoo/deetoo/queue/embedded"
)

// What was answered is there when the store is opened again.
func ExampleOpen() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "store-")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	for range 3 {
		store, err := embedded.Open(ctx, embedded.Options{Dir: dir})
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(store.Client().Incr(ctx, "opened").Result())
		if err := store.Close(); err != nil {
			fmt.Println(err)
		}
	}
	// Output:
	// 1 <nil>
	// 2 <nil>
	// 3 <nil>
}

// In a test, the same engine forgets everything at its end.
func ExampleMemory() {
	client, end, err := embedded.Memory(nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer end()
	fmt.Println(client.Incr(context.Background(), "n").Result())
	// Output: 1 <nil>
}
