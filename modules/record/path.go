package record

import (
	"net/http"
	"strings"
)

// Path returns the path of a request as CleanPath writes it.
func Path(r *http.Request) string { return CleanPath(r.URL.Path) }

// CleanPath returns a path without doubled slashes and without a slash at its
// end, because every route of the chain forgives these.
func CleanPath(path string) string {
	for strings.Contains(path, "//") {
		path = strings.ReplaceAll(path, "//", "/")
	}
	if len(path) > 1 {
		path = strings.TrimSuffix(path, "/")
	}
	return path
}

// IsV1 reports whether a path, as Path returns it, is /v1 or below it, where
// clients expect the shapes of a model API.
func IsV1(path string) bool { return path == "/v1" || strings.HasPrefix(path, "/v1/") }
