// A shell in the browser: each WebSocket is a terminal of its own, all in one instance.
package main

import (
	_ "embed"
	"encoding/json"
	"log"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"time"
)

//go:embed page.html
var page []byte

var (
	started = time.Now()
	opened  atomic.Int64
	open    atomic.Int64
)

// What a later request sees of the ones before: until the instance is recycled.
type state struct {
	Host    string    `json:"host"`
	Started time.Time `json:"started"`
	Opened  int64     `json:"shellsOpened"`
	Open    int64     `json:"shellsOpen"`
	Files   []string  `json:"files"`
}

func main() {
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/" {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Write(page)
	})
	http.HandleFunc("/state", func(w http.ResponseWriter, r *http.Request) {
		host, _ := os.Hostname()
		now := state{Host: host, Started: started, Opened: opened.Load(), Open: open.Load(), Files: []string{}}
		entries, _ := os.ReadDir(".")
		for _, entry := range entries {
			if !strings.HasPrefix(entry.Name(), ".") {
				now.Files = append(now.Files, entry.Name())
			}
		}
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(now)
	})
	http.HandleFunc("/shell", func(w http.ResponseWriter, r *http.Request) {
		socket, err := accept(w, r)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		opened.Add(1)
		open.Add(1)
		defer open.Add(-1)
		if err := serve(socket); err != nil {
			log.Printf("a shell ended: %v", err)
		}
	})
	port := os.Getenv("PORT")
	if port == "" {
		port = "8080"
	}
	log.Fatal(http.ListenAndServe(":"+port, nil))
}
