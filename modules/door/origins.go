package door

import (
	"bytes"
	"encoding/json"
	"slices"

	"github.com/caddy-chat/caddy-chat/modules/provider"
)

// Part is a part of a request in its API's own words, such as an item.
type Part struct {
	Raw json.RawMessage

	// At is which message of Completion the part became; -1 for none.
	At int
}

// NoOrigins is the list of what a message was made of that is with one before it.
var NoOrigins = json.RawMessage("[]")

// Origins lists what each of n messages was made of, in the order in which it came. Parts
// that stand apart there but have become messages that do not are with the first of these,
// and one that became none is with what follows it. There is nothing for messages that say
// as much: for which again returns the same parts.
func Origins(parts []Part, n int, again func(from, to int) []json.RawMessage) []json.RawMessage {
	if n == 0 {
		return nil
	}
	lists := make([][]json.RawMessage, n)
	first := n - 1
	for _, p := range slices.Backward(parts) {
		if p.At >= 0 {
			first = min(first, p.At)
		}
		lists[first] = append(lists[first], p.Raw)
	}
	of := make([]json.RawMessage, n)
	for i := 0; i < n; {
		end := i + 1
		for end < n && lists[end] == nil {
			end++
		}
		slices.Reverse(lists[i])
		if lists[i] != nil && !slices.EqualFunc(lists[i], again(i, end), same) {
			of[i] = provider.Encode(lists[i])
			for j := i + 1; j < end; j++ {
				of[j] = NoOrigins
			}
		}
		i = end
	}
	return of
}

func same(a, b json.RawMessage) bool { return bytes.Equal(a, b) }
