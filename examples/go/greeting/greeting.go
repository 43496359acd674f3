// Package greeting is shared by functions.
package greeting

import "fmt"

// For makes a greeting.
func For(name string) string {
	return fmt.Sprintf("Hello, %s!", name)
}
