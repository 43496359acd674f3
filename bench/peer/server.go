// The handler of date.js as a compiled server: what a person would put into an image FROM scratch.
package main

import (
	"net/http"
	"os"
	"time"
)

func main() {
	http.HandleFunc("/", func(answer http.ResponseWriter, _ *http.Request) {
		answer.Header().Set("Content-Type", "application/json; charset=utf-8")
		answer.Write([]byte(time.Now().UTC().Format(`"2006-01-02T15:04:05.000Z"`)))
	})
	panic(http.ListenAndServe(":"+os.Getenv("PORT"), nil))
}
