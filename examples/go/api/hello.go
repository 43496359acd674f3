package handler

import (
	"fmt"
	"net/http"

	"example.com/go/greeting"
)

// Handler answers /api/hello?name=ada.
func Handler(w http.ResponseWriter, r *http.Request) {
	name := r.URL.Query().Get("name")
	if name == "" {
		name = "stranger"
	}
	fmt.Fprintln(w, greeting.For(name))
}
