package provider

import (
	"regexp"
	"slices"
)

// Dropped are the names of what a request has and its provider could not be given. A
// header lists them. Some are the client's words, and there may be one for each of its
// tools.
type Dropped []string

// nameable are the names that may stand in the header: one has no comma, so that it
// cannot pass for two.
var nameable = regexp.MustCompile(`^[A-Za-z0-9_.]{1,64}$`)

// maxDropped bounds the header, and the time it takes to find a name.
const maxDropped = 32

// Add notes a name once.
func (d *Dropped) Add(name string) {
	if len(*d) < maxDropped && nameable.MatchString(name) && !slices.Contains(*d, name) {
		*d = append(*d, name)
	}
}
