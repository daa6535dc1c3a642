package chat

import (
	"net/http"
	"slices"
	"strings"
)

// headerDropped names what an answer does without.
const headerDropped = "X-Ai-Dropped"

// AddDropped adds names to the header that tells what an answer does without. A session in
// front of a gateway adds its own.
func AddDropped(h http.Header, names []string) {
	var all []string
	for _, line := range h[headerDropped] {
		all = append(all, strings.Split(line, ", ")...)
	}
	for _, name := range names {
		if !slices.Contains(all, name) {
			all = append(all, name)
		}
	}
	if len(all) > 0 {
		h.Set(headerDropped, strings.Join(all, ", "))
	}
}
