package user

import (
	"encoding/json"
	"net/http"
)

// Show answers /api/user/7: parameters of the path are in the query.
func Show(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(map[string]string{"id": r.URL.Query().Get("id"), "path": r.URL.Path})
}
