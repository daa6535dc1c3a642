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

	// Role says whose message the part is, if it became none and is one all the same: that
	// of a model which has only used tools of its server, for instance. Empty for a part
	// of another message.
	Role string
}

// Origins says what the messages of a request were made of, in the API's own words.
type Origins struct {
	// Member of a message is where Of and Made are stored.
	Member string

	// Of lists what each message of Completion was made of; nil if it says as much.
	Of []json.RawMessage

	Wordless []Wordless
}

// Wordless is a message that chat completions have no words for: Completion is without it.
type Wordless struct {
	Role string
	Made json.RawMessage

	// Before is the message of Completion that it stands in front of: their number if it
	// is the last.
	Before int
}

// NoOrigins is the list of what a message was made of that is with one before it.
var NoOrigins = json.RawMessage("[]")

// OriginsOf lists what each message was made of, in the order in which it came. roles are
// those of the messages. Parts that stand apart there but have become messages that do not
// are with the first of these, and one that became none is with what follows it. There is
// nothing for messages that say as much: for which again returns the same parts.
func OriginsOf(member string, parts []Part, roles []string, again func(from, to int) []json.RawMessage) Origins {
	n := len(roles)
	if n == 0 {
		return Origins{Member: member}
	}
	lists, wordless := split(parts, roles)
	o := Origins{member, make([]json.RawMessage, n), wordless}
	for i := 0; i < n; {
		end := i + 1
		for end < n && lists[end] == nil {
			end++
		}
		if lists[i] != nil && !slices.EqualFunc(lists[i], again(i, end), same) {
			o.Of[i] = provider.Encode(lists[i])
			for j := i + 1; j < end; j++ {
				o.Of[j] = NoOrigins
			}
		}
		i = end
	}
	return o
}

// split returns the parts of each message, and those of wordless ones.
func split(parts []Part, roles []string) (lists [][]json.RawMessage, wordless []Wordless) {
	n := len(roles)
	lists = make([][]json.RawMessage, n)
	var silent [][]json.RawMessage // of wordless
	alone := standAlone(parts, roles)
	first, with := n, &lists[n-1]
	for i, p := range slices.Backward(parts) {
		switch {
		case p.At >= 0:
			first = min(first, p.At)
			with = &lists[first]
		case !alone[i]:
		case i+1 < len(parts) && alone[i+1] && parts[i+1].Role == p.Role:
		default:
			var behind []json.RawMessage // parts that nothing follows
			if first == n && len(silent) == 0 {
				behind, lists[n-1] = lists[n-1], nil
			}
			wordless = append(wordless, Wordless{Role: p.Role, Before: first})
			silent = append(silent, behind)
			with = &silent[len(silent)-1]
		}
		*with = append(*with, p.Raw)
	}
	for _, list := range lists {
		slices.Reverse(list)
	}
	for i, list := range silent {
		slices.Reverse(list)
		wordless[i].Made = provider.Encode(list)
	}
	slices.Reverse(wordless)
	return lists, wordless
}

// standAlone reports which parts are wordless messages. They are none between a call and its
// result, nor where the messages stand in another order than the parts.
func standAlone(parts []Part, roles []string) []bool {
	alone := make([]bool, len(parts))
	next := len(roles) // the first message that a later part became
	after := make([]int, len(parts))
	for i, p := range slices.Backward(parts) {
		after[i] = next
		if p.At >= 0 {
			next = min(next, p.At)
		}
	}
	last := -1 // the last message that an earlier part became
	for i, p := range parts {
		last = max(last, p.At)
		alone[i] = p.At < 0 && p.Role != "" && last < after[i] && (after[i] == len(roles) || roles[after[i]] != "tool")
	}
	return alone
}

func same(a, b json.RawMessage) bool { return bytes.Equal(a, b) }
