// Package examples holds handlers of "email" jobs in six languages, as they are
// in the folders beside this file; the tests run them.
package examples

import "embed"

//go:embed go/main.go java/Email.java node/email.mjs php/email.php python/email_handler.py ruby/email.rb
var files embed.FS

// Handler is an example in one language.
type Handler struct {
	// Language is its name in addresses, Name that for people.
	Language, Name string
	// File is where it is in this folder, Text what it says.
	File, Text string
}

// Handlers returns the examples, sorted by language.
func Handlers() []Handler {
	var out []Handler
	for _, h := range []Handler{
		{"go", "Go", "go/main.go", ""}, {"java", "Java", "java/Email.java", ""}, {"node", "Node", "node/email.mjs", ""},
		{"php", "PHP", "php/email.php", ""}, {"python", "Python", "python/email_handler.py", ""}, {"ruby", "Ruby", "ruby/email.rb", ""},
	} {
		text, err := files.ReadFile(h.File)
		if err != nil {
			continue // cannot be: the files are part of the program
		}
		h.Text = string(text)
		out = append(out, h)
	}
	return out
}
