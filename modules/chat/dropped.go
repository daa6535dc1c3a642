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
	all := Dropped(h)
	for _, name := range names {
		if !slices.Contains(all, name) {
			all = append(all, name)
		}
	}
	if len(all) > 0 {
		h.Set(headerDropped, strings.Join(all, ", "))
	}
}

// NameDropped has the header name what was left out in the words of the client.
func NameDropped(h http.Header, named func(names []string) []string) {
	names := named(Dropped(h))
	h.Del(headerDropped)
	AddDropped(h, names)
}

// Dropped returns the names of the members that the header says were left out.
func Dropped(h http.Header) (names []string) {
	for _, line := range h[headerDropped] {
		names = append(names, strings.Split(line, ", ")...)
	}
	return names
}
