package door

import (
	"encoding/json"
	"fmt"
	"slices"
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
				parts = append(parts, Part{json.RawMessage(fmt.Sprint(i)), at})
			}
			of := Origins(parts, len(c.want), func(from, _ int) (list []json.RawMessage) {
				for i, at := range c.parts {
					if at == from && slices.Contains([]byte(c.again), byte('0'+from)) {
						list = append(list, json.RawMessage(fmt.Sprint(i)))
					}
				}
				return list
			})
			for i, want := range c.want {
				if string(of[i]) != want {
					t.Errorf("message %d was made of %s, want %s", i, of[i], want)
				}
			}
		})
	}
	if of := Origins(nil, 0, nil); of != nil {
		t.Errorf("nothing was made of %s", of)
	}
}
