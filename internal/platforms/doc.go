// Package platforms has no code but a test: that the program compiles for every platform it is released for.
package platforms
