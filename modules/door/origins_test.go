package door

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestOrigins(t *testing.T) {
	const none = -1
	for name, c := range map[string]struct {
		parts []int // the messages that they became
		again string
		want  []string
	}{
		"one each":                           {[]int{0, 1, 2}, "", []string{"[0]", "[1]", "[2]"}},
		"some say as much":                   {[]int{0, 1, 2}, "02", []string{"", "[1]", ""}},
		"two in one message":                 {[]int{0, 0, 1, 2}, "", []string{"[0,1]", "[2]", "[3]"}},
		"one in two messages":                {[]int{0, 2}, "", []string{"[0]", "[]", "[1]"}},
		"one in two that say as much":        {[]int{0, 2}, "0", []string{"", "", "[1]"}},
		"in another order":                   {[]int{0, 2, 1}, "", []string{"[0]", "[1,2]", "[]"}},
		"no message, before one":             {[]int{none, 0, none, 1, 2}, "", []string{"[0,1]", "[2,3]", "[4]"}},
		"no message, at the end":             {[]int{0, 1, 2, none}, "", []string{"[0]", "[1]", "[2,3]"}},
		"no messages at all":                 {[]int{none, none}, "", []string{"", "", "[0,1]"}},
		"a message of none before the first": {[]int{1, 2}, "", []string{"", "[0]", "[1]"}},
	} {
		t.Run(name, func(t *testing.T) {
			var parts []Part
			for i, at := range c.parts {
				parts = append(parts, Part{Raw: json.RawMessage(fmt.Sprint(i)), At: at})
			}
			o := OriginsOf("made", parts, make([]string, len(c.want)), func(from, _ int) (list []json.RawMessage) {
				for i, at := range c.parts {
					if at == from && slices.Contains([]byte(c.again), byte('0'+from)) {
						list = append(list, json.RawMessage(fmt.Sprint(i)))
					}
				}
				return list
			})
			for i, want := range c.want {
				if string(o.Of[i]) != want {
					t.Errorf("message %d was made of %s, want %s", i, o.Of[i], want)
				}
			}
		})
	}
	if o := OriginsOf("made", nil, nil, nil); o.Of != nil || o.Wordless != nil {
		t.Errorf("nothing was made of %+v", o)
	}
}

// TestWordless has parts that are messages which chat completions have no words for. They
// are short for who speaks, and the message that they became, or - for none.
func TestWordless(t *testing.T) {
	for name, c := range map[string]struct{ parts, roles, want string }{
		"at the end":                  {"u0 a-", "u", "[0] a<1[1]"},
		"in between":                  {"u0 a- u1", "u u", "[0] [2] a<1[1]"},
		"at the beginning":            {"a- u0", "u", "[1] a<0[0]"},
		"of the user":                 {"a0 u- a1", "a a", "[0] [2] u<1[1]"},
		"several that are one":        {"u0 a- a- u1", "u u", "[0] [3] a<1[1,2]"},
		"one after the other":         {"u0 a- u- a1", "u a", "[0] [3] a<1[1] u<1[2]"},
		"what belongs to others":      {"u0 -- a- -- u1 --", "u u", "[0] [3,4,5] a<1[1,2]"},
		"what follows the last":       {"u0 a- --", "u", "[0] a<1[1,2]"},
		"between a call and a result": {"a0 a- t1", "a tool", "[0] [1,2]"},
		"in another order":            {"a0 u2 a- t1", "a tool u", "[0] [1,2,3] []"},
	} {
		t.Run(name, func(t *testing.T) {
			var parts []Part
			for i, s := range strings.Fields(c.parts) {
				p := Part{Raw: json.RawMessage(fmt.Sprint(i)), At: -1, Role: strings.Trim(s[:1], "-")}
				if s[1] != '-' {
					p.At = int(s[1] - '0')
				}
				parts = append(parts, p)
			}
			o := OriginsOf("made", parts, strings.Fields(c.roles), func(int, int) []json.RawMessage { return nil })
			var got []string
			for _, of := range o.Of {
				got = append(got, string(of))
			}
			for _, w := range o.Wordless {
				got = append(got, fmt.Sprintf("%s<%d%s", w.Role, w.Before, w.Made))
			}
			if s := strings.Join(got, " "); s != c.want {
				t.Errorf("got %s, want %s", s, c.want)
			}
		})
	}
}
